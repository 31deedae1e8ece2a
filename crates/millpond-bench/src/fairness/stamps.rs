//! When the quiet entries were called for, accepted and leased.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::measure::count;
use crate::queues::Outcome;

/// Times of one entry, in nanoseconds since the stamps were made; 0 is not yet.
#[derive(Debug, Default)]
struct Stamp {
    called: AtomicU64,
    accepted: AtomicU64,
    leased: AtomicU64,
}

/// All accesses are relaxed: an entry has one producer and, as long as nothing is wrong, one consumer, and the
/// figures are read when both are through.
#[derive(Debug)]
pub(super) struct Stamps {
    made: Instant,
    entries: Vec<Stamp>,
}

/// What entries waited, in microseconds, in order.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// From the receipt until a consumer held it.
    pub(super) ready_to_leased: Vec<f64>,
    /// From the call of enqueue until then.
    pub(super) called_to_leased: Vec<f64>,
}

impl Stamps {
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    pub(super) fn new(n: usize) -> Self {
        Self { made: Instant::now(), entries: (0..n).map(|_| Stamp::default()).collect() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    pub(super) fn called(&self, number: usize) {
        self.entries[number].called.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn accepted(&self, number: usize) {
        self.entries[number].accepted.store(self.now(), Ordering::Relaxed);
    }

    /// A consumer holds the entry, for the first time.
    pub(super) fn leased(&self, number: u64) -> Outcome<()> {
        let now = self.now();
        let stamp = self.entries.get(usize::try_from(number)?);
        let stamp = stamp.ok_or("an entry came that nobody enqueued")?;
        if stamp.leased.swap(now, Ordering::Relaxed) != 0 {
            return Err(format!("entry {number} came twice").into());
        }
        Ok(())
    }

    /// All entries must have come.
    pub(super) fn waits(&self) -> Outcome<Waits> {
        let mut waits = Waits::default();
        for (number, stamp) in self.entries.iter().enumerate() {
            let [called, accepted, leased] = [&stamp.called, &stamp.accepted, &stamp.leased]
                .map(|time| time.load(Ordering::Relaxed));
            if leased == 0 {
                return Err(format!("entry {number} never came").into());
            }
            // The consumer can have heard before the producer did.
            waits.ready_to_leased.push(us(leased.saturating_sub(accepted)));
            waits.called_to_leased.push(us(leased.saturating_sub(called)));
        }
        waits.ready_to_leased.sort_by(f64::total_cmp);
        waits.called_to_leased.sort_by(f64::total_cmp);
        Ok(waits)
    }
}

fn us(ns: u64) -> f64 {
    count(ns) / 1e3
}

/// The value that so many per cent of them do not exceed; they are in order.
pub(super) fn quantile(sorted: &[f64], per_cent: usize) -> f64 {
    let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}
