//! Reading what is stored about queues.

use std::collections::HashMap;
use std::ops::ControlFlow;

use millpond_partition::{PartitionError, QueueRef, QueueReport, inspect};
use millpond_storage_api::{StoreRead, Table};
use millpond_types::{
    ActiveKey, ActiveRow, EntryKey, EntryRow, LeaseRow, QueueId, Sequence, Stage, TopicId,
    UnixMillis, prefix_successor,
};

use crate::Error;

/// A queue that has work, as stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    pub(super) key: ActiveKey,
    pub(super) row: ActiveRow,
}

/// Visits the queues that have work, of one topic or of all, until `visit` breaks off. Returns how many
/// rows cannot be decoded.
pub(super) async fn each_active(
    store: &dyn StoreRead,
    topic: Option<TopicId>,
    mut visit: impl FnMut(Active) -> ControlFlow<()>,
) -> Result<u64, Error> {
    let range = match topic {
        Some(topic) => (topic.0.to_vec(), prefix_successor(&topic.0)),
        None => (Vec::new(), None),
    };
    let mut n_malformed = 0;
    inspect::scan_range(store, Table::Active, range, |key, row| {
        match (ActiveKey::decode(key), ActiveRow::decode(row)) {
            (Ok(key), Ok(row)) => visit(Active { key, row }),
            _ => {
                n_malformed += 1;
                ControlFlow::Continue(())
            }
        }
    })
    .await?;
    Ok(n_malformed)
}

/// How many leases are in force.
pub(super) async fn n_leases(store: &dyn StoreRead) -> Result<u64, Error> {
    let mut n_leases = 0;
    inspect::scan_range(store, Table::Leases, (Vec::new(), None), |_, row| {
        n_leases += u64::from(LeaseRow::decode(row).is_ok_and(|row| !row.is_released()));
        ControlFlow::Continue(())
    })
    .await?;
    Ok(n_leases)
}

/// The leases of a queue that are in force.
pub(super) type Leases = HashMap<Sequence, LeaseRow>;

pub(super) async fn leases_in_force(
    store: &dyn StoreRead,
    queue: QueueId,
) -> Result<Leases, Error> {
    let leases = inspect::leases_of(store, queue).await?;
    let in_force = leases.into_iter().filter(|(_, row)| !row.is_released());
    Ok(in_force.map(|(key, row)| (key.sequence, row)).collect())
}

/// Topic and key, or what can be said instead when a damaged store has no names for the queue.
pub(super) async fn names(
    store: &dyn StoreRead,
    key: ActiveKey,
) -> Result<(String, String), Error> {
    match inspect::queue_names(store, key.queue).await {
        Ok(Some(names)) => Ok(in_text(&names)),
        Ok(None) | Err(PartitionError::Corrupt(_)) => Ok((key.topic.to_string(), "?".to_owned())),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn in_text(names: &QueueRef) -> (String, String) {
    (names.topic.to_string(), names.key.to_string())
}

/// When the first entry that nobody leases was accepted. Reads the queue from its floor up to there; what
/// cannot be decoded is passed over.
pub(super) async fn head_enqueued_at(
    store: &dyn StoreRead,
    Active { key: ActiveKey { queue, .. }, row }: &Active,
    leases: &Leases,
) -> Result<Option<UnixMillis>, Error> {
    if row.n_ready <= leases.len() as u64 {
        return Ok(None);
    }
    let lower = EntryKey { queue: *queue, stage: Stage::Ready, rank: row.floor }.encode();
    let upper = prefix_successor(&EntryKey::stage_prefix(*queue, Stage::Ready));
    let mut head = None;
    inspect::scan_range(store, Table::Entries, (lower.to_vec(), upper), |key, row| {
        match (EntryKey::decode(key), EntryRow::decode_head(row)) {
            (Ok(key), Ok(row)) if !leases.contains_key(&key.rank.sequence) => {
                head = Some(row.enqueued_at);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    })
    .await?;
    Ok(head)
}

/// As [`head_enqueued_at`], of a running queue: if its head is not in memory, it is in storage.
pub(super) async fn head_of_report(
    store: &dyn StoreRead,
    report: &QueueReport,
) -> Result<Option<UnixMillis>, Error> {
    if report.head_enqueued_at.is_some() || report.n_entries <= report.n_leased {
        return Ok(report.head_enqueued_at);
    }
    let key = key_of(report);
    let row = store.get(Table::Active, &key.encode()).await.map_err(PartitionError::from)?;
    let Some(row) = row.and_then(|row| ActiveRow::decode(&row).ok()) else { return Ok(None) };
    let leases = leases_in_force(store, key.queue).await?;
    head_enqueued_at(store, &Active { key, row }, &leases).await
}

pub(super) fn key_of(report: &QueueReport) -> ActiveKey {
    ActiveKey { topic: report.topic, queue: report.id }
}
