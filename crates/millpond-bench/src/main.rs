//! Side-by-side benchmarks of Millpond. Every figure comes with the one it is compared to, measured in
//! the same run, and every run checks its results. It is not a test: nothing here passes or fails.
//!
//! ```text
//! cargo xtask bench [NAME…] [--quick] [--case TEXT] [--json FILE]
//! ```
//!
//! | bench | subject | peers |
//! |---|---|---|
//! | `dead-prefix` | reads among rows that are gone, with each guard of the RocksDB backend | the same reads without that guard; point deletes against range deletes; checksums off |
//! | `delays` | entries that wait, ten million by default, and a million leases that end at the same moment: memory, lateness, restarts, turns of the loop | the empty engine; the same callers before |
//! | `engine` | durable enqueue and the full cycle through the facade | raw RocksDB `WriteBatch` + sync with the same rows and bytes per commit; a bare `fdatasync` of the same bytes |
//! | `fairness` | how long entries of quiet queues wait beside a queue that floods; whose turn it is among queues in unequal partitions | the same entries without the flood, and in one queue with it; what the weights say |
//! | `inbox` | insert, take and confirm of one window per queue, in nanoseconds; refills per 1000 takes | the whole queue in a `BTreeMap`; one RocksDB iterator and seek per take. No sync is involved |
//! | `promotion` | what a request to the pool costs whoever schedules it, how soon it starts, what an idle pool costs, and what a promotion adds to a read that hits the store | a bare ring; a thread that polls it; the same read without promotion. No sync is measured |
//! | `queues` | a million queues through the facade: memory, restart, turns of the loop; a deep queue; the window budget | the bars of the design; a tenth of the queues; a fresh queue; no budget |
//! | `scheduler` | one pick among 10, 10,000 and a million queues, with and without limits; memory per queue | weighted fair queueing in a `BTreeSet`; a plain ring. No sync is involved |
//! | `wakeup` | deadlines by handle and by key: set, replace, postpone, cancel, deliver; memory; the longest single call | `DelayQueue` of tokio-util; a binary heap with lazy deletion |

mod callers;
mod dead_prefix;
mod delays;
mod engine;
mod fairness;
mod inbox;
mod measure;
mod promotion;
mod queues;
mod raw_file;
mod raw_rocksdb;
mod report;
mod scheduler;
mod wakeup;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::measure::Effort;
use crate::report::Report;

/// Queues that the callers spread over.
const N_QUEUES: usize = 64;

/// Measures Millpond beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which benches to run; all of them by default.
    #[arg(value_parser = ["dead-prefix", "delays", "engine", "fairness", "inbox", "promotion", "queues", "scheduler", "wakeup"])]
    names: Vec<String>,
    /// Shorter runs: for a look, not for a figure.
    #[arg(long)]
    quick: bool,
    /// Only the cases whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    case: String,
    /// Also write one JSON object per line to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the stores are made; the figures depend on this disk.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// How many queues the bench `queues` makes: 1,000,000 by default, 50,000 with `--quick`.
    #[arg(long, value_name = "N")]
    queues: Option<usize>,
    /// How many entries the bench `delays` makes: 10,000,000 by default, 100,000 with `--quick`.
    #[arg(long, value_name = "N")]
    entries: Option<usize>,
    /// A part of a bench that runs in a process of its own.
    #[arg(long, value_name = "JSON", hide = true)]
    step: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        if let Some(step) = &arguments.step {
            let is_delays = arguments.names.iter().any(|name| name == "delays");
            return if is_delays { delays::run_child(step) } else { queues::run_child(step) };
        }
        let mut report = Report::new(arguments.json.as_ref().map(File::create).transpose()?)?;
        report.figure_heading();
        let wanted = |bench: &str| {
            arguments.names.is_empty() || arguments.names.iter().any(|name| name == bench)
        };
        if wanted("dead-prefix") {
            dead_prefix::run(&mut report, effort, &arguments.dir, &arguments.case)?;
        }
        if wanted("delays") {
            let n_entries = arguments.entries;
            delays::run(&mut report, effort, &arguments.dir, &arguments.case, n_entries)?;
        }
        if wanted("engine") {
            engine::run(&mut report, effort, &arguments.dir, &arguments.case)?;
        }
        if wanted("fairness") {
            fairness::run(&mut report, effort, &arguments.dir, &arguments.case)?;
        }
        if wanted("inbox") {
            inbox::run(&mut report, effort, &arguments.dir, &arguments.case)?;
        }
        if wanted("promotion") {
            promotion::run(&mut report, effort, &arguments.dir, &arguments.case)?;
        }
        if wanted("queues") {
            let n_queues = arguments.queues;
            queues::run(&mut report, effort, &arguments.dir, &arguments.case, n_queues)?;
        }
        if wanted("scheduler") {
            scheduler::run(&mut report, effort, &arguments.case)?;
        }
        if wanted("wakeup") {
            wakeup::run(&mut report, effort, &arguments.case)?;
        }
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millpond-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
