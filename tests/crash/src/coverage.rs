//! For every receipt, the sync that covers it.
//!
//! A receipt promises rows. They are looked for in RocksDB's logs, by key and by what they say: a lease's
//! token and deadline, an entry's marker, so that no other row can stand for them. The log's length when
//! the record with the row is complete is the row's end. A sync *covers* the row when it made at least
//! that much of that log durable; the receipt is honest when such a sync had ended before the `write` of
//! the receipt began. A purge promises that every entry is removed whose receipt preceded its intent, one
//! by one or as a range.

use std::collections::{BTreeMap, BTreeSet};

use millpond::{EntryId, EntryRank, Priority, QueueId, Sequence};
use millpond_types::{EntryKey, EntryRow, LeaseKey, LeaseRow, PayloadKey, Stage, StoredBody};

use crate::disk::{Disk, Sync};
use crate::event::{Action, Event, Marker, NewEntry, OpId, Token, queues};
use crate::wal::{self, OpKind, WalError};

/// Length of the key at which the range of a whole queue begins, in bytes.
const QUEUE_BYTES: usize = 16;

/// Where a row is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    stream: usize,
    end: usize,
}

/// A receipt and the last of the syncs that it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered {
    /// The line in which the `write` of the receipt began.
    pub line: usize,
    /// The call.
    pub op: OpId,
    /// The sync.
    pub sync: Sync,
    /// Whether that sync is the only one that had ended by then and covers its row.
    pub only_sync: bool,
    /// Lines between the end of the sync and the receipt.
    pub margin_lines: usize,
    /// Bytes of the log that the sync covered beyond the row.
    pub margin_bytes: usize,
}

/// A receipt that came before its sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered {
    /// The line in which the `write` of the receipt began.
    pub line: usize,
    /// The call.
    pub op: OpId,
    /// What is missing.
    pub why: &'static str,
}

/// What was found for all receipts of a trace.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// Receipts that promise something: a lease of nothing does not.
    pub n_receipts: usize,
    /// Rows that they promise.
    pub n_rows: usize,
    /// The honest ones.
    pub covered: Vec<Covered>,
    /// The others.
    pub uncovered: Vec<Uncovered>,
}

/// A log or a line that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CoverageError {
    /// A log is damaged.
    #[error("{path}: {error}")]
    Log {
        /// Name of the log.
        path: String,
        /// What is wrong.
        error: WalError,
    },
    /// A line is not an event.
    #[error("a line of the worker is not an event: {0}")]
    Event(#[from] serde_json::Error),
}

/// The rows of all logs, by what identifies them.
#[derive(Debug, Default)]
struct Rows {
    entries: BTreeMap<EntryKey, (Place, Marker)>,
    payloads: BTreeMap<PayloadKey, (Place, Vec<u8>)>,
    removals: BTreeMap<EntryKey, Place>,
    /// Removals of whole queues, in the order of their places.
    purges: BTreeMap<QueueId, Vec<Place>>,
    /// By deadline; the first one is the grant.
    leases: BTreeMap<(LeaseKey, Token), Vec<(u64, Place)>>,
}

/// The events that were said, with the lines in which their `write` began.
///
/// # Errors
///
/// A line is not an event.
pub fn events(disk: &Disk) -> Result<Vec<(usize, Event)>, serde_json::Error> {
    let mut events = Vec::new();
    for (line, bytes) in disk.said() {
        events.extend(Event::parse_lines(bytes)?.into_iter().map(|event| (*line, event)));
    }
    Ok(events)
}

/// Looks for the covering sync of every receipt that was said.
///
/// # Errors
///
/// A log or a line cannot be read.
pub fn coverage(disk: &Disk) -> Result<Coverage, CoverageError> {
    let rows = Rows::read(disk)?;
    let mut found = Coverage::default();
    let mut heard = Heard::default();
    for (line, event) in events(disk)? {
        let Some((op, places)) = heard.promise(&rows, event) else { continue };
        if places.as_ref().is_some_and(Vec::is_empty) {
            continue;
        }
        found.n_receipts += 1;
        match places {
            None => {
                let why = "no log holds its rows";
                found.uncovered.push(Uncovered { line, op, why });
            }
            Some(places) => found.judge(disk, line, op, &places),
        }
    }
    Ok(found)
}

/// What was said so far, as far as later receipts refer to it.
#[derive(Debug, Default)]
struct Heard {
    intents: BTreeMap<OpId, Event>,
    /// Entries with a receipt that no purge with a receipt had to remove, by the number of their queue.
    accepted: BTreeMap<u32, BTreeSet<EntryKey>>,
    /// What purges have to remove.
    to_purge: BTreeMap<OpId, (u32, BTreeSet<EntryKey>)>,
}

impl Heard {
    /// If the event is a receipt, the call and where the rows are that it promises; `None` in place of
    /// these if one is nowhere.
    fn promise(&mut self, rows: &Rows, event: Event) -> Option<(OpId, Option<Vec<Place>>)> {
        match event {
            Event::Enqueue { op, .. } | Event::Settle { op, .. } => {
                self.intents.insert(op, event);
                None
            }
            Event::Purge { op, queue } => {
                let accepted = self.accepted.get(&queue).cloned().unwrap_or_default();
                self.to_purge.insert(op, (queue, accepted));
                None
            }
            Event::Enqueued { op, sequences } => {
                let intent = self.intents.get(&op);
                let keys = keys(intent, &sequences);
                let places = rows.enqueued(intent, &sequences);
                if let Some(Event::Enqueue { queue, .. }) = intent {
                    self.accepted.entry(*queue).or_default().extend(keys);
                }
                Some((op, places))
            }
            Event::Purged { op, .. } => {
                let (queue, keys) = self.to_purge.remove(&op)?;
                let places = keys.iter().map(|key| rows.removal(key)).collect();
                self.accepted.entry(queue).or_default().retain(|key| !keys.contains(key));
                Some((op, places))
            }
            Event::Leased { op, grants } => {
                let places = grants.iter().map(|grant| {
                    rows.lease(grant.queue, grant.sequence, grant.token)?.first().map(|row| row.1)
                });
                Some((op, places.collect()))
            }
            Event::Settled { op, deadline_ms } => {
                Some((op, rows.settled(self.intents.get(&op), deadline_ms)))
            }
            _ => None,
        }
    }
}

impl Coverage {
    /// The smallest margins over all receipts: lines and bytes.
    pub fn margins(&self) -> Option<(usize, usize)> {
        let lines = self.covered.iter().map(|covered| covered.margin_lines).min()?;
        let bytes = self.covered.iter().map(|covered| covered.margin_bytes).min()?;
        Some((lines, bytes))
    }

    fn judge(&mut self, disk: &Disk, line: usize, op: OpId, places: &[Place]) {
        self.n_rows += places.len();
        let mut last: Option<Covered> = None;
        for place in places {
            let syncs = disk.streams()[place.stream].syncs.iter();
            let covers = |sync: &&Sync| sync.n_bytes >= place.end && sync.line < line;
            let covering: Vec<_> = syncs.filter(covers).collect();
            // They stand in the order in which they ended.
            let Some(sync) = covering.first() else {
                let why = "the sync of its rows had not ended";
                return self.uncovered.push(Uncovered { line, op, why });
            };
            let only_sync = covering.len() == 1;
            let margin_lines = line - sync.line - 1;
            let margin_bytes = sync.n_bytes - place.end;
            if last.is_none_or(|last| last.sync.line < sync.line) {
                last =
                    Some(Covered { line, op, sync: **sync, only_sync, margin_lines, margin_bytes });
            }
        }
        self.covered.extend(last);
    }
}

impl Rows {
    fn read(disk: &Disk) -> Result<Self, CoverageError> {
        let mut rows = Self::default();
        for (index, stream) in disk.streams().iter().enumerate() {
            if stream.name.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            rows.read_log(index, &stream.bytes).map_err(|error| CoverageError::Log {
                path: stream.name.display().to_string(),
                error,
            })?;
        }
        Ok(rows)
    }

    fn read_log(&mut self, stream: usize, log: &[u8]) -> Result<(), WalError> {
        for record in wal::records(log)? {
            let place = Place { stream, end: record.end };
            for op in wal::ops(&record.data)? {
                self.add(place, op);
            }
        }
        Ok(())
    }

    /// Keys have the same length in few tables, and there the values differ.
    fn add(&mut self, place: Place, op: wal::Op<'_>) {
        match (op.kind, op.key.len()) {
            (OpKind::SingleDelete, EntryKey::BYTES) => {
                if let Ok(key) = EntryKey::decode(op.key) {
                    self.removals.insert(key, place);
                }
            }
            (OpKind::DeleteRange, QUEUE_BYTES) => {
                let queue = QueueId(op.key.try_into().expect("the length was matched"));
                self.purges.entry(queue).or_default().push(place);
            }
            (OpKind::Put, EntryKey::BYTES) => {
                if let (Ok(key), Ok(row)) = (EntryKey::decode(op.key), EntryRow::decode(op.value)) {
                    let marker = match &row.body {
                        // Two bytes say that there are no headers.
                        StoredBody::Inline(body) => {
                            crate::payload::marker_of(body.get(2..).unwrap_or_default())
                        }
                        StoredBody::Separate { .. } => {
                            let key = PayloadKey { queue: key.queue, sequence: key.rank.sequence };
                            let payload = self.payloads.get(&key);
                            payload.and_then(|(_, bytes)| crate::payload::marker_of(bytes))
                        }
                    };
                    if let Some(marker) = marker {
                        self.entries.insert(key, (place, marker));
                    }
                }
            }
            (OpKind::Put, LeaseKey::BYTES) if op.value.len() == LeaseRow::BYTES => {
                if let (Ok(key), Ok(row)) = (LeaseKey::decode(op.key), LeaseRow::decode(op.value)) {
                    let rows = self.leases.entry((key, row.token.into())).or_default();
                    rows.push((row.deadline.0, place));
                }
            }
            (OpKind::Put, PayloadKey::BYTES) => {
                if let (Ok(key), Some(bytes)) = (PayloadKey::decode(op.key), op.value.get(2..)) {
                    self.payloads.insert(key, (place, bytes.to_vec()));
                }
            }
            _ => {}
        }
    }

    fn enqueued(&self, intent: Option<&Event>, sequences: &[u64]) -> Option<Vec<Place>> {
        let Some(Event::Enqueue { entries, .. }) = intent else { return None };
        let place = |(entry, key): (&NewEntry, EntryKey)| {
            let (place, marker) = self.entries.get(&key)?;
            (*marker == entry.marker).then_some(*place)
        };
        (entries.len() == sequences.len())
            .then(|| entries.iter().zip(keys(intent, sequences)).map(place).collect())
            .flatten()
    }

    /// Where the entry was removed: alone, or first of all after it was put with its whole queue.
    fn removal(&self, key: &EntryKey) -> Option<Place> {
        let put = self.entries.get(key)?.0;
        let mut purges = self.purges.get(&key.queue).into_iter().flatten();
        let alone = self.removals.get(key);
        alone.or_else(|| purges.find(|place| **place > put)).copied()
    }

    fn settled(&self, intent: Option<&Event>, deadline_ms: Option<u64>) -> Option<Vec<Place>> {
        let Some(Event::Settle { marker, token, action, .. }) = intent else { return None };
        // The marker's entry, wherever it was put; its key has queue and sequence.
        let key = self.key_of(*marker)?;
        let place = match action {
            Action::Ack => *self.removals.get(&key)?,
            Action::Nack | Action::Extend => {
                let wanted = deadline_ms.unwrap_or(0);
                let lease = LeaseKey { queue: key.queue, sequence: key.rank.sequence };
                let rows = self.leases.get(&(lease, *token))?;
                rows.iter().find(|(deadline, _)| *deadline == wanted)?.1
            }
        };
        Some(vec![place])
    }

    fn key_of(&self, marker: Marker) -> Option<EntryKey> {
        self.entries.iter().find(|(_, (_, found))| *found == marker).map(|(key, _)| *key)
    }

    fn lease(&self, queue: u32, sequence: u64, token: Token) -> Option<&Vec<(u64, Place)>> {
        let key = LeaseKey { queue: queues::id(queue), sequence: Sequence(sequence) };
        self.leases.get(&(key, token))
    }
}

/// The keys of the entries of a call.
fn keys(intent: Option<&Event>, sequences: &[u64]) -> Vec<EntryKey> {
    let Some(Event::Enqueue { queue, entries, .. }) = intent else { return Vec::new() };
    let key = |(entry, sequence): (&NewEntry, &u64)| entry_key(*queue, entry.priority, *sequence);
    entries.iter().zip(sequences).map(key).collect()
}

fn entry_key(queue: u32, priority: u8, sequence: u64) -> EntryKey {
    let rank = EntryRank { priority: Priority(priority), sequence: Sequence(sequence) };
    let EntryId { queue, rank } = EntryId { queue: queues::id(queue), rank };
    EntryKey { queue, stage: Stage::Ready, rank }
}

#[cfg(test)]
mod tests;
