//! The suite that every backend passes.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use millpond_storage_api::{LogPosition, OpenError, PartitionStore};
use millpond_storage_conformance::{FaultHarness, Harness};
use millpond_storage_rocksdb::{OpenMode, RocksBudget, RocksStore};
use millpond_sync::thread::{block_on, yield_now};
use tempfile::TempDir;

use crate::support::{copy_live, small_budget};

/// A crash is that of the process: the files go on as they are at that moment, page cache included.
struct RocksHarness {
    scratch: TempDir,
    path: PathBuf,
    budget: RocksBudget,
    store: Weak<RocksStore>,
    /// Where the open store began.
    base: LogPosition,
    n_crashes: usize,
    /// Where the files are while the store's own directory is gone.
    moved: Option<PathBuf>,
}

impl RocksHarness {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("store");
        let budget = small_budget();
        Self {
            scratch,
            path,
            budget,
            store: Weak::new(),
            base: LogPosition(0),
            n_crashes: 0,
            moved: None,
        }
    }
}

impl Harness for RocksHarness {
    fn open(&mut self) -> Result<Arc<dyn PartitionStore>, OpenError> {
        if let Some(moved) = self.moved.take() {
            std::fs::rename(moved, &self.path).expect("the device comes back");
        }
        let store = Arc::new(RocksStore::open(&self.path, &self.budget, OpenMode::Create)?);
        self.store = Arc::downgrade(&store);
        self.base = store.durable_position();
        Ok(store)
    }

    fn crash(&mut self) {
        self.n_crashes += 1;
        let copy = self.scratch.path().join(format!("after-crash-{}", self.n_crashes));
        copy_live(self.moved.as_ref().unwrap_or(&self.path), &copy);
        self.moved = None;
        self.path = copy;
    }

    fn kill(&mut self) {
        self.crash();
    }

    fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        block_on(future)
    }
}

impl FaultHarness for RocksHarness {
    /// Takes the directory away and asks for a new log file, which then cannot be made. RocksDB fails
    /// every write from then on.
    fn fail_next_commit(&mut self) {
        let store = self.store.upgrade().expect("the case holds the store");
        let newest = store.log().pin().position();
        while self.base.0 + store.commit_stats().n_batches < newest.0 {
            yield_now();
        }
        let moved = self.path.with_extension("moved");
        std::fs::rename(&self.path, &moved).expect("a directory can be renamed");
        self.moved = Some(moved);
        store.flush().expect_err("a log file cannot be made in a directory that is gone");
    }
}

millpond_storage_conformance::conformance_suite!(crate::conformance::RocksHarness::new(), faults);
