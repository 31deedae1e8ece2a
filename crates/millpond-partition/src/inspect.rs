//! Reading queues and entries straight from a store, running or stopped, without a loop.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use millpond_storage_api::{ScanEnd, ScanRequest, StoreRead, Table};
use millpond_types::{
    ActiveKey, ActiveRow, Body, EntryId, EntryKey, EntryRank, EntryRow, LeaseKey, LeaseRow,
    PayloadKey, QueueId, QueueRow, Stage, StoredBody, UnixMillis, prefix_successor,
};

mod dead;
mod delayed;

pub use crate::core::scan_table;
pub use dead::{DeadLetter, dead_letter, dead_letters};
pub use delayed::{DelayedEntry, first_delayed};

use crate::{PartitionError, QueueRef};

/// A queue that has work, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredQueue {
    /// Topic and queue.
    pub key: ActiveKey,
    /// Counters and floor.
    pub row: ActiveRow,
    /// The names, if they are stored.
    pub names: Option<Arc<QueueRef>>,
}

/// An entry that is ready or leased, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its id.
    pub id: EntryId,
    /// When it was accepted.
    pub enqueued_at: UnixMillis,
    /// The newest lease, if it was ever leased.
    pub lease: Option<LeaseRow>,
    /// Headers and payload.
    pub body: Body,
}

/// One value, from memory if possible.
async fn get(
    store: &(impl StoreRead + ?Sized),
    table: Table,
    key: &[u8],
) -> Result<Option<bytes::Bytes>, PartitionError> {
    match store.try_get(table, key) {
        Err(error) if error.would_block() => Ok(store.get(table, key).await?),
        value => Ok(value?),
    }
}

/// The names of a queue that ever had an entry.
///
/// # Errors
///
/// The read fails or the row is malformed.
pub async fn queue_names(
    store: &(impl StoreRead + ?Sized),
    id: QueueId,
) -> Result<Option<Arc<QueueRef>>, PartitionError> {
    let Some(row) = get(store, Table::Queues, &id.0).await? else { return Ok(None) };
    let row = QueueRow::decode(&row)?;
    Ok(Some(QueueRef::new(row.topic, row.key)))
}

/// The body of an entry that is ready or leased; `None` if the entry is gone.
///
/// # Errors
///
/// The read fails or the row is malformed.
pub async fn entry_body(
    store: &(impl StoreRead + ?Sized),
    id: EntryId,
) -> Result<Option<Body>, PartitionError> {
    match stored_body(store, id).await? {
        Some(stored) => resolve_body(store, id, stored).await,
        None => Ok(None),
    }
}

/// Where the body of an entry is that is ready or leased.
pub(crate) async fn stored_body(
    store: &(impl StoreRead + ?Sized),
    id: EntryId,
) -> Result<Option<StoredBody>, PartitionError> {
    let key = EntryKey { queue: id.queue, stage: Stage::Ready, rank: id.rank };
    let Some(row) = get(store, Table::Entries, &key.encode()).await? else { return Ok(None) };
    Ok(Some(EntryRow::decode(&row)?.body))
}

/// A body that has a row of its own, encoded.
pub(crate) async fn separate_body(
    store: &(impl StoreRead + ?Sized),
    id: EntryId,
) -> Result<Option<Bytes>, PartitionError> {
    let key = PayloadKey { queue: id.queue, sequence: id.rank.sequence };
    get(store, Table::Payloads, &key.encode()).await
}

async fn resolve_body(
    store: &(impl StoreRead + ?Sized),
    id: EntryId,
    stored: StoredBody,
) -> Result<Option<Body>, PartitionError> {
    let bytes = match stored {
        StoredBody::Inline(bytes) => Some(bytes),
        StoredBody::Separate { .. } => separate_body(store, id).await?,
    };
    Ok(bytes.as_ref().map(Body::decode).transpose()?)
}

/// Every queue that has work.
///
/// # Errors
///
/// A read fails or a row is malformed.
pub async fn queues(store: &(impl StoreRead + ?Sized)) -> Result<Vec<StoredQueue>, PartitionError> {
    let mut active = Vec::new();
    scan_table(store, Table::Active, |key, row| {
        active.push((ActiveKey::decode(key)?, ActiveRow::decode(row)?));
        Ok(())
    })
    .await?;
    let mut queues = Vec::with_capacity(active.len());
    for (key, row) in active {
        let names = queue_names(store, key.queue).await?;
        queues.push(StoredQueue { key, row, names });
    }
    Ok(queues)
}

/// One queue that has work; `None` if it has none.
///
/// # Errors
///
/// A read fails or a row is malformed.
pub async fn queue(
    store: &(impl StoreRead + ?Sized),
    names: &Arc<QueueRef>,
) -> Result<Option<StoredQueue>, PartitionError> {
    let key = ActiveKey { topic: names.topic_id, queue: names.id };
    let Some(row) = get(store, Table::Active, &key.encode()).await? else { return Ok(None) };
    Ok(Some(StoredQueue { key, row: ActiveRow::decode(&row)?, names: Some(names.clone()) }))
}

/// Up to `n_max` entries of a queue that are ready or leased, in order of delivery, beginning after `after`.
///
/// # Errors
///
/// A read fails or a row is malformed.
pub async fn entries(
    store: &(impl StoreRead + ?Sized),
    queue: QueueId,
    after: Option<EntryRank>,
    n_max: usize,
) -> Result<Vec<StoredEntry>, PartitionError> {
    let prefix = EntryKey::stage_prefix(queue, Stage::Ready);
    let lower = after.map_or(prefix.to_vec(), |rank| {
        [&EntryKey { queue, stage: Stage::Ready, rank }.encode()[..], &[0]].concat()
    });
    let mut request = ScanRequest {
        table: Table::Entries,
        lower,
        upper: prefix_successor(&prefix),
        rows_max: n_max.clamp(1, 1024),
        bytes_max: 1 << 20,
        skip_max: u64::MAX,
    };
    let mut entries = Vec::new();
    while entries.len() < n_max {
        let (rows, end) = store.scan(request.clone()).await?;
        for (key, row) in rows.iter().take(n_max - entries.len()) {
            entries.extend(entry(store, EntryKey::decode(key)?, EntryRow::decode(row)?).await?);
        }
        match end {
            ScanEnd::Exhausted => break,
            ScanEnd::Truncated { last } => request.lower = [&last[..], &[0]].concat(),
        }
    }
    Ok(entries)
}

/// `None` if the entry left while it was being read.
async fn entry(
    store: &(impl StoreRead + ?Sized),
    key: EntryKey,
    row: EntryRow,
) -> Result<Option<StoredEntry>, PartitionError> {
    let id = EntryId { queue: key.queue, rank: key.rank };
    let Some(body) = resolve_body(store, id, row.body).await? else { return Ok(None) };
    let lease = LeaseKey { queue: key.queue, sequence: key.rank.sequence };
    let lease = get(store, Table::Leases, &lease.encode()).await?;
    let lease = lease.map(|row| LeaseRow::decode(&row)).transpose()?;
    Ok(Some(StoredEntry { id, enqueued_at: row.enqueued_at, lease, body }))
}

/// Every lease record.
///
/// # Errors
///
/// A read fails or a row is malformed.
pub async fn leases(
    store: &(impl StoreRead + ?Sized),
) -> Result<Vec<(LeaseKey, LeaseRow)>, PartitionError> {
    let mut leases = Vec::new();
    scan_table(store, Table::Leases, |key, row| {
        leases.push((LeaseKey::decode(key)?, LeaseRow::decode(row)?));
        Ok(())
    })
    .await?;
    Ok(leases)
}

/// The lease records of one queue. One that cannot be decoded is passed over, as the engine does.
///
/// # Errors
///
/// A read fails.
pub async fn leases_of(
    store: &(impl StoreRead + ?Sized),
    queue: QueueId,
) -> Result<Vec<(LeaseKey, LeaseRow)>, PartitionError> {
    let mut leases = Vec::new();
    let range = (queue.0.to_vec(), prefix_successor(&queue.0));
    scan_range(store, Table::Leases, range, |key, row| {
        leases.extend(LeaseKey::decode(key).ok().zip(LeaseRow::decode(row).ok()));
        ControlFlow::Continue(())
    })
    .await?;
    Ok(leases)
}

/// Visits the rows of a table from one key up to another (`None`: to the end), in order, until `visit`
/// breaks off. Reads little at first and then more at a time, so that whoever needs only the first rows
/// pays for few.
///
/// # Errors
///
/// A read fails.
pub async fn scan_range(
    store: &(impl StoreRead + ?Sized),
    table: Table,
    (lower, upper): (Vec<u8>, Option<Vec<u8>>),
    mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Result<(), PartitionError> {
    let mut request =
        ScanRequest { table, lower, upper, rows_max: 16, bytes_max: 1 << 20, skip_max: u64::MAX };
    loop {
        let (rows, end) = store.scan(request.clone()).await?;
        if rows.iter().any(|(key, row)| visit(key, row).is_break()) {
            return Ok(());
        }
        match end {
            ScanEnd::Exhausted => return Ok(()),
            ScanEnd::Truncated { last } => request.lower = [&last[..], &[0]].concat(),
        }
        request.rows_max = (request.rows_max * 4).min(1024);
    }
}
