//! What an open accepts, what it refuses, and that it leaves alone what it refuses.

use std::path::Path;

use millpond_storage_api::{LogPosition, OpenError, PartitionStore, StoreRead, Table};
use millpond_storage_rocksdb::{OpenMode, RocksReader, RocksStore};
use millpond_sync::thread::block_on;
use millpond_types::{FORMAT_VERSION, SystemKey, encode_u64};
use rocksdb::{DB, Options};

use crate::support::{Place, all, commit, copy_live, files, rows};

const MODES: [OpenMode; 2] = [OpenMode::Create, OpenMode::OpenExisting];

/// Opens a place that must be refused, for writing and for reading, and checks that nothing changed.
fn refused(place: &Place, expected: impl Fn(&OpenError) -> bool) {
    let before = snapshot(&place.path);
    for mode in MODES {
        let error = RocksStore::open(&place.path, &place.budget, mode).expect_err("not a store");
        assert!(expected(&error), "{mode:?}: {error:?}");
    }
    let error = RocksReader::open_read_only(&place.path).expect_err("not a store");
    assert!(expected(&error), "read-only: {error:?}");
    assert!(snapshot(&place.path) == before, "a refused open changed something");
}

fn snapshot(path: &Path) -> Option<std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>> {
    path.is_dir().then(|| files(path))
}

fn unknown(error: &OpenError) -> bool {
    matches!(error, OpenError::UnknownFormat { .. })
}

/// Opens the files of a closed store as RocksDB sees them.
fn raw(path: &Path, track_logs: bool) -> DB {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_track_and_verify_wals_in_manifest(track_logs);
    DB::open_cf(&options, path, Table::ALL.map(Table::name)).expect("RocksDB can open it")
}

fn set_format(path: &Path, version: Option<u64>) {
    let db = raw(path, false);
    let system = db.cf_handle("system").expect("the table is there");
    let name = SystemKey::FormatVersion.encode();
    match version {
        Some(version) => db.put_cf(system, name, encode_u64(version)),
        None => db.delete_cf(system, name),
    }
    .expect("it can be written");
}

fn with_a_store() -> Place {
    let place = Place::new();
    commit(&place.open(), |batch| batch.put(Table::Queues, b"key", b"value"));
    place
}

#[test]
fn a_store_is_created_only_when_asked() {
    let place = Place::new();
    let open = |mode| RocksStore::open(&place.path, &place.budget, mode);
    let error = open(OpenMode::OpenExisting).expect_err("nothing is there");
    assert!(matches!(error, OpenError::NotFound { .. }), "{error:?}");
    let error = RocksReader::open_read_only(&place.path).expect_err("nothing is there");
    assert!(matches!(error, OpenError::NotFound { .. }), "{error:?}");
    assert!(!place.path.exists());
    std::fs::create_dir(&place.path).expect("a directory");
    let error = open(OpenMode::OpenExisting).expect_err("it is empty");
    assert!(matches!(error, OpenError::NotFound { .. }), "{error:?}");
    drop(open(OpenMode::Create).expect("it can be created"));
    drop(open(OpenMode::OpenExisting).expect("it is there now"));
}

#[test]
fn the_second_open_is_refused_until_the_first_is_closed() {
    let place = Place::new();
    let store = place.open();
    for mode in MODES {
        let error = RocksStore::open(&place.path, &place.budget, mode).expect_err("it is open");
        assert!(matches!(error, OpenError::AlreadyOpen { .. }), "{error:?}");
    }
    commit(&store, |batch| batch.put(Table::Queues, b"key", b"the first goes on"));
    block_on(store.close()).expect("it closes");
    let second = place.open();
    assert_eq!((store.epoch().0, second.epoch().0), (1, 2));
}

#[test]
fn a_newer_format_is_refused() {
    let place = with_a_store();
    set_format(&place.path, Some(FORMAT_VERSION + 1));
    let newer = |error: &OpenError| {
        matches!(error, OpenError::NewerFormat { found, supported, .. }
            if (*found, *supported) == (FORMAT_VERSION + 1, FORMAT_VERSION))
    };
    for mode in MODES {
        let error = RocksStore::open(&place.path, &place.budget, mode).expect_err("it is newer");
        assert!(newer(&error), "{error:?}");
    }
    let error = RocksReader::open_read_only(&place.path).expect_err("it is newer");
    assert!(newer(&error), "{error:?}");
    set_format(&place.path, Some(FORMAT_VERSION - 1));
    let error = RocksStore::open(&place.path, &place.budget, OpenMode::Create).expect_err("older");
    let older = |found: u64| found == FORMAT_VERSION - 1;
    assert!(matches!(error, OpenError::OlderFormat { found, .. } if older(found)), "{error:?}");
    set_format(&place.path, Some(FORMAT_VERSION));
    let store = place.open();
    assert_eq!(store.epoch().0, 2, "a refused open claims no epoch");
}

#[test]
fn an_older_format_may_lack_tables() {
    let place = with_a_store();
    set_format(&place.path, Some(FORMAT_VERSION - 1));
    raw(&place.path, false).drop_cf(Table::Dedup.name()).expect("it can be dropped");
    refused(&place, |error| matches!(error, OpenError::OlderFormat { .. }));
    // This one says that it is of our format.
    let place = with_a_store();
    raw(&place.path, false).drop_cf(Table::Dedup.name()).expect("it can be dropped");
    refused(&place, unknown);
}

#[test]
fn rows_without_a_format_version_are_not_ours() {
    for version in [None, Some(0)] {
        let place = with_a_store();
        set_format(&place.path, version);
        let open = |mode| RocksStore::open(&place.path, &place.budget, mode);
        let error = open(OpenMode::Create).expect_err("it has no version");
        assert!(unknown(&error), "{error:?}");
        open(OpenMode::OpenExisting).expect_err("it has no version");
        let error = RocksReader::open_read_only(&place.path).expect_err("it has no version");
        assert!(unknown(&error), "{error:?}");
    }
}

#[test]
fn a_file_is_not_a_store() {
    let place = Place::new();
    std::fs::write(&place.path, b"a letter").expect("a file");
    refused(&place, unknown);
    assert_eq!(std::fs::read(&place.path).expect("the file"), b"a letter");
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir_all(place.path.join("photos")).expect("a directory");
    std::fs::write(place.path.join("photos/1.jpg"), b"...").expect("a file");
    refused(&place, unknown);
}

#[test]
fn another_database_is_left_alone() {
    let place = Place::new();
    let mut options = Options::default();
    options.create_if_missing(true);
    // Only the default table, which ours also have, but with rows.
    DB::open(&options, &place.path).expect("a database").put(b"k", b"v").expect("a row");
    refused(&place, unknown);

    let place = Place::new();
    options.create_missing_column_families(true);
    DB::open_cf(&options, &place.path, ["entries", "accounts"]).expect("a database");
    refused(&place, unknown);
}

#[test]
fn garbage_in_place_of_the_manifest_is_damage() {
    let damaged = |error: &OpenError| matches!(error, OpenError::Corrupt { .. });
    let contents: [&[u8]; 5] =
        [b"", b"\0\x01\x02garbage\xFF", b"MANIFEST-999999\n", b"garbage\n", b"../../etc/passwd\n"];
    for content in contents {
        let place = with_a_store();
        std::fs::write(place.path.join("CURRENT"), content).expect("a file");
        refused(&place, damaged);
    }
    let place = with_a_store();
    for (path, bytes) in files(&place.path) {
        if path.to_string_lossy().contains("MANIFEST-") {
            std::fs::write(path, vec![0xA5; bytes.len()]).expect("a file");
        }
    }
    refused(&place, damaged);
}

#[test]
fn a_lost_file_is_damage() {
    let place = Place::new();
    let store = place.open();
    commit(&store, |batch| batch.put(Table::Queues, b"key", b"value"));
    store.flush().expect("it can be flushed");
    drop(store);
    for path in files(&place.path).into_keys() {
        if path.extension().is_some_and(|extension| extension == "sst") {
            std::fs::remove_file(path).expect("a file");
        }
    }
    let error = RocksStore::open(&place.path, &place.budget, OpenMode::OpenExisting);
    let error = error.expect_err("a table is lost");
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
}

#[test]
fn an_interrupted_creation_is_completed() {
    // Before the manifest was made current.
    let place = Place::new();
    std::fs::create_dir(&place.path).expect("a directory");
    for left in ["LOCK", "LOG", "IDENTITY", "MANIFEST-000001", "000001.dbtmp"] {
        std::fs::write(place.path.join(left), b"").expect("a file");
    }
    completed(&place);
    // Between two tables.
    let place = Place::new();
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(DB::open_cf(&options, &place.path, ["entries", "payloads"]).expect("a database"));
    completed(&place);
    // After the tables, before the first row.
    let place = Place::new();
    drop(raw(&place.path, false));
    completed(&place);
}

fn completed(place: &Place) {
    let error = RocksStore::open(&place.path, &place.budget, OpenMode::OpenExisting);
    let error = error.expect_err("it was never complete");
    assert!(matches!(error, OpenError::NotFound { .. }), "{error:?}");
    let store = place.open();
    assert_eq!((store.epoch().0, store.durable_position()), (1, LogPosition(0)));
    commit(&store, |batch| batch.put(Table::Queues, b"key", b"value"));
}

#[test]
fn checkpoints_of_an_earlier_process_are_removed() {
    let place = with_a_store();
    let left = place.path.join("checkpoints/7");
    std::fs::create_dir_all(&left).expect("a directory");
    std::fs::write(left.join("000007.sst"), b"").expect("a file");
    let store = place.open();
    assert!(!place.path.join("checkpoints").exists());
    let checkpoint = block_on(store.checkpoint()).expect("it can be made");
    assert!(place.path.join("checkpoints").exists());
    drop(checkpoint);
    assert!(!place.path.join("checkpoints").exists());
}

#[test]
fn a_reader_sees_everything_and_changes_nothing() {
    let place = Place::new();
    let store = place.open();
    commit(&store, |batch| batch.put(Table::Queues, b"in a file", b"1"));
    store.flush().expect("it can be flushed");
    let position = commit(&store, |batch| batch.put(Table::Queues, b"in the log", b"2"));
    drop(store);

    let before = files(&place.path);
    let reader = RocksReader::open_read_only(&place.path).expect("it can be read");
    assert_eq!(reader.position(), position);
    assert_eq!(rows(&reader, all(Table::Queues)).len(), 2);
    let value = block_on(reader.get(Table::Queues, b"in the log")).expect("it can be read");
    assert_eq!(value.as_deref(), Some(&b"2"[..]));
    assert!(files(&place.path) == before);
    drop(reader);
    assert!(files(&place.path) == before, "reading changed the store");
    let store = place.open();
    assert_eq!(store.epoch().0, 2, "reading claims no epoch");
}

/// After a crash the log ends anywhere in what was not synced.
#[test]
fn a_torn_log_gives_a_prefix() {
    let place = Place::new();
    let store = place.open();
    for n in 0..20_u64 {
        commit(&store, |batch| batch.put(Table::Queues, &n.to_be_bytes(), &[7; 50]));
    }
    let image = place.path.with_extension("image");
    copy_live(&place.path, &image);
    let log = files(&image)
        .into_iter()
        .find(|(path, bytes)| path.extension().is_some_and(|e| e == "log") && !bytes.is_empty());
    let (log, bytes) = log.expect("the commits are in the log");
    let mut previous = LogPosition(0);
    for kept in (bytes.len() / 2..=bytes.len()).step_by(37) {
        for tail in [&b""[..], &[0; 64], &[0xA5; 64]] {
            let torn = place.path.with_extension("torn");
            copy_live(&image, &torn);
            let log = torn.join(log.file_name().expect("a file"));
            std::fs::write(log, [&bytes[..kept], tail].concat()).expect("a file");
            let store = RocksStore::open(&torn, &place.budget, OpenMode::OpenExisting);
            let store = store.expect("only what was not synced is torn");
            let position = store.durable_position();
            assert_eq!(rows(&store, all(Table::Queues)).len() as u64, position.0);
            assert!(position >= previous, "more of the log gives no fewer batches");
            previous = position;
            drop(store);
            std::fs::remove_dir_all(&torn).expect("a directory");
        }
    }
    assert!(previous >= LogPosition(19));
}

/// A recycled log file still holds the records of its first life behind the new ones.
#[test]
fn stale_records_in_a_recycled_log_are_not_replayed() {
    let place = Place::new();
    let store = place.open();
    for round in 0..6_u64 {
        for n in 0..100_u64 {
            let key = [round.to_be_bytes(), n.to_be_bytes()].concat();
            commit(&store, |batch| batch.put(Table::Queues, &key, &[7; 500]));
        }
        store.flush().expect("it can be flushed");
    }
    commit(&store, |batch| batch.delete_range(Table::Queues, b"", &[0xFF]));
    let position = commit(&store, |batch| batch.put(Table::Queues, b"last", b""));
    let image = place.path.with_extension("image");
    copy_live(&place.path, &image);
    let stale_bytes = files(&image)
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "log"))
        .map(|(_, bytes)| bytes.len())
        .max();
    assert!(stale_bytes > Some(50_000), "the newest log file is not a recycled one");
    let store = RocksStore::open(&image, &place.budget, OpenMode::OpenExisting);
    let store = store.expect("a crash leaves a store");
    assert_eq!(store.durable_position(), position);
    assert_eq!(rows(&store, all(Table::Queues)), [(b"last".to_vec(), vec![])]);
}

/// A log file that was closed was synced, so what is missing there was promised.
#[test]
fn a_log_file_that_was_closed_must_be_whole() {
    for keep in [None, Some(20)] {
        let place = with_two_log_files();
        let mut logs: Vec<_> = files(&place.path)
            .into_iter()
            .filter(|(path, bytes)| {
                path.extension().is_some_and(|e| e == "log") && !bytes.is_empty()
            })
            .collect();
        assert!(logs.len() >= 2, "there are two log files");
        let (first, bytes) = logs.swap_remove(0);
        match keep {
            None => std::fs::remove_file(first).expect("a file"),
            Some(less) => std::fs::write(first, &bytes[..bytes.len() - less]).expect("a file"),
        }
        let error = RocksStore::open(&place.path, &place.budget, OpenMode::OpenExisting);
        let error = error.expect_err("a durable batch is lost");
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    }
}

fn with_two_log_files() -> Place {
    let place = with_a_store();
    let db = raw(&place.path, true);
    let [queues, leases] = ["queues", "leases"].map(|name| db.cf_handle(name).expect("a table"));
    let mut synced = rocksdb::WriteOptions::default();
    synced.set_sync(true);
    db.put_cf_opt(queues, b"second", b"in the first log file", &synced).expect("it is written");
    db.put_cf_opt(leases, b"lease", b"", &synced).expect("it is written");
    // Begins another log file, while `queues` still needs the first.
    db.flush_cf(leases).expect("it can be flushed");
    db.put_cf_opt(queues, b"third", b"in the second log file", &synced).expect("it is written");
    place
}
