//! What an inbox costs per insert, take and confirm, beside two ways to do without one.
//!
//! All subjects serve the same queues of the same depth, first in first out, with the same rows. A round
//! takes one row of each queue, confirms each, and inserts one into each; the clock is read between
//! those phases, so its own cost of some tens of nanoseconds is spread over as many operations as there are
//! queues. Every take is compared with the row that must come next, inside the timed loop.
//!
//! * `millpond`: [`millpond_inbox::Inbox`] with its default limits. What it asks for is read from an ordered
//!   map in memory, at once, and *that read and its merge are part of the take's cost*. Keeping the map is
//!   not: a store does that, whatever stands before it.
//! * `btreemap`: the whole queue in memory in one ordered map, with a set of taken keys beside it. It never
//!   reads, and it holds every row: what it costs in memory and at a restart is the reason for a window.
//! * `rocksdb-seek`: no window: a take makes an iterator on a real store on disk, seeks to the start of its
//!   queue and reads one row; the confirm deletes it, the insert puts it. It steps over what was deleted
//!   before, so that its takes get slower the longer a run is.
//! * `rocksdb-floor`: the same, but a take seeks to where the queue's last one ended.
//!
//! `reads per 1000` takes are refills for `millpond` and seeks for RocksDB.
//!
//! *No sync is involved*, in any subject: RocksDB writes to its log without waiting for the disk. Its insert
//! and confirm are writes that an engine with a window pays too, elsewhere; only its take has a
//! counterpart here, so only that has a ratio.

mod btree;
mod seek;
mod windowed;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::N_QUEUES;
use crate::measure::{Effort, count, median};
use crate::report::{Figure, Report};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A priority and a sequence number.
type Key = (u8, u64);
/// What a window keeps of a row.
type Value = (u64, u64);

const DEPTHS: [(&str, u64); 3] = [("depth 1", 1), ("depth 24", 24), ("depth 500", 500)];

/// What takes part: [`N_QUEUES`] queues that start empty.
trait Subject {
    /// Storage now holds the row. Not timed.
    fn stored(&mut self, _queue: usize, _key: Key, _value: Value) {}
    /// Storage does not hold the row any more. Not timed.
    fn removed(&mut self, _queue: usize, _key: &Key) {}

    fn insert(&mut self, queue: usize, key: Key, value: Value) -> Outcome<()>;
    fn take(&mut self, queue: usize) -> Outcome<Option<(Key, Value)>>;
    fn confirm(&mut self, queue: usize, key: &Key) -> Outcome<()>;

    /// To be called when the queues are as deep as they will be. Not timed.
    fn filled(&mut self) -> Outcome<()> {
        Ok(())
    }
    /// Rows of a queue in memory, those that are taken included.
    fn n_held(&self, queue: usize) -> usize;
    /// Reads of storage that were needed to find a head.
    fn n_reads(&self) -> u64;
    /// Rows of all queues, found by reading them; they need not be there afterwards.
    fn n_left(&mut self) -> Outcome<u64>;
}

/// What one run of a subject showed; times in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Run {
    insert: f64,
    take: f64,
    confirm: f64,
    reads_per_1000: f64,
    n_held_max: usize,
}

/// The runs of one subject, one after the other.
#[derive(Debug)]
struct Series {
    name: &'static str,
    /// Whether its inserts and confirms do what a window's do.
    comparable: bool,
    runs: Vec<Run>,
}

pub(crate) fn run(report: &mut Report, effort: Effort, dir: &Path, only: &str) -> Outcome<()> {
    for (case, depth) in DEPTHS.into_iter().filter(|(name, _)| name.contains(only)) {
        let subject = |name, comparable| Series { name, comparable, runs: Vec::new() };
        let mut subjects = [
            subject("millpond", true),
            subject("btreemap", true),
            subject("rocksdb-seek", false),
            subject("rocksdb-floor", false),
        ];
        for _ in 0..effort.n_runs {
            // Interleaved, so that a slow minute of the machine is a slow minute for all.
            let [millpond, btreemap, from_start, from_floor] = &mut subjects;
            millpond.runs.push(measure(windowed::Windows::new(), depth, effort.run)?);
            btreemap.runs.push(measure(btree::Maps::new(), depth, effort.run)?);
            let store = seek::Store::open(dir, seek::From::Start)?;
            from_start.runs.push(measure(store, depth, effort.run)?);
            let store = seek::Store::open(dir, seek::From::Floor)?;
            from_floor.runs.push(measure(store, depth, effort.run)?);
        }
        for subject in &subjects {
            report_subject(report, case, subject, &subjects[0].runs)?;
        }
    }
    Ok(())
}

fn report_subject(
    report: &mut Report,
    case: &str,
    subject: &Series,
    millpond: &[Run],
) -> Outcome<()> {
    type Metric = (&'static str, fn(&Run) -> f64);
    const TIMES: [Metric; 4] = [
        ("insert", |run| run.insert),
        ("take", |run| run.take),
        ("confirm", |run| run.confirm),
        ("all three", |run| run.insert + run.take + run.confirm),
    ];
    let Series { name, comparable, runs } = subject;
    let mut figure = |metric, value: fn(&Run) -> f64, unit, with_ratio: bool| {
        let ratios = runs.iter().zip(millpond).map(|(run, other)| value(run) / value(other));
        let ratio = with_ratio.then(|| median(ratios.collect()));
        report.figure(&Figure {
            bench: "inbox",
            case,
            subject: name,
            metric,
            value: median(runs.iter().map(value).collect()),
            unit,
            ratio,
            ratio_to: with_ratio.then_some("millpond"),
        })
    };
    for (metric, value) in TIMES {
        let compared = *name != "millpond" && (*comparable || metric == "take");
        figure(metric, value, "ns", compared)?;
    }
    figure("reads per 1000", |run| run.reads_per_1000, "", false)?;
    figure("rows held, most", |run| count(run.n_held_max), "", false)?;
    Ok(())
}

/// The row of a queue with this number. First in, first out: the one with the next number comes next.
fn row(queue: usize, number: u64) -> (Key, Value) {
    ((3, number), (number ^ 0x5A5A, queue as u64))
}

/// Fills the queues, then takes, confirms and inserts until time is up.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn measure(mut subject: impl Subject, depth: u64, length: Duration) -> Outcome<Run> {
    for number in 0..depth {
        for queue in 0..N_QUEUES {
            let (key, value) = row(queue, number);
            subject.stored(queue, key, value);
            subject.insert(queue, key, value)?;
        }
    }
    subject.filled()?;

    let (mut insert, mut take, mut confirm) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut n_rounds, mut n_held_max) = (0, 0);
    let started = Instant::now();
    while started.elapsed() < length {
        let from = Instant::now();
        for queue in 0..N_QUEUES {
            if subject.take(queue)? != Some(row(queue, n_rounds)) {
                return Err("another row was taken than the first of the queue".into());
            }
        }
        take += from.elapsed();

        n_held_max = (0..N_QUEUES).map(|queue| subject.n_held(queue)).fold(n_held_max, usize::max);
        (0..N_QUEUES).for_each(|queue| subject.removed(queue, &row(queue, n_rounds).0));
        let from = Instant::now();
        for queue in 0..N_QUEUES {
            subject.confirm(queue, &row(queue, n_rounds).0)?;
        }
        confirm += from.elapsed();

        for queue in 0..N_QUEUES {
            let (key, value) = row(queue, n_rounds + depth);
            subject.stored(queue, key, value);
        }
        let from = Instant::now();
        for queue in 0..N_QUEUES {
            let (key, value) = row(queue, n_rounds + depth);
            subject.insert(queue, key, value)?;
        }
        insert += from.elapsed();
        n_rounds += 1;
    }

    let n_reads = subject.n_reads();
    if subject.n_left()? != depth * N_QUEUES as u64 {
        return Err("the queues are not as deep as their inserts and takes left them".into());
    }
    let n_ops = count(n_rounds) * count(N_QUEUES);
    let ns = |spent: Duration| spent.as_secs_f64() * 1e9 / n_ops;
    Ok(Run {
        insert: ns(insert),
        take: ns(take),
        confirm: ns(confirm),
        reads_per_1000: count(n_reads) * 1e3 / n_ops,
        n_held_max,
    })
}
