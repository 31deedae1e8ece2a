//! The reads a partition asks for, and their way back.

use std::time::Duration;

use millpond_storage_api::{
    ScanEnd, ScanRequest, ScanRows, StoreError, StoreErrorKind, StoreRead, Table,
};
use millpond_types::{
    ActiveKey, ActiveRow, DedupKey, DedupRow, DueClock, EntryRank, QueueId, QueueRow, Stage,
    TopicId, UnixMillis,
};

use super::moves::Place;
use super::queues::Slot;
use super::{Core, Mutation};
use crate::PartitionError;

/// First pause after a failed read, in milliseconds; doubles with every failure in a row.
const BACK_OFF_MS_MIN: u64 = 10;
const BACK_OFF_MS_MAX: u64 = 5_000;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    /// Rows of a table.
    Rows(ScanRequest),
    /// The `active` row of a queue, wherever its topic puts it.
    Active(QueueId),
    /// What is known of keys of one queue.
    Seen(Vec<DedupKey>),
}

impl Read {
    /// Where it reads, for sorting the reads of one job.
    pub(crate) fn place(&self) -> (Table, &[u8]) {
        match self {
            Self::Rows(request) => (request.table, &request.lower),
            Self::Active(id) => (Table::Queues, &id.0),
            Self::Seen(keys) => (Table::Dedup, keys.first().map_or(&[], |key| &key.queue.0)),
        }
    }
}

/// A queue that has work, and its row; or nothing.
pub(crate) type StoredActive = Option<(TopicId, ActiveRow)>;

/// A read the driver should perform.
#[derive(Debug)]
pub(crate) struct ReadJob {
    /// Unique: a completion that comes late cannot be taken for another's.
    pub(crate) number: u64,
    pub(crate) read: Read,
    /// Memory could not serve it: use the form that waits.
    pub(crate) may_wait: bool,
    /// Somebody waits for it.
    pub(crate) urgent: bool,
}

/// How a read ended. What rows were read before an error are used.
#[derive(Debug)]
pub(crate) enum ReadOutcome<'a> {
    Rows(&'a ScanRows, Result<ScanEnd, StoreError>),
    Active(Result<StoredActive, PartitionError>),
    Seen(Result<Vec<Option<DedupRow>>, PartitionError>),
    /// Nobody performed it to its end: the thread that should have panicked.
    Lost,
}

/// What a read in flight is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Head(Slot),
    Purge(Slot),
    Line(DueClock),
    Move(Place),
    /// The body of an entry that goes to another topic.
    Body(Slot, EntryRank),
    Recall,
    Active(QueueId),
    Names(Slot, QueueId),
    Seen(QueueId),
    Forget,
    /// What it was for has changed meanwhile. It still counts as in flight.
    Void,
}

impl Core {
    /// The next read to perform, if one is due and not too many are in flight.
    pub(crate) fn poll_read(&mut self) -> Option<ReadJob> {
        if self.reads.len() >= self.options.scans_in_flight_max {
            return None;
        }
        if let Some(step) = self.poll_recall() {
            return Some(step);
        }
        // Of each other kind there may be more than one turn allows, so each is first in turn.
        let kinds = [
            Self::poll_parked,
            Self::poll_names,
            Self::poll_door,
            Self::poll_forget,
            Self::poll_line,
            Self::poll_move,
            Self::poll_body,
            Self::poll_purge,
            Self::poll_head,
        ];
        self.read_kind = (self.read_kind + 1) % kinds.len();
        (0..kinds.len()).find_map(|n| kinds[(self.read_kind + n) % kinds.len()](self))
    }

    /// Whether [`poll_read`](Self::poll_read) has, or will have next turn, a read to perform.
    pub(crate) fn has_reads_waiting(&self) -> bool {
        let has_room = self.reads.len() < self.options.scans_in_flight_max;
        let n_listed = self.urgent_loads.len()
            + self.loads_ahead.len()
            + self.purge_reads.len()
            + self.move_reads.len()
            + self.name_reads.len();
        let is_asked = self.door.wants_read() || self.dedup.forget.wants_read();
        let wants_read = self.recall.wants_read() || self.line_wants_read() || self.may_read_body();
        has_room && (n_listed > 0 || wants_read || is_asked)
    }

    /// Reads in flight whose results nobody wants any more, since the last call.
    pub(crate) fn poll_cancelled(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.cancelled)
    }

    /// Takes the result of a [`ReadJob`] that took so long.
    pub(crate) fn handle_read(
        &mut self,
        now: UnixMillis,
        number: u64,
        outcome: ReadOutcome<'_>,
        took: Duration,
    ) {
        let Some(reading) = self.reads.remove(&number) else { return };
        // Nothing is known to be damaged: the next try may succeed.
        let failed = || -> PartitionError {
            StoreError::new(StoreErrorKind::Retry, "the thread that reads has panicked").into()
        };
        match (reading, outcome) {
            (Reading::Void, _) => {}
            (Reading::Head(slot), ReadOutcome::Rows(rows, outcome)) => {
                self.handle_head(now, slot, rows, outcome, took);
            }
            (Reading::Head(slot), _) => self.head_failed(now, slot, failed().to_string()),
            (Reading::Purge(slot), ReadOutcome::Rows(rows, outcome)) => {
                self.handle_purge_rows(now, slot, rows, outcome);
            }
            (Reading::Purge(slot), _) => self.purge_read_failed(now, slot),
            (Reading::Line(clock), ReadOutcome::Rows(rows, outcome)) => {
                self.handle_line(now, clock, rows, outcome);
            }
            (Reading::Line(clock), _) => self.line_read_failed(now, clock, &failed().to_string()),
            (Reading::Move(at), ReadOutcome::Rows(rows, outcome)) => {
                self.handle_moved_row(now, at, rows, outcome);
            }
            (Reading::Move(at), _) => self.moved_row_lost(now, at, failed()),
            (Reading::Body(slot, rank), outcome) => {
                let at = Place { slot, from: Stage::Ready, rank };
                match outcome {
                    ReadOutcome::Rows(rows, end) => self.handle_moved_row(now, at, rows, end),
                    _ => self.moved_row_lost(now, at, failed()),
                }
            }
            (Reading::Recall, ReadOutcome::Rows(rows, outcome)) => {
                self.handle_recalled(now, rows, outcome);
            }
            (Reading::Recall, _) => self.recall_failed(now, failed().to_string()),
            (Reading::Active(id), ReadOutcome::Active(outcome)) => {
                self.handle_active(now, id, outcome);
            }
            // It became known otherwise, and the queue may have left memory since.
            (Reading::Names(slot, id), _) if !self.is_naming(slot, id) => {}
            (Reading::Names(slot, _), ReadOutcome::Rows(rows, outcome)) => {
                self.handle_names(now, slot, rows, outcome);
            }
            (Reading::Names(slot, _), _) => self.naming_failed(now, slot, failed().to_string()),
            (Reading::Active(id), _) => self.handle_active(now, id, Err(failed())),
            (Reading::Seen(id), ReadOutcome::Seen(outcome)) => self.handle_seen(now, id, outcome),
            (Reading::Seen(id), _) => self.handle_seen(now, id, Err(failed())),
            (Reading::Forget, ReadOutcome::Rows(rows, outcome)) => {
                self.handle_forgotten(now, rows, outcome);
            }
            (Reading::Forget, _) => self.forgetting_failed(now, &failed().to_string()),
        }
    }

    /// Numbers a read and counts it as in flight.
    pub(super) fn start_read(
        &mut self,
        reading: Reading,
        read: Read,
        may_wait: bool,
        urgent: bool,
    ) -> ReadJob {
        self.last_read += 1;
        self.reads.insert(self.last_read, reading);
        ReadJob { number: self.last_read, read, may_wait, urgent }
    }

    /// How far a scan came, if it can be used: whatever memory could serve counts. `may_wait` is set when
    /// the rest has to be waited for.
    pub(super) fn scan_end(
        &mut self,
        rows: &ScanRows,
        outcome: Result<ScanEnd, StoreError>,
        may_wait: &mut bool,
    ) -> Result<Option<ScanEnd>, StoreError> {
        match outcome {
            Ok(end) => {
                if std::mem::take(may_wait) {
                    self.counters.n_scans_waited += 1;
                } else {
                    self.counters.n_scans_in_memory += 1;
                }
                Ok(Some(end))
            }
            Err(error) if error.would_block() => {
                self.counters.n_would_block += 1;
                *may_wait = true;
                let whole = self.is_broken(Mutation::PartialScanTrusted);
                let part = rows.last_key().map(|last| ScanEnd::Truncated { last: last.to_vec() });
                Ok(if whole { Some(ScanEnd::Exhausted) } else { part })
            }
            Err(error) => Err(error),
        }
    }
}

/// How long to wait after so many failures in a row: exponential, and of each step a part that depends on
/// `who`, so that those who failed together do not come back together.
pub(super) fn pause_ms(n_failures: u32, who: QueueId) -> u64 {
    let who = u64::from_le_bytes(*who.0.first_chunk::<8>().expect("a queue id has 16 bytes"));
    let step = (BACK_OFF_MS_MIN << n_failures.min(9)).min(BACK_OFF_MS_MAX);
    // A Weyl step, so that the same queue waits differently after each failure.
    let spread = who.wrapping_add(u64::from(n_failures).wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 32;
    step / 2 + spread % (step / 2 + 1)
}

/// Performs a read of one row from memory.
pub(crate) fn try_read_active(
    store: &(impl StoreRead + ?Sized),
    id: QueueId,
) -> Result<StoredActive, PartitionError> {
    let Some(names) = store.try_get(Table::Queues, &id.0)? else { return Ok(None) };
    let topic = TopicId::derive(&QueueRow::decode(&names)?.topic);
    let row = store.try_get(Table::Active, &ActiveKey { topic, queue: id }.encode())?;
    decode_active(topic, row.as_deref())
}

/// As [`try_read_active`], but may wait.
pub(crate) async fn read_active(
    store: &(impl StoreRead + ?Sized),
    id: QueueId,
) -> Result<StoredActive, PartitionError> {
    let Some(names) = store.get(Table::Queues, &id.0).await? else { return Ok(None) };
    let topic = TopicId::derive(&QueueRow::decode(&names)?.topic);
    let row = store.get(Table::Active, &ActiveKey { topic, queue: id }.encode()).await?;
    decode_active(topic, row.as_deref())
}

fn decode_active(topic: TopicId, row: Option<&[u8]>) -> Result<StoredActive, PartitionError> {
    row.map(|row| Ok((topic, ActiveRow::decode(row)?))).transpose()
}
