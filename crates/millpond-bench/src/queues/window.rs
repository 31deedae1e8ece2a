//! Many queues of some depth under one budget for all windows.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use millpond::{Engine, Entry, PartitionOptions};

use super::drain::{Reads, consume};
use super::fill::{park, settled};
use super::population::{self, Ledger, TOPIC};
use super::turns::Turns;
use super::{Figures, Outcome, Plan, options, place};
use crate::callers::share_out;
use crate::measure::count;

/// Entries of each queue, enqueued together.
const DEPTH: usize = 100;
/// Bytes that the windows of 100,000 queues may hold together; of fewer queues, as much less.
const BUDGET_BYTES: usize = 4 << 20;
const N_CALLERS: usize = 64;
/// Consumers, and entries that each leases at a time.
const CONSUMERS: (usize, usize) = (16, 256);

/// What the windows held, seen from outside.
#[derive(Debug, Default)]
struct Sampled {
    n: usize,
    n_above: usize,
    bytes_max: usize,
}

pub(super) fn part(out: &mut Figures<'_>, plan: Plan<'_>) -> Outcome<()> {
    if !plan.wants("window budget") {
        return Ok(());
    }
    let n_queues = plan.n_queues / 10;
    let budget = BUDGET_BYTES / 1000 * n_queues / 100;
    let directory = tempfile::tempdir_in(plan.dir)?;
    let (dir, copied) = (directory.path().join("filled"), directory.path().join("copy"));
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(fill(out, &dir, n_queues, budget))?;
    place::copy(&dir, &copied)?;
    for (name, dir, budget) in [("4 MiB per 100,000", &dir, budget), ("none", &copied, usize::MAX)]
    {
        place::evict(dir)?;
        out.case(format!("window budget {name}"));
        runtime.block_on(drain(out, dir, n_queues, budget))?;
        std::fs::remove_dir_all(dir)?;
    }
    Ok(())
}

async fn open(dir: &Path, window_bytes_max: usize) -> Outcome<Engine> {
    let limits = PartitionOptions { window_bytes_max, ..PartitionOptions::default() };
    Ok(Engine::open(options(dir).partition_options(limits)).await?)
}

async fn fill(out: &mut Figures<'_>, dir: &Path, n_queues: usize, budget: usize) -> Outcome<()> {
    out.case(format!("window budget, fill {n_queues} × {DEPTH}"));
    let engine = open(dir, budget).await?;
    let going = Arc::new(());
    let (filled, sampled) =
        tokio::join!(enqueue(&engine, n_queues, going.clone()), sample(&engine, budget, going),);
    let (rate, sampled) = (filled?, sampled?);
    out.add("entries", rate, "1/s")?;
    sampled.report(out, budget)?;
    let n_entries = (n_queues * DEPTH) as u64;
    let status =
        settled(&engine, |status| (status.n_queues, status.n_entries) == (n_queues, n_entries))
            .await?;
    if status.window_bytes > budget {
        return Err("the windows exceed their budget, and nothing is going on".into());
    }
    out.add("window/queue at rest", count(status.window_bytes) / count(n_queues), "B")?;
    Turns::of(&status.counters)?.report(out)?;
    Ok(engine.close().await?)
}

/// Entries per second. Keeps `going` for as long as it lasts.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
async fn enqueue(engine: &Engine, n_queues: usize, going: Arc<()>) -> Outcome<f64> {
    let started = Instant::now();
    let topic = engine.topic(TOPIC);
    let done = share_out(N_CALLERS, n_queues, move |queue| {
        let topic = topic.clone();
        async move {
            let entries = (0..DEPTH).map(|n| Entry::new(population::payload(queue, n)));
            topic.queue(population::key(queue)).enqueue_batch(entries.collect()).await?;
            Ok(())
        }
    });
    done.await?;
    drop(going);
    Ok(count(n_queues * DEPTH) / started.elapsed().as_secs_f64())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
async fn drain(out: &mut Figures<'_>, dir: &Path, n_queues: usize, budget: usize) -> Outcome<()> {
    let engine = open(dir, budget).await?;
    let ledger = Arc::new(Ledger::new(n_queues, DEPTH));
    let going = Arc::new(());
    let watched = going.clone();
    let started = Instant::now();
    let consumed = async {
        let ended = consume(&engine, &ledger, CONSUMERS).await;
        drop(going);
        ended
    };
    let (consumed, sampled) = tokio::join!(consumed, sample(&engine, budget, watched));
    let took = consumed?.duration_since(started);
    ledger.check()?;
    let n = (n_queues * DEPTH) as u64;
    let status = settled(&engine, |status| {
        (status.n_queues, status.n_entries, status.counters.n_acked) == (0, 0, n)
    })
    .await?;
    out.add("cycles", count(n) / took.as_secs_f64(), "1/s")?;
    sampled?.report(out, budget)?;
    Reads::of(&status.counters).report(out)?;
    Turns::of(&status.counters)?.report(out)?;
    Ok(engine.close().await?)
}

/// Asks how much the windows hold, until nobody else holds `going`.
async fn sample(engine: &Engine, budget: usize, going: Arc<()>) -> Outcome<Sampled> {
    let mut sampled = Sampled::default();
    while Arc::strong_count(&going) > 1 {
        let bytes = engine.status().await?.window_bytes;
        sampled.n += 1;
        sampled.n_above += usize::from(bytes > budget);
        sampled.bytes_max = sampled.bytes_max.max(bytes);
        park().await;
    }
    Ok(sampled)
}

impl Sampled {
    fn report(&self, out: &mut Figures<'_>, budget: usize) -> Outcome<()> {
        let most = count(self.bytes_max) / 1e6;
        if budget == usize::MAX {
            return out.add("windows at most", most, "MB");
        }
        out.at_most("windows at most", most, "MB", count(budget) / 1e6)?;
        let above = count(self.n_above) / count(self.n.max(1));
        out.add("samples above", above * 100.0, "%")
    }
}
