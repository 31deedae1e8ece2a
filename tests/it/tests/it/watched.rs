//! What is read from a store, and what is to be refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use millpond_storage_api::{ScanRequest, StoreError, StoreErrorKind, Table};
use millpond_storage_memory::{
    Intercept, InterceptedStore, MemoryDisk, MemoryOptions, MemoryStore,
};

#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Rows of `entries`, looked up or scanned.
    pub(crate) n_entry_rows: AtomicUsize,
    /// Whether scans of `active` fail.
    pub(crate) refuses_active: AtomicBool,
}

impl Watch {
    /// Opens the store on `disk` under a new watch.
    pub(crate) fn open(disk: &MemoryDisk) -> (InterceptedStore, Arc<Self>) {
        let store = MemoryStore::open(disk, MemoryOptions::default()).unwrap();
        let watch = Arc::new(Self::default());
        (InterceptedStore::new(store, watch.clone()), watch)
    }

    fn count(&self, table: Table, n_rows: usize) {
        if table == Table::Entries {
            self.n_entry_rows.fetch_add(n_rows, Ordering::SeqCst);
        }
    }
}

impl Intercept for Watch {
    fn before_scan(&self, request: &ScanRequest, _: bool) -> Result<(), StoreError> {
        if request.table == Table::Active && self.refuses_active.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Io, "refused by the test"));
        }
        Ok(())
    }

    fn after_scan(&self, table: Table, n_rows: usize) {
        self.count(table, n_rows);
    }

    fn before_get(&self, table: Table, _: &[u8], _: bool) -> Result<(), StoreError> {
        self.count(table, 1);
        Ok(())
    }
}
