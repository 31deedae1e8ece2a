//! Checking every row of a partition against every other.
//!
//! The rules, each of which a commit of the engine keeps:
//!
//! * **V1** Every key and row decodes.
//! * **V2** A queue has an `active` row exactly if it has entries; its counters equal the rows there are,
//!   and no `Ready` row stands below its floor.
//! * **V3** Every queue with work has its names stored, and its id follows from them.
//! * **V4** Every lease record belongs to a `Ready` row and repeats it correctly.
//! * **V5** Every separate body is stored, with the stated length, and no body is without an entry.
//! * **V6** Every sequence is below the reserved one.
//! * **V7** The queue belongs in this partition.

use std::collections::{BTreeMap, BTreeSet};

use millpond_storage_api::{StoreRead, Table};
use millpond_types::{
    ActiveKey, ActiveRow, EntryKey, EntryRank, EntryRow, LeaseKey, LeaseRow, PayloadKey, QueueId,
    QueueRow, Stage, StoredBody, SystemKey, TopicId, decode_u64,
};

use crate::inspect::scan_table;
use crate::{PartitionError, QueueRef};

/// Problems listed by text; more are only counted.
const PROBLEMS_MAX: usize = 100;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Queues with work.
    pub n_queues: u64,
    /// Entries in all stages.
    pub n_entries: u64,
    /// Lease records.
    pub n_leases: u64,
    /// Separate bodies.
    pub n_bodies: u64,
    /// Rows of all tables that were read.
    pub n_rows: u64,
    /// How many rules were broken.
    pub n_problems: u64,
    /// The first of them, in words.
    pub problems: Vec<String>,
}

impl Verification {
    /// Whether every rule holds.
    pub fn is_clean(&self) -> bool {
        self.n_problems == 0
    }

    fn problem(&mut self, text: String) {
        self.n_problems += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }
}

/// What is known of one entry while the tables are compared.
struct Seen {
    rank: EntryRank,
    stage: Stage,
    separate_bytes: Option<u32>,
    attempts: u32,
    enqueued_at: millpond_types::UnixMillis,
}

#[derive(Default)]
struct QueueSeen {
    topic: Option<TopicId>,
    row: Option<ActiveRow>,
    entries: BTreeMap<u64, Seen>,
}

/// Reads every row and checks the rules of this module. Needs memory for each entry's key.
///
/// The view must not change meanwhile: pass a stopped store or a checkpoint.
///
/// # Errors
///
/// Only when the store cannot be read; what is wrong with its rows is in the result.
pub async fn verify(
    store: &(impl StoreRead + ?Sized),
    partition: u16,
    n_partitions: u16,
) -> Result<Verification, PartitionError> {
    let mut found = Verification::default();
    let mut queues: BTreeMap<QueueId, QueueSeen> = BTreeMap::new();
    read_active(store, &mut found, &mut queues).await?;
    let highest = read_entries(store, &mut found, &mut queues).await?;
    check_names(store, &mut found, &queues).await?;
    check_leases(store, &mut found, &queues).await?;
    check_bodies(store, &mut found, &queues).await?;
    check_sequences(store, &mut found, highest).await?;
    for (id, queue) in &queues {
        check_queue(&mut found, *id, queue);
        if n_partitions == 0 || id.partition(n_partitions) != partition {
            found.problem(format!("queue {id} belongs in another partition"));
        }
    }
    found.n_queues = queues.len() as u64;
    Ok(found)
}

async fn read_active(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &mut BTreeMap<QueueId, QueueSeen>,
) -> Result<(), PartitionError> {
    scan_table(store, Table::Active, |key, row| {
        found.n_rows += 1;
        match (ActiveKey::decode(key), ActiveRow::decode(row)) {
            (Ok(key), Ok(row)) => {
                let queue = queues.entry(key.queue).or_default();
                if queue.row.is_some() {
                    found.problem(format!("queue {} is active in two topics", key.queue));
                }
                queue.topic = Some(key.topic);
                queue.row = Some(row);
            }
            (Err(error), _) | (_, Err(error)) => found.problem(describe(key, &error)),
        }
        Ok(())
    })
    .await
}

async fn read_entries(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &mut BTreeMap<QueueId, QueueSeen>,
) -> Result<u64, PartitionError> {
    let mut highest = 0;
    scan_table(store, Table::Entries, |key, row| {
        found.n_rows += 1;
        match (EntryKey::decode(key), EntryRow::decode(row)) {
            (Ok(key), Ok(row)) => {
                found.n_entries += 1;
                let sequence = key.rank.sequence.0;
                highest = highest.max(sequence);
                let separate_bytes = match row.body {
                    StoredBody::Inline(_) => None,
                    StoredBody::Separate { n_bytes } => Some(n_bytes),
                };
                let seen = Seen {
                    rank: key.rank,
                    stage: key.stage,
                    separate_bytes,
                    attempts: row.attempts,
                    enqueued_at: row.enqueued_at,
                };
                let queue = queues.entry(key.queue).or_default();
                if queue.entries.insert(sequence, seen).is_some() {
                    found.problem(format!("{}/{sequence} has two rows", key.queue));
                }
            }
            (Err(error), _) | (_, Err(error)) => found.problem(describe(key, &error)),
        }
        Ok(())
    })
    .await?;
    Ok(highest)
}

fn check_queue(found: &mut Verification, id: QueueId, queue: &QueueSeen) {
    let Some(row) = queue.row else {
        return found
            .problem(format!("queue {id} has {} entries and no active row", queue.entries.len()));
    };
    let count = |stage| queue.entries.values().filter(|seen| seen.stage == stage).count() as u64;
    let counted = (count(Stage::Ready), count(Stage::Delayed), count(Stage::Dead));
    let stored = (row.n_ready, row.n_delayed, row.n_dead);
    if counted != stored {
        found.problem(format!(
            "queue {id} counts {stored:?} ready, delayed and dead entries; there are {counted:?}"
        ));
    }
    if row.is_empty() {
        found.problem(format!("queue {id} is active and empty"));
    }
    let ready = queue.entries.values().filter(|seen| seen.stage == Stage::Ready);
    if let Some(lowest) = ready.map(|seen| seen.rank).min()
        && lowest < row.floor
    {
        found.problem(format!("queue {id} has a ready entry below its floor"));
    }
}

async fn check_names(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &BTreeMap<QueueId, QueueSeen>,
) -> Result<(), PartitionError> {
    // A set, because the names of one queue may stand under several keys.
    let mut unnamed: BTreeSet<QueueId> = queues.keys().copied().collect();
    scan_table(store, Table::Queues, |key, row| {
        found.n_rows += 1;
        let row = match QueueRow::decode(row) {
            Ok(row) => row,
            Err(error) => {
                found.problem(describe(key, &error));
                return Ok(());
            }
        };
        let names = QueueRef::new(row.topic, row.key);
        if key != names.id.0 {
            found.problem(format!("the id of queue {}/{} is wrong", names.topic, names.key));
            return Ok(());
        }
        if let Some(queue) = queues.get(&names.id) {
            unnamed.remove(&names.id);
            if queue.topic.is_some_and(|topic| topic != names.topic_id) {
                found.problem(format!("queue {} is active in another topic", names.id));
            }
        }
        Ok(())
    })
    .await?;
    for id in unnamed {
        found.problem(format!("queue {id} has no names"));
    }
    Ok(())
}

async fn check_leases(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &BTreeMap<QueueId, QueueSeen>,
) -> Result<(), PartitionError> {
    scan_table(store, Table::Leases, |key, row| {
        found.n_rows += 1;
        found.n_leases += 1;
        match (LeaseKey::decode(key), LeaseRow::decode(row)) {
            (Ok(key), Ok(row)) => {
                let entry = queues.get(&key.queue).and_then(|q| q.entries.get(&key.sequence.0));
                let fits = entry.is_some_and(|entry| {
                    entry.stage == Stage::Ready
                        && entry.rank.priority == row.priority
                        && entry.enqueued_at == row.enqueued_at
                        && entry.attempts <= row.attempts
                        && entry.separate_bytes.is_some() == row.separate_body
                });
                if !fits {
                    found.problem(format!(
                        "the lease of {}/{} fits no entry",
                        key.queue, key.sequence
                    ));
                }
            }
            (Err(error), _) | (_, Err(error)) => found.problem(describe(key, &error)),
        }
        Ok(())
    })
    .await
}

async fn check_bodies(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &BTreeMap<QueueId, QueueSeen>,
) -> Result<(), PartitionError> {
    scan_table(store, Table::Payloads, |key, row| {
        found.n_rows += 1;
        found.n_bodies += 1;
        match PayloadKey::decode(key) {
            Ok(key) => {
                let entry = queues.get(&key.queue).and_then(|q| q.entries.get(&key.sequence.0));
                if entry.and_then(|entry| entry.separate_bytes).map(|n| n as usize)
                    != Some(row.len())
                {
                    found.problem(format!(
                        "the body of {}/{} fits no entry",
                        key.queue, key.sequence
                    ));
                }
            }
            Err(error) => found.problem(describe(key, &error)),
        }
        Ok(())
    })
    .await?;
    let entries = queues.values().flat_map(|queue| queue.entries.values());
    let n_separate = entries.filter(|entry| entry.separate_bytes.is_some()).count() as u64;
    if n_separate != found.n_bodies {
        found
            .problem(format!("{n_separate} separate bodies are due, {} are there", found.n_bodies));
    }
    Ok(())
}

async fn check_sequences(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    highest: u64,
) -> Result<(), PartitionError> {
    let stored = store.get(Table::System, SystemKey::NextSequence.encode()).await?;
    match stored.as_deref().map(decode_u64) {
        Some(Ok(next)) if highest < next => {}
        None if found.n_entries == 0 => {}
        Some(Err(error)) => found.problem(error.to_string()),
        _ => found.problem(format!("sequence {highest} was given out without being reserved")),
    }
    Ok(())
}

fn describe(key: &[u8], error: &millpond_types::DecodeError) -> String {
    format!("row {}: {error}", key.escape_ascii())
}
