//! What memory alone costs: going from node to node where each names the next, as a ring of queues does.

use std::hint::black_box;
use std::time::Instant;

use super::N_PICKS_MIN;
use crate::measure::count;

/// Nanoseconds of one step round a ring of nodes of 56 bytes, in the given order.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) fn step_ns(order: &[usize]) -> f64 {
    let mut nodes = vec![[0_usize; 7]; order.len()];
    for (node, next) in order.iter().zip(order.iter().cycle().skip(1)) {
        nodes[*node][0] = *next;
    }
    let n_steps = N_PICKS_MIN.max(order.len());
    let from = Instant::now();
    let end = (0..n_steps).fold(order[0], |node, _| nodes[node][0]);
    black_box(end);
    from.elapsed().as_secs_f64() * 1e9 / count(n_steps)
}
