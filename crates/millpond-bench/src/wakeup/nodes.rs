//! What memory alone costs: reading and writing a node that nobody has touched for a while.

use std::hint::black_box;
use std::time::Instant;

use super::Random;
use crate::measure::count;

/// Nanoseconds of one random access to one of `n_nodes` nodes of 32 bytes, which depends on no other one.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) fn random_access_ns(n_nodes: usize) -> f64 {
    const N_ACCESSES_MIN: usize = 1_000_000;
    let mut nodes = vec![[1_u64; 4]; n_nodes];
    let order = Random(1).shuffled(n_nodes);
    let n_passes = N_ACCESSES_MIN.div_ceil(n_nodes);
    let from = Instant::now();
    for _ in 0..n_passes {
        for index in &order {
            let node = &mut nodes[*index];
            node[0] = node[0].wrapping_add(node[3]);
        }
        black_box(&mut nodes);
    }
    from.elapsed().as_secs_f64() * 1e9 / count(n_passes * n_nodes)
}
