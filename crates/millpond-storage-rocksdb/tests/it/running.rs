//! A running store: how it ends, how it fails, and what it is built with.

use millpond_storage_api::{
    LogPosition, PartitionStore, StoreErrorKind, StoreRead, Table, WriteBatch,
};
use millpond_storage_rocksdb::RocksStore;
use millpond_sync::thread::block_on;

use crate::support::{Place, all, commit, rows};

fn batch(n: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Table::Queues, &n.to_be_bytes(), b"value");
    batch
}

#[test]
fn dropping_the_store_finishes_what_was_submitted() {
    let place = Place::new();
    let store = place.open();
    let tickets: Vec<_> = (0..500).map(|n| store.submit(batch(n))).collect();
    drop(store);
    for mut ticket in tickets {
        ticket.try_outcome().expect("the drop waits").expect("what was accepted is committed");
    }
    let store = place.open();
    assert_eq!(rows(&store, all(Table::Queues)).len(), 500);
}

#[test]
fn after_a_failure_every_submit_names_the_first_cause() {
    let place = Place::new();
    let store = place.open();
    let kept = commit(&store, |batch| batch.put(Table::Queues, b"kept", b""));
    let away = place.path.with_extension("away");
    std::fs::rename(&place.path, &away).expect("a directory can be renamed");
    store.flush().expect_err("no log file can be made in a directory that is gone");

    let first = block_on(store.submit(batch(1))).expect_err("the device is gone");
    assert_eq!(first.kind(), StoreErrorKind::Io);
    for n in 2..5 {
        let error = block_on(store.submit(batch(n))).expect_err("the store has stopped");
        assert_eq!(error.kind(), StoreErrorKind::Closed);
        assert!(error.to_string().contains(&first.to_string()), "{error}");
    }
    assert_eq!(store.durable_position(), kept);
    let read = block_on(store.get(Table::Queues, b"kept"));
    assert!(!matches!(read, Ok(None)), "what was durable is not denied: {read:?}");
    drop(store);
    std::fs::rename(&away, &place.path).expect("a directory can be renamed");
    assert_eq!(place.open().durable_position(), kept);
}

#[test]
fn stores_of_one_budget_share_its_memory() {
    let (one, mut other) = (Place::new(), Place::new());
    other.budget = one.budget.clone();
    let store = one.open();
    let second = other.open();
    let empty = one.budget.write_buffer_used_bytes();
    for store in [&store, &second] {
        commit(store, |batch| batch.put(Table::Payloads, &[1; 24], &vec![7; 1 << 20]));
    }
    assert!(one.budget.write_buffer_used_bytes() >= empty + (2 << 20));
    for store in [&store, &second] {
        store.flush().expect("it can be flushed");
        let cached = one.budget.cache_used_bytes();
        block_on(store.get(Table::Payloads, &[1; 24])).expect("it can be read");
        assert!(one.budget.cache_used_bytes() >= cached + (1 << 20), "the blob is in the cache");
    }
}

#[test]
fn statistics_count_what_was_committed() {
    let place = Place::new();
    let store = place.open();
    let tickets: Vec<_> = (0..100).map(|n| store.submit(batch(n))).collect();
    let n_bytes: usize = (0..100).map(|n| batch(n).n_bytes()).sum();
    for ticket in tickets {
        block_on(ticket).expect("it commits");
    }
    let stats = store.commit_stats();
    assert_eq!((stats.n_batches, stats.n_ops), (100, 100));
    assert_eq!(stats.batch_bytes, n_bytes as u64);
    assert!((1..=100).contains(&stats.n_groups));
    assert!(stats.write_us_max <= stats.write_us_total);
}

fn buffer(store: &RocksStore, n: u64) -> LogPosition {
    block_on(store.submit_buffered(batch(n))).expect("a healthy store commits").into_inner()
}

#[test]
fn a_sync_is_made_only_for_those_who_ask() {
    let place = Place::new();
    let store = place.open();
    for n in 1..=20 {
        assert_eq!(buffer(&store, n), LogPosition(n));
        assert_eq!(rows(&store, all(Table::Queues)).len() as u64, n);
    }
    assert_eq!((store.commit_stats().n_synced_groups, store.durable_position().0), (0, 0));
    let position = block_on(store.submit(WriteBatch::new())).expect("it commits").into_inner();
    assert_eq!((position.0, store.durable_position().0), (21, 21));
    assert_eq!(store.commit_stats().n_synced_groups, 1);
    buffer(&store, 21);
    assert_eq!(store.durable_position().0, 21);
}

/// Otherwise a power cut could leave the newer of two log files and not the older.
#[test]
fn two_log_files_are_never_left_unsynced() {
    let place = Place::new();
    let store = place.open();
    buffer(&store, 1);
    buffer(&store, 2);
    assert_eq!(store.durable_position().0, 0);
    // Begins another log file.
    store.flush().expect("it can be flushed");
    assert_eq!((buffer(&store, 3).0, store.durable_position().0), (3, 3));

    // So does a memtable that is full in the middle of a write.
    let mut batch = WriteBatch::new();
    batch.put(Table::Settings, b"key", &vec![7; 100_000]);
    let n_synced = store.commit_stats().n_synced_groups;
    for _ in 0..40 {
        block_on(store.submit_buffered(batch.clone())).expect("it commits");
    }
    store.settle().expect("nothing fails");
    assert!(store.commit_stats().n_synced_groups > n_synced, "four memtables were filled");
}

#[test]
fn checkpoints_and_the_end_make_durable_what_is_buffered() {
    let place = Place::new();
    let store = place.open();
    let position = buffer(&store, 1);
    let checkpoint = block_on(store.checkpoint()).expect("it can be made");
    assert_eq!((checkpoint.position, store.durable_position()), (position, position));
    let position = buffer(&store, 2);
    block_on(store.close()).expect("it closes");
    assert_eq!(store.durable_position(), position);
    drop(store);
    assert_eq!(place.open().durable_position(), position);
}

#[test]
fn what_is_buffered_is_synced_also_when_nothing_more_can_be_written() {
    let place = Place::new();
    let store = place.open();
    let position = buffer(&store, 1);
    let away = place.path.with_extension("away");
    std::fs::rename(&place.path, &away).expect("a directory can be renamed");
    store.flush().expect_err("no log file can be made in a directory that is gone");
    block_on(store.close()).expect("the log file is still open");
    assert_eq!(store.durable_position(), position);
}

/// Every record of the log is checked with it. (Blocks of sorted files have XXH3.)
#[test]
#[cfg(target_arch = "x86_64")]
fn checksums_are_computed_by_the_processor() {
    let place = Place::new();
    drop(place.open());
    let log = std::fs::read_to_string(place.path.join("LOG")).expect("RocksDB's own log");
    let line = log.lines().find(|line| line.contains("Fast CRC32 supported"));
    let line = line.expect("RocksDB says how it computes checksums");
    assert!(line.contains("Supported on x86"), "{line}");
}
