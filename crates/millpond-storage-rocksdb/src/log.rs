//! The log of commits: rows of the `log` table, written only while somebody holds a pin.

use millpond_storage_api::{
    CommitLog, LogFuture, LogPin, LogPins, LogPosition, LogRecord, ScanRequest, ScanRows,
    StoreError, StoreErrorKind, Table, WriteBatch,
};
use millpond_sync::atomic::{AtomicU64, Ordering};
use millpond_sync::{Arc, Mutex};
use millpond_types::{decode_u64, encode_u64};
use rocksdb::DB;

use crate::Guards;
use crate::error::corrupt;
use crate::queue::CommitQueue;
use crate::read::{Reach, Reads, scan_now};
use crate::writer::Request;

/// Records that may be dropped are dropped this many at a time: each drop leaves a range tombstone.
const PRUNE_RECORDS_MIN: u64 = 256;
/// Records read in one call at most.
const READ_RECORDS_MAX: usize = 65_536;

/// What the writer and the readers of the log share.
pub(crate) struct LogState {
    pub(crate) pins: LogPins,
    durable: AtomicU64,
    /// Positions recorded without a hole: first and last. Older rows may still exist; nobody reads them.
    run: Mutex<Option<(u64, u64)>>,
}

impl LogState {
    pub(crate) fn new(durable: LogPosition) -> Self {
        Self { pins: LogPins::new(), durable: AtomicU64::new(durable.0), run: Mutex::new(None) }
    }

    pub(crate) fn durable(&self) -> LogPosition {
        // Acquire pairs with the release in `set_durable`: who sees the position reads its rows.
        LogPosition(self.durable.load(Ordering::Acquire))
    }

    /// For the writer, after the sync.
    pub(crate) fn set_durable(&self, position: LogPosition) {
        // Release pairs with the acquire in `durable`.
        self.durable.store(position.0, Ordering::Release);
    }

    /// Notes that the records `first..=last` are written; extends the run they continue, or begins one.
    pub(crate) fn recorded(&self, first: LogPosition, last: LogPosition) {
        let mut run = self.run.lock();
        *run = match *run {
            Some((start, end)) if end + 1 == first.0 => Some((start, last.0)),
            _ => Some((first.0, last.0)),
        };
    }

    /// Positions `first..end` whose records nobody needs any more, if there are enough of them. The run
    /// no longer holds them, so no reader starts among them. `oldest` is the oldest pin.
    pub(crate) fn take_prunable(&self, oldest: Option<LogPosition>) -> Option<(u64, u64)> {
        let mut run = self.run.lock();
        let (first, last) = (*run)?;
        let Some(oldest) = oldest else {
            *run = None;
            return Some((first, last + 1));
        };
        let end = (oldest.0 + 1).min(last + 1);
        if end < first + PRUNE_RECORDS_MIN {
            return None;
        }
        *run = (end <= last).then_some((end, last));
        Some((first, end))
    }

    /// The oldest position that can be read, or the next one to be written.
    pub(crate) fn oldest_readable(&self) -> LogPosition {
        // Before the run: `durable` only grows, and a run that begins later is noticed as a gap.
        let next = self.durable().next();
        self.run.lock().map_or(next, |(first, _)| LogPosition(first))
    }
}

/// The [`CommitLog`] of a store.
pub(crate) struct RocksLog {
    pub(crate) state: Arc<LogState>,
    pub(crate) queue: Arc<CommitQueue<Request>>,
    pub(crate) reads: Reads,
}

impl CommitLog for RocksLog {
    fn pin(&self) -> LogPin {
        // Invariant 5: no batch is submitted between the look and the pin.
        self.queue.with_newest(|newest| self.state.pins.pin_after(newest))
    }

    fn read_after(&self, after: LogPosition, bytes_max: usize) -> LogFuture {
        let state = self.state.clone();
        self.reads.on_pool(move |db| read_after(db, &state, after, bytes_max))
    }
}

fn read_after(
    db: &DB,
    state: &LogState,
    after: LogPosition,
    bytes_max: usize,
) -> Result<Vec<LogRecord>, StoreError> {
    let durable = state.durable();
    if after >= durable {
        return Ok(Vec::new());
    }
    let first = after.next();
    let oldest = state.oldest_readable();
    if first < oldest {
        return Err(gap(oldest));
    }
    let request = ScanRequest {
        table: Table::Log,
        lower: encode_u64(first.0).to_vec(),
        upper: Some(encode_u64(durable.0 + 1).to_vec()),
        rows_max: READ_RECORDS_MAX,
        bytes_max,
        skip_max: 0,
    };
    let mut rows = ScanRows::new();
    scan_now(db, Guards::ALL, &request, Reach::Disk, &mut rows)?;
    let mut records = Vec::with_capacity(rows.len());
    let mut expected = first;
    for (key, value) in rows.iter() {
        let position = LogPosition(decode_u64(key).map_err(corrupt)?);
        if position != expected {
            break;
        }
        records.push(LogRecord { position, batch: WriteBatch::decode(value)? });
        expected = expected.next();
    }
    if records.is_empty() {
        return Err(gap(state.oldest_readable()));
    }
    Ok(records)
}

fn gap(oldest: LogPosition) -> StoreError {
    let kind = StoreErrorKind::Gap { oldest };
    StoreError::new(kind, format!("the log begins at {oldest}"))
}
