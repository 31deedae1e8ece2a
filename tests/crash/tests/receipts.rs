//! No receipt precedes its sync.

use millpond_crash_tests::coverage::{Coverage, coverage};
use millpond_crash_tests::disk::Disk;
use millpond_crash_tests::worker::{Work, WorkerOptions};

use crate::support::{Traced, number, seed, two_lives};

/// Calls of each task without `MILLPOND_TRACE_CALLS`.
const CALLS: u64 = 600;

fn covered(disk: &Disk) -> Coverage {
    coverage(disk).expect("logs and events can be read")
}

#[test]
fn no_receipt_precedes_its_sync() {
    let seed = seed();
    let traced = Traced::run(&two_lives(seed, number("MILLPOND_TRACE_CALLS", CALLS)));
    let found = covered(&traced.at_the_end());
    assert!(found.uncovered.is_empty(), "{:?}", found.uncovered);
    let (lines, bytes) = found.margins().expect("there are receipts");
    println!(
        "receipts: {}, rows: {}, covered by a sync that had ended: {}, smallest margin: {lines} system \
         calls, {bytes} bytes, seed {seed}",
        found.n_receipts,
        found.n_rows,
        found.covered.len(),
    );
    assert_eq!(found.covered.len(), found.n_receipts);
    assert!(found.n_receipts > 100, "the load is too small to show anything");
}

/// The twin: a worker that says "accepted" before it has asked.
#[test]
fn a_worker_that_gives_receipts_too_early_is_caught() {
    let [life, _] = two_lives(seed(), 20);
    let work = Work::Load { n_tasks: 1, n_calls: 20 };
    let traced = Traced::run(&[WorkerOptions { early_receipts: true, work, ..life }]);
    let found = covered(&traced.at_the_end());
    assert!(!found.uncovered.is_empty());
}
