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

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond_partition::inspect::{self, StoredQueue};
use millpond_partition::verify::{Verification, verify};
use millpond_partition::{Clock, PartitionStore, QueueRef, QueueReport, QueueState};
use millpond_storage_api::StoreRead;
use millpond_types::{EntryId, ErrorKind, QueueId, QueueKey, Stage, TopicName, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{Error, layout};

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

/// What questions are answered from.
pub(crate) enum View {
    Stopped(Vec<Arc<dyn StoreRead>>),
    #[cfg_attr(
        not(all(feature = "control", unix)),
        expect(dead_code, reason = "asked by the socket")
    )]
    Running(crate::Engine),
}

impl View {
    fn stores(&self) -> Vec<Arc<dyn StoreRead>> {
        match self {
            Self::Stopped(readers) => readers.clone(),
            Self::Running(engine) => engine
                .0
                .partitions
                .iter()
                .map(|p| p.store().clone() as Arc<dyn StoreRead>)
                .collect(),
        }
    }

    fn n_partitions(&self) -> u16 {
        match self {
            Self::Stopped(readers) => u16::try_from(readers.len()).unwrap_or(u16::MAX),
            Self::Running(engine) => engine.n_partitions(),
        }
    }
}

pub(crate) async fn answer(view: &View, question: Question) -> Result<Answer, Error> {
    match question {
        Question::Queues { topic, order, n_max } => {
            Ok(Answer::Queues(queues(view, topic.as_deref(), order, n_max).await?))
        }
        Question::Explain { topic, key } => {
            let names = QueueRef::new(TopicName::new(&topic)?, QueueKey::new(key)?);
            Ok(Answer::Explanation(Box::new(explain(view, &names).await?)))
        }
        Question::Verify => Ok(Answer::Verified(verify_all(view).await?)),
    }
}

/// Leases in force, by queue.
type Leases = HashMap<QueueId, Vec<LeaseInfo>>;

async fn leases(store: &dyn StoreRead, now: UnixMillis) -> Result<Leases, Error> {
    let mut leases = Leases::new();
    for (key, row) in inspect::leases(store).await? {
        if !row.is_released() {
            leases.entry(key.queue).or_default().push(LeaseInfo {
                sequence: key.sequence.0,
                token: row.token.to_string(),
                attempt: row.attempts,
                ends_in_ms: row.deadline.since(now),
            });
        }
    }
    Ok(leases)
}

async fn queues(
    view: &View,
    topic: Option<&str>,
    order: Order,
    n_max: usize,
) -> Result<Vec<QueueInfo>, Error> {
    let now = Clock::start().now();
    let wanted = |queue: &StoredQueue| {
        let name = queue.names.as_ref().map(|names| names.topic.as_str());
        topic.is_none_or(|topic| name == Some(topic))
    };
    let mut found = Vec::new();
    for store in view.stores() {
        let leases = Arc::new(leases(&*store, now).await?);
        let queues = inspect::queues(&*store).await?;
        let queues = queues.into_iter().filter(wanted);
        found.extend(queues.map(|queue| (store.clone(), leases.clone(), queue)));
    }
    // Only the age of a head costs a read for each queue; for the other orders the list is cut first.
    match order {
        Order::Name => found.sort_by_cached_key(|(_, _, queue)| names_of(queue)),
        Order::Deepest => found.sort_by_key(|(_, _, queue)| std::cmp::Reverse(n_entries(queue))),
        Order::Oldest => {}
    }
    if order != Order::Oldest {
        found.truncate(n_max);
    }
    let mut infos = Vec::with_capacity(found.len());
    for (store, leases, queue) in &found {
        infos.push(queue_info(&**store, queue, leases, view.n_partitions(), now).await?);
    }
    if order == Order::Oldest {
        infos.sort_by_key(|info| std::cmp::Reverse(info.head_waits_ms));
        infos.truncate(n_max);
    }
    Ok(infos)
}

/// Topic and key, or what can be said instead when a damaged store has no names for the queue.
fn names_of(queue: &StoredQueue) -> (String, String) {
    match &queue.names {
        Some(names) => (names.topic.to_string(), names.key.to_string()),
        None => (queue.key.topic.to_string(), "?".to_owned()),
    }
}

fn n_entries(queue: &StoredQueue) -> u64 {
    queue.row.n_ready.saturating_add(queue.row.n_delayed).saturating_add(queue.row.n_dead)
}

async fn queue_info(
    store: &dyn StoreRead,
    queue: &StoredQueue,
    leases: &Leases,
    n_partitions: u16,
    now: UnixMillis,
) -> Result<QueueInfo, Error> {
    let id = queue.key.queue;
    let n_leased = leases.get(&id).map_or(0, Vec::len) as u64;
    let head = first_ready(store, queue, n_leased).await?;
    let (topic, key) = names_of(queue);
    Ok(QueueInfo {
        topic,
        key,
        id: id.to_string(),
        partition: id.partition(n_partitions),
        n_entries: n_entries(queue),
        n_leased,
        head_waits_ms: head.map(|enqueued_at| now.since(enqueued_at)),
    })
}

/// When the first entry that nobody leases was accepted.
async fn first_ready(
    store: &dyn StoreRead,
    queue: &StoredQueue,
    n_leased: u64,
) -> Result<Option<UnixMillis>, Error> {
    if queue.row.n_ready <= n_leased {
        return Ok(None);
    }
    let mut after = None;
    loop {
        let entries = inspect::entries(store, queue.key.queue, after, 64).await?;
        let ready = |entry: &&inspect::StoredEntry| {
            entry.stage == Stage::Ready && entry.lease.is_none_or(|lease| lease.is_released())
        };
        if let Some(head) = entries.iter().find(ready) {
            return Ok(Some(head.enqueued_at));
        }
        match entries.last() {
            Some(last) => after = Some((last.stage, EntryId { ..last.id })),
            None => return Ok(None),
        }
    }
}

async fn explain(view: &View, names: &Arc<QueueRef>) -> Result<Explanation, Error> {
    let now = Clock::start().now();
    let partition = names.id.partition(view.n_partitions());
    let store = &view.stores()[usize::from(partition)];
    let mut leases = leases(&**store, now).await?;
    let queue = match inspect::queue(&**store, names).await? {
        Some(queue) => queue_info(&**store, &queue, &leases, view.n_partitions(), now).await?,
        None => QueueInfo {
            topic: names.topic.to_string(),
            key: names.key.to_string(),
            id: names.id.to_string(),
            partition,
            n_entries: 0,
            n_leased: 0,
            head_waits_ms: None,
        },
    };
    let mut leases = leases.remove(&names.id).unwrap_or_default();
    leases.sort_by_key(|lease| lease.ends_in_ms);
    let (state, reason) = match view {
        View::Stopped(_) => stopped_state(&queue, leases.first()),
        View::Running(engine) => {
            let report = engine.partition_of(names.id).report_queue(names.id).await?;
            running_state(report.as_ref(), now)
        }
    };
    leases.truncate(100);
    Ok(Explanation { queue, state: state.to_owned(), reason, leases })
}

fn stopped_state(queue: &QueueInfo, first: Option<&LeaseInfo>) -> (&'static str, String) {
    if queue.n_entries == 0 {
        return ("empty", "it holds nothing".to_owned());
    }
    match (queue.head_waits_ms, first) {
        (None, Some(lease)) => {
            let ms = lease.ends_in_ms;
            ("leased", format!("everything it holds is leased; the first lease ends in {ms} ms"))
        }
        _ => ("stopped", "it has ready entries, and no engine is running".to_owned()),
    }
}

fn running_state(report: Option<&QueueReport>, now: UnixMillis) -> (&'static str, String) {
    let Some(report) = report else { return ("empty", "it holds nothing".to_owned()) };
    match &report.state {
        QueueState::Empty => ("empty", "it holds nothing".to_owned()),
        QueueState::Ready { n_ahead: 0 } => {
            ("ready", "its head is next to be leased; no consumer has asked".to_owned())
        }
        QueueState::Ready { n_ahead } => {
            ("ready", format!("its head can be leased; {n_ahead} queues of the topic come first"))
        }
        QueueState::Leased { until } => {
            let ms = until.since(now);
            ("leased", format!("everything it holds is leased; the first lease ends in {ms} ms"))
        }
        QueueState::Loading => ("loading", "its head is being read from storage".to_owned()),
        QueueState::Committing => {
            ("committing", "a change of its head is on its way to storage".to_owned())
        }
        QueueState::BackingOff { until, error } => {
            let ms = until.since(now);
            ("backing_off", format!("its head cannot be read ({error}); next try in {ms} ms"))
        }
        _ => ("unknown", "this version cannot describe its state".to_owned()),
    }
}

async fn verify_all(view: &View) -> Result<Vec<PartitionCheck>, Error> {
    let n_partitions = view.n_partitions();
    let mut checks = Vec::new();
    for partition in 0..n_partitions {
        let found = match view {
            View::Stopped(readers) => {
                verify(&*readers[usize::from(partition)], partition, n_partitions).await?
            }
            // The rows of a running engine change; a checkpoint stands still.
            View::Running(engine) => {
                let store: &Arc<dyn PartitionStore> =
                    engine.0.partitions[usize::from(partition)].store();
                let checkpoint =
                    store.checkpoint().await.map_err(millpond_partition::PartitionError::from)?;
                verify(&*checkpoint.view, partition, n_partitions).await?
            }
        };
        checks.push(check(partition, found));
    }
    Ok(checks)
}

fn check(partition: u16, found: Verification) -> PartitionCheck {
    PartitionCheck {
        partition,
        n_queues: found.n_queues,
        n_entries: found.n_entries,
        n_leases: found.n_leases,
        n_rows: found.n_rows,
        n_problems: found.n_problems,
        problems: found.problems,
    }
}
