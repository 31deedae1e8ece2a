//! A store that tells what is read from it, and refuses what the test wants refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use millpond::{Bytes, Epoch, PartitionStore};
use millpond_storage_api::{
    Capabilities, CheckpointFuture, CloseFuture, CommitLog, CommitTicket, GetFuture, LogPosition,
    ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError, StoreErrorKind, StoreRead, Table,
    WriteBatch,
};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};

/// What was read, and what is to be refused.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Rows of `entries`, looked up or scanned.
    pub(crate) n_entry_rows: AtomicUsize,
    /// Whether scans of `active` fail.
    pub(crate) refuses_active: AtomicBool,
}

impl Watch {
    fn check(&self, request: &ScanRequest) -> Result<(), StoreError> {
        if request.table == Table::Active && self.refuses_active.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Io, "refused by the test"));
        }
        Ok(())
    }

    fn count(&self, table: Table, n_rows: usize) {
        if table == Table::Entries {
            self.n_entry_rows.fetch_add(n_rows, Ordering::SeqCst);
        }
    }
}

pub(crate) struct Watched {
    store: MemoryStore,
    watch: Arc<Watch>,
}

impl Watched {
    pub(crate) fn open(disk: &MemoryDisk) -> (Self, Arc<Watch>) {
        let store = MemoryStore::open(disk, MemoryOptions::default()).unwrap();
        let watch = Arc::new(Watch::default());
        (Self { store, watch: watch.clone() }, watch)
    }
}

impl StoreRead for Watched {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        out.clear();
        self.watch.check(request)?;
        let end = self.store.try_scan(request, out);
        self.watch.count(request.table, out.len());
        end
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        let (watch, table) = (self.watch.clone(), request.table);
        let checked = watch.check(&request);
        let scan = self.store.scan(request);
        Box::pin(async move {
            checked?;
            let (rows, end) = scan.await?;
            watch.count(table, rows.len());
            Ok((rows, end))
        })
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.watch.count(table, 1);
        self.store.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        self.watch.count(table, 1);
        self.store.get(table, key)
    }
}

impl PartitionStore for Watched {
    fn submit(&self, batch: WriteBatch) -> CommitTicket {
        self.store.submit(batch)
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
