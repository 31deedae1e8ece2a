//! As many queues as asked for, with one entry each: filling them, and everything that is measured on them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millpond::{Engine, Entry, Status};
use serde::{Deserialize, Serialize};

use super::population::{self, TOPIC};
use super::probe::Memory;
use super::step::{Step, in_child};
use super::turns::Turns;
use super::{Figures, Outcome, Plan, cold, drain, options, place, recall};
use crate::callers::share_out;
use crate::measure::count;

/// Callers that enqueue at the same time, each awaiting its receipt.
const N_CALLERS: usize = 1024;

/// How the process that filled a directory left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Closed,
    /// It ended with the engine open, as if it had been killed.
    Killed,
}

/// What filling showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Filled {
    took: Duration,
    n_commits: u64,
    pub(super) empty: Memory,
    full: Memory,
    turns: Turns,
}

/// Measures everything that needs as many queues.
pub(super) fn part(out: &mut Figures<'_>, plan: Plan<'_>) -> Outcome<()> {
    let parts = ["fill", "restart", "cold start", "drain"];
    if !parts.iter().any(|part| plan.wants(part)) {
        return Ok(());
    }
    let few = Filling::new(plan, plan.n_queues / 10, Ending::Closed)?;
    let many = Filling::new(plan, plan.n_queues, Ending::Closed)?;
    if plan.wants("fill") {
        few.report(out)?;
        many.report(out)?;
    }
    if plan.wants("cold start") {
        cold::part(out, plan, [&few, &many])?;
    }
    if plan.wants("restart") {
        recall::part(out, &many)?;
    }
    if plan.wants("drain") {
        drain::part(out, plan, &many)?;
    }
    Ok(())
}

/// A directory with queues in it, from which every measurement starts anew.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) n_queues: usize,
    pub(super) filled: Filled,
    directory: tempfile::TempDir,
}

impl Filling {
    pub(super) fn new(plan: Plan<'_>, n_queues: usize, ending: Ending) -> Outcome<Self> {
        let directory = tempfile::tempdir_in(plan.dir)?;
        let dir = directory.path().join("filled");
        let filled = in_child(&Step::Fill { dir, n_queues, ending })?;
        Ok(Self { n_queues, filled, directory })
    }

    /// A copy that nothing has in memory.
    pub(super) fn copy(&self) -> Outcome<Copy> {
        let copy = Copy(self.directory.path().join("copy"));
        place::copy(&self.directory.path().join("filled"), &copy.0)?;
        place::evict(&copy.0)?;
        Ok(copy)
    }

    /// Bytes that each queue takes beyond an empty engine.
    pub(super) fn per_queue(&self, memory: Memory) -> f64 {
        (count(memory.allocated) - count(self.filled.empty.allocated)) / count(self.n_queues)
    }

    /// The memory of an engine, with the bar on what a queue takes.
    pub(super) fn report_memory(
        &self,
        out: &mut Figures<'_>,
        when: &str,
        memory: Memory,
    ) -> Outcome<()> {
        let what = format!("memory/queue {when}");
        out.at_most(what.trim_end(), self.per_queue(memory), "B", 256.0)?;
        let what = format!("resident {when}");
        out.add(what.trim_end(), count(memory.resident) / 1e6, "MB")
    }

    fn report(&self, out: &mut Figures<'_>) -> Outcome<()> {
        out.case(format!("fill, {} queues", self.n_queues));
        let (filled, n) = (&self.filled, count(self.n_queues));
        out.add("entries", n / filled.took.as_secs_f64(), "1/s")?;
        out.add("entries per commit", n / count(filled.n_commits), "")?;
        let n_bytes = place::n_bytes(&self.directory.path().join("filled"))?;
        out.add("on disk", count(n_bytes) / n, "B/queue")?;
        out.add("resident, empty", count(filled.empty.resident) / 1e6, "MB")?;
        self.report_memory(out, "", filled.full)?;
        filled.turns.report(out)
    }
}

/// A directory that goes when it is dropped.
#[derive(Debug)]
pub(super) struct Copy(PathBuf);

impl Copy {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // The directory around it goes too.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Creates the engine and fills it.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) async fn run(dir: &Path, n_queues: usize, ending: Ending) -> Outcome<Filled> {
    let engine = Engine::open(options(dir)).await?;
    settled(&engine, |status| status.n_entries == 0).await?;
    let empty = Memory::now()?;
    let started = Instant::now();
    enqueue(&engine, n_queues).await?;
    let took = started.elapsed();
    let n = n_queues as u64;
    let status = settled(&engine, |status| {
        status.n_queues == n_queues && status.n_entries == n && status.counters.n_enqueued == n
    })
    .await?;
    let full = Memory::now()?;
    let turns = Turns::of(&status.counters)?;
    match ending {
        Ending::Closed => engine.close().await?,
        // Never dropped, because that would close it.
        Ending::Killed => _ = Box::leak(Box::new(engine)),
    }
    Ok(Filled { took, n_commits: status.counters.n_commits, empty, full, turns })
}

/// One entry for each queue, by many callers.
pub(crate) async fn enqueue(engine: &Engine, n_queues: usize) -> Outcome<()> {
    let topic = engine.topic(TOPIC);
    let done = share_out(N_CALLERS, n_queues, move |queue| {
        let topic = topic.clone();
        async move {
            let entry = Entry::new(population::payload(queue, 0));
            topic.queue(population::key(queue)).enqueue(entry).await?;
            Ok(())
        }
    });
    done.await
}

/// The status of an engine that nobody asks for anything, which must be as expected.
pub(crate) async fn settled(
    engine: &Engine,
    as_expected: impl Fn(&Status) -> bool,
) -> Outcome<Status> {
    let mut status = engine.status().await?;
    loop {
        let later = engine.status().await?;
        if !later.recalling && later.counters.n_commits == status.counters.n_commits {
            break;
        }
        status = later;
        park().await;
    }
    let status = engine.status().await?;
    if !as_expected(&status) {
        let Status { n_queues, n_entries, n_delayed, n_leased, .. } = status;
        let found = format!(
            "{n_queues} queues, {n_entries} entries, {n_delayed} waiting, {n_leased} leased"
        );
        return Err(format!("the engine does not hold what it should, but {found}").into());
    }
    Ok(status)
}

/// A short while, for whoever has nothing to wait for but the time.
#[expect(clippy::disallowed_methods, reason = "a benchmark watches from outside")]
pub(crate) async fn park() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
