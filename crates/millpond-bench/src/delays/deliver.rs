//! Consuming what becomes due, in an engine that has just been opened.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use millpond::{Counters, Delivery, Engine};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::fill::Filled;
use super::lateness::{Lateness, Seen, now_ms};
use super::ledger::{Ledger, TOPIC};
use super::{N_PER_QUEUE, options};
use crate::measure::count;
use crate::queues::fill::{park, settled};
use crate::queues::probe::Memory;
use crate::queues::turns::Turns;
use crate::queues::{Figures, Outcome};

/// Consumers, and entries that each leases at a time.
const N_CONSUMERS: usize = 16;
const BATCH: usize = 64;
/// A delay may be so much shorter across a restart: the engine counts whole milliseconds, in each life anew.
const ROUNDING_MS: i64 = 1;

/// What delivering showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Delivered {
    opened: Memory,
    most: Memory,
    /// Overdue when the engine was opened.
    n_overdue: u64,
    /// Of the others, as consumers saw it and as the engine counts it, in milliseconds.
    seen: Lateness,
    engine_ms: [f64; 3],
    turns: Turns,
}

/// Opens the engine and consumes until `upto` entries have come, in all lives together. Unless it is the
/// last life, the process then ends with the engine open.
pub(super) async fn run(
    dir: &Path,
    filled: &Filled,
    upto: usize,
    is_last: bool,
) -> Outcome<Delivered> {
    let engine = Engine::open(options(&dir.join("data"))).await?;
    let opened_ms = now_ms();
    let ledger = Ledger::open(dir, filled.n_queues * N_PER_QUEUE)?;
    let n_before = ledger.n();
    let opened = Memory::now()?;
    nothing_is_early(&engine, filled.first_due_ms).await?;
    let consuming = Arc::new(Consuming {
        ledger,
        seen: Seen::new(),
        n_overdue: AtomicU64::new(0),
        opened_ms,
        upto,
    });
    let (consumed, most) = tokio::join!(consume(&engine, &consuming), most_memory(&consuming));
    consumed?;
    let ledger = &consuming.ledger;
    let n_left = (filled.n_queues * N_PER_QUEUE - ledger.n()) as u64;
    let n_acked = (ledger.n() - n_before) as u64;
    let status = settled(&engine, |status| {
        // What has become due meanwhile is ready, and nobody leases it any more.
        (status.n_delayed + status.n_entries, status.n_leased) == (n_left, 0)
            && status.counters.n_acked == n_acked
            && (!is_last || n_left == 0)
    })
    .await?;
    ledger.save()?;
    let delivered = Delivered {
        opened,
        most: most?,
        n_overdue: consuming.n_overdue.load(Ordering::Relaxed),
        seen: consuming.seen.summary(),
        engine_ms: lateness_ms(&status.counters),
        turns: Turns::of(&status.counters)?,
    };
    if is_last {
        engine.close().await?;
    } else {
        // Never dropped, because that would close it.
        Box::leak(Box::new(engine));
    }
    Ok(delivered)
}

/// While nothing is due, nothing happens.
async fn nothing_is_early(engine: &Engine, first_due_ms: u64) -> Outcome<()> {
    loop {
        let n_due = engine.status().await?.counters.n_due;
        // Read afterwards: it was still early when the engine was asked.
        if now_ms() + u64::try_from(ROUNDING_MS)? >= first_due_ms {
            return Ok(());
        }
        if n_due > 0 {
            return Err(format!("{n_due} entries left before the first was due").into());
        }
        park().await;
    }
}

struct Consuming {
    ledger: Ledger,
    seen: Seen,
    n_overdue: AtomicU64,
    opened_ms: u64,
    upto: usize,
}

impl Consuming {
    fn note(&self, delivery: &Delivery, now_ms: u64) -> Outcome<()> {
        let due_ms = self.ledger.note(delivery, N_PER_QUEUE)?;
        let late_ms = i64::try_from(now_ms)? - i64::try_from(due_ms)?;
        if late_ms < -ROUNDING_MS || delivery.attempt() != 1 {
            let attempt = delivery.attempt();
            return Err(format!("attempt {attempt} of an entry came {late_ms} ms late").into());
        }
        if due_ms < self.opened_ms {
            // Relaxed: a count, read when everybody is through.
            self.n_overdue.fetch_add(1, Ordering::Relaxed);
        } else {
            self.seen.record(late_ms);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ledger.n() >= self.upto
    }
}

async fn consume(engine: &Engine, consuming: &Arc<Consuming>) -> Outcome<()> {
    let mut consumers: JoinSet<Outcome<()>> = JoinSet::new();
    for _ in 0..N_CONSUMERS {
        let (engine, consuming) = (engine.clone(), consuming.clone());
        consumers.spawn(async move {
            let request = engine.topic(TOPIC).lease().max(BATCH);
            let request = request.lease_for(Duration::from_secs(3600));
            while !consuming.is_over() {
                let deliveries = request.clone().wait(Duration::from_millis(100)).fetch().await?;
                let now_ms = now_ms();
                deliveries.iter().try_for_each(|delivery| consuming.note(delivery, now_ms))?;
                try_join_all(deliveries.into_iter().map(Delivery::ack)).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = consumers.join_next().await {
        ended??;
    }
    Ok(())
}

/// The most memory at any moment, as far as one looks.
async fn most_memory(consuming: &Arc<Consuming>) -> Outcome<Memory> {
    let mut most = Memory::default();
    // Also when a consumer has failed: the others are aborted with it, and nobody else holds the task.
    while !consuming.is_over() && Arc::strong_count(consuming) > 1 {
        let now = Memory::now()?;
        most.resident = most.resident.max(now.resident);
        most.allocated = most.allocated.max(now.allocated);
        park().await;
    }
    Ok(most)
}

fn lateness_ms(counters: &Counters) -> [f64; 3] {
    let lateness = &counters.lateness;
    let times = [lateness.quantile(0.5), lateness.quantile(0.99), lateness.max()];
    times.map(|time| time.as_secs_f64() * 1e3)
}

impl Delivered {
    pub(super) fn report(
        &self,
        out: &mut Figures<'_>,
        filled: &Filled,
        n_entries: usize,
    ) -> Outcome<()> {
        filled.report_memory(out, "opened", self.opened)?;
        filled.report_memory(out, "delivering", self.most)?;
        let Lateness { n, least, p50, p99, max } = self.seen;
        let signed =
            |ms: i64| if ms < 0 { -count(ms.unsigned_abs()) } else { count(ms.unsigned_abs()) };
        out.add("overdue when opened", count(self.n_overdue), "")?;
        out.add("not early, exactly once", count(n_entries), "")?;
        if n > 0 {
            out.add("least lateness", signed(least), "ms")?;
            out.add("lateness p50", count(p50), "ms")?;
            out.add("lateness p99", count(p99), "ms")?;
            out.add("lateness max", signed(max), "ms")?;
        }
        let [p50, p99, max] = self.engine_ms;
        out.add("engine's lateness p50", p50, "ms")?;
        out.add("engine's lateness p99", p99, "ms")?;
        out.add("engine's lateness max", max, "ms")?;
        self.turns.report(out)
    }
}
