//! The rows in the logs, by what identifies them.

use std::collections::BTreeMap;

use millpond::{QueueId, Sequence};
use millpond_types::{
    DeadRow, DelayedEntryKey, DelayedKey, DelayedRow, Due, DueClock, EntryKey, EntryRow, LeaseKey,
    LeaseRow, PayloadKey, Stage, StoredBody, UnixMillis,
};

use super::CoverageError;
use crate::disk::Disk;
use crate::event::{Action, DeadAction, Marker, Nacked, NewEntry, Start, Token, queues};
use crate::wal::{self, OpKind};

/// Length of the key at which the range of a whole queue begins, in bytes.
const QUEUE_BYTES: usize = 16;

/// Where a row is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) stream: usize,
    pub(super) end: usize,
}

/// An entry, wherever it stands.
pub(super) type Id = (QueueId, Sequence);

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It was put in a stage; if it waits there, until then.
    Put(Stage, Option<Due>, Marker),
    /// It was taken from a stage.
    Removed(Stage),
}

/// The rows of all logs.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// In the order in which they happened.
    entries: BTreeMap<Id, Vec<(Place, Change)>>,
    /// What queues were told of entries that wait.
    notices: BTreeMap<(Id, Due), Vec<Place>>,
    payloads: BTreeMap<Id, Vec<u8>>,
    /// Removals of whole queues, in the order of their places.
    purges: BTreeMap<QueueId, Vec<Place>>,
    /// By deadline; the first one is the grant.
    leases: BTreeMap<(Id, Token), Vec<(u64, Place)>>,
    by_marker: BTreeMap<Marker, Id>,
}

impl Rows {
    pub(super) fn read(disk: &Disk) -> Result<Self, CoverageError> {
        let mut rows = Self::default();
        for (stream, log) in disk.streams().iter().enumerate() {
            if log.name.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let path = || log.name.display().to_string();
            let error = |error| CoverageError::Log { path: path(), error };
            for record in wal::records(&log.bytes).map_err(error)? {
                let place = Place { stream, end: record.end };
                for op in wal::ops(&record.data).map_err(error)? {
                    // What does not decode is of another table.
                    let _ = rows.add(place, op);
                }
            }
        }
        Ok(rows)
    }

    /// Keys have the same length in few tables, and there the values differ.
    fn add(&mut self, place: Place, op: wal::Op<'_>) -> Option<()> {
        match (op.kind, op.key.len()) {
            (OpKind::SingleDelete, EntryKey::BYTES) => {
                let EntryKey { queue, stage, rank } = EntryKey::decode(op.key).ok()?;
                self.change((queue, rank.sequence), place, Change::Removed(stage));
            }
            (OpKind::Delete, DelayedKey::BYTES) => {
                let DelayedKey { queue, sequence, .. } = DelayedKey::decode(op.key).ok()?;
                self.change((queue, sequence), place, Change::Removed(Stage::Delayed));
            }
            (OpKind::DeleteRange, QUEUE_BYTES) => {
                let queue = QueueId(op.key.try_into().expect("the length was matched"));
                self.purges.entry(queue).or_default().push(place);
            }
            (OpKind::Put, EntryKey::BYTES) => {
                let EntryKey { queue, stage, rank } = EntryKey::decode(op.key).ok()?;
                let row = match stage {
                    Stage::Dead => DeadRow::decode(op.value).ok()?.entry,
                    Stage::Ready | Stage::Delayed => EntryRow::decode(op.value).ok()?,
                };
                self.put((queue, rank.sequence), place, (stage, None), &row)?;
            }
            (OpKind::Put, DelayedKey::BYTES) => {
                let DelayedKey { due, queue, sequence } = DelayedKey::decode(op.key).ok()?;
                let row = DelayedRow::decode(op.value).ok()?.entry;
                self.put((queue, sequence), place, (Stage::Delayed, Some(due)), &row)?;
            }
            (OpKind::Put, DelayedEntryKey::BYTES) => {
                let key = DelayedEntryKey::decode(op.key).ok()?;
                let id = (key.queue, key.rank.sequence);
                self.notices.entry((id, key.due)).or_default().push(place);
            }
            (OpKind::Put, LeaseKey::BYTES) if op.value.len() == LeaseRow::BYTES => {
                let LeaseKey { queue, sequence } = LeaseKey::decode(op.key).ok()?;
                let row = LeaseRow::decode(op.value).ok()?;
                let rows = self.leases.entry(((queue, sequence), row.token.into())).or_default();
                rows.push((row.deadline.0, place));
            }
            (OpKind::Put, PayloadKey::BYTES) => {
                let PayloadKey { queue, sequence } = PayloadKey::decode(op.key).ok()?;
                self.payloads.insert((queue, sequence), op.value.get(2..)?.to_vec());
            }
            _ => {}
        }
        Some(())
    }

    fn put(
        &mut self,
        id: Id,
        place: Place,
        (stage, due): (Stage, Option<Due>),
        row: &EntryRow,
    ) -> Option<()> {
        let payload = match &row.body {
            // Two bytes say that there are no headers.
            StoredBody::Inline(body) => body.get(2..)?,
            StoredBody::Separate { .. } => self.payloads.get(&id)?,
        };
        let marker = crate::payload::marker_of(payload)?;
        self.by_marker.insert(marker, id);
        self.change(id, place, Change::Put(stage, due, marker));
        Some(())
    }

    fn change(&mut self, id: Id, place: Place, change: Change) {
        self.entries.entry(id).or_default().push((place, change));
    }

    /// The first of the changes of an entry at or after `from` that is as wanted.
    fn find(&self, id: Id, from: Option<Place>, is: impl Fn(Change) -> bool) -> Option<Place> {
        let mut changes = self.entries.get(&id)?.iter();
        let is_after = |place: Place| from.is_none_or(|from| place >= from);
        changes.find(|(place, change)| is_after(*place) && is(*change)).map(|(place, _)| *place)
    }

    /// Where the rows of entries that were accepted are.
    pub(super) fn enqueued(&self, entries: &[NewEntry], ids: &[Id]) -> Option<Vec<Place>> {
        if entries.len() != ids.len() {
            return None;
        }
        let mut places = Vec::new();
        for (entry, id) in entries.iter().zip(ids) {
            let (place, first) = self.entries.get(id)?.first()?;
            let Change::Put(stage, due, marker) = *first else { return None };
            let may_be_ready = match entry.start {
                Start::Now | Start::After(0) => true,
                // It may be past by then.
                Start::At(_) => true,
                Start::After(_) => false,
            };
            let is_right = match stage {
                Stage::Ready => may_be_ready,
                Stage::Delayed => entry.start != Start::Now,
                Stage::Dead => false,
            };
            if marker != entry.marker || !is_right {
                return None;
            }
            places.push(*place);
            if let Some(due) = due {
                places.push(self.notice(*id, due, *place)?);
            }
        }
        Some(places)
    }

    /// Where a queue was told of an entry that was made to wait there.
    fn notice(&self, id: Id, due: Due, place: Place) -> Option<Place> {
        self.notices.get(&(id, due))?.iter().copied().find(|told| *told == place)
    }

    /// Where a lease was granted.
    pub(super) fn granted(&self, id: Id, token: Token) -> Option<Place> {
        self.leases.get(&(id, token))?.first().map(|row| row.1)
    }

    /// Where the last row of an entry was removed: alone, or first of all after it was put with its whole
    /// queue.
    pub(super) fn end_of(&self, id: Id) -> Option<Place> {
        let (last, change) = *self.entries.get(&id)?.last()?;
        match change {
            Change::Removed(_) => Some(last),
            Change::Put(..) => self.purges.get(&id.0)?.iter().find(|place| **place > last).copied(),
        }
    }

    /// Where it is written what became of a lease.
    pub(super) fn settled(
        &self,
        (marker, token): (Marker, Token),
        action: Action,
        deadline_ms: Option<u64>,
        nacked: Option<Nacked>,
    ) -> Option<Vec<Place>> {
        let id = *self.by_marker.get(&marker)?;
        let granted = self.granted(id, token);
        let place = match (action, nacked) {
            (Action::Ack, _) => self.end_of(id)?,
            (_, Some(Nacked::Dead)) => self.find(id, granted, is_dead)?,
            (_, Some(Nacked::BackingOff(until_ms))) => {
                let due = Due { clock: DueClock::Steady, at: UnixMillis(until_ms) };
                let place = self.find(id, granted, |change| {
                    matches!(change, Change::Put(Stage::Delayed, Some(found), _) if found == due)
                })?;
                return Some(vec![place, self.notice(id, due, place)?]);
            }
            (_, Some(Nacked::Ready) | None) => {
                let wanted = deadline_ms.unwrap_or(0);
                let rows = self.leases.get(&(id, token))?;
                rows.iter().find(|(deadline, _)| *deadline == wanted)?.1
            }
        };
        Some(vec![place])
    }

    /// Where a dead letter, dead since `died`, was replayed or dropped.
    pub(super) fn dead_letter_done(
        &self,
        marker: Marker,
        died: Place,
        action: DeadAction,
    ) -> Option<Vec<Place>> {
        let id = *self.by_marker.get(&marker)?;
        let removed = self.find(id, Some(died), |change| change == Change::Removed(Stage::Dead))?;
        let is_ready = |change| matches!(change, Change::Put(Stage::Ready, ..));
        Some(match action {
            DeadAction::Drop => vec![removed],
            DeadAction::Replay => vec![removed, self.find(id, Some(removed), is_ready)?],
        })
    }
}

fn is_dead(change: Change) -> bool {
    matches!(change, Change::Put(Stage::Dead, ..))
}

/// An entry by the number of its queue.
pub(super) fn id(queue: u32, sequence: u64) -> Id {
    (queues::id(queue), Sequence(sequence))
}

/// The entries of a call.
pub(super) fn ids(queue: u32, sequences: &[u64]) -> Vec<Id> {
    sequences.iter().map(|sequence| id(queue, *sequence)).collect()
}
