use std::time::Duration;

use millpond_storage_api::{
    BufferedTicket, LogPosition, StoreErrorKind, Table, WriteBatch, buffered_ticket, commit_ticket,
};
use millpond_sync::thread::block_on;
use millpond_sync::{Arc, Condvar, Mutex, oneshot};

use crate::error::closed;
use crate::log::LogState;
use crate::open::{Opened, open};
use crate::pool::{READS_WAITING_MAX, ReadPool};
use crate::queue::CommitQueue;
use crate::read::Reads;
use crate::stats::CommitCounters;
use crate::writer::{Closers, GROUP_BYTES_MAX, Request, Writer};
use crate::{CommitStats, Guards, OpenMode, RocksBudget};

#[test]
fn a_run_of_records_grows_and_a_hole_begins_another() {
    let log = LogState::new(LogPosition(0));
    let pin = log.pins.pin_after(LogPosition(0));
    log.recorded(LogPosition(1), LogPosition(5));
    log.recorded(LogPosition(6), LogPosition(6));
    assert_eq!(log.oldest_readable(), LogPosition(1));
    log.recorded(LogPosition(9), LogPosition(9));
    assert_eq!(log.oldest_readable(), LogPosition(9));
    drop(pin);
}

#[test]
fn records_are_pruned_when_nobody_holds_them_and_it_is_worth_it() {
    let log = LogState::new(LogPosition(0));
    let prune = || log.take_prunable(log.pins.oldest());
    assert_eq!(prune(), None);
    let mut pin = log.pins.pin_after(LogPosition(0));
    log.recorded(LogPosition(1), LogPosition(1000));
    assert_eq!(prune(), None);
    pin.advance(LogPosition(255));
    assert_eq!(prune(), None, "too few to be worth a tombstone");
    pin.advance(LogPosition(256));
    assert_eq!(prune(), Some((1, 257)));
    assert_eq!(log.oldest_readable(), LogPosition(257));
    assert_eq!(prune(), None);
    drop(pin);
    assert_eq!(prune(), Some((257, 1001)));
    assert_eq!(prune(), None);
    assert_eq!(log.oldest_readable(), LogPosition(1), "the next to be written");
}

#[test]
fn a_pin_ahead_of_what_is_recorded_prunes_only_what_is_there() {
    let log = LogState::new(LogPosition(0));
    log.recorded(LogPosition(1), LogPosition(300));
    assert_eq!(log.take_prunable(Some(LogPosition(400))), Some((1, 301)));
    assert_eq!(log.take_prunable(Some(LogPosition(400))), None);
}

#[test]
fn write_times_fall_into_classes() {
    let counters = CommitCounters::default();
    for (took_us, batches) in [(0, 1), (63, 1), (64, 2), (127, 2), (128, 3), (u64::MAX / 2, 4)] {
        counters.record(batches, 2 * batches, 10, batches > 2, Duration::from_micros(took_us));
    }
    let stats = counters.read();
    assert_eq!((stats.n_groups, stats.n_batches, stats.n_ops), (6, 13, 26));
    assert_eq!(stats.n_synced_groups, 2);
    assert_eq!(stats.batch_bytes, 60);
    assert_eq!(stats.write_us_classes[..4], [2, 2, 1, 0]);
    assert_eq!(stats.write_us_classes[15], 1);
    assert_eq!(stats.write_us_classes.iter().sum::<u64>(), stats.n_groups);
    assert_eq!(stats.write_us_max, u64::MAX / 2);
}

/// A pool of one thread that is busy until the gate opens.
fn busy_pool() -> (ReadPool, impl FnOnce()) {
    let pool = ReadPool::start(1).expect("a thread");
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (running, started) = oneshot::channel();
    let inside = gate.clone();
    pool.run(Box::new(move || {
        running.send(()).expect("the test waits");
        let mut open = inside.0.lock();
        while !*open {
            open = inside.1.wait(open);
        }
    }))
    .expect("the pool is open");
    block_on(started).expect("the job runs");
    let open = move || {
        *gate.0.lock() = true;
        gate.1.notify_all();
    };
    (pool, open)
}

#[test]
fn too_many_waiting_reads_are_refused_with_retry() {
    let (pool, open) = busy_pool();
    for _ in 0..READS_WAITING_MAX {
        pool.run(Box::new(|| {})).expect("there is room");
    }
    let refused = pool.run(Box::new(|| {})).expect_err("there is no room left");
    assert_eq!(refused.kind(), StoreErrorKind::Retry);
    open();
    pool.close();
    let refused = pool.run(Box::new(|| {})).expect_err("the pool is closed");
    assert_eq!(refused.kind(), StoreErrorKind::Closed);
}

#[test]
fn a_panicking_read_costs_the_pool_no_thread() {
    let pool = ReadPool::start(1).expect("a thread");
    pool.run(Box::new(|| panic!("on purpose"))).expect("the pool is open");
    let (sender, receiver) = oneshot::channel();
    pool.run(Box::new(move || sender.send(7).expect("the test waits"))).expect("it is open");
    assert_eq!(block_on(receiver), Ok(7));
}

/// A writer whose queue was filled before it starts, so that its groups are known.
fn written(batch_bytes: &[usize]) -> (CommitStats, Vec<u64>) {
    let batches: Vec<_> = batch_bytes.iter().map(|&n_bytes| (n_bytes, true)).collect();
    written_as(&batches)
}

/// The same with batches of both kinds.
fn written_as(batches: &[(usize, bool)]) -> (CommitStats, Vec<u64>) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let budget = RocksBudget::default();
    let Opened { db, position, .. } =
        open(&scratch.path().join("store"), &budget, OpenMode::Create).expect("it can be opened");
    let counters = Arc::new(CommitCounters::default());
    let queue = Arc::new(CommitQueue::new(position));
    let tickets: Vec<_> = batches
        .iter()
        .map(|&(n_bytes, needs_sync)| {
            let (promise, ticket) = match needs_sync {
                true => {
                    let (promise, ticket) = commit_ticket();
                    (promise, BufferedTicket::from(ticket))
                }
                false => buffered_ticket(),
            };
            let mut batch = WriteBatch::new();
            batch.put(Table::Queues, b"key", &vec![7; n_bytes]);
            assert!(queue.push_commit(Request::Commit(batch, promise)).is_ok());
            ticket
        })
        .collect();
    queue.close(closed());
    let writer = Writer {
        queue,
        reads: Reads::new(db, Guards::ALL, 1).expect("a thread"),
        log: Arc::new(LogState::new(position)),
        counters: counters.clone(),
        closers: Arc::new(Closers::new()),
        position,
        memtables: None,
        group: Vec::new(),
        group_bytes: 0,
        failure: None,
    };
    writer.run();
    let positions = tickets.into_iter().map(|ticket| {
        block_on(ticket).expect("what was accepted before the close is committed").into_inner().0
    });
    let positions = positions.collect();
    (counters.read(), positions)
}

#[test]
fn what_waits_together_is_synced_once() {
    let (stats, positions) = written(&[100; 50]);
    assert_eq!((stats.n_groups, stats.n_batches), (1, 50));
    assert_eq!(positions, (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_group_is_synced_if_one_batch_asks_for_it() {
    let large = GROUP_BYTES_MAX - 1000;
    for (batches, n_synced) in [
        (&[(100, false); 4][..], 0),
        (&[(100, false), (100, true), (100, false)], 1),
        (&[(large, false), (large, true), (large, false)], 1),
        (&[(large, true), (large, true), (large, false)], 2),
    ] {
        let (stats, positions) = written_as(batches);
        assert_eq!(stats.n_synced_groups, n_synced, "{batches:?}");
        assert_eq!(positions.len(), batches.len());
    }
}

#[test]
fn a_group_ends_at_its_limit() {
    let third = GROUP_BYTES_MAX / 3;
    let (stats, positions) = written(&[third; 5]);
    assert_eq!(stats.n_groups, 3, "two fit, a third does not");
    assert_eq!(positions, [1, 2, 3, 4, 5]);
    let (stats, _) = written(&[10, GROUP_BYTES_MAX * 2, 10]);
    assert_eq!(stats.n_groups, 3, "a larger batch is a group of its own");
}
