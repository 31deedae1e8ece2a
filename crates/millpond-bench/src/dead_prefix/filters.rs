//! Filters on the queue id: the head of a queue that holds nothing, among many that do.

use std::path::Path;

use millpond_storage_rocksdb::Guards;

use super::world::{World, head};
use super::{Outcome, Table, median_of, us};

/// Queues with rows; their numbers are even.
const N_QUEUES: u64 = 10_000;
const N_ROWS: u64 = 10;
/// Sorted runs over which the queues are spread, one queue in one run: a large one, and three files that
/// are one short of being merged into it.
const N_RUNS: u64 = 4;
const UNFILTERED: Guards = Guards { prefix_filters: false, ..Guards::ALL };

pub(super) fn run(table: &mut Table<'_>, dir: &Path) -> Outcome<()> {
    let case = "10k queues in memtable";
    if table.wants(case) {
        let metrics = [("head, empty queue", "µs"), ("head, live queue", "µs")];
        let read = |guards| {
            let world = World::new(dir, guards)?;
            world.put((0..N_QUEUES).map(|queue| 2 * queue), 0..N_ROWS)?;
            Ok(vec![warm(&world, ABSENT, 0)?.0, warm(&world, LIVE, 10)?.0])
        };
        table.compare(
            case,
            "prefix filters",
            &metrics,
            || read(Guards::ALL),
            || read(UNFILTERED),
        )?;
    }
    let case = "10k queues in 4 sorted runs";
    if table.wants(case) {
        let metrics = [
            ("head, empty queue", "µs"),
            ("blocks looked at", ""),
            ("head, live queue", "µs"),
            ("blocks looked at", ""),
            ("cold: would block", "%"),
            ("cold: scan, waiting", "µs"),
        ];
        let read = |guards| in_files(dir, guards);
        table.compare(
            case,
            "prefix filters",
            &metrics,
            || read(Guards::ALL),
            || read(UNFILTERED),
        )?;
    }
    Ok(())
}

const ABSENT: u64 = N_QUEUES + 1;
const LIVE: u64 = N_QUEUES;

fn in_files(dir: &Path, guards: Guards) -> Outcome<Vec<f64>> {
    let world = World::new(dir, guards)?;
    for run in 0..N_RUNS {
        world.put((run..N_QUEUES).step_by(4).map(|queue| 2 * queue), 0..N_ROWS)?;
        world.flush()?;
        if run == 0 {
            world.compact()?;
        }
    }
    world.settle()?;
    let (empty, empty_blocks) = warm(&world, ABSENT, 0)?;
    let (live, live_blocks) = warm(&world, LIVE, 10)?;

    let world = world.reopened()?;
    // Index and filter of the large file; those of the small ones came with the store.
    world.warm(&head(ABSENT, 0))?;
    let (mut n_blocked, mut n_tried) = (0.0, 0.0);
    let mut queues = (0..N_QUEUES).step_by(100).map(|queue| 2 * queue + 1);
    for queue in queues.by_ref().take(50) {
        let read = world.try_read(&head(queue, 0))?;
        n_blocked += f64::from(u8::from(read.would_block));
        n_tried += 1.0;
        if read.n_rows > 0 {
            return Err("a queue without rows has some".into());
        }
    }
    let cold = median_of(|| {
        let (took, n_rows) = world.read(&head(queues.next().ok_or("50 are left")?, 0))?;
        if n_rows > 0 { Err("a queue without rows has some".into()) } else { Ok(us(took)) }
    })?;
    Ok(vec![empty, empty_blocks, live, live_blocks, 100.0 * n_blocked / n_tried, cold])
}

/// Time and blocks of a read of what is in the cache.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
fn warm(world: &World, queue: u64, n_rows: usize) -> Outcome<(f64, f64)> {
    let request = head(queue, 0);
    world.warm(&request)?;
    let took = median_of(|| Ok(us(world.try_read(&request)?.with_rows(n_rows)?.took)))?;
    Ok((took, world.try_read(&request)?.n_blocks as f64))
}
