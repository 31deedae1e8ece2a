//! A store whose reads and commits a test can watch.

use std::sync::Arc;

use bytes::Bytes;
use millpond_storage_api::{
    BufferedTicket, Capabilities, CheckpointFuture, CloseFuture, CommitLog, CommitTicket, Epoch,
    GetFuture, LogPosition, PartitionStore, ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError,
    StoreRead, Table, WriteBatch,
};

use crate::MemoryStore;

/// What an [`InterceptedStore`] asks and tells. Every method lets everything through by default.
///
/// A method may refuse, count, or panic as a store with a defect would. It is called while no lock is
/// held, so it may use the [`MemoryDisk`](crate::MemoryDisk).
pub trait Intercept: Send + Sync + 'static {
    /// A scan begins: `scan` if it `may_wait`, else `try_scan`.
    ///
    /// For `scan` this is called when the future is polled first, so a panic here is one of the future.
    /// The store has been asked by then, and its answer is thrown away if this refuses.
    ///
    /// # Errors
    ///
    /// What the scan answers instead of rows. A scan that may wait never answers `WouldBlock`, so it must
    /// not be refused with that.
    fn before_scan(&self, request: &ScanRequest, may_wait: bool) -> Result<(), StoreError> {
        let _ = (request, may_wait);
        Ok(())
    }

    /// A scan that was let through has come back with `n_rows` rows, which is 0 if it failed and can be
    /// more if it answered `WouldBlock`.
    fn after_scan(&self, table: Table, n_rows: usize) {
        let _ = (table, n_rows);
    }

    /// A lookup begins: `get` if it `may_wait`, else `try_get`. Called when
    /// [`before_scan`](Self::before_scan) would be.
    ///
    /// # Errors
    ///
    /// What the lookup answers instead of a value; `WouldBlock` only if it may not wait.
    fn before_get(&self, table: Table, key: &[u8], may_wait: bool) -> Result<(), StoreError> {
        let _ = (table, key, may_wait);
        Ok(())
    }

    /// A batch is about to be submitted, of either kind.
    ///
    /// It cannot be refused here, because one failed commit must stop the store:
    /// [`MemoryDisk::fail_commit`](crate::MemoryDisk::fail_commit) does both.
    fn before_submit(&self, batch: &WriteBatch) {
        let _ = batch;
    }
}

/// A [`MemoryStore`] whose reads and commits go past an [`Intercept`].
///
/// It is for what depends on *which* rows are read, where the levers of the
/// [`MemoryDisk`](crate::MemoryDisk) go by number. Reads of a checkpoint and of the log go past nobody.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use millpond_storage_api::{PartitionStore, StoreError, StoreErrorKind, StoreRead, Table, WriteBatch};
/// use millpond_storage_memory::{Intercept, InterceptedStore, MemoryDisk, MemoryOptions, MemoryStore};
///
/// #[derive(Default)]
/// struct BadSector {
///     n_submits: AtomicUsize,
/// }
///
/// impl Intercept for BadSector {
///     fn before_get(&self, _: Table, key: &[u8], _: bool) -> Result<(), StoreError> {
///         match key {
///             b"bad" => Err(StoreError::new(StoreErrorKind::Io, "a bad sector")),
///             _ => Ok(()),
///         }
///     }
///
///     fn before_submit(&self, _: &WriteBatch) {
///         self.n_submits.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let bad_sector = Arc::new(BadSector::default());
/// let store = MemoryStore::open(&MemoryDisk::new(), MemoryOptions::default())?;
/// let store = InterceptedStore::new(store, bad_sector.clone());
/// let mut batch = WriteBatch::new();
/// batch.put(Table::Active, b"bad", b"value");
/// batch.put(Table::Active, b"good", b"value");
/// assert!(store.submit(batch).try_outcome().expect("it is resolved").is_ok());
///
/// assert!(store.try_get(Table::Active, b"bad").is_err());
/// assert!(store.try_get(Table::Active, b"good")?.is_some());
/// assert_eq!(bad_sector.n_submits.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct InterceptedStore {
    store: MemoryStore,
    // std's Arc: it is shared with the caller, and a loom Arc cannot hold a trait object.
    intercept: Arc<dyn Intercept>,
}

impl InterceptedStore {
    /// Puts `intercept` in front of `store`.
    pub fn new(store: MemoryStore, intercept: Arc<dyn Intercept>) -> Self {
        Self { store, intercept }
    }
}

impl std::fmt::Debug for InterceptedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InterceptedStore").field("store", &self.store).finish_non_exhaustive()
    }
}

impl StoreRead for InterceptedStore {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        out.clear();
        self.intercept.before_scan(request, false)?;
        let end = self.store.try_scan(request, out);
        self.intercept.after_scan(request.table, out.len());
        end
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        let intercept = self.intercept.clone();
        // Asked now and not in the future, so that the moment it sees stays the store's to choose.
        let scan = self.store.scan(request.clone());
        Box::pin(async move {
            intercept.before_scan(&request, true)?;
            let scanned = scan.await;
            let n_rows = scanned.as_ref().map_or(0, |(rows, _)| rows.len());
            intercept.after_scan(request.table, n_rows);
            scanned
        })
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.intercept.before_get(table, key, false)?;
        self.store.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        let (intercept, get, key) =
            (self.intercept.clone(), self.store.get(table, key), key.to_vec());
        Box::pin(async move {
            intercept.before_get(table, &key, true)?;
            get.await
        })
    }
}

impl PartitionStore for InterceptedStore {
    fn submit(&self, batch: WriteBatch) -> CommitTicket {
        self.intercept.before_submit(&batch);
        self.store.submit(batch)
    }

    fn submit_buffered(&self, batch: WriteBatch) -> BufferedTicket {
        self.intercept.before_submit(&batch);
        self.store.submit_buffered(batch)
    }

    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn durable_position(&self) -> LogPosition {
        self.store.durable_position()
    }

    fn checkpoint(&self) -> CheckpointFuture {
        self.store.checkpoint()
    }

    fn log(&self) -> &dyn CommitLog {
        self.store.log()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn close(&self) -> CloseFuture {
        self.store.close()
    }
}
