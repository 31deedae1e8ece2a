//! How long to measure, how to summarise, and how much is allocated.

use std::alloc::System;
use std::time::Duration;

use cap::Cap;

/// Counts what Rust code allocates. It costs each allocation an atomic addition, in every bench alike.
#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes that Rust code has asked for and not given back.
pub(crate) fn allocated_bytes() -> usize {
    ALLOCATED.allocated()
}

/// How much to do. Many short runs rather than few long ones: a virtual disk can be ten times slower
/// from one second to the next, and subject and peer should see the same disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Repetitions of each case; figures are medians of them.
    pub(crate) n_runs: usize,
    /// Length of one run.
    pub(crate) run: Duration,
}

impl Effort {
    pub(crate) const FULL: Self = Self { n_runs: 15, run: Duration::from_millis(500) };
    pub(crate) const QUICK: Self = Self { n_runs: 5, run: Duration::from_millis(200) };
}

/// The middle one of an odd number of values, the upper middle one of an even number.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
pub(crate) fn count(n: impl TryInto<u64>) -> f64 {
    n.try_into().unwrap_or(u64::MAX) as f64
}
