//! Emptying whole queues: one range delete for each, or one delete for each row; and a read after it.

use std::path::Path;
use std::time::Instant;

use millpond_storage_api::{Table as Rows, WriteBatch};
use millpond_storage_rocksdb::Guards;

use super::world::{HEAD_ROWS, World, end_of, head, key};
use super::{Outcome, Table, median_of, medians, us};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Range,
    Points,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    case: &'static str,
    n_queues: u64,
    n_rows: u64,
    /// Whether the rows are in sorted files when they are deleted, or in the memtable with the deletes.
    flushed: bool,
}

const SHAPES: [Shape; 6] = [
    shape("purge 1,000 × 10 rows in files", 1_000, 10, true),
    shape("purge 10,000 × 10 rows in memtable", 10_000, 10, false),
    MANY,
    shape("purge 10,000 × 100 rows in files", 10_000, 100, true),
    shape("purge 10 × 10,000 rows in memtable", 10, 10_000, false),
    shape("purge 100 × 10,000 rows in files", 100, 10_000, true),
];
const MANY: Shape = shape("purge 10,000 × 10 rows in files", 10_000, 10, true);

const fn shape(case: &'static str, n_queues: u64, n_rows: u64, flushed: bool) -> Shape {
    Shape { case, n_queues, n_rows, flushed }
}

/// Purges after all the others, each with a read behind it.
const N_WITH_READS: u64 = 20;

pub(super) fn run(table: &mut Table<'_>, dir: &Path) -> Outcome<()> {
    // Off where it is not the subject, or it would flush what is to be measured.
    let unlimited = Guards { range_delete_limit: false, ..Guards::ALL };
    for shape in SHAPES {
        if table.wants(shape.case) {
            let range = || purge(dir, shape, How::Range, unlimited);
            let points = || purge(dir, shape, How::Points, unlimited);
            table.compare(shape.case, "range delete", &METRICS, range, points)?;
        }
    }
    if table.wants(MANY.case) {
        let with = || purge(dir, MANY, How::Range, Guards::ALL);
        let without = || purge(dir, MANY, How::Range, unlimited);
        table.compare(MANY.case, "range delete limit", &METRICS, with, without)?;
    }
    Ok(())
}

const METRICS: [(&str, &str); 7] = [
    ("live head before", "µs"),
    ("purge, per queue", "µs"),
    ("live head, first", "µs"),
    ("live head, later", "µs"),
    ("purged head", "µs"),
    ("live head after each", "µs"),
    ("live head, flushed", "µs"),
];

/// The figures of one store, in the order of [`METRICS`].
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
fn purge(dir: &Path, shape: Shape, how: How, guards: Guards) -> Outcome<Vec<f64>> {
    let Shape { n_queues, n_rows, flushed, .. } = shape;
    let world = World::new(dir, guards)?;
    // Queues with even numbers are purged; one among them, with an odd number, lives.
    let live = n_queues + 1 - n_queues % 2;
    let n_all = n_queues + N_WITH_READS;
    world.put((0..n_all).map(|queue| 2 * queue), 0..n_rows)?;
    world.put([live], 0..HEAD_ROWS as u64)?;
    if flushed {
        world.flush()?;
        world.settle()?;
    }
    world.warm(&head(live, 0))?;
    let live_head =
        || world.try_read(&head(live, 0))?.with_rows(HEAD_ROWS).map(|read| us(read.took));
    let mut figures = vec![median_of(live_head)?];

    let delete = |queue: u64| world.submit(|batch| delete(batch, 2 * queue, n_rows, how));
    let started = Instant::now();
    world.wait((0..n_queues).map(delete).collect())?;
    figures.push(us(started.elapsed()) / n_queues as f64);
    figures.push(live_head()?);
    figures.push(median_of(live_head)?);

    let mut dead = (n_queues / 2..n_queues).cycle();
    figures.push(median_of(|| {
        let request = head(2 * dead.next().ok_or("there are queues")?, 0);
        world.warm(&request)?;
        world.try_read(&request)?.with_rows(0).map(|read| us(read.took))
    })?);

    let after_each = (n_queues..n_all).map(|queue| {
        world.wait(vec![delete(queue)])?;
        live_head()
    });
    figures.push(medians(after_each)?);
    world.flush()?;
    world.warm(&head(live, 0))?;
    figures.push(median_of(live_head)?);
    Ok(figures)
}

fn delete(batch: &mut WriteBatch, queue: u64, n_rows: u64, how: How) {
    match how {
        How::Range => batch.delete_range(Rows::Entries, &key(queue, 0), &end_of(queue)),
        How::Points => (0..n_rows).for_each(|n| batch.single_delete(Rows::Entries, &key(queue, n))),
    }
}
