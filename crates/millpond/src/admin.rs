//! Looking at an engine from outside, changing its rules, purging its queues, and settling their dead letters: the same
//! questions for a running one, asked over its socket, and for a stopped one, read without changing a byte.
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
//! let queues = admin.queues(None, Order::Deepest, 10).await?.queues;
//! assert_eq!((queues[0].key.as_str(), queues[0].n_entries), ("tenant-42", 1));
//! # Ok(())
//! # }
//! ```

mod answering;
mod dead;
mod explaining;
mod info;
mod listing;
mod lowest;
mod reasons;
mod rows;
mod rules;
mod settings;
mod utc;
mod waiting;

use std::path::{Path, PathBuf};

use millpond_types::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::{Engine, Error, Options, layout};
pub(crate) use answering::{View, answer};
pub use info::{
    Activity, Content, DeadLetterContent, DeadLetterInfo, DeadLettersDone, DelayedInfo,
    Explanation, HeaderInfo, LeaseInfo, LimitInfo, PartitionCheck, PartitionInfo, PayloadInfo,
    PurgeInfo, QueueInfo, QueueList, WaitsFor, WindowInfo,
};
pub use rules::{HeldSetting, RuleChange, RuleInfo};
pub use settings::{SettingName, SettingValue};

/// How to sort queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By topic and key.
    Name,
    /// Most ready entries first, leased ones included.
    Deepest,
    /// Most dead letters first; queues without any are left out.
    MostDead,
    /// The queue whose oldest ready entry has waited longest first.
    Oldest,
}

/// A question to an engine, or an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Question {
    Queues {
        topic: Option<String>,
        order: Order,
        n_max: usize,
    },
    Explain {
        topic: String,
        key: Vec<u8>,
    },
    Partitions,
    Payloads,
    Verify,
    Purge {
        topic: String,
        key: Vec<u8>,
    },
    DeadLetters {
        topic: String,
        key: Vec<u8>,
        after: Option<Rank>,
        n_max: usize,
    },
    DeadLetter {
        topic: String,
        key: Vec<u8>,
        rank: Rank,
    },
    SettleDead {
        topic: String,
        key: Vec<u8>,
        rank: Rank,
        action: Action,
    },
    /// A step of doing it to all.
    SettleAllDead {
        topic: String,
        key: Vec<u8>,
        after: Option<Rank>,
        action: Action,
    },
    Rules {
        topic: Option<String>,
    },
    /// The stored form of what is set, and what is unset before.
    ChangeRule {
        key: Vec<u8>,
        row: Vec<u8>,
        unset: Vec<SettingName>,
    },
}

impl Question {
    /// Whether it takes an engine that may write.
    fn is_order(&self) -> bool {
        matches!(
            self,
            Self::Purge { .. }
                | Self::SettleDead { .. }
                | Self::SettleAllDead { .. }
                | Self::ChangeRule { .. }
        )
    }
}

/// Priority and sequence of an entry.
pub(crate) type Rank = (u8, u64);

/// What to do with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Replay,
    Drop,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Queues(QueueList),
    Explanation(Box<Explanation>),
    Partitions(Vec<PartitionInfo>),
    Payloads(Option<PayloadInfo>),
    Verified(Vec<PartitionCheck>),
    Purged(PurgeInfo),
    DeadLetters(Vec<DeadLetterInfo>),
    DeadLetter(Box<DeadLetterContent>),
    SettledDead { n_done: u64, next: Option<Rank> },
    Rules(Vec<RuleInfo>),
    Rule(Box<RuleInfo>),
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
    /// However many queues there are, memory and reads are bounded. [`Order::Name`] compares the names of up
    /// to [`LISTED_MAX`](Self::LISTED_MAX) queues, and [`Order::Oldest`] reads the heads of those
    /// [`HEADS_READ_MAX`](Self::HEADS_READ_MAX) queues of each partition that seem oldest; where there are
    /// more, the answer says so. [`Order::Deepest`] and [`Order::MostDead`] take all into account and read one
    /// small row per queue; but of its deepest queues a running engine answers from memory, unless it still
    /// brings queues back, or is asked for one topic, for more than a hundred queues, or for more than it has
    /// in memory.
    ///
    /// # Errors
    ///
    /// The topic is invalid, or the engine cannot be read or reached.
    pub async fn queues(
        &self,
        topic: Option<&str>,
        order: Order,
        n_max: usize,
    ) -> Result<QueueList, Error> {
        let topic = topic.map(str::to_owned);
        match self.ask(Question::Queues { topic, order, n_max }).await? {
            Answer::Queues(queues) => Ok(queues),
            other => Err(unexpected(other)),
        }
    }

    /// Most queues in a list, and most of which the names are compared.
    pub const LISTED_MAX: usize = if cfg!(test) { 5 } else { 100_000 };

    /// Most queues in a list that tells how often each was leased from, and by what weight.
    pub const RATED_MAX: usize = 100;

    /// Most queues of a partition among which [`queues`](Self::queues) looks for the oldest head.
    pub const HEADS_READ_MAX: usize = if cfg!(test) { 3 } else { 10_000 };

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

    /// What each partition holds, and how a running one is doing.
    ///
    /// # Errors
    ///
    /// The engine cannot be read or reached.
    pub async fn partitions(&self) -> Result<Vec<PartitionInfo>, Error> {
        match self.ask(Question::Partitions).await? {
            Answer::Partitions(partitions) => Ok(partitions),
            other => Err(unexpected(other)),
        }
    }

    /// How the payload cache of a running engine serves; `None` for a stopped one.
    ///
    /// # Errors
    ///
    /// The engine cannot be read or reached.
    pub async fn payloads(&self) -> Result<Option<PayloadInfo>, Error> {
        match self.ask(Question::Payloads).await? {
            Answer::Payloads(payloads) => Ok(payloads),
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

    /// Removes everything that a queue holds, as [`Queue::purge`](crate::Queue::purge) does. An engine that
    /// is not running is opened for it, and closed again.
    ///
    /// # Errors
    ///
    /// A name is invalid, the engine cannot be opened or reached, or its storage failed; in the last case
    /// nobody knows how much was removed.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have purged the queue.
    pub async fn purge(&self, topic: &str, key: &[u8]) -> Result<PurgeInfo, Error> {
        let question = Question::Purge { topic: topic.to_owned(), key: key.to_vec() };
        match self.ask(question).await? {
            Answer::Purged(purged) => Ok(purged),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, question: Question) -> Result<Answer, Error> {
        #[cfg(all(feature = "control", unix))]
        if self.running {
            return crate::control::ask(&self.directory, &question).await;
        }
        if question.is_order() {
            return self.open_and_ask(question).await;
        }
        let directory = self.directory.clone();
        let opened = tokio::task::spawn_blocking(move || layout::open_read_only(&directory)).await;
        let readers =
            opened.map_err(|error| Error::new(ErrorKind::Closed, error.to_string()))??;
        answer(&View::Stopped(readers), question).await
    }

    /// Opens the engine for what cannot be done by reading. Leases stay as they are.
    async fn open_and_ask(&self, question: Question) -> Result<Answer, Error> {
        let engine = self.open().await?;
        let answered = answer(&View::Running(engine.clone()), question).await;
        engine.close().await?;
        answered
    }

    async fn open(&self) -> Result<Engine, Error> {
        let options = Options::new(&self.directory).create(false).control_socket(false);
        Engine::open(options).await
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
