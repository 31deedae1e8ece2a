//! One queue of a million entries, consumed from its head: what the last entry costs beside the first.
//!
//! The disk's sync may be ten times slower from one minute to the next. So a fresh queue of as many
//! entries as a group has is consumed after each group, in the same way; and beside the time stands the
//! processor time, of the loop and of the whole process.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use millpond::{Delivery, Engine, Entry, Queue};
use tokio::task::JoinSet;

use super::fill::settled;
use super::population::{self, TOPIC};
use super::probe::{LOOP, ThreadTime, process_time};
use super::{Figures, Outcome, Plan, options, place};
use crate::measure::{count, median};

const DEEP: usize = 0;
/// Entries of one group.
const GROUP: usize = 1000;
/// Entries that one consumer leases at a time, in turn from group to group.
const BATCHES: [usize; 3] = [1, 8, 64];
/// Consumers at the same time.
const N_CONSUMERS: usize = 4;
const ENQUEUE_BATCH: usize = 1000;

/// Costs of one dequeue, in microseconds: medians of groups.
#[derive(Debug, Clone, Copy)]
struct Cost {
    time: f64,
    loop_ran: f64,
    process_ran: f64,
}

/// The groups of one batch size around one point of the queue.
#[derive(Debug, Default)]
struct Groups {
    deep: Vec<Cost>,
    /// Of a fresh queue, in the same minutes.
    fresh: Vec<Cost>,
}

/// What was consumed of the deep queue, and with which fresh one it is compared next.
#[derive(Debug)]
struct Progress {
    n_consumed: usize,
    n_fresh: usize,
}

pub(super) fn part(out: &mut Figures<'_>, plan: Plan<'_>) -> Outcome<()> {
    if !plan.wants("deep queue") {
        return Ok(());
    }
    let directory = tempfile::tempdir_in(plan.dir)?;
    let dir = directory.path().join("deep");
    let n_groups = 2 * plan.n_runs - 1;
    let n_measured = POINTS.len() * BATCHES.len() * n_groups * GROUP;
    let n_entries = plan.n_queues.max(n_measured) + 1;
    let points = tokio::runtime::Runtime::new()?.block_on(run(&dir, n_entries, n_groups))?;
    report(out, &points)
}

const POINTS: [&str; 3] = ["first", "last", "restarted"];
/// What an entry may cost, in percent of the first.
const PERCENT_MAX: f64 = 150.0;

type Point = [Groups; BATCHES.len()];

fn report(out: &mut Figures<'_>, points: &[Point; 3]) -> Outcome<()> {
    for (at, batch) in BATCHES.into_iter().enumerate() {
        out.case(format!("deep queue, batches of {batch}"));
        let first = Medians::of(&points[0][at]);
        for (name, point) in POINTS.into_iter().zip(points) {
            let here = Medians::of(&point[at]);
            out.figure(name, here.time, "µs", Some((here.by_fresh, "a fresh queue")))?;
            out.add("… of the loop", here.loop_ran, "µs cpu")?;
            out.add("… of the process", here.process_ran, "µs cpu")?;
            if name == POINTS[0] {
                continue;
            }
            for (of, ratio) in [
                ("time", here.time / first.time),
                ("time by fresh", here.by_fresh / first.by_fresh),
                ("loop by fresh", here.loop_by_fresh / first.loop_by_fresh),
            ] {
                out.at_most(&format!("to first, {of}"), ratio * 100.0, "%", PERCENT_MAX)?;
            }
        }
    }
    Ok(())
}

/// Medians of the groups at one point.
#[derive(Debug, Clone, Copy)]
struct Medians {
    time: f64,
    /// Time beside the fresh queue that was consumed next.
    by_fresh: f64,
    loop_ran: f64,
    loop_by_fresh: f64,
    process_ran: f64,
}

impl Medians {
    fn of(groups: &Groups) -> Self {
        let of = |cost: fn(&Cost) -> f64| median(groups.deep.iter().map(cost).collect());
        let beside = |cost: fn(&Cost) -> f64| {
            let pairs = groups.deep.iter().zip(&groups.fresh);
            median(pairs.map(|(deep, fresh)| cost(deep) / cost(fresh)).collect())
        };
        Self {
            time: of(|cost| cost.time),
            by_fresh: beside(|cost| cost.time),
            loop_ran: of(|cost| cost.loop_ran),
            loop_by_fresh: beside(|cost| cost.loop_ran),
            process_ran: of(|cost| cost.process_ran),
        }
    }
}

async fn run(dir: &Path, n_entries: usize, n_groups: usize) -> Outcome<[Point; 3]> {
    let engine = Engine::open(options(dir)).await?;
    let queue = engine.topic(TOPIC).queue(population::key(DEEP));
    enqueue(&queue, DEEP, n_entries).await?;
    let mut at = Progress { n_consumed: 0, n_fresh: DEEP };
    let first = measure(&engine, &mut at, n_groups).await?;
    let n_of_point = n_groups * BATCHES.len() * GROUP;
    let n_between = n_entries - POINTS.len() * n_of_point;
    consume(&queue, DEEP, at.n_consumed..at.n_consumed + n_between, 256).await?;
    at.n_consumed += n_between;
    let last = measure(&engine, &mut at, n_groups).await?;
    engine.close().await?;
    place::evict(dir)?;
    let engine = Engine::open(options(dir)).await?;
    let restarted = measure(&engine, &mut at, n_groups).await?;
    settled(&engine, |status| (status.n_queues, status.n_entries) == (0, 0)).await?;
    engine.close().await?;
    Ok([first, last, restarted])
}

/// Groups of every batch size, taking turns.
async fn measure(engine: &Engine, at: &mut Progress, n_groups: usize) -> Outcome<Point> {
    let queue = |number: usize| engine.topic(TOPIC).queue(population::key(number));
    let mut point = Point::default();
    for _ in 0..n_groups {
        for (groups, batch) in point.iter_mut().zip(BATCHES) {
            let next = at.n_consumed..at.n_consumed + GROUP;
            at.n_consumed = next.end;
            groups.deep.push(consume(&queue(DEEP), DEEP, next, batch).await?);
            at.n_fresh += 1;
            let fresh = queue(at.n_fresh);
            enqueue(&fresh, at.n_fresh, GROUP).await?;
            groups.fresh.push(consume(&fresh, at.n_fresh, 0..GROUP, batch).await?);
        }
    }
    Ok(point)
}

async fn enqueue(queue: &Queue, number: usize, n_entries: usize) -> Outcome<()> {
    let numbers: Vec<usize> = (0..n_entries).collect();
    for batch in numbers.chunks(ENQUEUE_BATCH) {
        let entries = batch.iter().map(|entry| Entry::new(population::payload(number, *entry)));
        queue.enqueue_batch(entries.collect()).await?;
    }
    Ok(())
}

/// Leases and acks exactly the entries of this range, which must be those at the head.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
async fn consume(queue: &Queue, number: usize, range: Range<usize>, batch: usize) -> Outcome<Cost> {
    let wanted = Arc::new(Wanted::new(number, range.clone()));
    let (started, loop_before) = (Instant::now(), ThreadTime::of(LOOP)?);
    let process_before = process_time();
    let mut consumers: JoinSet<Outcome<()>> = JoinSet::new();
    for _ in 0..N_CONSUMERS {
        consumers.spawn(wanted.clone().consume(queue.clone(), batch));
    }
    while let Some(ended) = consumers.join_next().await {
        ended??;
    }
    let us = |time: Duration| time.as_secs_f64() * 1e6 / count(range.len());
    Ok(Cost {
        time: us(started.elapsed()),
        loop_ran: us(ThreadTime::of(LOOP)?.since(loop_before).ran),
        process_ran: us(process_time() - process_before),
    })
}

/// Entries of one queue that several consumers share.
#[derive(Debug)]
struct Wanted {
    queue: usize,
    first: usize,
    n_unasked: AtomicUsize,
    seen: Vec<AtomicBool>,
}

impl Wanted {
    fn new(queue: usize, range: Range<usize>) -> Self {
        let seen = range.clone().map(|_| AtomicBool::new(false)).collect();
        Self { queue, first: range.start, n_unasked: AtomicUsize::new(range.len()), seen }
    }

    /// How many entries one consumer asks for next.
    fn claim(&self, batch: usize) -> usize {
        let mut n_claimed = 0;
        // Relaxed: only how many are left to ask for.
        let _ = self.n_unasked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n_unasked| {
            n_claimed = n_unasked.min(batch);
            Some(n_unasked - n_claimed)
        });
        n_claimed
    }

    /// Notes a delivery, which must be one of them, for the first time.
    fn note(&self, delivery: &Delivery) -> Outcome<()> {
        let (queue, entry) = population::read(delivery)?;
        let place = entry.checked_sub(self.first).filter(|_| queue == self.queue);
        let seen = place.and_then(|place| self.seen.get(place));
        // Relaxed: whoever swaps second sees it.
        if seen.ok_or("an entry came out of its turn")?.swap(true, Ordering::Relaxed) {
            return Err("an entry came twice".into());
        }
        Ok(())
    }

    /// As many as are claimed come, each of them once, so in the end none is missing.
    async fn consume(self: Arc<Self>, queue: Queue, batch: usize) -> Outcome<()> {
        loop {
            let mut n_wanted = self.claim(batch);
            if n_wanted == 0 {
                return Ok(());
            }
            while n_wanted > 0 {
                let request = queue.lease().max(n_wanted).wait(Duration::from_secs(60));
                let deliveries = request.fetch().await?;
                n_wanted -= deliveries.len();
                deliveries.iter().try_for_each(|delivery| self.note(delivery))?;
                try_join_all(deliveries.into_iter().map(Delivery::ack)).await?;
            }
        }
    }
}
