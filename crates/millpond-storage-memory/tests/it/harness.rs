//! The memory backend as the conformance suite wants it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millpond_storage_api::{OpenError, PartitionStore, StoreErrorKind};
use millpond_storage_conformance::{FaultHarness, Harness};
use millpond_storage_memory::{
    BlockReads, FailedBatch, Intercept, InterceptedStore, MemoryDisk, MemoryOptions, MemoryStore,
    Sharing, SyncMode, Visibility,
};

pub(crate) struct MemoryHarness {
    disk: MemoryDisk,
    options: MemoryOptions,
    failed_batch: FailedBatch,
    intercepted: bool,
    n_crashes: usize,
}

struct LetsEverythingThrough;

impl Intercept for LetsEverythingThrough {}

impl MemoryHarness {
    fn new(options: MemoryOptions) -> Self {
        let disk = MemoryDisk::new();
        Self { disk, options, failed_batch: FailedBatch::Lost, intercepted: false, n_crashes: 0 }
    }
}

impl Harness for MemoryHarness {
    fn open(&mut self) -> Result<Arc<dyn PartitionStore>, OpenError> {
        let store = MemoryStore::open(&self.disk, self.options)?;
        Ok(match self.intercepted {
            true => Arc::new(InterceptedStore::new(store, Arc::new(LetsEverythingThrough))),
            false => Arc::new(store),
        })
    }

    fn crash(&mut self) {
        // Nothing, everything and what lies between.
        self.n_crashes += 1;
        self.disk.crash(self.n_crashes * 7 % (self.disk.n_unsynced() + 1));
    }

    fn kill(&mut self) {
        self.n_crashes += 1;
        self.disk.kill(self.n_crashes * 7 % (self.disk.n_unwritten() + 1));
    }

    fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                // Writes what it can first: nobody is helped by a sync who can do without.
                Poll::Pending => assert!(
                    self.disk.write_next() || self.disk.sync_next(),
                    "nothing is left to wait for"
                ),
            }
        }
    }
}

impl FaultHarness for MemoryHarness {
    fn fail_next_commit(&mut self) {
        self.disk.fail_commit(0, StoreErrorKind::NoSpace, self.failed_batch);
    }
}

impl MemoryHarness {
    /// Durable at once, on storage that a newer handle takes over.
    pub(crate) fn automatic() -> Self {
        Self::new(MemoryOptions::default())
    }

    /// Durable only when somebody waits, visible at once, for one handle.
    pub(crate) fn stepped() -> Self {
        let mut harness = Self::new(MemoryOptions {
            sync: SyncMode::Stepped,
            sharing: Sharing::Exclusive,
            tombstones: true,
            ..MemoryOptions::default()
        });
        harness.failed_batch = FailedBatch::Survives;
        harness
    }

    /// Durable only when somebody waits, and visible no earlier.
    pub(crate) fn late() -> Self {
        Self::new(MemoryOptions {
            sync: SyncMode::Stepped,
            visibility: Visibility::AtSync,
            ..MemoryOptions::default()
        })
    }

    /// Tickets resolve in `submit`, tombstones are kept, and scans that do not wait are served in part.
    pub(crate) fn resolving() -> Self {
        let harness = Self::new(MemoryOptions { tombstones: true, ..MemoryOptions::default() });
        harness.disk.block_reads(BlockReads::AfterRows(20));
        harness
    }

    /// As [`stepped`](Self::stepped), and what does not wait is served in part.
    pub(crate) fn blocking() -> Self {
        let harness = Self::stepped();
        harness.disk.block_reads(BlockReads::AfterRows(2));
        harness
    }

    /// As [`blocking`](Self::blocking), past hooks that do nothing.
    pub(crate) fn intercepted() -> Self {
        Self { intercepted: true, ..Self::blocking() }
    }
}
