//! Looking at an engine from outside: the same questions for a running one, asked over its socket, and
//! for a stopped one, read without changing a byte.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), millpond::Error> {
//! use millpond::admin::{Admin, Order};
//! use millpond::{Engine, Entry, Options};
//!
//! # let directory = tempfile::tempdir().expect("a temporary directory");
//! # let data = directory.path().join("data");
//! let engine = Engine::open(Options::new(&data)).await?;
//! engine.topic("emails").queue("tenant-42").enqueue(Entry::new("hello")).await?;
//! engine.close().await?;
//!
//! let admin = Admin::connect(&data).await?;
//! assert!(!admin.is_running());
//! let queues = admin.queues(None, Order::Deepest, 10).await?;
//! assert_eq!((queues[0].key.as_str(), queues[0].n_entries), ("tenant-42", 1));
//! # Ok(())
//! # }
//! ```

mod answering;

use std::path::{Path, PathBuf};

use millpond_types::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::{Error, layout};
pub(crate) use answering::{View, answer};

/// How to sort queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By topic and key.
    Name,
    /// Most entries first.
    Deepest,
    /// The queue whose oldest ready entry has waited longest first.
    Oldest,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueInfo {
    /// Its topic.
    pub topic: String,
    /// Its key; bytes that are not text are escaped.
    pub key: String,
    /// Its id, in hexadecimal.
    pub id: String,
    /// The partition it lives in.
    pub partition: u16,
    /// Entries it holds, leased ones included.
    pub n_entries: u64,
    /// Entries leased.
    pub n_leased: u64,
    /// For how long the entry at its head has been ready, in milliseconds; absent if none is ready.
    pub head_waits_ms: Option<u64>,
}

/// Why a queue is, or is not, being served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The queue.
    #[serde(flatten)]
    pub queue: QueueInfo,
    /// One word: `empty`, `ready`, `leased`, `loading`, `committing`, `backing_off`, or `stopped` for a
    /// queue with ready entries in an engine that is not running.
    pub state: String,
    /// One sentence.
    pub reason: String,
    /// The leases in force, nearest deadline first; at most 100.
    pub leases: Vec<LeaseInfo>,
}

/// A lease in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// The entry's sequence.
    pub sequence: u64,
    /// The fencing token, as `epoch.number`.
    pub token: String,
    /// Which attempt it is.
    pub attempt: u32,
    /// Milliseconds until its deadline; 0 when it is over and not yet noticed.
    pub ends_in_ms: u64,
}

/// What a verification found in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCheck {
    /// The partition.
    pub partition: u16,
    /// Queues with work.
    pub n_queues: u64,
    /// Entries.
    pub n_entries: u64,
    /// Lease records.
    pub n_leases: u64,
    /// Rows read.
    pub n_rows: u64,
    /// Rules that were broken.
    pub n_problems: u64,
    /// The first of them, in words.
    pub problems: Vec<String>,
}

/// A question to an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Question {
    Queues { topic: Option<String>, order: Order, n_max: usize },
    Explain { topic: String, key: Vec<u8> },
    Verify,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Queues(Vec<QueueInfo>),
    Explanation(Box<Explanation>),
    Verified(Vec<PartitionCheck>),
    Error { kind: String, text: String },
}

/// An engine, seen from outside.
#[derive(Debug)]
pub struct Admin {
    directory: PathBuf,
    n_partitions: u16,
    running: bool,
}

impl Admin {
    /// Finds out whether the engine in a directory is running.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when there is no engine, [`Format`](ErrorKind::Format) when this
    /// build cannot read it, [`AlreadyOpen`](ErrorKind::AlreadyOpen) when a process has it open that does
    /// not answer.
    pub async fn connect(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        let Some(n_partitions) = layout::n_partitions(&directory)? else {
            let path = directory.display();
            return Err(Error::new(ErrorKind::NotFound, format!("there is no engine at {path}")));
        };
        let running = answers(&directory).await;
        if !running && layout::is_locked(&directory)? {
            let path = directory.display();
            let text = format!("{path} is open in a process that does not answer on its socket");
            return Err(Error::new(ErrorKind::AlreadyOpen, text));
        }
        Ok(Self { directory, n_partitions, running })
    }

    /// How many partitions the engine was created with.
    pub fn n_partitions(&self) -> u16 {
        self.n_partitions
    }

    /// Whether a running engine answers.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Up to `n_max` queues that hold something.
    ///
    /// # Errors
    ///
    /// The engine cannot be read or reached.
    pub async fn queues(
        &self,
        topic: Option<&str>,
        order: Order,
        n_max: usize,
    ) -> Result<Vec<QueueInfo>, Error> {
        let topic = topic.map(str::to_owned);
        match self.ask(Question::Queues { topic, order, n_max }).await? {
            Answer::Queues(queues) => Ok(queues),
            other => Err(unexpected(other)),
        }
    }

    /// Why a queue is, or is not, being served.
    ///
    /// # Errors
    ///
    /// A name is invalid, or the engine cannot be read or reached.
    pub async fn explain(&self, topic: &str, key: &[u8]) -> Result<Explanation, Error> {
        let question = Question::Explain { topic: topic.to_owned(), key: key.to_vec() };
        match self.ask(question).await? {
            Answer::Explanation(explanation) => Ok(*explanation),
            other => Err(unexpected(other)),
        }
    }

    /// Checks every row of every partition against every other.
    ///
    /// # Errors
    ///
    /// The engine cannot be read or reached; what is wrong with its rows is in the result.
    pub async fn verify(&self) -> Result<Vec<PartitionCheck>, Error> {
        match self.ask(Question::Verify).await? {
            Answer::Verified(checks) => Ok(checks),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, question: Question) -> Result<Answer, Error> {
        #[cfg(all(feature = "control", unix))]
        if self.running {
            return crate::control::ask(&self.directory, &question).await;
        }
        let directory = self.directory.clone();
        let opened = tokio::task::spawn_blocking(move || layout::open_read_only(&directory)).await;
        let readers =
            opened.map_err(|error| Error::new(ErrorKind::Closed, error.to_string()))??;
        answer(&View::Stopped(readers), question).await
    }
}

#[cfg(all(feature = "control", unix))]
async fn answers(directory: &Path) -> bool {
    crate::control::connect(directory).await.is_ok()
}

#[cfg(not(all(feature = "control", unix)))]
async fn answers(_directory: &Path) -> bool {
    false
}

fn unexpected(answer: Answer) -> Error {
    let text = match answer {
        Answer::Error { text, .. } => text,
        _ => "the engine answered another question".to_owned(),
    };
    Error::new(ErrorKind::Io, text)
}
