//! Durable enqueue and the full cycle through the facade, beside raw RocksDB at the same rows and bytes
//! per commit.
//!
//! A case runs the engine, looks up how many rows and bytes its commits had on average, and then runs
//! raw RocksDB with commits of that shape. The ratio compares entries per second: the engine's against
//! what raw RocksDB would reach with one entry per entry's rows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::{Counters, Engine, Entry, PartitionOptions, PartitionStore};
use millpond_storage_rocksdb::{BudgetOptions, OpenMode, RocksBudget, RocksStore};
use tokio::task::JoinSet;

use crate::measure::{Effort, count, median};
use crate::raw_rocksdb::{self, Shape};
use crate::report::{Figure, Report};
use crate::{N_QUEUES, raw_file};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const PAYLOAD_BYTES: usize = 256;

/// What the callers do.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Each caller enqueues this many entries per call and awaits its receipt.
    Enqueue { batch: usize },
    /// Half of the callers enqueue; the others lease, ack, and await each receipt.
    Cycle,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    n_callers: usize,
    work: Work,
}

const CASES: [Case; 6] = [
    Case { name: "enqueue, 1 caller", n_callers: 1, work: Work::Enqueue { batch: 1 } },
    Case { name: "enqueue, 16 callers", n_callers: 16, work: Work::Enqueue { batch: 1 } },
    Case { name: "enqueue, 256 callers", n_callers: 256, work: Work::Enqueue { batch: 1 } },
    Case { name: "enqueue, 1024 callers", n_callers: 1024, work: Work::Enqueue { batch: 1 } },
    Case { name: "enqueue, 16 callers × 100", n_callers: 16, work: Work::Enqueue { batch: 100 } },
    Case { name: "cycle, 256 + 256 callers", n_callers: 512, work: Work::Cycle },
];

/// What one run of the engine showed.
#[derive(Debug)]
struct Run {
    /// Entries per second: accepted, or for a cycle, acked.
    rate: f64,
    /// Commits per second of each store.
    commits: f64,
    entries_per_commit: f64,
    /// Part of the time that the writer thread spent in writing and syncing.
    writer_busy: f64,
    shape: Shape,
}

pub(crate) fn run(report: &mut Report, effort: Effort, dir: &Path, only: &str) -> Outcome<()> {
    for case in CASES.into_iter().filter(|case| case.name.contains(only)) {
        let mut runs = Vec::new();
        let (mut raw, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..effort.n_runs {
            let run = run_engine(case, effort.run, dir)?;
            // Interleaved with the engine, so that a slow minute of the disk is a slow minute for all.
            let commits = raw_rocksdb::commits_per_second(dir, run.shape, effort.run)?;
            raw.push(commits * run.entries_per_commit);
            let syncs = raw_file::syncs_per_second(dir, run.shape.bytes.max(1), effort.run / 2)?;
            floor.push(syncs * run.entries_per_commit);
            runs.push(run);
        }
        report_case(report, case, &runs, raw, floor)?;
    }
    Ok(())
}

fn report_case(
    report: &mut Report,
    case: Case,
    runs: &[Run],
    raw: Vec<f64>,
    floor: Vec<f64>,
) -> Outcome<()> {
    let of = |f: fn(&Run) -> f64| median(runs.iter().map(f).collect());
    let ratios = runs.iter().zip(&raw).map(|(run, raw)| run.rate / raw).collect();
    let raw_to_floor = raw.iter().zip(&floor).map(|(raw, floor)| raw / floor).collect();
    let figure = |subject, metric, value, unit, ratio, ratio_to| Figure {
        bench: "engine",
        case: case.name,
        subject,
        metric,
        value,
        unit,
        ratio,
        ratio_to,
    };
    let to_raw = Some("raw-rocksdb");
    report.figure(&figure(
        "millpond",
        "entries",
        of(|r| r.rate),
        "1/s",
        Some(median(ratios)),
        to_raw,
    ))?;
    report.figure(&figure("millpond", "commits", of(|r| r.commits), "1/s", None, None))?;
    report.figure(&figure(
        "millpond",
        "entries per commit",
        of(|r| r.entries_per_commit),
        "",
        None,
        None,
    ))?;
    let rows = of(|r| count(r.shape.entry_rows + r.shape.other_rows));
    report.figure(&figure("millpond", "rows per commit", rows, "", None, None))?;
    let bytes = of(|r| count(r.shape.bytes));
    report.figure(&figure("millpond", "bytes per commit", bytes, "B", None, None))?;
    let busy = of(|r| r.writer_busy) * 100.0;
    report.figure(&figure("millpond", "writer busy", busy, "%", None, None))?;
    let to_floor = Some("bare-fdatasync");
    let ratio = Some(median(raw_to_floor));
    report.figure(&figure("raw-rocksdb", "entries", median(raw), "1/s", ratio, to_floor))?;
    report.figure(&figure("bare-fdatasync", "entries", median(floor), "1/s", None, None))?;
    Ok(())
}

#[tokio::main]
async fn run_engine(case: Case, length: Duration, dir: &Path) -> Outcome<Run> {
    let directory = tempfile::tempdir_in(dir)?;
    let budget = RocksBudget::new(BudgetOptions::default());
    let store = RocksStore::open(directory.path().join("p"), &budget, OpenMode::Create)?;
    let store = Arc::new(store);
    let stores = vec![store.clone() as Arc<dyn PartitionStore>];
    let engine = Engine::with_stores(stores, PartitionOptions::default()).await?;

    let before = (engine.status().await?.counters, store.commit_stats());
    let (n_receipts, n_acked, took) = drive(&engine, case, length).await?;
    let after = (engine.status().await?, store.commit_stats());

    // A benchmark that measured the wrong thing is worse than none.
    let counters: &Counters = &after.0.counters;
    if counters.n_enqueued != n_receipts || counters.n_acked != n_acked {
        return Err("the engine counts other entries than its callers".into());
    }
    if after.0.n_entries != n_receipts - n_acked {
        return Err("the engine does not hold what was accepted and not acked".into());
    }
    engine.close().await?;

    let n_done = match case.work {
        Work::Enqueue { .. } => n_receipts,
        Work::Cycle => n_acked,
    };
    let n_groups = after.1.n_groups - before.1.n_groups;
    let n_rows = after.1.n_ops - before.1.n_ops;
    let heads = n_rows * millpond_storage_api::WriteBatch::OP_HEAD_BYTES as u64;
    let n_bytes = after.1.batch_bytes - before.1.batch_bytes - heads;
    let per_group = |n: u64| usize::try_from(n / n_groups.max(1)).unwrap_or(usize::MAX);
    // Of the engine's rows, those of entries and leases are new each time, and the rest are counters.
    let n_changes = changes(&after.0.counters) - changes(&before.0);
    let entry_rows = per_group(n_changes).max(1);
    let other_rows = per_group(n_rows).saturating_sub(entry_rows);
    Ok(Run {
        rate: count(n_done) / took.as_secs_f64(),
        commits: count(n_groups) / took.as_secs_f64(),
        entries_per_commit: count(n_done) / count(n_groups.max(1)),
        writer_busy: count(after.1.write_us_total - before.1.write_us_total)
            / (took.as_secs_f64() * 1e6),
        shape: Shape { entry_rows, other_rows, bytes: per_group(n_bytes) },
    })
}

/// Changes of rows that belong to single entries: put by an enqueue and by a grant, removed twice by an
/// ack.
fn changes(counters: &Counters) -> u64 {
    counters.n_enqueued + counters.n_granted + 2 * counters.n_acked
}

/// Runs the callers until time is up. Returns the entries receipted and acked, and how long it took.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
async fn drive(engine: &Engine, case: Case, length: Duration) -> Outcome<(u64, u64, Duration)> {
    let (n_receipts, n_acked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let until = started + length;
    let mut callers: JoinSet<Result<(), millpond::Error>> = JoinSet::new();
    for caller in 0..case.n_callers {
        let (engine, n_receipts, n_acked) = (engine.clone(), n_receipts.clone(), n_acked.clone());
        match case.work {
            Work::Enqueue { batch } => {
                callers.spawn(enqueue(engine, caller, batch, until, n_receipts));
            }
            Work::Cycle if caller % 2 == 0 => {
                callers.spawn(enqueue(engine, caller / 2, 1, until, n_receipts));
            }
            Work::Cycle => {
                callers.spawn(consume(engine, until, n_acked));
            }
        }
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    let took = started.elapsed();
    // Relaxed: the callers have ended.
    Ok((n_receipts.load(Ordering::Relaxed), n_acked.load(Ordering::Relaxed), took))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
async fn enqueue(
    engine: Engine,
    caller: usize,
    batch: usize,
    until: Instant,
    n_receipts: Arc<AtomicU64>,
) -> Result<(), millpond::Error> {
    let queue = engine.topic("bench").queue(format!("queue-{}", caller % N_QUEUES));
    let payload = millpond::Bytes::from(vec![0x5A; PAYLOAD_BYTES]);
    while Instant::now() < until {
        let n = if batch == 1 {
            queue.enqueue(Entry::new(payload.clone())).await?;
            1
        } else {
            let entries = vec![Entry::new(payload.clone()); batch];
            queue.enqueue_batch(entries).await?.get().len()
        };
        n_receipts.fetch_add(n as u64, Ordering::Relaxed);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
async fn consume(
    engine: Engine,
    until: Instant,
    n_acked: Arc<AtomicU64>,
) -> Result<(), millpond::Error> {
    let topic = engine.topic("bench");
    while Instant::now() < until {
        let request = topic.lease().max(1).wait(Duration::from_millis(100));
        for delivery in request.fetch().await? {
            delivery.ack().await?;
            n_acked.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
