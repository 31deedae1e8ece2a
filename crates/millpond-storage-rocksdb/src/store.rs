//! The store of one partition.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use millpond_storage_api::{
    BufferedTicket, Capabilities, Checkpoint, CheckpointFuture, CloseFuture, CommitLog,
    CommitPromise, CommitTicket, Epoch, GetFuture, LogPosition, OpenError, PartitionStore, ScanEnd,
    ScanFuture, ScanRequest, ScanRows, StoreError, StoreErrorKind, StoreRead, Table, WriteBatch,
    buffered_ticket, commit_ticket,
};
use millpond_sync::atomic::{AtomicU64, Ordering};
use millpond_sync::thread::{Builder, JoinHandle, block_on, current};
use millpond_sync::{Arc, Mutex, oneshot};
use rocksdb::{DB, WaitForCompactOptions};

use crate::checkpoint::{CheckpointDir, CheckpointView};
use crate::error::{closed, open_io_error, read_error};
use crate::log::{LogState, RocksLog};
use crate::open::{OpenMode, Opened, open};
use crate::queue::CommitQueue;
use crate::read::{Reads, handle};
use crate::stats::{CommitCounters, CommitStats};
use crate::writer::{Closers, Request, Writer};
use crate::{RocksBudget, RocksReader};

/// Threads of one store that may wait for the disk in reads.
const READ_THREADS: usize = 2;
/// Checkpoints being made at the same time; one more is refused with `Retry`.
const CHECKPOINTS_IN_FLIGHT_MAX: u64 = 4;

/// The store of one partition in one RocksDB.
///
/// Dropping it closes it as [`close`](PartitionStore::close) does, and waits for that.
pub struct RocksStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    budget: RocksBudget,
    epoch: Epoch,
    queue: Arc<CommitQueue<Request>>,
    reads: Reads,
    log: RocksLog,
    counters: Arc<CommitCounters>,
    closers: Arc<Closers>,
    checkpoints_made: AtomicU64,
    checkpoints_in_flight: AtomicU64,
}

impl RocksStore {
    /// Opens the store at `path` and claims its next epoch, durably.
    ///
    /// Blocks on the disk. A directory that is not a store of ours is left as it is.
    ///
    /// # Errors
    ///
    /// Each [`OpenError`] as it says. `UnknownFormat` also for a file, for a database with other tables,
    /// and for one with rows but no format version; `NotFound` also for a store whose creation was
    /// interrupted, which [`OpenMode::Create`] completes. `NewerFormat` is noticed after RocksDB has
    /// recovered its own files: rows are as they were, files may be arranged differently.
    pub fn open(
        path: impl AsRef<Path>,
        budget: &RocksBudget,
        mode: OpenMode,
    ) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let no_thread = |error| open_io_error(&path.display().to_string(), &error);
        let Opened { db, epoch, position } = open(path, budget, mode)?;
        let reads = Reads::new(db, budget.options.guards, READ_THREADS).map_err(no_thread)?;
        let queue = Arc::new(CommitQueue::new(position));
        let state = Arc::new(LogState::new(position));
        let log = RocksLog { state, queue: queue.clone(), reads: reads.clone() };
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            budget: budget.clone(),
            epoch,
            queue,
            reads,
            log,
            counters: Arc::new(CommitCounters::default()),
            closers: Arc::new(Closers::new()),
            checkpoints_made: AtomicU64::new(0),
            checkpoints_in_flight: AtomicU64::new(0),
        });
        let writer = shared.writer(position);
        let thread = Builder::new()
            .name("millpond-write".into())
            .spawn(move || writer.run())
            .map_err(no_thread)?;
        Ok(Self { shared, writer: Mutex::new(Some(thread)) })
    }

    /// What the commits have cost since the store was opened.
    pub fn commit_stats(&self) -> CommitStats {
        self.shared.counters.read()
    }

    /// Writes every row that is in memory to sorted files, and waits. Commits go on meanwhile.
    ///
    /// Never needed for durability; it shortens the next open.
    ///
    /// # Errors
    ///
    /// As for a commit.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.shared.reads.db.with(flush_all)
    }

    /// Waits until no flush and no compaction is due.
    ///
    /// # Errors
    ///
    /// As for a commit.
    pub fn settle(&self) -> Result<(), StoreError> {
        let options = WaitForCompactOptions::default();
        self.shared
            .reads
            .db
            .with(|db| db.wait_for_compact(&options).map_err(|error| read_error(&error)))
    }

    /// Merges the sorted files of every table, which drops what was deleted, and waits.
    ///
    /// # Errors
    ///
    /// `Closed`; a failure in the background shows in the next commit.
    pub fn compact(&self) -> Result<(), StoreError> {
        self.shared.reads.db.with(|db| {
            for table in Table::ALL {
                db.compact_range_cf(handle(db, table)?, None::<&[u8]>, None::<&[u8]>);
            }
            Ok(())
        })
    }
}

impl Shared {
    fn submit(&self, batch: WriteBatch, promise: CommitPromise) {
        if let Err((refused, error)) = self.queue.push_commit(Request::Commit(batch, promise))
            && let Request::Commit(_, promise) = refused
        {
            promise.failed(error);
        }
    }

    fn writer(&self, position: LogPosition) -> Writer {
        Writer {
            queue: self.queue.clone(),
            reads: self.reads.clone(),
            log: self.log.state.clone(),
            counters: self.counters.clone(),
            closers: self.closers.clone(),
            position,
            memtables: None,
            group: Vec::new(),
            group_bytes: 0,
            failure: None,
        }
    }

    /// Makes a checkpoint, on a thread of its own.
    fn make_checkpoint(&self) -> Result<Checkpoint, StoreError> {
        // Invariant 6. Most of the flush happens here, while commits go on; the writer flushes the little rest.
        self.reads.db.with(flush_all)?;
        // Relaxed: only uniqueness matters.
        let number = self.checkpoints_made.fetch_add(1, Ordering::Relaxed);
        let dir = CheckpointDir::new(&self.path, number)?;
        let (sender, receiver) = oneshot::channel();
        self.queue.push_control(Request::Checkpoint(dir, sender)).map_err(|(_, error)| error)?;
        let (dir, position) =
            block_on(receiver).unwrap_or_else(|oneshot::Dropped| Err(closed()))?;
        let reader = RocksReader::open_with(dir.path(), &self.budget)
            .map_err(|error| StoreError::new(StoreErrorKind::Io, error.to_string()))?;
        debug_assert_eq!(reader.position(), position, "the writer was between two groups");
        tracing::debug!(%position, "checkpoint made");
        Ok(Checkpoint { position, view: Box::new(CheckpointView { reader, _dir: dir }) })
    }

    fn start_checkpoint(shared: &Arc<Self>) -> Result<CheckpointReceiver, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let in_flight = CheckpointSlot::take(shared)?;
        Builder::new()
            .name("millpond-checkpoint".into())
            .spawn(move || {
                let made = in_flight.0.make_checkpoint();
                drop(in_flight);
                // Whoever asked may be gone; the checkpoint then goes too.
                let _ = sender.send(made);
            })
            .map_err(|error| StoreError::new(StoreErrorKind::Retry, error.to_string()))?;
        Ok(receiver)
    }
}

type CheckpointReceiver = oneshot::Receiver<Result<Checkpoint, StoreError>>;

/// One of the few checkpoints that may be in the making.
struct CheckpointSlot(Arc<Shared>);

impl CheckpointSlot {
    fn take(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        // Relaxed: a limit, it guards no data.
        if shared.checkpoints_in_flight.fetch_add(1, Ordering::Relaxed) < CHECKPOINTS_IN_FLIGHT_MAX
        {
            return Ok(Self(shared.clone()));
        }
        shared.checkpoints_in_flight.fetch_sub(1, Ordering::Relaxed);
        let detail = format!("{CHECKPOINTS_IN_FLIGHT_MAX} checkpoints are being made already");
        Err(StoreError::new(StoreErrorKind::Retry, detail))
    }
}

impl Drop for CheckpointSlot {
    fn drop(&mut self) {
        // Relaxed: see `take`.
        self.0.checkpoints_in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn flush_all(db: &DB) -> Result<(), StoreError> {
    for table in Table::ALL {
        db.flush_cf(handle(db, table)?).map_err(|error| read_error(&error))?;
    }
    Ok(())
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.shared.queue.close(closed());
        let Some(writer) = self.writer.lock().take() else { return };
        // A task that the store itself woke may hold the last handle, and the writer waits for the
        // reading threads before it ends: it then does so by itself.
        if writer.thread().id() == current().id() || self.shared.reads.pool.is_current_thread() {
            return;
        }
        if writer.join().is_err() {
            tracing::error!("the writer thread panicked");
        }
    }
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStore")
            .field("path", &self.shared.path)
            .field("epoch", &self.shared.epoch)
            .field("durable", &self.durable_position())
            .finish_non_exhaustive()
    }
}

impl StoreRead for RocksStore {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        self.shared.reads.try_scan(request, out)
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        self.shared.reads.scan(request)
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.shared.reads.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        self.shared.reads.get(table, key)
    }
}

impl PartitionStore for RocksStore {
    fn submit(&self, batch: WriteBatch) -> CommitTicket {
        let (promise, ticket) = commit_ticket();
        self.shared.submit(batch, promise);
        ticket
    }

    fn submit_buffered(&self, batch: WriteBatch) -> BufferedTicket {
        let (promise, ticket) = buffered_ticket();
        self.shared.submit(batch, promise);
        ticket
    }

    fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    fn durable_position(&self) -> LogPosition {
        self.shared.log.state.durable()
    }

    fn checkpoint(&self) -> CheckpointFuture {
        let started = Shared::start_checkpoint(&self.shared);
        Box::pin(async move { started?.await.unwrap_or_else(|oneshot::Dropped| Err(closed())) })
    }

    fn log(&self) -> &dyn CommitLog {
        &self.shared.log
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            cheap_range_delete: true,
            shared: false,
            power_safe: true,
            process_safe: true,
            typical_commit: Duration::from_millis(1),
        }
    }

    fn close(&self) -> CloseFuture {
        self.shared.queue.close(closed());
        let closers = self.shared.closers.clone();
        let done = closers.wait();
        Box::pin(async move {
            // Resolves by dropping the sender.
            let _ = done.await;
            closers.outcome()
        })
    }
}
