//! The `millpond` command: replays a job log through durable queues and accounts for every job, looks into
//! a running or stopped engine, changes its rules, purges queues, settles dead letters, and checks a machine. It is not a server; it
//! opens an engine only to replay a log, and to change one that is stopped.
//!
//! Every answer comes as a table, or as JSON with `--json`. How a command ends is one of a few exit codes,
//! listed by `millpond --help`, and one sentence on standard error.

mod args;
mod ask;
mod clock;
mod dlq;
mod doctor;
mod failure;
mod output;
mod partition;
mod queue;
mod replay;
mod rule;
mod signals;
mod top;
mod units;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

use crate::args::{Arguments, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                // Standard error may be closed, and then there is nobody to tell.
                let _ = writeln!(io::stderr(), "millpond: {failure}");
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// What `MILLPOND_LOG` asks for of the engine's log goes to standard error. Nothing by default: what goes
/// wrong is said once, in one sentence.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("MILLPOND_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    log.with_ansi(io::stderr().is_terminal()).init();
}

fn run(command: Command) -> Result<(), Failure> {
    if let Command::Completions { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "millpond", &mut script);
        return output::print(&String::from_utf8_lossy(&script));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("start threads", &error))?;
    runtime.block_on(async {
        match command {
            Command::Replay(arguments) => replay::replay(&arguments).await,
            Command::Queue { verb } => queue::run(verb).await,
            Command::Topic { verb } => rule::topic(verb).await,
            Command::Rule { verb } => rule::run(verb).await,
            Command::Dlq { verb } => dlq::run(verb).await,
            Command::Partition { verb } => partition::run(verb).await,
            Command::Doctor(place) => doctor::run(&place).await,
            Command::ReplayEngine => replay::host::host().await,
            Command::Completions { .. } => Ok(()),
        }
    })
}
