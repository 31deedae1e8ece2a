//! Consuming what a restart has found.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use millpond::{Counters, Engine, PartitionOptions, PartitionStore, Status};
use millpond_storage_rocksdb::{BudgetOptions, OpenMode, RocksBudget, RocksStore};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::fill::{Filling, park, settled};
use super::population::{Ledger, TOPIC};
use super::probe::{Memory, REFILL, n_threads};
use super::step::{Step, in_child};
use super::turns::Turns;
use super::watched::{InFlight, Watched};
use super::{Figures, Outcome, Plan, fill, options};
use crate::measure::count;

/// Consumers, and entries that each leases at a time.
const N_CONSUMERS: usize = 16;
const BATCH: usize = 64;

/// What draining showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Drained {
    took: Duration,
    reads: Reads,
    turns: Turns,
    n_refill_threads: usize,
    n_scans_in_flight: usize,
    empty: Memory,
}

/// How entries came into memory.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Reads {
    n_granted: u64,
    hit_rate: f64,
    n_demanded: u64,
    n_ahead: u64,
    n_in_memory: u64,
    n_would_block: u64,
    n_waited: u64,
    n_shrunk: u64,
}

impl Reads {
    /// Since the engine was opened.
    pub(super) fn of(counters: &Counters) -> Self {
        Self {
            n_granted: counters.n_granted,
            hit_rate: counters.hit_rate(),
            n_demanded: counters.n_refills_demanded,
            n_ahead: counters.n_refills_ahead,
            n_in_memory: counters.n_scans_in_memory,
            n_would_block: counters.n_would_block,
            n_waited: counters.n_scans_waited,
            n_shrunk: counters.n_windows_shrunk,
        }
    }

    pub(super) fn report(&self, out: &mut Figures<'_>) -> Outcome<()> {
        let per_1000 = |n: u64| count(n) / count(self.n_granted.max(1)) * 1e3;
        out.add("hit rate", self.hit_rate * 100.0, "%")?;
        out.add("refills demanded", per_1000(self.n_demanded), "/1000")?;
        out.add("refills ahead", per_1000(self.n_ahead), "/1000")?;
        let n_tried = self.n_in_memory + self.n_would_block;
        let part = count(self.n_would_block) / count(n_tried.max(1));
        out.add("would block", part * 100.0, "%")?;
        out.add("reads waited for", per_1000(self.n_waited), "/1000")?;
        out.add("windows shrunk", per_1000(self.n_shrunk), "/1000")
    }
}

pub(super) fn part(out: &mut Figures<'_>, plan: Plan<'_>, filling: &Filling) -> Outcome<()> {
    let copy = filling.copy()?;
    let dir = copy.path().to_owned();
    let drained: Drained = in_child(&Step::Drain { dir, n_queues: filling.n_queues })?;
    let (again, n_queues) = (tempfile::tempdir_in(plan.dir)?, filling.n_queues);
    let cycle = Step::Cycle { dir: again.path().join("again"), n_queues };
    let (took, reads): (Duration, Reads) = in_child(&cycle)?;
    let rate = |took: Duration| count(n_queues) / took.as_secs_f64();
    out.case(format!("drain, {n_queues} queues, no restart"));
    out.add("cycles", rate(took), "1/s")?;
    reads.report(out)?;
    out.case(format!("drain, {n_queues} queues"));
    out.beside("cycles", rate(drained.took), "1/s", (rate(took), "no restart"))?;
    drained.reads.report(out)?;
    let limits = PartitionOptions::default();
    let n_threads = count(drained.n_refill_threads);
    out.at_most("refill threads", n_threads, "", count(limits.refill_tasks_max))?;
    let n_scans = count(drained.n_scans_in_flight);
    out.at_most("scans in flight", n_scans, "", count(limits.scans_in_flight_max))?;
    drained.turns.report(out)?;
    out.add("memory/queue after", filling.per_queue(drained.empty), "B")?;
    out.add("resident after", count(drained.empty.resident) / 1e6, "MB")
}

/// Opens the store in a data directory and consumes all it holds.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) async fn run(dir: &Path, n_queues: usize) -> Outcome<Drained> {
    let started = Instant::now();
    let scans = Arc::default();
    let engine = open_watched(dir, Arc::clone(&scans)).await?;
    let ledger = Arc::new(Ledger::new(n_queues, 1));
    let (consumed, n_refill_threads) = tokio::join!(
        consume(&engine, &ledger, (N_CONSUMERS, BATCH)),
        most_refill_threads(&ledger),
    );
    let took = consumed?.duration_since(started);
    ledger.check()?;
    drop(ledger);
    let status = emptied(&engine, n_queues).await?;
    let empty = Memory::now()?;
    let turns = Turns::of(&status.counters)?;
    let reads = Reads::of(&status.counters);
    engine.close().await?;
    Ok(Drained {
        took,
        reads,
        turns,
        n_refill_threads: n_refill_threads?,
        n_scans_in_flight: scans.most(),
        empty,
    })
}

/// The facade's own defaults, over a store that is watched.
async fn open_watched(dir: &Path, scans: Arc<InFlight>) -> Outcome<Engine> {
    let budget = BudgetOptions { cache_bytes: 128 << 20, ..BudgetOptions::default() };
    let budget = RocksBudget::new(budget);
    let store = RocksStore::open(dir.join("partition-000"), &budget, OpenMode::OpenExisting)?;
    let stores = vec![Arc::new(Watched { store, scans }) as Arc<dyn PartitionStore>];
    Ok(Engine::with_stores(stores, PartitionOptions::default()).await?)
}

async fn emptied(engine: &Engine, n_queues: usize) -> Outcome<Status> {
    settled(engine, |status| {
        (status.n_queues, status.n_entries, status.n_leased) == (0, 0, 0)
            && status.counters.n_acked == n_queues as u64
    })
    .await
}

/// Fills an engine and consumes all it holds, without a restart between. Returns for how long it consumed.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) async fn cycle(dir: &Path, n_queues: usize) -> Outcome<(Duration, Reads)> {
    let engine = Engine::open(options(dir)).await?;
    fill::enqueue(&engine, n_queues).await?;
    let ledger = Arc::new(Ledger::new(n_queues, 1));
    let started = Instant::now();
    let ended = consume(&engine, &ledger, (N_CONSUMERS, BATCH)).await?;
    ledger.check()?;
    let status = emptied(&engine, n_queues).await?;
    engine.close().await?;
    Ok((ended.duration_since(started), Reads::of(&status.counters)))
}

/// Watches until nobody else holds the ledger.
async fn most_refill_threads(ledger: &Arc<Ledger>) -> Outcome<usize> {
    let mut most = 0;
    loop {
        park().await;
        most = most.max(n_threads(REFILL)?);
        if Arc::strong_count(ledger) == 1 {
            return Ok(most);
        }
    }
}

/// Leases and acks until as many entries as the ledger has are gone. Returns when that was.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) async fn consume(
    engine: &Engine,
    ledger: &Arc<Ledger>,
    (n_consumers, batch): (usize, usize),
) -> Outcome<Instant> {
    let n_acked = Arc::new(AtomicUsize::new(0));
    let mut consumers: JoinSet<Outcome<()>> = JoinSet::new();
    for _ in 0..n_consumers {
        let (engine, ledger, n_acked) = (engine.clone(), ledger.clone(), n_acked.clone());
        consumers.spawn(async move {
            let request = engine.topic(TOPIC).lease().max(batch);
            let request = request.lease_for(Duration::from_secs(3600));
            // Relaxed: a count; whoever reads it late asks once more, in vain.
            while n_acked.load(Ordering::Relaxed) < ledger.n_entries() {
                let deliveries = request.clone().wait(Duration::from_millis(100)).fetch().await?;
                deliveries.iter().try_for_each(|delivery| ledger.note(delivery))?;
                let n = deliveries.len();
                try_join_all(deliveries.into_iter().map(millpond::Delivery::ack)).await?;
                n_acked.fetch_add(n, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    let mut ended_at = Instant::now();
    while let Some(ended) = consumers.join_next().await {
        ended??;
        // The first to notice was there when the last ack came; the others wait in vain.
        if consumers.len() + 1 == n_consumers {
            ended_at = Instant::now();
        }
    }
    Ok(ended_at)
}
