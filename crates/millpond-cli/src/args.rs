//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use millpond::{TopicName, limits};

use crate::failure::EXIT_CODES;
use crate::replay::process::HOST_COMMAND;
use crate::replay::workload::Speed;

/// Longest run of a job that can be asked for: an hour.
const RUN_MS_MAX: u64 = 3_600_000;

/// Most workers: their calls, together with those that enqueue, must fit into a mailbox.
const WORKERS_MAX: u64 = 1024;

/// Durable queues on your own disk: replay a job log through them, look into an engine, check a machine.
#[derive(Debug, Parser)]
#[command(name = "millpond", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replay a job log through durable queues, and account for every job
    Replay(Box<ReplayArguments>),
    /// Look at queues and purge them, in a running or a stopped engine
    Queue {
        #[command(subcommand)]
        verb: QueueVerb,
    },
    /// Look at dead letters, and replay or drop them, in a running or a stopped engine
    Dlq {
        #[command(subcommand)]
        verb: DlqVerb,
    },
    /// Look at partitions, in a running or a stopped engine
    Partition {
        #[command(subcommand)]
        verb: PartitionVerb,
    },
    /// Check whether this machine and this data directory are fit for work
    Doctor(Place),
    /// Print the completions of a shell, to be sourced
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The process that runs a replay's engine
    #[command(name = HOST_COMMAND, hide = true)]
    ReplayEngine,
}

/// Where, and in which form.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The engine's data directory
    #[arg(long, value_name = "DIR", env = "MILLPOND_DATA", default_value = "data")]
    pub(crate) data: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueVerb {
    /// List the queues that hold something
    Ls {
        #[command(flatten)]
        place: Place,
        /// Only queues of this topic
        #[arg(long)]
        topic: Option<String>,
        /// Most queues to list
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one(), allow_negative_numbers = true)]
        limit: u64,
    },
    /// List the queues that need attention most
    Top {
        #[command(flatten)]
        place: Place,
        /// Only queues of this topic
        #[arg(long)]
        topic: Option<String>,
        /// What to look for
        #[arg(long, value_enum, default_value_t = TopBy::Deepest)]
        by: TopBy,
        /// Most queues to list
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = at_least_one(), allow_negative_numbers = true)]
        limit: u64,
    },
    /// Say why a queue is, or is not, being served
    Explain {
        #[command(flatten)]
        place: Place,
        /// The topic
        topic: String,
        /// The queue's key
        key: String,
    },
    /// Remove everything that a queue holds, leased or not; asks first
    Purge {
        #[command(flatten)]
        place: Place,
        /// The topic
        topic: String,
        /// The queue's key
        key: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopBy {
    /// Most ready entries first
    Deepest,
    /// Most dead letters first
    Dead,
    /// Longest waiting head first
    Oldest,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqVerb {
    /// List the dead letters of a queue, without their payloads
    Ls {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        queue: QueueName,
        /// Begin after this one
        #[arg(long, value_name = "ID")]
        after: Option<DeadId>,
        /// Most dead letters to list
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one(), allow_negative_numbers = true)]
        limit: u64,
    },
    /// Show a dead letter with its headers and payload
    Show {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        queue: QueueName,
        /// The dead letter, as `ls` names it
        id: DeadId,
    },
    /// Make dead letters ready again, their attempts uncounted
    Replay {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        queue: QueueName,
        #[command(flatten)]
        which: WhichDead,
    },
    /// Remove dead letters for good; asks first
    Drop {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        queue: QueueName,
        #[command(flatten)]
        which: WhichDead,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Topic and key of a queue.
#[derive(Debug, Args)]
pub(crate) struct QueueName {
    /// The topic
    pub(crate) topic: String,
    /// The queue's key
    pub(crate) key: String,
}

/// One dead letter, or all of a queue.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct WhichDead {
    /// The dead letter, as `ls` names it
    pub(crate) id: Option<DeadId>,
    /// All dead letters of the queue
    #[arg(long)]
    pub(crate) all: bool,
}

/// A dead letter in its queue: priority and sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeadId(pub(crate) u8, pub(crate) u64);

impl std::str::FromStr for DeadId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (priority, sequence) = text.split_once('/').unzip();
        let priority = priority.and_then(|priority| priority.parse().ok());
        let sequence = sequence.and_then(|sequence| sequence.parse().ok());
        let id = priority.zip(sequence).map(|(priority, sequence)| Self(priority, sequence));
        id.ok_or_else(|| "dead letters are named like 128/17: priority / sequence".to_owned())
    }
}

impl std::fmt::Display for DeadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum PartitionVerb {
    /// List the partitions
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// Check every row of every partition against every other
    Verify {
        #[command(flatten)]
        place: Place,
    },
}

/// What to replay, and how.
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// A log in the Standard Workload Format, plain or gzipped
    #[arg(value_name = "LOG.swf[.gz]")]
    pub(crate) log: PathBuf,
    /// The engine's data directory; created if it is not there
    #[arg(long, value_name = "DIR", env = "MILLPOND_DATA", default_value = "data")]
    pub(crate) data: PathBuf,
    /// Seconds of the log in one second of the replay, or `max`: everything at once
    #[arg(long, value_name = "X", default_value = "max", allow_negative_numbers = true)]
    pub(crate) speed: Speed,
    /// Milliseconds that every job takes, instead of its run time in the log
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=RUN_MS_MAX), allow_negative_numbers = true)]
    pub(crate) run_ms: Option<u64>,
    /// One queue per user, so that users take turns; the default
    #[arg(long)]
    pub(crate) fair: bool,
    /// One queue for the jobs of all users; together with --fair, one replay of each kind and a comparison of
    /// how long users waited
    #[arg(long)]
    pub(crate) fifo: bool,
    /// Workers that lease, run and acknowledge
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = workers(), allow_negative_numbers = true)]
    pub(crate) workers: usize,
    /// Kill the engine's process with `kill -9` once N acknowledgements were seen, and resume
    #[arg(long, value_name = "N", value_parser = at_least_one(), allow_negative_numbers = true)]
    pub(crate) crash_after: Option<u64>,
    /// Partitions of a new engine; one per core if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::PARTITIONS_MAX)), allow_negative_numbers = true)]
    pub(crate) partitions: Option<u16>,
    /// The topic
    #[arg(long, default_value = "jobs", value_parser = topic)]
    pub(crate) topic: String,
    /// Write the report as JSON to this file; `-` prints it instead of the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw the report to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

fn at_least_one() -> impl clap::builder::TypedValueParser<Value = u64> {
    clap::value_parser!(u64).range(1..)
}

fn workers() -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser as _;
    let number = clap::value_parser!(u64).range(1..=WORKERS_MAX);
    number.try_map(usize::try_from)
}

fn topic(name: &str) -> Result<String, String> {
    TopicName::new(name).map(|_| name.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
