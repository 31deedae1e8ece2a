//! How long something took, over all the times it was done.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest time that is told apart, in microseconds; what takes longer counts as that long.
const US_MAX: u64 = 60_000_000;

/// Durations, within one percent.
#[derive(Clone, PartialEq)]
pub struct Latency(Histogram<u64>);

// A histogram of integers equals itself.
impl Eq for Latency {}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, US_MAX, 2);
        Self(histogram.expect("these bounds are apart and the precision is allowed"))
    }
}

impl Latency {
    pub(crate) fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(US_MAX);
        self.0.saturating_record(us.max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// How often.
    pub fn n(&self) -> u64 {
        self.0.len()
    }

    /// Within which time the given part of them (0 to 1) was done; zero if there was none.
    pub fn quantile(&self, part: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(part))
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }
}

/// The figures, and not the thousands of counts behind them.
impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latency")
            .field("n", &self.n())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}
