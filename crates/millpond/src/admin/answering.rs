//! Answering questions about an engine from its stores, and from its loops where it runs.

use std::collections::HashMap;
use std::sync::Arc;

use millpond_partition::inspect::{self, StoredQueue};
use millpond_partition::verify::{Verification, verify};
use millpond_partition::{Clock, PartitionStore, QueueRef, QueueReport, QueueState};
use millpond_storage_api::StoreRead;
use millpond_types::{EntryId, QueueId, QueueKey, Stage, TopicName, UnixMillis};

use super::{Answer, Explanation, LeaseInfo, Order, PartitionCheck, Question, QueueInfo};
use crate::Error;

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
