//! The head of a queue behind its consumed entries: the floor, compact-on-deletion, the skip budget.

use std::path::Path;

use millpond_storage_api::ScanRequest;
use millpond_storage_rocksdb::Guards;

use super::world::{HEAD_ROWS, World, head};
use super::{Outcome, Table, median_of, us};
use crate::measure::Effort;

const QUEUE: u64 = 7;
/// What the engine allows a read on its loop's thread.
const SKIP_MAX: u64 = 1000;
const UNCOMPACTED: Guards = Guards { compact_on_deletion: false, ..Guards::ALL };

/// Where the tombstones are. The rows under them are in sorted files. A million of each are more than a
/// memtable: so many files come of them that ordinary compaction begins, with the guard or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dead {
    InMemtable,
    InFiles,
}

pub(super) fn run(table: &mut Table<'_>, effort: Effort, dir: &Path) -> Outcome<()> {
    at_the_head(table, dir, "100k consumed", 100_000)?;
    if effort.n_runs == Effort::FULL.n_runs {
        at_the_head(table, dir, "1M consumed", 1_000_000)?;
    }
    within_budget(table, dir)
}

fn at_the_head(table: &mut Table<'_>, dir: &Path, case: &str, n: u64) -> Outcome<()> {
    let read = |dead, guards, from| read_head(&consumed(dir, n, dead, guards)?, from);
    for (place, dead) in [("in memtable", Dead::InMemtable), ("in files", Dead::InFiles)] {
        let case = format!("{case}, {place}");
        if !table.wants(&case) {
            continue;
        }
        let from = |from| move || read(dead, UNCOMPACTED, from);
        table.compare(&case, "floor", &HEAD, from(n), from(0))?;
        let fresh = || read_head(&consumed(dir, 0, dead, Guards::ALL)?, 0);
        let late = || read(dead, Guards::ALL, n);
        table.compare(&case, "nothing consumed", &HEAD[..1], fresh, late)?;
    }
    let case = format!("{case}, in files");
    if table.wants(&case) {
        let start = |guards| move || read(Dead::InFiles, guards, 0);
        let (on, off) = (Guards::ALL, UNCOMPACTED);
        table.compare(&case, "compact-on-deletion", &HEAD, start(on), start(off))?;
        let floor = |guards| move || read(Dead::InFiles, guards, n).map(|read| read[..1].to_vec());
        let metric = [("head from the floor", "µs")];
        table.compare(&case, "compact-on-deletion", &metric, floor(on), floor(off))?;
    }
    Ok(())
}

const HEAD: [(&str, &str); 2] = [("head", "µs"), ("keys skipped", "")];

fn consumed(dir: &Path, n: u64, dead: Dead, guards: Guards) -> Outcome<World> {
    let world = World::new(dir, guards)?;
    world.put([QUEUE], 0..n + HEAD_ROWS as u64)?;
    world.flush()?;
    world.settle()?;
    world.consume([QUEUE], 0..n)?;
    if dead == Dead::InFiles {
        world.flush()?;
        world.settle()?;
    }
    Ok(world)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
fn read_head(world: &World, from: u64) -> Outcome<Vec<f64>> {
    let request = head(QUEUE, from);
    world.warm(&request)?;
    let took = median_of(|| Ok(us(world.try_read(&request)?.with_rows(HEAD_ROWS)?.took)))?;
    Ok(vec![took, world.try_read(&request)?.n_skipped as f64])
}

fn within_budget(table: &mut Table<'_>, dir: &Path) -> Outcome<()> {
    const N: u64 = 100_000;
    for (place, dead) in [("in memtable", Dead::InMemtable), ("in files", Dead::InFiles)] {
        let case = format!("below 100k dead, {place}");
        if !table.wants(&case) {
            continue;
        }
        let read = |skip_max| {
            let world = consumed(dir, N, dead, UNCOMPACTED)?;
            read_below(&world, &ScanRequest { skip_max, ..head(QUEUE, 0) })
        };
        let metrics = [("try_scan", "µs"), ("keys skipped", "")];
        table.compare(&case, "skip budget 1000", &metrics, || read(SKIP_MAX), || read(u64::MAX))?;
        let wait = |from| {
            let world = consumed(dir, N, dead, UNCOMPACTED)?;
            world.warm(&head(QUEUE, from))?;
            Ok(vec![median_of(|| match world.read(&head(QUEUE, from))? {
                (took, HEAD_ROWS) => Ok(us(took)),
                (_, n_rows) => Err(format!("a scan found {n_rows} rows").into()),
            })?])
        };
        table.compare(&case, "floor", &[("scan, waiting", "µs")], || wait(N), || wait(0))?;
    }
    Ok(())
}

/// A read that starts below the tombstones, in memory.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
fn read_below(world: &World, request: &ScanRequest) -> Outcome<Vec<f64>> {
    world.warm(request)?;
    let took = median_of(|| Ok(us(world.try_read(request)?.took)))?;
    let read = world.try_read(request)?;
    if read.would_block != (request.skip_max == SKIP_MAX) {
        return Err("the budget, and nothing else, ends a read in memory".into());
    }
    Ok(vec![took, read.n_skipped as f64])
}
