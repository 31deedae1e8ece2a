//! Benchmarks of caches beside each other: what they give back after a write, and how many reads they spare. It
//! links no RocksDB, so it builds in seconds. It is not a test: nothing here passes or fails by time.
//!
//! ```text
//! cargo xtask bench coherence hit-ratio [--quick] [--json FILE]
//! ```
//!
//! | bench | subject | peers |
//! |---|---|---|
//! | `coherence` | what is read after a write that came while a load or a promotion of the old value was on its way | foyer, moka, quick_cache |
//! | `hit-ratio` | hits and promotions on seeded traces, with equal bytes | the same, and the other policies of foyer |

mod cache;
mod coherence;
mod hit_ratio;
mod ours;
mod peers;
// The same file, not a package of its own: it would be one for two programs and a hundred lines.
#[path = "../../millpond-bench/src/report.rs"]
#[allow(
    dead_code,
    reason = "figures go into a table of our own, and comparisons are of the other program"
)]
mod report;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::hit_ratio::Size;
use crate::report::Report;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Measures caches beside each other.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which benches to run; all of them by default.
    #[arg(value_parser = ["coherence", "hit-ratio"])]
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
    /// Behind what the file has already.
    #[arg(long)]
    append: bool,
    /// Of the traces of `hit-ratio`.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millpond-cache-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let open = |path| match arguments.append {
        true => File::options().append(true).create(true).open(path),
        false => File::create(path),
    };
    let mut report = Report::new(arguments.json.as_ref().map(open).transpose()?)?;
    let wanted = |bench: &str| {
        arguments.names.is_empty() || arguments.names.iter().any(|name| name == bench)
    };
    if wanted("coherence") {
        let n_rounds = if arguments.quick { 100 } else { 1_000 };
        coherence::run(&mut report, n_rounds, &arguments.case)?;
    }
    if wanted("hit-ratio") {
        let size = if arguments.quick { Size::QUICK } else { Size::FULL };
        hit_ratio::run(&mut report, size, arguments.seed, &arguments.case)?;
    }
    Ok(())
}
