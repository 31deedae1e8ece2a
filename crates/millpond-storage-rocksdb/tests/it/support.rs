//! What several tests need.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use millpond_storage_api::{
    LogPosition, PartitionStore, ScanEnd, ScanRequest, ScanRows, StoreErrorKind, StoreRead, Table,
    WriteBatch,
};
use millpond_storage_rocksdb::{BudgetOptions, Guards, OpenMode, RocksBudget, RocksStore};
use millpond_sync::thread::block_on;
use tempfile::TempDir;

/// A place for one store.
pub(crate) struct Place {
    _scratch: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) budget: RocksBudget,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with_guards(Guards::ALL)
    }

    pub(crate) fn with_guards(guards: Guards) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("store");
        Self { _scratch: scratch, path, budget: guarded_budget(guards) }
    }

    pub(crate) fn open(&self) -> RocksStore {
        RocksStore::open(&self.path, &self.budget, OpenMode::Create).expect("it can be opened")
    }

    /// Opens with a cache in which nothing is yet.
    pub(crate) fn open_cold(&mut self) -> RocksStore {
        self.budget = small_budget();
        self.open()
    }
}

pub(crate) fn small_budget() -> RocksBudget {
    guarded_budget(Guards::ALL)
}

pub(crate) fn guarded_budget(guards: Guards) -> RocksBudget {
    RocksBudget::new(BudgetOptions {
        cache_bytes: 16 << 20,
        write_buffer_bytes: 64 << 20,
        background_threads: 2,
        guards,
    })
}

pub(crate) fn commit(store: &RocksStore, build: impl FnOnce(&mut WriteBatch)) -> LogPosition {
    let mut batch = WriteBatch::new();
    build(&mut batch);
    block_on(store.submit(batch)).expect("a healthy store commits").into_inner()
}

pub(crate) fn all(table: Table) -> ScanRequest {
    ScanRequest {
        table,
        lower: vec![],
        upper: None,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        skip_max: u64::MAX,
    }
}

/// Key of the `n`-th ready entry of a queue.
pub(crate) fn key(queue: u8, n: u64) -> Vec<u8> {
    [&[queue; 16][..], &[2], &n.to_be_bytes()].concat()
}

/// The range of one queue's rows from row `from` on.
pub(crate) fn queue(table: Table, queue: u8, from: u64) -> ScanRequest {
    let upper = millpond_types::prefix_successor(&[queue; 16]);
    ScanRequest { lower: key(queue, from), upper, ..all(table) }
}

/// Gives a queue its first rows.
pub(crate) fn fill(store: &RocksStore, table: Table, n_queue: u8, n_rows: u64) {
    commit(store, |batch| {
        for n in 0..n_rows {
            batch.put(table, &key(n_queue, n), &[n_queue; 300]);
        }
    });
}

/// Reads a range to its end, without waiting.
pub(crate) fn try_rows(store: &RocksStore, request: &ScanRequest) -> Result<usize, StoreErrorKind> {
    let mut out = ScanRows::new();
    let end = store.try_scan(request, &mut out).map_err(|error| error.kind())?;
    assert_eq!(end, ScanEnd::Exhausted);
    Ok(out.len())
}

/// Reads a range to its end, waiting.
pub(crate) fn rows(store: &dyn StoreRead, request: ScanRequest) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (rows, end) = block_on(store.scan(request)).expect("a healthy store can be scanned");
    assert_eq!(end, ScanEnd::Exhausted);
    owned(&rows)
}

pub(crate) fn owned(rows: &ScanRows) -> Vec<(Vec<u8>, Vec<u8>)> {
    rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// Every file below `path` with its bytes.
pub(crate) fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(path).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.insert(path.clone(), vec![]);
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            found.insert(path, bytes);
        }
    }
    found
}

/// The files of a store as a killed process leaves them: what it wrote is there, synced or not.
///
/// A copy takes time, so it is taken again until no file came or went meanwhile. LOCK is left out,
/// because closing any descriptor of it would give up the lock of the live store in this process.
pub(crate) fn copy_live(from: &Path, to: &Path) {
    loop {
        std::fs::create_dir_all(to).expect("a new directory");
        let names = names(from);
        let copied = names.iter().all(|name| std::fs::copy(from.join(name), to.join(name)).is_ok());
        if copied && names == self::names(from) {
            return;
        }
        std::fs::remove_dir_all(to).expect("the copy can be removed");
    }
}

fn names(path: &Path) -> BTreeSet<OsString> {
    std::fs::read_dir(path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name != "LOCK" && !path.join(name).is_dir())
        .collect()
}
