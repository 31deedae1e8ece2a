//! The writer thread of a store: it turns what was submitted into groups, and each group into one synced
//! write.

use std::time::Instant;

use millpond_storage_api::{
    CommitPromise, LogPosition, Op, StoreError, StoreErrorKind, Table, WriteBatch,
};
use millpond_sync::{Arc, Mutex, oneshot};
use millpond_types::{SystemKey, encode_u64};
use rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES;
use rocksdb::{ColumnFamily, DB, WriteOptions};

use crate::checkpoint::CheckpointDir;
use crate::error::{closed, commit_error, read_error};
use crate::log::LogState;
use crate::queue::CommitQueue;
use crate::read::{Reads, handle};
use crate::stats::CommitCounters;
use crate::store::flush_all;

/// Bytes of batches in one group, beyond which the rest waits for the next one: bounds the memory of a
/// group and the time until its first ticket resolves. A single larger batch is a group of its own.
pub(crate) const GROUP_BYTES_MAX: usize = 4 << 20;

/// What the writer is asked for.
pub(crate) enum Request {
    /// Make the batch durable.
    Commit(WriteBatch, CommitPromise),
    /// Link the files of a checkpoint, between two groups.
    Checkpoint(CheckpointDir, oneshot::Sender<CheckpointOutcome>),
}

pub(crate) type CheckpointOutcome = Result<(CheckpointDir, LogPosition), StoreError>;

/// Whoever waits until the store is closed.
pub(crate) struct Closers {
    /// `None` once it is closed.
    waiting: Mutex<Option<Vec<oneshot::Sender<()>>>>,
}

/// Options of a write that is durable when it returns.
pub(crate) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

pub(crate) struct Writer {
    pub(crate) queue: Arc<CommitQueue<Request>>,
    pub(crate) reads: Reads,
    pub(crate) log: Arc<LogState>,
    pub(crate) counters: Arc<CommitCounters>,
    pub(crate) closers: Arc<Closers>,
    /// Position of the last batch that was written.
    pub(crate) position: LogPosition,
    pub(crate) group: Vec<(WriteBatch, CommitPromise)>,
    pub(crate) group_bytes: usize,
    /// Why no later group may be written.
    pub(crate) failure: Option<StoreError>,
}

/// Bytes of memtables that a store may leave to the replay of the next open.
const REPLAYED_BYTES_MAX: u64 = 8 << 20;

impl Writer {
    /// Serves the queue until it is closed and empty, then closes the store.
    pub(crate) fn run(mut self) {
        let mut requests = Vec::new();
        while self.queue.drain(&mut requests) {
            for request in requests.drain(..) {
                match request {
                    Request::Commit(batch, promise) => {
                        if self.group_bytes + batch.n_bytes() > GROUP_BYTES_MAX {
                            self.commit();
                        }
                        self.group_bytes += batch.n_bytes();
                        self.group.push((batch, promise));
                    }
                    Request::Checkpoint(dir, sender) => {
                        self.commit();
                        // Whoever asked may be gone; the directory then goes too.
                        let _ = sender.send(self.link(dir));
                    }
                }
            }
            self.commit();
        }
        if self.failure.is_none() {
            self.shorten_next_open();
        }
    }

    /// What stands in memtables is replayed from the log by the next open, at some 70 MB a second. Writing
    /// it out now is quicker, and most of it need not be: what was put and deleted in one memtable is gone.
    fn shorten_next_open(&self) {
        let flushed = self.reads.db.with(|db| {
            let n_bytes = Table::ALL.into_iter().try_fold(0, |n_bytes, table| {
                let size = db.property_int_value_cf(handle(db, table)?, CUR_SIZE_ALL_MEM_TABLES);
                Ok(n_bytes + size.map_err(|error| read_error(&error))?.unwrap_or_default())
            })?;
            if n_bytes > REPLAYED_BYTES_MAX { flush_all(db) } else { Ok(()) }
        });
        if let Err(error) = flushed {
            // Everything is durable all the same.
            tracing::warn!(%error, "the next open will take longer");
        }
    }

    /// Writes the group with one sync and resolves its promises (invariants 3 and 4).
    fn commit(&mut self) {
        if self.group.is_empty() {
            return;
        }
        let n_batches = self.group.len();
        let first = self.position.next();
        match self.write(first) {
            Ok(last) => {
                self.position = last;
                self.log.set_durable(last);
                let mut position = first;
                for (_, promise) in self.group.drain(..) {
                    promise.durable(position);
                    position = position.next();
                }
            }
            Err(error) => self.fail(error),
        }
        tracing::trace!(n_batches, bytes = self.group_bytes, position = %self.position, "group");
        self.group_bytes = 0;
    }

    fn fail(&mut self, error: StoreError) {
        if self.failure.is_none() {
            tracing::error!(%error, position = %self.position, "commit failed, the store stops");
            let cause = format!("the store stopped after a failed commit: {error}");
            let cause = StoreError::new(StoreErrorKind::Closed, cause);
            // Invariant 4, before the promises: whoever hears of the failure and submits again is refused.
            self.queue.close(cause.clone());
            self.failure = Some(cause);
        }
        for (_, promise) in self.group.drain(..) {
            promise.failed(error.clone());
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the writer is a driver and times its own writes"
    )]
    fn write(&self, first: LogPosition) -> Result<LogPosition, StoreError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let started = Instant::now();
        let last = self.reads.db.with(|db| self.write_to(db, first))?;
        let n_ops = self.group.iter().map(|(batch, _)| batch.len()).sum();
        self.counters.record(self.group.len(), n_ops, self.group_bytes, started.elapsed());
        Ok(last)
    }

    fn write_to(&self, db: &DB, first: LogPosition) -> Result<LogPosition, StoreError> {
        let tables = Handles::new(db)?;
        let pinned = self.log.pins.oldest();
        // Whoever records keeps every batch twice in the write.
        let capacity = self.group_bytes * if pinned.is_some() { 2 } else { 1 } + 128;
        let mut out = rocksdb::WriteBatch::with_capacity_bytes(capacity);
        if let Some((start, end)) = self.log.take_prunable(pinned) {
            out.delete_range_cf(tables.get(Table::Log), encode_u64(start), encode_u64(end));
        }
        let mut position = LogPosition(first.0 - 1);
        let mut recorded = None;
        for (batch, _) in &self.group {
            position = position.next();
            batch.ops().for_each(|op| tables.append(&mut out, op));
            if pinned.is_some_and(|pinned| pinned < position) {
                out.put_cf(tables.get(Table::Log), encode_u64(position.0), batch.as_bytes());
                recorded.get_or_insert(position);
            }
        }
        let name = SystemKey::LogPosition.encode();
        out.put_cf(tables.get(Table::System), name, encode_u64(position.0));
        db.write_opt(out, &synced()).map_err(|error| commit_error(&error))?;
        if let Some(recorded) = recorded {
            self.log.recorded(recorded, position);
        }
        Ok(position)
    }

    fn link(&self, dir: CheckpointDir) -> CheckpointOutcome {
        self.reads.db.with(|db| dir.link(db))?;
        Ok((dir, self.position))
    }
}

impl Drop for Writer {
    /// Invariant 7, also when the thread unwinds.
    fn drop(&mut self) {
        self.queue.close(closed());
        let mut left = Vec::new();
        while self.queue.drain(&mut left) {
            // Dropped promises say that the store is closed.
            left.clear();
        }
        self.reads.close();
        tracing::debug!(position = %self.position, "store closed");
        self.closers.closed();
    }
}

impl Closers {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new(Some(Vec::new())) }
    }

    /// Resolves when the store is closed.
    pub(crate) fn wait(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        match &mut *self.waiting.lock() {
            Some(waiting) => waiting.push(sender),
            // Dropping the sender resolves the receiver.
            None => drop(sender),
        }
        receiver
    }

    fn closed(&self) {
        let waiting = self.waiting.lock().take();
        // Outside the lock: it wakes tasks.
        drop(waiting);
    }
}

/// The column families of a database, looked up once per group instead of once per change.
struct Handles<'a>([&'a ColumnFamily; Table::ALL.len()]);

impl<'a> Handles<'a> {
    fn new(db: &'a DB) -> Result<Self, StoreError> {
        let mut handles = [handle(db, Table::ALL[0])?; Table::ALL.len()];
        for table in Table::ALL {
            handles[table.index()] = handle(db, table)?;
        }
        Ok(Self(handles))
    }

    fn get(&self, table: Table) -> &'a ColumnFamily {
        self.0[table.index()]
    }

    fn append(&self, out: &mut rocksdb::WriteBatch, op: Op<'_>) {
        match op {
            Op::Put { table, key, value } => out.put_cf(self.get(table), key, value),
            Op::Delete { table, key } => out.delete_cf(self.get(table), key),
            Op::SingleDelete { table, key } => out.single_delete_cf(self.get(table), key),
            Op::DeleteRange { table, lower, upper } if lower < upper => {
                out.delete_range_cf(self.get(table), lower, upper);
            }
            Op::DeleteRange { .. } => {}
        }
    }
}
