use std::time::Duration;

use millpond_storage_api::{LogPosition, StoreErrorKind};
use millpond_sync::thread::block_on;
use millpond_sync::{Arc, Condvar, Mutex, oneshot};

use crate::log::LogState;
use crate::pool::{READS_WAITING_MAX, ReadPool};
use crate::stats::CommitCounters;

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
        counters.record(batches, 10, Duration::from_micros(took_us));
    }
    let stats = counters.read();
    assert_eq!((stats.n_groups, stats.n_batches, stats.batch_bytes), (6, 13, 60));
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
