//! The upper bound: reading a short queue to its end when tombstones stand behind it.

use std::path::Path;

use millpond_storage_api::{ScanRequest, Table as Rows};
use millpond_storage_rocksdb::Guards;

use super::world::{World, dead_letter, head};
use super::{Outcome, Table, median_of, us};

const N_ROWS: usize = 10;
const N_DEAD: u64 = 100_000;
const QUEUE: u64 = 0;

/// Whose tombstones stand behind the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    OtherQueues,
    OwnDeadLetters,
}

pub(super) fn run(table: &mut Table<'_>, dir: &Path) -> Outcome<()> {
    let cases = [
        ("end, 100k dead of other queues", Behind::OtherQueues, true),
        ("same, prefix filters off", Behind::OtherQueues, false),
        ("end, 100k dead letters of its own", Behind::OwnDeadLetters, true),
    ];
    for (case, behind, prefix_filters) in cases {
        if table.wants(case) {
            let metrics = [("to the end", "µs"), ("keys skipped", "")];
            let read = |upper_bounds| {
                let guards = Guards { prefix_filters, upper_bounds, ..Guards::ALL };
                to_the_end(dir, behind, guards)
            };
            table.compare(case, "upper bound", &metrics, || read(true), || read(false))?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
fn to_the_end(dir: &Path, behind: Behind, guards: Guards) -> Outcome<Vec<f64>> {
    let world = World::new(dir, guards)?;
    world.put([QUEUE], 0..N_ROWS as u64)?;
    match behind {
        Behind::OtherQueues => {
            let others = QUEUE + 1..QUEUE + 1 + N_DEAD / 10;
            world.put(others.clone(), 0..10)?;
            world.put([others.end], 0..10)?;
            world.flush()?;
            world.settle()?;
            world.consume(others, 0..10)?;
        }
        Behind::OwnDeadLetters => {
            let letters = || (0..N_DEAD).map(|n| dead_letter(QUEUE, n));
            let put = world.submit(|batch| {
                letters().for_each(|key| batch.put(Rows::Entries, &key, &[0x5A; 100]));
            });
            world.wait(vec![put])?;
            world.flush()?;
            world.settle()?;
            let removed = world.submit(|batch| {
                letters().for_each(|key| batch.single_delete(Rows::Entries, &key));
            });
            world.wait(vec![removed])?;
        }
    }
    let request = ScanRequest { rows_max: usize::MAX, ..head(QUEUE, 0) };
    world.warm(&request)?;
    let took = median_of(|| Ok(us(world.try_read(&request)?.with_rows(N_ROWS)?.took)))?;
    Ok(vec![took, world.try_read(&request)?.n_skipped as f64])
}
