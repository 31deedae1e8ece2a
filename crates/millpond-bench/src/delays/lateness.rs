//! How late entries came, as their consumers saw it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Lateness up to this is told apart by the millisecond.
const MS_MAX: usize = 10_000;

/// What the clock shows, in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// Counts by millisecond. Small, so that it does not show in the memory that is measured beside it.
#[derive(Debug)]
pub(super) struct Seen {
    counts: Vec<AtomicU64>,
    least: AtomicI64,
    most: AtomicI64,
}

/// In milliseconds; negative is early.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Lateness {
    pub(super) n: u64,
    pub(super) least: i64,
    pub(super) p50: usize,
    pub(super) p99: usize,
    pub(super) max: i64,
}

impl Seen {
    pub(super) fn new() -> Self {
        let counts = (0..=MS_MAX).map(|_| AtomicU64::new(0)).collect();
        Self { counts, least: AtomicI64::new(i64::MAX), most: AtomicI64::new(i64::MIN) }
    }

    /// Nothing here orders anything, so all accesses are relaxed.
    pub(super) fn record(&self, late_ms: i64) {
        self.least.fetch_min(late_ms, Ordering::Relaxed);
        self.most.fetch_max(late_ms, Ordering::Relaxed);
        let place = usize::try_from(late_ms.max(0)).unwrap_or(MS_MAX).min(MS_MAX);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn summary(&self) -> Lateness {
        let counts: Vec<u64> = self.counts.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let n: u64 = counts.iter().sum();
        let at = |per_cent: u64| {
            let mut left = (n * per_cent).div_ceil(100);
            let within = |count: &u64| {
                left = left.saturating_sub(*count);
                left == 0
            };
            counts.iter().position(within).unwrap_or(MS_MAX)
        };
        let (least, max) = (self.least.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed));
        Lateness { n, least, p50: at(50), p99: at(99), max }
    }
}
