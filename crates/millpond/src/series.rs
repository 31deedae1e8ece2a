//! Publishing what partitions count, through the `metrics` facade. It installs no recorder and has no
//! thread: the application does both. `docs/metrics.md` lists the same series, and a test compares the two.

mod payloads;

use metrics::{Unit, counter, gauge, with_recorder};
use millpond_partition::{Counters, PartitionReport, QueueState};

use crate::{Engine, Error};

impl Engine {
    /// Hands the counters and sizes of every partition to the recorder of the
    /// [`metrics`](https://docs.rs/metrics/0.24) crate that the application has installed. Call it before
    /// each scrape, or at an interval: nothing is published between calls.
    ///
    /// The series are named `millpond_*` and have the label `partition`, and one of them a reason; those of the
    /// payload cache, which partitions share, have not. The name of a queue is never one.
    /// Counters are absolute and start at 0 when the engine is opened. `docs/metrics.md` lists them all.
    /// Engines in one process need a recorder each: the label does not tell them apart.
    ///
    /// It costs each partition a walk through its queues in memory, a part of them in each turn of its
    /// loop.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), millpond::Error> {
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let engine = millpond::Engine::open(millpond::Options::new(directory.path())).await?;
    /// // At start: install an exporter. Then, whenever somebody asks for the figures:
    /// engine.publish_metrics().await?;
    /// # engine.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A partition is closed or has stopped. The others are published all the same, and the payload cache is not.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have published some partitions and not others.
    pub async fn publish_metrics(&self) -> Result<(), Error> {
        describe();
        let mut outcome = Ok(());
        for (index, partition) in self.0.partitions.iter().enumerate() {
            match partition.report(0).await {
                Ok(report) => publish(index, &report, self.0.window_bytes_max),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        if outcome.is_ok() {
            payloads::publish(&self.0.payloads.stats());
        }
        Ok(outcome?)
    }
}

/// Only the recorder knows whether it was told before.
fn describe() {
    with_recorder(|recorder| {
        for Series { name, unit, help, .. } in COUNTERS {
            recorder.describe_counter((*name).into(), *unit, (*help).into());
        }
        for Series { name, unit, help, .. } in GAUGES {
            recorder.describe_gauge((*name).into(), *unit, (*help).into());
        }
        recorder.describe_gauge(QUEUES.into(), N, QUEUES_HELP.into());
    });
    payloads::describe();
}

fn publish(partition: usize, report: &PartitionReport, window_bytes_max: usize) {
    let labels = [("partition", partition.to_string())];
    for series in COUNTERS {
        counter!(series.name, &labels).absolute((series.read)(&report.counters));
    }
    let sizes = Sizes { report, window_bytes_max };
    for series in GAUGES {
        gauge!(series.name, &labels).set((series.read)(&sizes));
    }
    for (reason, n_queues) in reasons(report) {
        let labels = [("partition", partition.to_string()), ("reason", reason.to_owned())];
        gauge!(QUEUES, &labels).set(number(n_queues));
    }
}

/// Queues that hold something, by what each waits for. All reasons are there, so that none is missed when it ends.
fn reasons(report: &PartitionReport) -> impl Iterator<Item = (&'static str, u64)> {
    let n_in_memory = report.n_by_state.values().sum();
    let n_dormant = (report.n_queues as u64).saturating_sub(n_in_memory);
    let count = |reason| report.n_by_state.get(reason).copied().unwrap_or(0);
    QueueState::NAMES.into_iter().map(move |name| (name, count(name))).chain([(DORMANT, n_dormant)])
}

const QUEUES: &str = "millpond_queues";
const QUEUES_HELP: &str = "queues that hold something, by reason";
/// The reason of queues that left memory because nothing of them is ready.
const DORMANT: &str = "dormant";

/// What gauges are read from.
struct Sizes<'a> {
    report: &'a PartitionReport,
    window_bytes_max: usize,
}

struct Series<R> {
    name: &'static str,
    unit: Option<Unit>,
    /// As it stands in `docs/metrics.md`.
    help: &'static str,
    read: R,
}

const fn series<R: Copy>(
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    read: R,
) -> Series<R> {
    Series { name, unit, help, read }
}

type Counted = Series<fn(&Counters) -> u64>;
type Measured = Series<fn(&Sizes<'_>) -> f64>;

const N: Option<Unit> = Some(Unit::Count);
const BYTES: Option<Unit> = Some(Unit::Bytes);
const SECONDS: Option<Unit> = Some(Unit::Seconds);

const COUNTERS: &[Counted] = &[
    series("millpond_entries_enqueued_total", N, "entries accepted", |c| c.n_enqueued),
    series("millpond_entries_acked_total", N, "entries acknowledged", |c| c.n_acked),
    series("millpond_entries_nacked_total", N, "entries given back", |c| c.n_nacked),
    series("millpond_entries_purged_total", N, "entries removed by purges", |c| c.n_purged),
    series("millpond_leases_granted_total", N, "leases granted", |c| c.n_granted),
    series("millpond_leases_expired_total", N, "leases that came to their deadline", |c| {
        c.n_expired
    }),
    series("millpond_entries_delayed_total", N, "entries accepted to be ready later", |c| {
        c.n_delayed
    }),
    series("millpond_entries_due_total", N, "entries that became ready by time", |c| c.n_due),
    series("millpond_entries_backed_off_total", N, "failed entries that had to wait", |c| {
        c.n_backed_off
    }),
    series("millpond_entries_died_total", N, "entries that became dead letters", |c| c.n_died),
    series("millpond_entries_forwarded_total", N, "dead letters that went to another topic", |c| {
        c.n_forwarded
    }),
    series(
        "millpond_entries_outlived_total",
        N,
        "entries removed because they were too old",
        |c| c.n_outlived,
    ),
    series("millpond_entries_replayed_total", N, "dead letters made ready again", |c| c.n_replayed),
    series("millpond_entries_dropped_total", N, "dead letters removed", |c| c.n_dropped),
    series("millpond_entries_duplicate_total", N, "entries whose key had been seen", |c| {
        c.n_duplicates
    }),
    series("millpond_keys_forgotten_total", N, "keys whose time had passed", |c| {
        c.n_keys_forgotten
    }),
    series("millpond_refused_full_total", N, "requests refused because of a bound", |c| {
        c.n_refused_full
    }),
    series("millpond_commits_total", N, "commits made durable", |c| c.n_commits),
    series("millpond_commit_bytes_total", BYTES, "bytes of those commits", |c| c.n_commit_bytes),
    series("millpond_refills_demanded_total", N, "heads read because a caller waited", |c| {
        c.n_refills_demanded
    }),
    series("millpond_refills_ahead_total", N, "heads read before a caller waited", |c| {
        c.n_refills_ahead
    }),
    series("millpond_reads_in_memory_total", N, "reads that memory served", |c| {
        c.n_scans_in_memory
    }),
    series(
        "millpond_reads_would_block_total",
        N,
        "reads that memory could not serve wholly",
        |c| c.n_would_block,
    ),
    series("millpond_reads_waited_total", N, "reads that waited for storage", |c| c.n_scans_waited),
    series("millpond_reads_failed_total", N, "reads that failed", |c| c.n_scans_failed),
    series("millpond_rows_set_aside_total", N, "rows that cannot be decoded", |c| c.n_rows_corrupt),
    series("millpond_overlay_overflows_total", N, "refills with too many changes meanwhile", |c| {
        c.n_overlay_overflows
    }),
    series("millpond_windows_shrunk_total", N, "windows that gave memory back", |c| {
        c.n_windows_shrunk
    }),
    series("millpond_queues_recalled_total", N, "queues brought back after the restart", |c| {
        c.n_queues_recalled
    }),
];

const GAUGES: &[Measured] = &[
    series("millpond_queues_resident", N, "queues in memory, empty ones included", |s| {
        number(s.report.n_resident as u64)
    }),
    series("millpond_entries", N, "entries that are ready, leased ones included", |s| {
        number(s.report.n_entries)
    }),
    series("millpond_entries_delayed", N, "entries that wait for their time", |s| {
        number(s.report.n_delayed)
    }),
    series("millpond_entries_dead", N, "dead letters", |s| number(s.report.n_dead)),
    series("millpond_entries_leased", N, "entries leased", |s| number(s.report.n_leased)),
    series("millpond_window_bytes", BYTES, "entries in the windows of all queues", |s| {
        number(s.report.window_bytes as u64)
    }),
    series("millpond_window_bytes_max", BYTES, "the budget of these windows", |s| {
        number(s.window_bytes_max as u64)
    }),
    series(
        "millpond_window_hit_ratio",
        None,
        "granted entries whose head was in memory, 0 to 1",
        |s| s.report.counters.hit_rate(),
    ),
    series("millpond_recalling", N, "1 while a restart brings queues back, or else 0", |s| {
        f64::from(u8::from(s.report.recalling.is_some()))
    }),
    series(
        "millpond_lateness_p50_seconds",
        SECONDS,
        "median time from when an entry was due until it left",
        |s| s.report.counters.lateness.quantile(0.5).as_secs_f64(),
    ),
    series(
        "millpond_lateness_p99_seconds",
        SECONDS,
        "99th percentile of the time from when an entry was due until it left",
        |s| s.report.counters.lateness.quantile(0.99).as_secs_f64(),
    ),
    series(
        "millpond_lateness_max_seconds",
        SECONDS,
        "longest time from when an entry was due until it left",
        |s| s.report.counters.lateness.max().as_secs_f64(),
    ),
    series("millpond_refill_p50_seconds", SECONDS, "median time to read a head", |s| {
        s.report.counters.refill_latency.quantile(0.5).as_secs_f64()
    }),
    series(
        "millpond_refill_p99_seconds",
        SECONDS,
        "99th percentile of the time to read a head",
        |s| s.report.counters.refill_latency.quantile(0.99).as_secs_f64(),
    ),
    series("millpond_refill_max_seconds", SECONDS, "longest time to read a head", |s| {
        s.report.counters.refill_latency.max().as_secs_f64()
    }),
    series("millpond_commit_p50_seconds", SECONDS, "median time of a commit", |s| {
        s.report.counters.commits.quantile(0.5).as_secs_f64()
    }),
    series(
        "millpond_commit_p99_seconds",
        SECONDS,
        "99th percentile of the time of a commit",
        |s| s.report.counters.commits.quantile(0.99).as_secs_f64(),
    ),
    series("millpond_commit_max_seconds", SECONDS, "longest time of a commit", |s| {
        s.report.counters.commits.max().as_secs_f64()
    }),
    series("millpond_turn_p50_seconds", SECONDS, "median time of a turn of the loop", |s| {
        s.report.counters.turns.quantile(0.5).as_secs_f64()
    }),
    series(
        "millpond_turn_p99_seconds",
        SECONDS,
        "99th percentile of the time of a turn of the loop",
        |s| s.report.counters.turns.quantile(0.99).as_secs_f64(),
    ),
    series("millpond_turn_max_seconds", SECONDS, "longest time of a turn of the loop", |s| {
        s.report.counters.turns.max().as_secs_f64()
    }),
];

#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
fn number(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests;
