//! Enqueueing what is to wait.

use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use millpond::{Engine, Entry};
use serde::{Deserialize, Serialize};

use super::lateness::now_ms;
use super::ledger::{TOPIC, key, payload};
use super::{CACHE_BYTES, GROWTH_MIB_MAX, N_PER_QUEUE, WRITE_BUFFER_BYTES, grown_mib, options};
use crate::callers::share_out;
use crate::measure::count;
use crate::queues::fill::settled;
use crate::queues::place;
use crate::queues::probe::Memory;
use crate::queues::{Figures, Outcome};

/// Callers that enqueue at the same time, each a queue at a time.
const N_CALLERS: usize = 64;
/// Nothing is due before so much time has passed per entry, in microseconds, and a while: the fill should be
/// through by then.
const FILL_US: u64 = 30;
const FILL_MS_MIN: u64 = 6_000;
/// Storage has this part of what is left then to come to rest, and so many milliseconds at most.
const REST_PART: u64 = 4;
const REST_MS_MAX: u64 = 60_000;
/// The window has so much time per entry, in microseconds.
const DUE_US: u64 = 60;

/// What filling showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Filled {
    pub(super) n_queues: usize,
    /// The window, in milliseconds since 1970.
    pub(super) first_due_ms: u64,
    pub(super) window_ms: u64,
    pub(super) empty: Memory,
    took: Duration,
    n_commits: u64,
    filled: Memory,
    waiting: Memory,
    n_resident: usize,
    n_bytes: u64,
    left_ms: u64,
}

/// When an entry is due: spread evenly, neighbours far apart.
fn due_ms(filled: (u64, u64), number: usize) -> u64 {
    let (first_due_ms, window_ms) = filled;
    let scattered = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    first_due_ms + ((scattered * window_ms) >> 32)
}

/// Creates the engine, fills it and closes it.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) async fn run(dir: &Path, n_queues: usize) -> Outcome<Filled> {
    let n_entries = (n_queues * N_PER_QUEUE) as u64;
    let data = dir.join("data");
    let engine = Engine::open(options(&data)).await?;
    settled(&engine, |status| status.n_entries == 0).await?;
    let empty = Memory::now()?;
    let first_due_ms = now_ms() + FILL_MS_MIN.max(n_entries * FILL_US / 1000);
    let window_ms = n_entries * DUE_US / 1000;
    let started = Instant::now();
    enqueue(&engine, n_queues, (first_due_ms, window_ms)).await?;
    let took = started.elapsed();
    let left_ms = first_due_ms.saturating_sub(now_ms());
    if left_ms == 0 {
        return Err("filling took so long that the first entry is due".into());
    }
    let status = settled(&engine, |status| {
        status.n_queues == n_queues && (status.n_delayed, status.n_entries) == (n_entries, 0)
    })
    .await?;
    let filled = Memory::now()?;
    tokio::time::sleep(Duration::from_millis((left_ms / REST_PART).min(REST_MS_MAX))).await;
    let waiting = Memory::now()?;
    engine.close().await?;
    Ok(Filled {
        n_queues,
        first_due_ms,
        window_ms,
        empty,
        took,
        n_commits: status.counters.n_commits,
        filled,
        waiting,
        n_resident: status.n_resident,
        n_bytes: place::n_bytes(&data)?,
        left_ms,
    })
}

async fn enqueue(engine: &Engine, n_queues: usize, window: (u64, u64)) -> Outcome<()> {
    let topic = engine.topic(TOPIC);
    let done = share_out(N_CALLERS, n_queues, move |queue| {
        let topic = topic.clone();
        async move {
            let numbers = queue * N_PER_QUEUE..(queue + 1) * N_PER_QUEUE;
            let entries = numbers.map(|number| entry(number, due_ms(window, number)));
            topic.queue(key(queue)).enqueue_batch(entries.collect()).await?;
            Ok(())
        }
    });
    done.await
}

/// Half of them are delays and half are dates.
fn entry(number: usize, due_ms: u64) -> Entry {
    let entry = Entry::new(payload(number, due_ms));
    if number.is_multiple_of(2) {
        entry.delay(Duration::from_millis(due_ms.saturating_sub(now_ms())))
    } else {
        entry.run_at(UNIX_EPOCH + Duration::from_millis(due_ms))
    }
}

impl Filled {
    pub(super) fn report(&self, out: &mut Figures<'_>, n_entries: usize) -> Outcome<()> {
        let n = count(n_entries);
        out.add("entries", n / self.took.as_secs_f64(), "1/s")?;
        out.add("entries per commit", n / count(self.n_commits), "")?;
        out.add("on disk", count(self.n_bytes) / n, "B/entry")?;
        out.add("closed before due", count(self.left_ms) / 1e3, "s")?;
        let budgets = CACHE_BYTES + WRITE_BUFFER_BYTES;
        out.add("budgets of the store", grown_mib(budgets, 0), "MiB")?;
        out.add("resident, empty", grown_mib(self.empty.resident, 0), "MiB")?;
        self.report_memory(out, "just filled", self.filled)?;
        self.report_memory(out, "waiting", self.waiting)?;
        out.add("queues in memory", count(self.n_resident), "")
    }

    /// How much more memory there is than in the empty engine: all of it, and what Rust code asked for.
    pub(super) fn report_memory(
        &self,
        out: &mut Figures<'_>,
        when: &str,
        memory: Memory,
    ) -> Outcome<()> {
        let resident = grown_mib(memory.resident, self.empty.resident);
        out.at_most(&format!("resident +, {when}"), resident, "MiB", GROWTH_MIB_MAX)?;
        let allocated = grown_mib(memory.allocated, self.empty.allocated);
        out.add(&format!("allocated +, {when}"), allocated, "MiB")
    }
}
