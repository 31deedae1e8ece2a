//! What the commits of a store have cost so far.

use std::time::Duration;

use millpond_sync::atomic::{AtomicU64, Ordering};

/// Totals since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitStats {
    /// Groups written.
    pub n_groups: u64,
    /// Of them, those that were synced; the others hold only batches that nobody asked a sync for.
    pub n_synced_groups: u64,
    /// Batches in them.
    pub n_batches: u64,
    /// Changes in these batches.
    pub n_ops: u64,
    /// Bytes of these batches.
    pub batch_bytes: u64,
    /// Time spent in writing groups and syncing them, in microseconds.
    pub write_us_total: u64,
    /// The slowest of them, in microseconds.
    pub write_us_max: u64,
    /// How many took long, by class: the class `i` counts those below `2^i · 64 µs` that no lower class
    /// counts; the last one counts the rest.
    pub write_us_classes: [u64; CommitStats::CLASSES],
}

impl CommitStats {
    /// Number of time classes; the last begins at 64 µs · 2^14, about one second.
    pub const CLASSES: usize = 16;
}

/// The counters behind [`CommitStats`]. One writer, any readers; no reader needs a consistent set, so
/// every access is relaxed.
#[derive(Debug, Default)]
pub(crate) struct CommitCounters {
    n_groups: AtomicU64,
    n_synced_groups: AtomicU64,
    n_batches: AtomicU64,
    n_ops: AtomicU64,
    batch_bytes: AtomicU64,
    write_us_total: AtomicU64,
    write_us_max: AtomicU64,
    write_us_classes: [AtomicU64; CommitStats::CLASSES],
}

impl CommitCounters {
    pub(crate) fn record(
        &self,
        n_batches: usize,
        n_ops: usize,
        batch_bytes: usize,
        synced: bool,
        took: Duration,
    ) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&self.n_groups, 1);
        add(&self.n_synced_groups, synced.into());
        add(&self.n_batches, n_batches as u64);
        add(&self.n_ops, n_ops as u64);
        add(&self.batch_bytes, batch_bytes as u64);
        add(&self.write_us_total, took_us);
        self.write_us_max.fetch_max(took_us, Ordering::Relaxed);
        add(&self.write_us_classes[class(took_us)], 1);
    }

    pub(crate) fn read(&self) -> CommitStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CommitStats {
            n_groups: get(&self.n_groups),
            n_synced_groups: get(&self.n_synced_groups),
            n_batches: get(&self.n_batches),
            n_ops: get(&self.n_ops),
            batch_bytes: get(&self.batch_bytes),
            write_us_total: get(&self.write_us_total),
            write_us_max: get(&self.write_us_max),
            write_us_classes: std::array::from_fn(|i| get(&self.write_us_classes[i])),
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn class(took_us: u64) -> usize {
    let bits = u64::BITS - (took_us / 64).leading_zeros();
    (bits as usize).min(CommitStats::CLASSES - 1)
}
