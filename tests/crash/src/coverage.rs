//! For every receipt, the sync that covers it.
//!
//! A receipt promises rows. They are looked for in RocksDB's logs, by key and by what they say: a lease's
//! token and deadline, an entry's marker, so that no other row can stand for them. The log's length when
//! the record with the row is complete is the row's end. A sync *covers* the row when it made at least
//! that much of that log durable; the receipt is honest when such a sync had ended before the `write` of
//! the receipt began. A purge promises that every entry is removed whose receipt preceded its intent, one
//! by one or as a range.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::{Disk, Sync};
use crate::event::{Event, Marker, Nacked, OpId};
use crate::wal::WalError;
use rows::{Id, Place, Rows};

mod rows;

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
    accepted: BTreeMap<u32, BTreeSet<Id>>,
    /// What purges have to remove.
    to_purge: BTreeMap<OpId, (u32, BTreeSet<Id>)>,
    /// Where entries became dead letters.
    died: BTreeMap<Marker, Place>,
}

/// A call and where the rows are that its receipt promises; `None` in place of these if one is nowhere.
type Promise = (OpId, Option<Vec<Place>>);

impl Heard {
    /// What an event promises, if it is a receipt.
    fn promise(&mut self, rows: &Rows, event: Event) -> Option<Promise> {
        match event {
            Event::Enqueue { op, .. } | Event::Settle { op, .. } | Event::DeadLetter { op, .. } => {
                self.intents.insert(op, event);
                None
            }
            Event::Purge { op, queue } => {
                let accepted = self.accepted.get(&queue).cloned().unwrap_or_default();
                self.to_purge.insert(op, (queue, accepted));
                None
            }
            Event::Enqueued { op, sequences } => {
                let Some(Event::Enqueue { queue, entries, .. }) = self.intents.get(&op) else {
                    return Some((op, None));
                };
                let ids = rows::ids(*queue, &sequences);
                let places = rows.enqueued(entries, &ids);
                self.accepted.entry(*queue).or_default().extend(ids);
                Some((op, places))
            }
            Event::Purged { op, .. } => {
                let (queue, ids) = self.to_purge.remove(&op)?;
                let places = ids.iter().map(|id| rows.end_of(*id)).collect();
                self.accepted.entry(queue).or_default().retain(|id| !ids.contains(id));
                Some((op, places))
            }
            Event::Leased { op, grants, .. } => {
                let places = grants
                    .iter()
                    .map(|grant| rows.granted(rows::id(grant.queue, grant.sequence), grant.token));
                Some((op, places.collect()))
            }
            Event::Settled { op, deadline_ms, nacked } => {
                let Some(Event::Settle { marker, token, action, .. }) = self.intents.get(&op)
                else {
                    return Some((op, None));
                };
                let places = rows.settled((*marker, *token), *action, deadline_ms, nacked);
                if let (Some(Nacked::Dead), Some(places)) = (nacked, &places) {
                    self.died.extend(places.first().map(|place| (*marker, *place)));
                }
                Some((op, places))
            }
            Event::DeadLetterDone { op } => {
                let Some(Event::DeadLetter { marker, action, .. }) = self.intents.get(&op) else {
                    return Some((op, None));
                };
                let died = self.died.get(marker);
                Some((op, died.and_then(|died| rows.dead_letter_done(*marker, *died, *action))))
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

#[cfg(test)]
mod tests;
