//! What the process that keeps the books tells the process that runs the engine: one JSON object per line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clock::Micros;

/// One step. They come in the order of the variants; the end of the stream closes the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Instruction {
    /// Open the engine and report what it holds.
    Open(Setup),
    /// Enqueue this job when it is due.
    Job(Submission),
    /// Start submitting and working.
    Begin,
}

/// All that is fixed before anything starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) directory: PathBuf,
    /// For a new engine.
    pub(crate) n_partitions: Option<u16>,
    pub(crate) topic: String,
    /// Keys of all queues of the replay.
    pub(crate) queues: Vec<String>,
    /// Marks the entries of this replay.
    pub(crate) run: String,
    pub(crate) n_workers: usize,
    pub(crate) lease_ms: u64,
    /// By job: how long a worker is busy with it.
    pub(crate) run_us: Vec<u64>,
}

/// A job that is to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Submission {
    pub(crate) job: u32,
    /// Index of its queue.
    pub(crate) queue: usize,
    pub(crate) due: Micros,
    pub(crate) payload: String,
}
