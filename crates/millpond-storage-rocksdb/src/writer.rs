//! The writer thread of a store: it turns what was submitted into groups, and each group into one write,
//! synced if anybody in it asked for that.

use std::time::Instant;

use millpond_storage_api::{
    CommitPromise, LogPosition, Op, StoreError, StoreErrorKind, Table, WriteBatch,
};
use millpond_sync::{Arc, Mutex, oneshot};
use millpond_types::{SystemKey, encode_u64};
use rocksdb::properties::{CUR_SIZE_ALL_MEM_TABLES, CURRENT_SUPER_VERSION_NUMBER};
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
    /// Write the batch, and sync it if the promise asks for that.
    Commit(WriteBatch, CommitPromise),
    /// Link the files of a checkpoint, between two groups.
    Checkpoint(CheckpointDir, oneshot::Sender<CheckpointOutcome>),
}

pub(crate) type CheckpointOutcome = Result<(CheckpointDir, LogPosition), StoreError>;

/// Whoever waits until the store is closed.
pub(crate) struct Closers {
    /// `None` once it is closed.
    waiting: Mutex<Option<Vec<oneshot::Sender<()>>>>,
    /// What went wrong at the very end, when no ticket was left that could tell.
    failure: Mutex<Option<StoreError>>,
}

/// Options of a write that is durable when it returns.
pub(crate) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

/// A write that is in the log file when it returns, and not in any buffer of this process: the log is not
/// flushed by hand (`manual_wal_flush`), so `log::Writer::AddRecord` ends with a flush to the system.
fn unsynced() -> WriteOptions {
    WriteOptions::default()
}

pub(crate) struct Writer {
    pub(crate) queue: Arc<CommitQueue<Request>>,
    pub(crate) reads: Reads,
    pub(crate) log: Arc<LogState>,
    pub(crate) counters: Arc<CommitCounters>,
    pub(crate) closers: Arc<Closers>,
    /// Position of the last batch that was written.
    pub(crate) position: LogPosition,
    /// Which memtables were being filled after the last group, if it was not synced.
    pub(crate) memtables: Option<u64>,
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
                        let linked = self.sync().and_then(|()| self.link(dir));
                        // Whoever asked may be gone; the directory then goes too.
                        let _ = sender.send(linked);
                    }
                }
            }
            self.commit();
        }
        if self.failure.is_none() {
            match self.sync() {
                Ok(()) => self.shorten_next_open(),
                Err(error) => self.closers.failed(error),
            }
        }
    }

    /// Makes everything that was written durable.
    fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.log.durable() == self.position {
            return Ok(());
        }
        match self.reads.db.with(sync_logs) {
            Ok(()) => {
                self.memtables = None;
                self.log.set_durable(self.position);
                Ok(())
            }
            Err(error) => {
                self.fail(error.clone());
                Err(error)
            }
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

    /// Writes the group and resolves its promises (invariants 3 and 4).
    fn commit(&mut self) {
        if self.group.is_empty() {
            return;
        }
        let n_batches = self.group.len();
        let first = self.position.next();
        match self.write(first) {
            Ok(written) => {
                self.position = written.last;
                if written.synced {
                    self.log.set_durable(written.last);
                }
                let mut position = first;
                for (_, promise) in self.group.drain(..) {
                    match written.synced {
                        true => promise.durable(position),
                        false => promise.buffered(position).expect("nobody asked for a sync"),
                    }
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
    fn write(&mut self, first: LogPosition) -> Result<Written, StoreError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let started = Instant::now();
        let needs_sync = self.group.iter().any(|(_, promise)| promise.needs_sync());
        let (last, memtables) = self.reads.db.with(|db| {
            if needs_sync {
                return Ok((self.write_to(db, first, &synced())?, None));
            }
            let before = self.memtables.map_or_else(|| memtables(db), Ok)?;
            let last = self.write_to(db, first, &unsynced())?;
            Ok((last, leave_unsynced(db, before)?))
        })?;
        self.memtables = memtables;
        let synced = memtables.is_none();
        let n_ops = self.group.iter().map(|(batch, _)| batch.len()).sum();
        let n_batches = self.group.len();
        self.counters.record(n_batches, n_ops, self.group_bytes, synced, started.elapsed());
        Ok(Written { last, synced })
    }

    fn write_to(
        &self,
        db: &DB,
        first: LogPosition,
        options: &WriteOptions,
    ) -> Result<LogPosition, StoreError> {
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
        db.write_opt(out, options).map_err(|error| commit_error(&error))?;
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

/// A group that was written.
struct Written {
    last: LogPosition,
    synced: bool,
}

/// Which memtables are being filled, if what was written last can stay unsynced. Otherwise syncs it.
/// `before` are those of the unsynced group before, or, if there is none, those before the write.
///
/// A full memtable begins another log file, also in the middle of the write that finds it full. From then
/// on two files hold batches that are not synced, and a file system may store the newer first: after a
/// power cut RocksDB sees a hole between them only if the older one ends inside a record. So the first
/// group that may have met another file is synced before its tickets resolve, and that covers both files
/// (invariant 8).
fn leave_unsynced(db: &DB, before: u64) -> Result<Option<u64>, StoreError> {
    let memtables = memtables(db)?;
    if memtables == before {
        return Ok(Some(memtables));
    }
    sync_logs(db)?;
    Ok(None)
}

/// Syncs every log file that is not synced yet, the newest included.
fn sync_logs(db: &DB) -> Result<(), StoreError> {
    db.flush_wal(true).map_err(|error| commit_error(&error))
}

/// A number that grows whenever a table begins another memtable, and now and then without that.
fn memtables(db: &DB) -> Result<u64, StoreError> {
    Table::ALL.into_iter().try_fold(0, |sum, table| {
        let number = db.property_int_value_cf(handle(db, table)?, CURRENT_SUPER_VERSION_NUMBER);
        Ok(sum + number.map_err(|error| read_error(&error))?.unwrap_or_default())
    })
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
        Self { waiting: Mutex::new(Some(Vec::new())), failure: Mutex::new(None) }
    }

    /// The outcome of a close that has ended.
    pub(crate) fn outcome(&self) -> Result<(), StoreError> {
        self.failure.lock().clone().map_or(Ok(()), Err)
    }

    fn failed(&self, error: StoreError) {
        *self.failure.lock() = Some(error);
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
