//! Leases that all end at the same moment, while somebody enqueues.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use millpond::{Engine, Entry, Latency};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::lateness::now_ms;
use super::ledger::{TOPIC, key};
use super::options;
use super::step::{Step, in_child};
use crate::callers::share_out;
use crate::measure::count;
use crate::queues::fill::{park, settled};
use crate::queues::{Figures, Outcome};

/// Callers that fill, and entries of one call.
const N_CALLERS: usize = 256;
const BATCH: usize = 1000;
/// Callers that lease, and leases of one call.
const N_LEASING: usize = 32;
const LEASES: usize = 1000;
/// The leases end so much time per lease after the first of them, in microseconds, and a while: all are
/// granted by then.
const LEASE_US: u64 = 150;
const LEASE_MS_MIN: u64 = 8_000;
/// For how long enqueues are watched before.
const BEFORE: Duration = Duration::from_secs(2);

/// Microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Times {
    n: usize,
    p50: f64,
    p99: f64,
    max: f64,
}

/// What the end of all leases showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Expired {
    ready_again: Duration,
    turns: Times,
    enqueues_before: Times,
    enqueues: Times,
}

/// `n_leases` leases over so many queues.
pub(super) fn part(
    out: &mut Figures<'_>,
    dir: &Path,
    n_leases: usize,
    n_queues: usize,
) -> Outcome<()> {
    let place = tempfile::tempdir_in(dir)?;
    let dir = place.path().join("data");
    let expired: Expired = in_child(&Step::Expire { dir, n_leases, n_queues })?;
    out.case(format!("expiry, {n_leases} leases, {n_queues} queues"));
    let took = expired.ready_again.as_secs_f64();
    out.add("all ready again after", took * 1e3, "ms")?;
    out.add("expiries", count(n_leases) / took, "1/s")?;
    let Times { n, p50, p99, max } = expired.turns;
    out.add("turns", count(n), "")?;
    out.add("turn p50", p50, "µs")?;
    out.add("turn p99", p99, "µs")?;
    out.at_most("turn max", max, "µs", 5000.0)?;
    let (before, now) = (expired.enqueues_before, expired.enqueues);
    out.add("enqueues meanwhile", count(now.n), "")?;
    out.beside("enqueue p50", now.p50, "µs", (before.p50, "before"))?;
    out.beside("enqueue p99", now.p99, "µs", (before.p99, "before"))?;
    out.beside("enqueue max", now.max, "µs", (before.max, "before"))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) async fn run(dir: &Path, n_leases: usize, n_queues: usize) -> Outcome<Expired> {
    let engine = Engine::open(options(dir)).await?;
    fill(&engine, n_leases, n_queues).await?;
    let n = n_leases as u64;
    settled(&engine, |status| status.n_entries == n).await?;
    let enqueues_before = {
        let until = Instant::now() + BEFORE;
        watch(&engine, || Instant::now() < until).await?
    };
    let end_ms = now_ms() + LEASE_MS_MIN.max(n * LEASE_US / 1000);
    lease(&engine, n_leases, end_ms).await?;
    let before = engine.status().await?;
    if before.n_leased != n || before.counters.n_expired != 0 {
        return Err("not every lease was in force before the first ended".into());
    }
    while now_ms() < end_ms {
        park().await;
    }
    let started = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let watching = {
        let (engine, over) = (engine.clone(), over.clone());
        // Relaxed: nothing else is handed over.
        tokio::spawn(async move { watch(&engine, || !over.load(Ordering::Relaxed)).await })
    };
    let after = loop {
        let status = engine.status().await?;
        if status.n_leased == 0 {
            break status;
        }
        park().await;
    };
    let ready_again = started.elapsed();
    over.store(true, Ordering::Relaxed);
    let enqueues = watching.await??;
    let turns = between(&before.counters.turns, &after.counters.turns);
    come_again(&engine, n_leases).await?;
    engine.close().await?;
    Ok(Expired { ready_again, turns, enqueues_before, enqueues })
}

async fn fill(engine: &Engine, n_leases: usize, n_queues: usize) -> Outcome<()> {
    let per_call = if n_queues == 1 { BATCH } else { n_leases / n_queues };
    let topic = engine.topic(TOPIC);
    let done = share_out(N_CALLERS, n_leases.div_ceil(per_call), move |call| {
        let topic = topic.clone();
        async move {
            let entries = (0..per_call).map(|_| Entry::new("work")).collect();
            topic.queue(key(call % n_queues)).enqueue_batch(entries).await?;
            Ok(())
        }
    });
    done.await
}

/// Leases everything until the same moment.
async fn lease(engine: &Engine, n_leases: usize, end_ms: u64) -> Outcome<()> {
    let n_leased = Arc::new(AtomicUsize::new(0));
    let mut callers: JoinSet<Outcome<()>> = JoinSet::new();
    for _ in 0..N_LEASING {
        let (engine, n_leased) = (engine.clone(), n_leased.clone());
        callers.spawn(async move {
            // Relaxed: a count; whoever reads it late asks once more, in vain.
            while n_leased.load(Ordering::Relaxed) < n_leases {
                let length = Duration::from_millis(end_ms.saturating_sub(now_ms()));
                if length.is_zero() {
                    let n = n_leased.load(Ordering::Relaxed);
                    return Err(format!("{n} leases took longer than they last").into());
                }
                let request = engine.topic(TOPIC).lease().max(LEASES).lease_for(length);
                let n = request.wait(Duration::from_millis(50)).fetch().await?.len();
                n_leased.fetch_add(n, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

/// Enqueues one entry after the other in a queue of another topic, for as long as `goes_on`.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
async fn watch(engine: &Engine, goes_on: impl Fn() -> bool) -> Outcome<Times> {
    let queue = engine.topic("watched").queue("one");
    let mut times = Vec::new();
    while goes_on() || times.is_empty() {
        let started = Instant::now();
        queue.enqueue(Entry::new("look")).await?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    Ok(Times { n: times.len(), p50: at(50), p99: at(99), max: at(100) })
}

/// The turns after one look and before another. A histogram tells times by rank; ranks above a time are
/// counted in both.
fn between(before: &Latency, after: &Latency) -> Times {
    let n = after.n() - before.n();
    let n_below = |time| n_within(after, time) - n_within(before, time);
    let at = |part: u64| {
        let wanted = (n * part).div_ceil(100);
        let (mut low, mut high) = (0, u64::try_from(after.max().as_micros()).unwrap_or(u64::MAX));
        while low < high {
            let middle = low + (high - low) / 2;
            if n_below(Duration::from_micros(middle)) >= wanted {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        count(high)
    };
    Times { n: usize::try_from(n).unwrap_or(usize::MAX), p50: at(50), p99: at(99), max: at(100) }
}

/// How many turns took no longer than `time`.
fn n_within(turns: &Latency, time: Duration) -> u64 {
    let (mut n_short, mut n_unknown) = (0, turns.n());
    while n_unknown > 0 {
        let half = n_unknown.div_ceil(2);
        let is_short = turns.quantile(count(n_short + half) / count(turns.n())) <= time;
        n_short += if is_short { half } else { 0 };
        n_unknown = if is_short { n_unknown - half } else { half - 1 };
    }
    n_short
}

/// Everything can be leased again, once, as its second attempt.
async fn come_again(engine: &Engine, n_leases: usize) -> Outcome<()> {
    let mut n_leased = 0;
    loop {
        let request = engine.topic(TOPIC).lease().max(LEASES).lease_for(Duration::from_secs(3600));
        let deliveries = request.fetch().await?;
        if deliveries.is_empty() {
            break;
        }
        if deliveries.iter().any(|delivery| delivery.attempt() != 2) {
            return Err("an entry came as another attempt than its second".into());
        }
        n_leased += deliveries.len();
    }
    if n_leased != n_leases {
        return Err(format!("{n_leased} entries came again").into());
    }
    Ok(())
}
