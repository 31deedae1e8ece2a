//! Checking every row of a partition against every other.
//!
//! The rules, each of which a commit of the engine keeps:
//!
//! * **V1** Every key and row decodes.
//! * **V2** A queue has an `active` row exactly if it has entries; its counters equal the rows there are and
//!   the bytes of their bodies, and no `Ready` row stands below its floor.
//! * **V3** Every queue with work has its names stored, and its id follows from them.
//! * **V4** Every lease record belongs to a `Ready` row and repeats it correctly.
//! * **V5** Every separate body is stored, with the stated length, and no body is without an entry.
//! * **V6** Every sequence is below the reserved one, and stands in one stage only.
//! * **V7** The queue belongs in this partition.
//! * **V8** An entry that waits has one row in `delayed` and one at stage `Delayed`, and they agree on when it
//!   is due, how urgent it is, its attempts, and where its body is and how long.
//! * **V9** No row of `delayed` is below the stored floor of its line.
//! * **V10** The stored totals are the sum of the counters of all queues.
//! * **V11** A key that was seen has a row by key and one by the time at which it is forgotten, and they
//!   agree; none of the latter is below the stored floor.
//! * **V12** Every rule makes sense for what it is about.

use std::collections::{BTreeMap, BTreeSet};

use millpond_storage_api::{StoreRead, Table};
use millpond_types::{
    ActiveKey, ActiveRow, LeaseKey, LeaseRow, PayloadKey, QueueId, QueueRow, Sequence, SettingsRow,
    Stage, SystemKey, TopicId, TotalsRow, decode_u64,
};

use crate::inspect::scan_table;
use crate::{PartitionError, QueueRef};

mod dedup;
mod delayed;
mod entries;

use entries::{SeenBody, SeenEntry};

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

/// What is known of one queue while the tables are compared.
#[derive(Default)]
struct SeenQueue {
    topic: Option<TopicId>,
    row: Option<ActiveRow>,
    entries: BTreeMap<Sequence, SeenEntry>,
}

/// What is known of all queues.
type Seen = BTreeMap<QueueId, SeenQueue>;

fn entry_of(queues: &Seen, queue: QueueId, sequence: Sequence) -> Option<&SeenEntry> {
    queues.get(&queue)?.entries.get(&sequence)
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
    let mut queues = Seen::new();
    read_active(store, &mut found, &mut queues).await?;
    entries::read(store, &mut found, &mut queues).await?;
    delayed::check(store, &mut found, &mut queues).await?;
    dedup::check(store, &mut found).await?;
    check_rules(store, &mut found).await?;
    check_names(store, &mut found, &queues).await?;
    check_leases(store, &mut found, &queues).await?;
    check_bodies(store, &mut found, &queues).await?;
    check_sequences(store, &mut found, &queues).await?;
    for (id, queue) in &queues {
        check_queue(&mut found, *id, queue);
        if n_partitions == 0 || id.partition(n_partitions) != partition {
            found.problem(format!("queue {id} belongs in another partition"));
        }
    }
    check_totals(store, &mut found, &queues).await?;
    found.n_queues = queues.len() as u64;
    Ok(found)
}

async fn check_rules(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
) -> Result<(), PartitionError> {
    scan_table(store, Table::Settings, |key, row| {
        found.n_rows += 1;
        match SettingsRow::decode(key, row) {
            Ok(SettingsRow { scope, settings, .. }) => {
                if let Err(error) = settings.check(&scope) {
                    found.problem(format!("the rule of {scope}: {error}"));
                }
            }
            Err(error) => found.problem(describe(key, &error)),
        }
        Ok(())
    })
    .await
}

async fn read_active(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &mut Seen,
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

fn check_queue(found: &mut Verification, id: QueueId, queue: &SeenQueue) {
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
    let n_bytes = queue.entries.values().map(|seen| u64::from(seen.n_bytes)).sum();
    // Whoever misses an entry misses its bytes, too.
    if counted == stored && row.n_bytes != n_bytes {
        found.problem(format!(
            "queue {id} counts {} bytes of bodies; there are {n_bytes}",
            row.n_bytes
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
    queues: &Seen,
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
    queues: &Seen,
) -> Result<(), PartitionError> {
    scan_table(store, Table::Leases, |key, row| {
        found.n_rows += 1;
        found.n_leases += 1;
        match (LeaseKey::decode(key), LeaseRow::decode(row)) {
            (Ok(LeaseKey { queue, sequence }), Ok(row)) => {
                if !entry_of(queues, queue, sequence).is_some_and(|entry| entry.fits(&row)) {
                    found.problem(format!("the lease of {queue}/{sequence} fits no entry"));
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
    queues: &Seen,
) -> Result<(), PartitionError> {
    scan_table(store, Table::Payloads, |key, row| {
        found.n_rows += 1;
        found.n_bodies += 1;
        match PayloadKey::decode(key) {
            Ok(PayloadKey { queue, sequence }) => {
                let fits = entry_of(queues, queue, sequence)
                    .is_some_and(|entry| entry.body.may_have_bytes(row.len()));
                if !fits {
                    found.problem(format!("the body of {queue}/{sequence} fits no entry"));
                }
            }
            Err(error) => found.problem(describe(key, &error)),
        }
        Ok(())
    })
    .await?;
    let entries = queues.values().flat_map(|queue| queue.entries.values());
    let n_separate = entries.filter(|entry| entry.body != SeenBody::Inline).count() as u64;
    if n_separate != found.n_bodies {
        found
            .problem(format!("{n_separate} separate bodies are due, {} are there", found.n_bodies));
    }
    Ok(())
}

async fn check_sequences(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &Seen,
) -> Result<(), PartitionError> {
    let highest = queues.values().filter_map(|queue| queue.entries.keys().next_back()).max();
    let stored = store.get(Table::System, SystemKey::NextSequence.encode()).await?;
    match (stored.as_deref().map(decode_u64), highest) {
        (Some(Ok(next)), highest) if highest.is_none_or(|highest| highest.0 < next) => {}
        (None, None) => {}
        (Some(Err(error)), _) => found.problem(error.to_string()),
        (_, highest) => {
            let highest = highest.copied().unwrap_or_default();
            found.problem(format!("sequence {highest} was given out without being reserved"));
        }
    }
    Ok(())
}

async fn check_totals(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &Seen,
) -> Result<(), PartitionError> {
    let rows = queues.values().filter_map(|queue| queue.row);
    let counted = rows.fold(TotalsRow::default(), |sum, row| TotalsRow {
        n_entries: sum.n_entries.saturating_add(row.n_entries()),
        n_bytes: sum.n_bytes.saturating_add(row.n_bytes),
    });
    let stored = store.get(Table::System, SystemKey::Totals.encode()).await?;
    match stored.as_deref().map_or(Ok(TotalsRow::default()), TotalsRow::decode) {
        Ok(stored) if stored == counted => {}
        Ok(stored) => found.problem(format!(
            "the partition counts {} entries and {} bytes, its queues {} and {}",
            stored.n_entries, stored.n_bytes, counted.n_entries, counted.n_bytes
        )),
        Err(error) => found.problem(error.to_string()),
    }
    Ok(())
}

fn describe(key: &[u8], error: &millpond_types::DecodeError) -> String {
    format!("row {}: {error}", key.escape_ascii())
}
