//! The rows of `entries`, in every stage.

use millpond_storage_api::{StoreRead, Table};
use millpond_types::{
    DeadRow, DecodeError, DelayedEntryKey, DelayedEntryRow, Due, EntryKey, EntryRank, EntryRow,
    LeaseRow, QueueId, Stage, StoredBody, UnixMillis,
};

use super::{Seen, Verification, describe};
use crate::PartitionError;
use crate::inspect::scan_table;

/// What is known of one entry while the tables are compared.
pub(super) struct SeenEntry {
    pub(super) rank: EntryRank,
    pub(super) stage: Stage,
    pub(super) attempts: u32,
    pub(super) body: SeenBody,
    /// Length of the body, wherever it is.
    pub(super) n_bytes: u32,
    /// If it waits, until when.
    pub(super) due: Option<Due>,
    /// If it waits, whether its row in `delayed` was seen.
    pub(super) has_delayed_row: bool,
    /// What a lease repeats, unless it waits and so has none.
    enqueued_at: UnixMillis,
    has_retry_floor: bool,
}

/// Where the body of an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeenBody {
    Inline,
    /// In `payloads`; how long it is, the row of an entry that waits does not say.
    Separate {
        n_bytes: Option<u32>,
    },
}

impl SeenBody {
    pub(super) fn of(body: &StoredBody) -> Self {
        match *body {
            StoredBody::Inline(_) => Self::Inline,
            StoredBody::Separate { n_bytes } => Self::Separate { n_bytes: Some(n_bytes) },
        }
    }

    /// Whether a separate body of this length can be the one that is meant.
    pub(super) fn may_have_bytes(self, n: usize) -> bool {
        match self {
            Self::Inline => false,
            Self::Separate { n_bytes } => n_bytes.is_none_or(|n_bytes| n_bytes as usize == n),
        }
    }
}

impl SeenEntry {
    fn new(key: EntryKey, row: &EntryRow) -> Self {
        Self {
            rank: key.rank,
            stage: key.stage,
            attempts: row.attempts,
            body: SeenBody::of(&row.body),
            n_bytes: row.body.n_bytes(),
            due: None,
            has_delayed_row: false,
            enqueued_at: row.enqueued_at,
            has_retry_floor: row.retry_floor_ms > 0,
        }
    }

    fn waiting(key: DelayedEntryKey, row: DelayedEntryRow) -> Self {
        let body =
            if row.separate_body { SeenBody::Separate { n_bytes: None } } else { SeenBody::Inline };
        Self {
            rank: key.rank,
            stage: Stage::Delayed,
            attempts: row.attempts,
            body,
            n_bytes: row.n_bytes,
            due: Some(key.due),
            has_delayed_row: false,
            enqueued_at: UnixMillis(0),
            has_retry_floor: false,
        }
    }

    /// Whether a lease record repeats what this entry says of itself.
    pub(super) fn fits(&self, lease: &LeaseRow) -> bool {
        self.stage == Stage::Ready
            && self.rank.priority == lease.priority
            && self.enqueued_at == lease.enqueued_at
            && self.attempts <= lease.attempts
            && self.n_bytes == lease.n_bytes
            && (self.body != SeenBody::Inline) == lease.separate_body
            && self.has_retry_floor == lease.has_retry_floor
    }
}

/// Reads every row of `entries`.
pub(super) async fn read(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &mut Seen,
) -> Result<(), PartitionError> {
    scan_table(store, Table::Entries, |key, row| {
        found.n_rows += 1;
        match decode(key, row) {
            Ok((id, entry)) => {
                found.n_entries += 1;
                let sequence = entry.rank.sequence;
                let queue = queues.entry(id).or_default();
                if queue.entries.insert(sequence, entry).is_some() {
                    found.problem(format!("{id}/{sequence} has two rows"));
                }
            }
            Err(error) => found.problem(describe(key, &error)),
        }
        Ok(())
    })
    .await
}

fn decode(key: &[u8], row: &[u8]) -> Result<(QueueId, SeenEntry), DecodeError> {
    if DelayedEntryKey::is_one(key) {
        let key = DelayedEntryKey::decode(key)?;
        return Ok((key.queue, SeenEntry::waiting(key, DelayedEntryRow::decode(row)?)));
    }
    let key = EntryKey::decode(key)?;
    let row = match key.stage {
        Stage::Dead => DeadRow::decode(row)?.entry,
        Stage::Ready | Stage::Delayed => EntryRow::decode(row)?,
    };
    Ok((key.queue, SeenEntry::new(key, &row)))
}
