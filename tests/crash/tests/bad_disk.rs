//! Disks that are full, closed or not ours, and stores that somebody else has open.

use std::path::Path;
use std::process::Command;

use millpond::{Engine, ErrorKind};
use millpond_crash_tests::check::{self, Check};
use millpond_crash_tests::event::Leases;
use millpond_crash_tests::image::read_tree;
use millpond_crash_tests::worker::{EXIT_REFUSED, EXIT_STOPPED, Work, Worker, WorkerOptions};
use millpond_crash_tests::{Event, Oracle};
use millpond_storage_api::{PartitionStore as _, Table, WriteBatch};
use millpond_storage_rocksdb::{OpenMode, RocksBudget, RocksStore};
use millpond_sync::thread::block_on;
use millpond_types::{FORMAT_VERSION, SystemKey, encode_u64};

use crate::support::{check, endless, listen, runtime, scratch, seed, worker, worker_path};

/// Kind and text of the error with which a store is not opened.
fn open_error(directory: &Path) -> (ErrorKind, String) {
    let options = check::options(directory, Leases::Keep).partitions(1);
    let opened = runtime().block_on(Engine::open(options));
    let error = opened.expect_err("it cannot be opened");
    (error.kind(), error.to_string())
}

/// A store with something in it.
fn loaded(directory: &Path, seed: u64) -> Oracle {
    let mut oracle = Oracle::new();
    let work = Work::Load { n_tasks: 2, n_calls: 50 };
    let options = WorkerOptions { work, ..endless(directory, seed, 1) };
    let mut worker = Worker::start(worker(), &options);
    listen(&mut worker, &mut oracle).expect("an honest worker");
    assert!(worker.wait().success());
    oracle
}

fn check_one(directory: &Path, oracle: Oracle) -> Oracle {
    let reopened = Check { directory, n_partitions: 1, seed: 1, life: 50, keep_first: true };
    check(&reopened, oracle).expect("every receipt is honoured").oracle
}

/// A worker whose files may not grow beyond `n_blocks` of 512 bytes: it gets `EFBIG`, as from a file
/// system that is full or a quota that is used up.
fn limited(n_blocks: u32) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -f {n_blocks} && trap '' XFSZ && exec \"$0\" \"$1\"");
    command.arg("-c").arg(script).arg(worker_path());
    command
}

/// What a read hears of a store that its engine has given up.
const STORE_CLOSED: (&str, &str) = ("closed", "the store is closed");

/// Kind and text of the first error that says more than "this lease is over" or "this is no dead letter", and, if
/// there is one, more than that the store is closed.
fn first_failure(said: &[Event]) -> (String, String) {
    let failures = said.iter().filter_map(|event| match event {
        Event::NotOpened { kind, text } => Some((kind.as_str(), text.as_str())),
        Event::Refused { kind, text, .. } if !["stale_lease", "not_found"].contains(&&**kind) => {
            Some((kind.as_str(), text.as_str()))
        }
        _ => None,
    });
    let mut others = failures.clone().filter(|failure| *failure != STORE_CLOSED);
    let failure = others.next().or_else(|| failures.clone().next());
    let (kind, text) = failure.expect("it failed for a reason");
    (kind.to_owned(), text.to_owned())
}

#[test]
fn a_disk_that_is_full_stops_the_engine_and_loses_nothing() {
    let seed = seed();
    // The lower limit lets a store be opened: RocksDB writes 68 KB of options.
    for (n_blocks, life) in [(160, 1), (700, 2)] {
        let place = scratch();
        let directory = place.path().join("data");
        let mut oracle = Oracle::new();
        let options =
            WorkerOptions { n_partitions: 2, ..endless(&directory, seed ^ u64::from(life), life) };
        let mut worker = Worker::start(limited(n_blocks), &options);
        let said = listen(&mut worker, &mut oracle).expect("it breaks no rule");
        assert_eq!(worker.wait().code(), Some(EXIT_STOPPED.into()));
        let (kind, text) = first_failure(&said);
        // Whoever was just reading what it had leased ends the load, and maybe nobody else noticed.
        let was_reading = (kind.as_str(), text.as_str()) == STORE_CLOSED;
        assert!(kind == "no_space" || was_reading, "{kind}: {text}");
        let receipts = oracle.counts().receipts();
        assert!(receipts > 0, "the limit is too low to show anything");
        println!("{n_blocks} blocks: {receipts} receipts, then {text}");
        let reopened =
            Check { directory: &directory, n_partitions: 2, seed, life: 50, keep_first: true };
        check(&reopened, oracle).expect("every receipt is honoured");
    }
}

#[test]
fn a_recovery_on_a_full_disk_fails_and_loses_nothing() {
    let place = scratch();
    let directory = place.path().join("data");
    let mut oracle = Oracle::new();
    let work = Work::Load { n_tasks: 4, n_calls: 300 };
    let abrupt = WorkerOptions { work, abrupt_end: true, ..endless(&directory, seed(), 1) };
    listen(&mut Worker::start(worker(), &abrupt), &mut oracle).expect("an honest worker");
    // What the log holds does not fit into one block.
    let mut recovering = Worker::start(limited(1), &endless(&directory, 1, 2));
    let said = listen(&mut recovering, &mut oracle).expect("it breaks no rule");
    assert_eq!(recovering.wait().code(), Some(EXIT_REFUSED.into()));
    let (kind, text) = first_failure(&said);
    assert_eq!(kind, "no_space", "{text}");
    check_one(&directory, oracle);
}

#[test]
fn a_place_where_no_directory_can_be_is_refused() {
    let place = scratch();
    let file = place.path().join("file");
    std::fs::write(&file, "mine").expect("a file");
    for directory in [file.clone(), file.join("data"), "/proc/millpond/data".into()] {
        let (kind, text) = open_error(&directory);
        assert_eq!(kind, ErrorKind::Io, "{text}");
        assert!(text.contains(&*directory.to_string_lossy()), "{text}");
    }
    assert_eq!(std::fs::read(&file).expect("it is still there"), b"mine");
}

#[test]
fn a_missing_parent_is_created() {
    let place = scratch();
    let directory = place.path().join("several/that/are/missing");
    let oracle = loaded(&directory, seed());
    check_one(&directory, oracle);
}

/// In a mount namespace of its own, where the machine allows that without privileges, the directory of a
/// worker is mounted read-only.
#[test]
fn a_read_only_directory_is_refused_and_stays_as_it_is() {
    const SCRIPT: &str =
        "mount --bind \"$2\" \"$2\" && mount -o remount,ro,bind \"$2\" && exec \"$0\" \"$1\"";
    let place = scratch();
    let directory = place.path().join("data");
    let oracle = loaded(&directory, seed());
    let before = read_tree(&directory).expect("it can be read");
    let options = endless(&directory, 1, 2);
    let read_only = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", SCRIPT]).arg(program);
        command.arg(options.to_argument()).arg(&directory);
        command
    };
    let possible = read_only(Path::new("true")).output().is_ok_and(|done| done.status.success());
    if !possible {
        println!("NOT TESTED: this machine allows no read-only mount without privileges");
        return;
    }
    let refused = read_only(&worker_path()).output().expect("it was possible a moment ago");
    assert_eq!(refused.status.code(), Some(EXIT_REFUSED.into()));
    let said = Event::parse_lines(&refused.stdout).expect("workers write events");
    let Some(Event::NotOpened { kind, text }) = said.last() else { panic!("{said:?}") };
    assert_eq!(kind, "io", "{text}");
    assert!(read_tree(&directory).expect("it can be read") == before, "something was changed");
    check_one(&directory, oracle);
}

#[test]
fn a_store_that_is_open_elsewhere_is_refused_until_that_process_is_gone() {
    let place = scratch();
    let directory = place.path().join("data");
    let hold = |life| WorkerOptions { work: Work::Hold, ..endless(&directory, 1, life) };
    let mut first = Worker::start(worker(), &hold(1));
    assert_eq!(first.next_event(), Some(Event::Opening { leases: Leases::Keep }));
    assert_eq!(first.next_event(), Some(Event::Opened { n_partitions: 1 }));
    let (kind, text) = open_error(&directory);
    assert_eq!(kind, ErrorKind::AlreadyOpen, "{text}");
    let mut second = Worker::start(worker(), &hold(2));
    second.next_event();
    let Some(Event::NotOpened { kind, .. }) = second.next_event() else { panic!("it was opened") };
    assert_eq!(kind, "already_open");
    assert_eq!(second.wait().code(), Some(EXIT_REFUSED.into()));
    // However it goes, the lock goes with it.
    first.kill();
    first.wait();
    let mut third = Worker::start(worker(), &hold(3));
    third.next_event();
    assert_eq!(third.next_event(), Some(Event::Opened { n_partitions: 1 }));
    assert!(matches!(third.next_event(), Some(Event::Rules { .. })));
    third.end_input();
    assert_eq!(third.next_event(), Some(Event::Closed));
    assert!(third.wait().success());
}

#[test]
fn a_newer_manifest_is_refused_and_nothing_is_changed() {
    let place = scratch();
    let directory = place.path().join("data");
    let oracle = loaded(&directory, seed());
    let manifest = directory.join("MILLPOND");
    let old = std::fs::read_to_string(&manifest).expect("a manifest");
    let newer =
        old.replace(&format!("format {FORMAT_VERSION}"), &format!("format {}", FORMAT_VERSION + 1));
    assert_ne!(newer, old);
    for strange in [newer.as_str(), "format zero\n", "", "format 0\npartitions 1\nstate complete\n"]
    {
        std::fs::write(&manifest, strange).expect("it can be changed");
        let before = read_tree(&directory).expect("it can be read");
        let (kind, text) = open_error(&directory);
        assert_eq!(kind, ErrorKind::Format, "{text}");
        assert!(read_tree(&directory).expect("it can be read") == before, "something was changed");
    }
    std::fs::write(&manifest, old).expect("it can be changed");
    check_one(&directory, oracle);
}

#[test]
fn a_newer_format_inside_a_store_is_refused_every_time() {
    let place = scratch();
    let directory = place.path().join("data");
    loaded(&directory, seed());
    let budget = RocksBudget::default();
    let partition = directory.join("partition-000");
    let store = RocksStore::open(partition, &budget, OpenMode::OpenExisting).expect("a store");
    let mut batch = WriteBatch::new();
    let newer = encode_u64(FORMAT_VERSION + 1);
    batch.put(Table::System, SystemKey::FormatVersion.encode(), &newer);
    block_on(store.submit(batch)).expect("it can be written");
    drop(store);
    for _ in 0..2 {
        let (kind, text) = open_error(&directory);
        assert_eq!(kind, ErrorKind::Format, "{text}");
    }
}
