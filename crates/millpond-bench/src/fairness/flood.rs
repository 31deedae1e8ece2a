//! Quiet queues alone, beside one that floods, and in one queue with the flood.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::{Delivery, Queue, Topic};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::consumers::Consumers;
use super::entry::{entry, number_of};
use super::stamps::{Stamps, Waits, quantile};
use super::wait;
use super::world::{Commits, World};
use crate::measure::{count, median};
use crate::queues::{Figures, Outcome};
use crate::wakeup::Random;

const N_QUIET_QUEUES: usize = 999;
/// Between entries of all quiet queues together, on average.
const QUIET_INTERVAL_US: u64 = 4_000;
/// What all entries of the flood are numbered.
const FLOOD: u64 = u64::MAX;
/// Entries of the flood that wait at the start, and at most.
const BACKLOG: usize = 10_000;
const BACKLOG_MAX: usize = 20_000;
/// Callers of the flood, each awaiting its receipt.
const N_FLOODERS: usize = 64;
const WORK: Duration = Duration::from_millis(5);

/// The bar, in times of the quiet queues' p99 alone.
const TIMES_MAX: f64 = 2.0;
/// Alone on a quiet machine, p99 is less than so many times the median. Where it is more, it is other work that
/// makes it, beside the flood too, and then the bar is met for a bad reason.
const SPREAD_MAX: f64 = 3.0;

/// One case.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    n_partitions: u16,
    /// For how long an entry keeps its credit before it is acked.
    work: Duration,
}

const CASES: [Case; 4] = [
    Case { name: "flood, no work, 1 partition", n_partitions: 1, work: Duration::ZERO },
    Case { name: "flood, 5 ms work, 1 partition", n_partitions: 1, work: WORK },
    Case { name: "flood, no work, 2 partitions", n_partitions: 2, work: Duration::ZERO },
    Case { name: "flood, 5 ms work, 2 partitions", n_partitions: 2, work: WORK },
];

/// What the quiet entries are beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Flood,
    /// A flood in the same queue.
    OneQueue,
}

/// What one phase of a run showed.
#[derive(Debug)]
struct Phase {
    waits: Waits,
    /// Entries acked per second while quiet entries came.
    rate: f64,
    commits: Commits,
}

pub(super) fn part(out: &mut Figures<'_>, dir: &Path, only: &str, is_quick: bool) -> Outcome<()> {
    let (n_runs, n_quiet) = if is_quick { (3, 300) } else { (5, 1000) };
    for case in CASES.into_iter().filter(|case| case.name.contains(only)) {
        let runs: Vec<_> =
            (0..n_runs).map(|_| one_run(case, dir, n_quiet)).collect::<Outcome<_>>()?;
        out.case(case.name);
        report(out, &runs)?;
        // Where entries take time, one waits for a free credit, and no order of service changes that.
        if case.work.is_zero() {
            let spread = |run: &[Phase; 3]| ready(99)(&run[0]) / ready(50)(&run[0]);
            let spread = median(runs.iter().map(spread).collect());
            out.add("alone: p99 of p50", spread, "")?;
            let is_noisy = spread > SPREAD_MAX;
            let metric = if is_noisy { "VOID: p99, of alone" } else { "p99, of alone" };
            out.at_most(metric, times(&runs, 1, &ready(99)), "", TIMES_MAX)?;
        }
    }
    Ok(())
}

/// All phases in one engine, each in a topic of its own.
#[tokio::main]
async fn one_run(case: Case, dir: &Path, n_quiet: usize) -> Outcome<[Phase; 3]> {
    let world = World::open(dir, case.n_partitions).await?;
    let mut n_entries = 0;
    let mut phases = Vec::new();
    for beside in [Beside::Nothing, Beside::Flood, Beside::OneQueue] {
        let load = Load::new(&world, beside, n_quiet);
        phases.push(load.run(&world, case.work).await?);
        n_entries += load.n_entries();
    }
    world.close(n_entries).await?;
    phases.try_into().map_err(|_| "there are three phases".into())
}

struct Load {
    topic: Topic,
    beside: Beside,
    n_quiet: usize,
    stamps: Arc<Stamps>,
    flood: Arc<Flood>,
}

#[derive(Debug)]
struct Flood {
    /// Room for more entries.
    room: Semaphore,
    n_accepted: AtomicU64,
    over: AtomicBool,
}

impl Load {
    fn new(world: &World, beside: Beside, n_quiet: usize) -> Self {
        let (room, n_accepted) = (Semaphore::new(BACKLOG_MAX), AtomicU64::new(0));
        Self {
            topic: world.engine.topic(&format!("{beside:?}")),
            beside,
            n_quiet,
            stamps: Arc::new(Stamps::new(n_quiet)),
            flood: Arc::new(Flood { room, n_accepted, over: AtomicBool::new(false) }),
        }
    }

    /// All entries, when it is over.
    fn n_entries(&self) -> u64 {
        // Relaxed: the callers have ended.
        self.n_quiet as u64 + self.flood.n_accepted.load(Ordering::Relaxed)
    }

    async fn run(&self, world: &World, work: Duration) -> Outcome<Phase> {
        let floods = self.beside != Beside::Nothing;
        if floods {
            self.fill().await?;
        }
        let consumers = Consumers::start(&self.topic, work, self.leased())?;
        let mut flooders = JoinSet::new();
        for _ in 0..if floods { N_FLOODERS } else { 0 } {
            flooders.spawn(enqueue(self.flooded(), self.flood.clone()));
        }
        let before = (world.commits(), consumers.n_acked());
        let took = self.quiet_entries().await?;
        let after = (world.commits(), consumers.n_acked());
        if floods && self.flood.room.available_permits() > BACKLOG_MAX - BACKLOG / 2 {
            return Err("the flood has no backlog any more, so this is another case".into());
        }
        // Relaxed: whoever reads it late enqueues once more.
        self.flood.over.store(true, Ordering::Relaxed);
        while let Some(ended) = flooders.join_next().await {
            ended??;
        }
        consumers.acked(self.n_entries()).await?;
        let rate = count(after.1 - before.1) / took.as_secs_f64();
        Ok(Phase { waits: self.stamps.waits()?, rate, commits: after.0.since(before.0) })
    }

    /// The queue that floods.
    fn flooded(&self) -> Queue {
        self.topic.queue("flood")
    }

    async fn fill(&self) -> Outcome<()> {
        self.flood.room.acquire_many(u32::try_from(BACKLOG)?).await?.forget();
        for _ in 0..BACKLOG / 1000 {
            let entries = (0..1000).map(|_| entry(FLOOD)).collect();
            self.flooded().enqueue_batch(entries).await?;
            self.flood.n_accepted.fetch_add(1000, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What consumers do with an entry that they lease.
    fn leased(&self) -> impl Fn(&Delivery) -> Outcome<()> + Clone + use<> {
        let (stamps, flood) = (self.stamps.clone(), self.flood.clone());
        move |delivery| {
            match number_of(delivery)? {
                FLOOD => flood.room.add_permits(1),
                number => stamps.leased(number)?,
            }
            Ok(())
        }
    }

    /// Enqueues the quiet entries at their times and waits for their receipts. Returns how long that took.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    async fn quiet_entries(&self) -> Outcome<Duration> {
        let mut random = Random::new(1);
        let order = random.shuffled(N_QUIET_QUEUES);
        let mut calls: JoinSet<Outcome<()>> = JoinSet::new();
        let started = Instant::now();
        for number in 0..self.n_quiet {
            let due_us = QUIET_INTERVAL_US * number as u64 + random.below(QUIET_INTERVAL_US);
            let due = started + Duration::from_micros(due_us);
            wait(due.saturating_duration_since(Instant::now())).await;
            let queue = match self.beside {
                Beside::OneQueue => self.flooded(),
                _ => self.topic.queue(format!("quiet-{}", order[number % order.len()])),
            };
            let stamps = self.stamps.clone();
            calls.spawn(async move {
                stamps.called(number);
                queue.enqueue(entry(number as u64)).await?;
                stamps.accepted(number);
                Ok(())
            });
        }
        while let Some(ended) = calls.join_next().await {
            ended??;
        }
        Ok(started.elapsed())
    }
}

/// One caller of the flood: an entry, its receipt, the next one.
async fn enqueue(queue: Queue, flood: Arc<Flood>) -> Outcome<()> {
    while !flood.over.load(Ordering::Relaxed) {
        flood.room.acquire().await?.forget();
        queue.enqueue(entry(FLOOD)).await?;
        flood.n_accepted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn report(out: &mut Figures<'_>, runs: &[[Phase; 3]]) -> Outcome<()> {
    for (phase, subject) in ["alone", "beside flood", "in one queue"].into_iter().enumerate() {
        out.subject(subject);
        let of =
            |f: &dyn Fn(&Phase) -> f64| median(runs.iter().map(|run| f(&run[phase])).collect());
        for per_cent in [50, 99] {
            let (ready, called) = (ready(per_cent), called(per_cent));
            let ratio = (phase > 0).then(|| (times(runs, phase, &ready), "alone"));
            out.figure(&format!("ready→leased p{per_cent}"), of(&ready), "µs", ratio)?;
            let ratio = (phase > 0).then(|| (times(runs, phase, &called), "alone"));
            out.figure(&format!("call→leased p{per_cent}"), of(&called), "µs", ratio)?;
        }
        out.add("commit", of(&|phase| phase.commits.mean_us()), "µs")?;
        out.add("rows per commit", of(&|phase| phase.commits.rows_each()), "")?;
        let in_commits = of(&|phase| ready(99)(phase) / phase.commits.mean_us());
        out.add("p99 in commits", in_commits, "")?;
        out.add("acked", of(&|phase| phase.rate), "1/s")?;
    }
    out.subject("beside flood");
    Ok(())
}

fn ready(per_cent: usize) -> impl Fn(&Phase) -> f64 {
    move |phase| quantile(&phase.waits.ready_to_leased, per_cent)
}

fn called(per_cent: usize) -> impl Fn(&Phase) -> f64 {
    move |phase| quantile(&phase.waits.called_to_leased, per_cent)
}

/// How many times as much as in the phase alone: the median of single runs, of which both phases saw the same
/// minute of the disk.
fn times(runs: &[[Phase; 3]], phase: usize, value: &dyn Fn(&Phase) -> f64) -> f64 {
    median(runs.iter().map(|run| value(&run[phase]) / value(&run[0])).collect())
}
