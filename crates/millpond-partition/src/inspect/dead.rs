//! Dead letters, as stored.

use std::ops::ControlFlow;

use millpond_storage_api::{StoreRead, Table};
use millpond_types::{
    Body, DeadCause, DeadRow, EntryId, EntryKey, EntryRank, QueueId, Stage, StoredBody, UnixMillis,
    prefix_successor,
};

use super::{get, resolve_body, scan_range};
use crate::PartitionError;

/// An entry that was set aside, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id, which it had from the beginning.
    pub id: EntryId,
    /// Why it was set aside.
    pub cause: DeadCause,
    /// What its last worker said about it; mostly empty.
    pub reason: String,
    /// Since when.
    pub died_at: UnixMillis,
    /// When it was accepted.
    pub enqueued_at: UnixMillis,
    /// Attempts it had.
    pub attempts: u32,
    /// Size of its headers and payload together, as stored, in bytes.
    pub n_body_bytes: u64,
}

impl DeadLetter {
    fn new(id: EntryId, row: DeadRow) -> Self {
        let n_body_bytes = match &row.entry.body {
            StoredBody::Inline(body) => body.len() as u64,
            StoredBody::Separate { n_bytes } => u64::from(*n_bytes),
        };
        Self {
            id,
            cause: row.cause,
            reason: row.reason,
            died_at: row.died_at,
            enqueued_at: row.entry.enqueued_at,
            attempts: row.entry.attempts,
            n_body_bytes,
        }
    }
}

/// Up to `n_max` dead letters of a queue in the order in which they would be delivered, beginning after
/// `after`. Rows that cannot be decoded are passed over.
///
/// # Errors
///
/// A read fails.
pub async fn dead_letters(
    store: &(impl StoreRead + ?Sized),
    queue: QueueId,
    after: Option<EntryRank>,
    n_max: usize,
) -> Result<Vec<DeadLetter>, PartitionError> {
    let mut letters = Vec::new();
    if n_max == 0 {
        return Ok(letters);
    }
    let prefix = EntryKey::stage_prefix(queue, Stage::Dead);
    let lower = after.map_or(prefix.to_vec(), |rank| {
        [&EntryKey { queue, stage: Stage::Dead, rank }.encode()[..], &[0]].concat()
    });
    let range = (lower, prefix_successor(&prefix));
    scan_range(store, Table::Entries, range, |key, row| {
        match (EntryKey::decode(key), DeadRow::decode(row)) {
            (Ok(key), Ok(row)) => {
                letters.push(DeadLetter::new(EntryId { queue, rank: key.rank }, row));
            }
            (key, row) => {
                let error = key.err().or(row.err());
                tracing::warn!(%queue, ?error, "a dead letter cannot be decoded");
            }
        }
        if letters.len() < n_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .await?;
    Ok(letters)
}

/// One dead letter with its body; `None` if there is none with this id.
///
/// # Errors
///
/// A read fails or the row is malformed.
pub async fn dead_letter(
    store: &(impl StoreRead + ?Sized),
    id: EntryId,
) -> Result<Option<(DeadLetter, Body)>, PartitionError> {
    let key = EntryKey { queue: id.queue, stage: Stage::Dead, rank: id.rank };
    let Some(row) = get(store, Table::Entries, &key.encode()).await? else { return Ok(None) };
    let row = DeadRow::decode(&row)?;
    // Without its body it left while it was being read.
    let Some(body) = resolve_body(store, id, row.entry.body.clone()).await? else {
        return Ok(None);
    };
    Ok(Some((DeadLetter::new(id, row), body)))
}
