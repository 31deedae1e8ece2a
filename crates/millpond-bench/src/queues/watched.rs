//! A store that counts the reads that wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::PartitionStore;
use millpond_storage_api::{
    Capabilities, CheckpointFuture, CloseFuture, CommitLog, CommitTicket, Epoch, GetFuture,
    LogPosition, ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError, StoreRead, Table,
    WriteBatch,
};

/// How many scans are under way, and were at most.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl InFlight {
    // Relaxed: counts, which guard nothing.
    fn start(self: &Arc<Self>) -> UnderWay {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

struct UnderWay(Arc<InFlight>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Another store, watched.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) store: S,
    pub(super) scans: Arc<InFlight>,
}

impl<S: PartitionStore> StoreRead for Watched<S> {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        self.store.try_scan(request, out)
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        let under_way = self.scans.start();
        let scan = self.store.scan(request);
        Box::pin(async move {
            let outcome = scan.await;
            drop(under_way);
            outcome
        })
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<millpond::Bytes>, StoreError> {
        self.store.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        self.store.get(table, key)
    }
}

impl<S: PartitionStore> PartitionStore for Watched<S> {
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
