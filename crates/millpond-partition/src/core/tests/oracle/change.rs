//! What a batch does to entries and leases, read from its operations.

use std::iter::Peekable;

use bytes::Bytes;
use millpond_storage_api::{Op, Table};
use millpond_types::{
    Body, DeadRow, DelayedEntryKey, DelayedEntryRow, DelayedKey, DelayedRow, Due, EntryId,
    EntryKey, EntryRank, EntryRow, LeaseKey, LeaseRow, QueueId, Sequence, Stage, StoredBody,
    UnixMillis,
};
use proptest::prelude::*;

use super::{Checked, Model, fail};
use crate::dead_headers;

/// One change of a batch, as far as it concerns entries and leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::core::tests) enum Change {
    /// A new entry is ready.
    Entered(EntryId, EntryRow),
    /// A new entry waits.
    Delayed(EntryId, Due, EntryRow),
    /// One that waited is ready.
    Arose(EntryId, EntryRow),
    /// One that was ready waits.
    BackedOff(EntryId, Due, EntryRow),
    /// One that was ready is dead.
    Died(EntryId, DeadRow),
    /// One that was ready is dead, and is a new one in another topic, with this body.
    Forwarded {
        from: EntryId,
        to: EntryId,
        row: EntryRow,
        body: Bytes,
    },
    /// One that was dead is ready.
    Replayed(EntryId, EntryRow),
    /// A lease record; what that means depends on the one before.
    LeaseWritten(EntryId, LeaseRow),
    Granted(EntryId, LeaseRow),
    Extended(EntryId, UnixMillis),
    Released {
        id: EntryId,
        attempts: u32,
    },
    Removed(EntryId, Stage),
    /// Everything the queue holds.
    Purged(QueueId),
}

impl Change {
    pub(in crate::core::tests) fn queue(&self) -> QueueId {
        match self {
            Self::Entered(id, _)
            | Self::Delayed(id, ..)
            | Self::Arose(id, _)
            | Self::BackedOff(id, ..)
            | Self::Died(id, _)
            | Self::Replayed(id, _)
            | Self::LeaseWritten(id, _)
            | Self::Granted(id, _)
            | Self::Extended(id, _)
            | Self::Released { id, .. }
            | Self::Removed(id, _) => id.queue,
            // Where it comes to be, because it waits there with other commands.
            Self::Forwarded { to, .. } => to.queue,
            Self::Purged(queue) => *queue,
        }
    }

    /// The entry that is new by it.
    pub(in crate::core::tests) fn accepts(&self) -> Option<EntryId> {
        match self {
            Self::Entered(id, _) | Self::Delayed(id, ..) | Self::Forwarded { to: id, .. } => {
                Some(*id)
            }
            _ => None,
        }
    }

    /// Whether the core brings an entry to the ready ones by itself.
    pub(in crate::core::tests) fn is_arrival(&self) -> bool {
        matches!(self, Self::Arose(..) | Self::Forwarded { .. })
    }
}

impl Model {
    /// What a lease record means.
    pub(in crate::core::tests) fn resolve(&self, change: Change) -> Checked<Change> {
        let Change::LeaseWritten(id, row) = change else { return Ok(change) };
        let Some(entry) = self.entries.get(&id) else {
            return Err(fail(format!("a lease row for {id}, which is not there")));
        };
        let same = entry.lease.as_ref().filter(|lease| lease.row.token == row.token);
        Ok(match same {
            None => Change::Granted(id, row),
            Some(_) if row.is_released() => Change::Released { id, attempts: row.attempts },
            Some(_) => Change::Extended(id, row.deadline),
        })
    }
}

/// Reads operations of a batch. Bookkeeping rows are left to the verification, bodies to the comparison
/// with the store.
pub(in crate::core::tests) fn read_changes<'a>(
    ops: impl Iterator<Item = Op<'a>>,
) -> Checked<Vec<Change>> {
    let mut changes = Vec::new();
    let mut ops = Ops(ops.peekable());
    while let Some(op) = ops.0.next() {
        changes.extend(ops.change(op)?);
    }
    Ok(changes)
}

struct Ops<'a, I: Iterator<Item = Op<'a>>>(Peekable<I>);

impl<'a, I: Iterator<Item = Op<'a>>> Ops<'a, I> {
    fn change(&mut self, op: Op<'_>) -> Checked<Option<Change>> {
        Ok(match op {
            Op::Put { table: Table::Entries, key, value } => {
                let key = EntryKey::decode(key).map_err(fail)?;
                prop_assert_eq!(key.stage, Stage::Ready, "nothing is born dead");
                Some(Change::Entered(id(key), EntryRow::decode(value).map_err(fail)?))
            }
            Op::Put { table: Table::Delayed, key, value } => {
                let (id, due, row) = self.delayed(key, value)?;
                Some(Change::Delayed(id, due, row))
            }
            Op::Delete { table: Table::Delayed, key } => Some(self.undelayed(key)?),
            Op::SingleDelete { table: Table::Entries, key } => {
                let key = EntryKey::decode(key).map_err(fail)?;
                Some(self.departed(key)?)
            }
            Op::Put { table: Table::Leases, key, value } => {
                let key = LeaseKey::decode(key).map_err(fail)?;
                let row = LeaseRow::decode(value).map_err(fail)?;
                let rank = EntryRank { priority: row.priority, sequence: key.sequence };
                Some(Change::LeaseWritten(EntryId { queue: key.queue, rank }, row))
            }
            Op::DeleteRange { table: Table::Entries, lower, .. } => {
                Some(Change::Purged(QueueId(lower.try_into().map_err(fail)?)))
            }
            Op::Delete { table: Table::Entries, .. } => {
                return Err(fail("entries leave by single deletes"));
            }
            Op::Put { .. } | Op::Delete { .. } | Op::SingleDelete { .. } => None,
            Op::DeleteRange { .. } => None,
        })
    }

    /// The two rows of an entry that is to wait, of which the first was read.
    fn delayed(&mut self, key: &[u8], row: &[u8]) -> Checked<(EntryId, Due, EntryRow)> {
        let key = DelayedKey::decode(key).map_err(fail)?;
        let row = DelayedRow::decode(row).map_err(fail)?;
        let Some(Op::Put { table: Table::Entries, key: told, value }) = self.0.next() else {
            return Err(fail("a queue is not told of its delayed entry"));
        };
        let told = DelayedEntryKey::decode(told).map_err(fail)?;
        let rank = EntryRank { priority: row.priority, sequence: key.sequence };
        prop_assert_eq!(told, DelayedEntryKey { queue: key.queue, due: key.due, rank });
        prop_assert_eq!(DelayedEntryRow::decode(value).map_err(fail)?, row.notice());
        Ok((EntryId { queue: key.queue, rank }, key.due, row.entry))
    }

    /// An entry that waited goes, or becomes ready.
    fn undelayed(&mut self, key: &[u8]) -> Checked<Change> {
        let key = DelayedKey::decode(key).map_err(fail)?;
        let Some(Op::SingleDelete { table: Table::Entries, key: told }) = self.0.next() else {
            return Err(fail("a queue is not told that its entry waits no more"));
        };
        let told = DelayedEntryKey::decode(told).map_err(fail)?;
        prop_assert_eq!(
            (told.queue, told.due, told.rank.sequence),
            (key.queue, key.due, key.sequence)
        );
        let id = EntryId { queue: told.queue, rank: told.rank };
        Ok(match self.next_row(id, Stage::Ready) {
            Some(row) => Change::Arose(id, EntryRow::decode(row).map_err(fail)?),
            None => Change::Removed(id, Stage::Delayed),
        })
    }

    /// The row of an entry goes: for good, or to another stage.
    fn departed(&mut self, key: EntryKey) -> Checked<Change> {
        let id = id(key);
        if key.stage == Stage::Dead {
            return Ok(match self.next_row(id, Stage::Ready) {
                Some(row) => Change::Replayed(id, EntryRow::decode(row).map_err(fail)?),
                None => Change::Removed(id, Stage::Dead),
            });
        }
        // What an entry has elsewhere goes with it, or stays.
        while self.0.next_if(|op| is_rest_of(op, id.queue, id.rank.sequence)).is_some() {}
        if let Some(change) = self.forwarded(id)? {
            return Ok(change);
        }
        if let Some(row) = self.next_row(id, Stage::Dead) {
            return Ok(Change::Died(id, DeadRow::decode(row).map_err(fail)?));
        }
        let waits = |op: &Op<'_>| match op {
            Op::Put { table: Table::Delayed, key, .. } => DelayedKey::decode(key)
                .is_ok_and(|key| (key.queue, key.sequence) == (id.queue, id.rank.sequence)),
            _ => false,
        };
        match self.0.next_if(waits) {
            Some(Op::Put { key, value, .. }) => {
                let (waiting, due, row) = self.delayed(key, value)?;
                prop_assert_eq!(waiting, id);
                Ok(Change::BackedOff(id, due, row))
            }
            _ => Ok(Change::Removed(id, Stage::Ready)),
        }
    }

    /// The rows of a new entry whose body says that it was this one.
    fn forwarded(&mut self, from: EntryId) -> Checked<Option<Change>> {
        let tells = |op: &Op<'_>| {
            let body = new_body(op).and_then(|body| Body::decode(&body).ok());
            let sequence = body.and_then(|body| body.headers.get(dead_headers::SEQUENCE).cloned());
            sequence.is_some_and(|sequence| sequence == from.rank.sequence.0.to_string())
        };
        let Some(op) = self.0.next_if(tells) else { return Ok(None) };
        let body = new_body(&op).expect("it was just read");
        let op =
            if let Op::Put { table: Table::Payloads, .. } = op { self.0.next() } else { Some(op) };
        let Some(Op::Put { table: Table::Entries, key, value }) = op else {
            return Err(fail("a body without a row"));
        };
        let to = id(EntryKey::decode(key).map_err(fail)?);
        let row = EntryRow::decode(value).map_err(fail)?;
        Ok(Some(Change::Forwarded { from, to, row, body }))
    }

    /// The next operation, if it puts this entry into a stage.
    fn next_row(&mut self, id: EntryId, stage: Stage) -> Option<&'a [u8]> {
        let wanted = EntryKey { queue: id.queue, stage, rank: id.rank }.encode();
        let is_it = |op: &Op<'_>| matches!(op, Op::Put { table: Table::Entries, key, .. } if *key == wanted);
        match self.0.next_if(is_it) {
            Some(Op::Put { value, .. }) => Some(value),
            _ => None,
        }
    }
}

/// The body that an operation puts, for a ready entry or on its own.
fn new_body(op: &Op<'_>) -> Option<Bytes> {
    match op {
        Op::Put { table: Table::Payloads, value, .. } => Some(Bytes::copy_from_slice(value)),
        Op::Put { table: Table::Entries, key, value } => {
            let is_ready = EntryKey::decode(key).is_ok_and(|key| key.stage == Stage::Ready);
            match EntryRow::decode(value).ok().filter(|_| is_ready)?.body {
                StoredBody::Inline(body) => Some(body),
                StoredBody::Separate { .. } => None,
            }
        }
        _ => None,
    }
}

/// Whether an operation removes the body or the lease record of an entry.
fn is_rest_of(op: &Op<'_>, queue: QueueId, sequence: Sequence) -> bool {
    let key = LeaseKey { queue, sequence }.encode();
    matches!(op, Op::Delete { table: Table::Payloads | Table::Leases, key: found } if *found == key)
}

fn id(key: EntryKey) -> EntryId {
    EntryId { queue: key.queue, rank: key.rank }
}
