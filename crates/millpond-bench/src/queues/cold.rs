//! How soon an engine serves that was just opened, with nothing of it in any cache.

use std::path::Path;
use std::time::{Duration, Instant};

use millpond::{Engine, Entry, LeaseRequest};
use serde::{Deserialize, Serialize};

use super::fill::{Ending, Filling, park, settled};
use super::population::{self, TOPIC};
use super::step::{Step, in_child};
use super::{Figures, Outcome, Plan, options, place};
use crate::measure::{count, median};

const FIRST_LEASE_MS_MAX: f64 = 1000.0;

/// The first thing that is asked of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// A lease from any queue.
    Topic,
    /// A lease from one queue in the middle of the keyspace.
    Queue,
    /// A receipt for another entry of that queue.
    Enqueue,
    /// That all queues are back. It is noticed some milliseconds late.
    Everything,
}

impl Ask {
    const ALL: [Self; 4] = [Self::Topic, Self::Queue, Self::Enqueue, Self::Everything];

    fn name(self) -> &'static str {
        match self {
            Self::Topic => "first lease",
            Self::Queue => "lease of a queue",
            Self::Enqueue => "first receipt",
            Self::Everything => "all queues back",
        }
    }
}

/// Times since open was called.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Opened {
    open: Duration,
    answer: Duration,
}

/// Opens copies of each filling, and of such that were not closed.
pub(super) fn part(out: &mut Figures<'_>, plan: Plan<'_>, closed: [&Filling; 2]) -> Outcome<()> {
    compare(out, plan, "cold start", closed)?;
    let killed = |filling: &Filling| Filling::new(plan, filling.n_queues, Ending::Killed);
    let (few, many) = (killed(closed[0])?, killed(closed[1])?);
    compare(out, plan, "after a kill", [&few, &many])
}

/// Measures two fillings of which one has ten times the queues.
fn compare(
    out: &mut Figures<'_>,
    plan: Plan<'_>,
    case: &str,
    [few, many]: [&Filling; 2],
) -> Outcome<()> {
    let (few, many) = (measure(out, plan, case, few)?, measure(out, plan, case, many)?);
    out.case(format!("{case}, ten times the queues"));
    out.beside("first lease", many.0, "ms", (few.0, "a tenth of the queues"))?;
    out.beside("… after open", many.1, "ms", (few.1, "a tenth of the queues"))
}

/// Returns the milliseconds to the first lease, since open was called and since it returned.
fn measure(
    out: &mut Figures<'_>,
    plan: Plan<'_>,
    case: &str,
    filling: &Filling,
) -> Outcome<(f64, f64)> {
    let mut runs: [Vec<Opened>; Ask::ALL.len()] = Default::default();
    let mut same_process = Vec::new();
    for _ in 0..plan.n_runs {
        for (runs, ask) in runs.iter_mut().zip(Ask::ALL) {
            let (copy, n_queues) = (filling.copy()?, filling.n_queues);
            runs.push(in_child(&Step::Open { dir: copy.path().to_owned(), n_queues, ask })?);
        }
        let (copy, n_queues) = (filling.copy()?, filling.n_queues);
        let runtime = tokio::runtime::Runtime::new()?;
        same_process.push(runtime.block_on(run(copy.path(), n_queues, Ask::Topic))?);
    }
    out.case(format!("{case}, {} queues", filling.n_queues));
    let copy = filling.copy()?;
    out.add("log files", count(place::n_log_bytes(copy.path())?) / 1e6, "MB")?;
    out.add("open returned", median_ms(runs.iter().flatten(), |run| run.open), "ms")?;
    let mut first_lease = (0.0, 0.0);
    for (runs, ask) in runs.iter().zip(Ask::ALL) {
        let answer = median_ms(runs, |run| run.answer);
        let after_open = median_ms(runs, |run| run.answer - run.open);
        if ask == Ask::Topic {
            first_lease = (answer, after_open);
            out.at_most(ask.name(), answer, "ms", FIRST_LEASE_MS_MAX)?;
        } else {
            out.add(ask.name(), answer, "ms")?;
        }
        out.add("… after open", after_open, "ms")?;
    }
    let answer = median_ms(&same_process, |run| run.answer);
    out.at_most("lease, same process", answer, "ms", FIRST_LEASE_MS_MAX)?;
    Ok(first_lease)
}

fn median_ms<'a>(runs: impl IntoIterator<Item = &'a Opened>, time: fn(&Opened) -> Duration) -> f64 {
    median(runs.into_iter().map(|run| time(run).as_secs_f64() * 1e3).collect())
}

/// Opens the engine and asks.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) async fn run(dir: &Path, n_queues: usize, ask: Ask) -> Outcome<Opened> {
    let queue = population::middle(n_queues)?;
    let started = Instant::now();
    let engine = Engine::open(options(dir)).await?;
    let open = started.elapsed();
    let topic = engine.topic(TOPIC);
    let middle = topic.queue(population::key(queue));
    match ask {
        Ask::Topic => {
            first(topic.lease()).await?;
        }
        Ask::Queue => {
            if first(middle.lease()).await? != queue {
                return Err("another queue was asked for".into());
            }
        }
        Ask::Enqueue => {
            middle.enqueue(Entry::new(population::payload(queue, 1))).await?;
        }
        Ask::Everything => {
            while engine.status().await?.recalling {
                park().await;
            }
        }
    }
    let answer = started.elapsed();
    let n_expected = n_queues as u64 + u64::from(ask == Ask::Enqueue);
    settled(&engine, |status| status.n_queues == n_queues && status.n_entries == n_expected)
        .await?;
    if ask == Ask::Enqueue && middle.browse(None, 3).await?.len() != 2 {
        return Err("the entry before the restart and the one after it are not both there".into());
    }
    engine.close().await?;
    Ok(Opened { open, answer })
}

/// The queue of the first entry that is granted.
async fn first(request: LeaseRequest) -> Outcome<usize> {
    let delivery = request.wait(Duration::from_secs(60)).fetch_one().await?;
    let (queue, _) = population::read(&delivery.ok_or("no lease within a minute")?)?;
    Ok(queue)
}
