//! The hooks of an intercepted store: when each is called, and what its answer does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use millpond_storage_api::{
    PartitionStore, ScanRequest, ScanRows, StoreError, StoreErrorKind, StoreRead, Table, WriteBatch,
};
use millpond_storage_memory::{
    BlockReads, Intercept, InterceptedStore, MemoryDisk, MemoryOptions, MemoryStore,
};
use millpond_sync::Mutex;
use millpond_sync::thread::block_on;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Scan { lower: Vec<u8>, may_wait: bool },
    Rows(usize),
    Get { key: Vec<u8>, may_wait: bool },
    Submit { n_ops: usize },
}

#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<Seen>>,
    /// Reads are refused with this.
    refusal: Mutex<Option<StoreErrorKind>>,
}

impl Notes {
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock())
    }

    fn refuse(&self, kind: StoreErrorKind) {
        *self.refusal.lock() = Some(kind);
    }

    fn answer(&self, seen: Seen) -> Result<(), StoreError> {
        self.seen.lock().push(seen);
        let refusal = *self.refusal.lock();
        refusal.map_or(Ok(()), |kind| Err(StoreError::new(kind, "refused by the test")))
    }
}

impl Intercept for Notes {
    fn before_scan(&self, request: &ScanRequest, may_wait: bool) -> Result<(), StoreError> {
        assert_eq!(request.table, Table::Active);
        self.answer(Seen::Scan { lower: request.lower.clone(), may_wait })
    }

    fn after_scan(&self, table: Table, n_rows: usize) {
        assert_eq!(table, Table::Active);
        self.seen.lock().push(Seen::Rows(n_rows));
    }

    fn before_get(&self, table: Table, key: &[u8], may_wait: bool) -> Result<(), StoreError> {
        assert_eq!(table, Table::Active);
        self.answer(Seen::Get { key: key.to_vec(), may_wait })
    }

    fn before_submit(&self, batch: &WriteBatch) {
        self.seen.lock().push(Seen::Submit { n_ops: batch.len() });
    }
}

fn from(lower: u8) -> ScanRequest {
    ScanRequest {
        table: Table::Active,
        lower: vec![lower],
        upper: None,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        skip_max: u64::MAX,
    }
}

/// A store with three rows.
fn with_rows(disk: &MemoryDisk, intercept: Arc<dyn Intercept>) -> InterceptedStore {
    let store = MemoryStore::open(disk, MemoryOptions::default()).expect("the disk is in order");
    let store = InterceptedStore::new(store, intercept);
    let mut batch = WriteBatch::new();
    (0..3).for_each(|key| batch.put(Table::Active, &[key], b"value"));
    block_on(store.submit(batch)).expect("nothing fails");
    store
}

#[test]
fn each_call_is_seen_once_with_what_it_asks_for() {
    let (disk, notes) = (MemoryDisk::new(), Arc::new(Notes::default()));
    let store = with_rows(&disk, notes.clone());
    assert_eq!(notes.take(), [Seen::Submit { n_ops: 3 }]);

    let mut rows = ScanRows::new();
    store.try_scan(&from(1), &mut rows).expect("nothing fails");
    assert_eq!(notes.take(), [Seen::Scan { lower: vec![1], may_wait: false }, Seen::Rows(2)]);

    let scan = store.scan(from(2));
    assert_eq!(notes.take(), [], "the future is not polled yet");
    assert_eq!(block_on(scan).expect("nothing fails").0.len(), 1);
    assert_eq!(notes.take(), [Seen::Scan { lower: vec![2], may_wait: true }, Seen::Rows(1)]);

    assert!(store.try_get(Table::Active, &[0]).expect("nothing fails").is_some());
    let get = store.get(Table::Active, &[7]);
    assert_eq!(notes.take(), [Seen::Get { key: vec![0], may_wait: false }]);
    assert!(block_on(get).expect("nothing fails").is_none());
    assert_eq!(notes.take(), [Seen::Get { key: vec![7], may_wait: true }]);
}

#[test]
fn a_refused_read_answers_the_refusal_and_no_rows() {
    let (disk, notes) = (MemoryDisk::new(), Arc::new(Notes::default()));
    let store = with_rows(&disk, notes.clone());
    notes.take();
    notes.refuse(StoreErrorKind::Io);

    let mut rows = ScanRows::new();
    rows.push(b"left", b"over");
    let kinds = [
        store.try_scan(&from(0), &mut rows).err(),
        block_on(store.scan(from(0))).err(),
        store.try_get(Table::Active, &[0]).err(),
        block_on(store.get(Table::Active, &[0])).err(),
    ]
    .map(|error| error.map(|error| error.kind()));
    assert_eq!(kinds, [Some(StoreErrorKind::Io); 4]);
    assert!(rows.is_empty());
    assert!(!notes.take().iter().any(|seen| matches!(seen, Seen::Rows(_))));
}

#[test]
fn a_scan_that_fails_or_blocks_tells_how_many_rows_it_gave() {
    let (disk, notes) = (MemoryDisk::new(), Arc::new(Notes::default()));
    let store = with_rows(&disk, notes.clone());
    notes.take();

    disk.block_reads(BlockReads::AfterRows(2));
    let blocked = store.try_scan(&from(0), &mut ScanRows::new());
    assert!(blocked.is_err_and(|error| error.would_block()));
    assert_eq!(notes.take().pop(), Some(Seen::Rows(2)));

    disk.fail_read(0, StoreErrorKind::Io);
    assert!(block_on(store.scan(from(0))).is_err());
    assert_eq!(notes.take().pop(), Some(Seen::Rows(0)));
}

struct Panics;

impl Intercept for Panics {
    fn before_scan(&self, _: &ScanRequest, _: bool) -> Result<(), StoreError> {
        panic!("a store with a defect")
    }
}

#[test]
fn a_hook_that_panics_in_a_scan_that_waits_panics_in_its_future() {
    let store = with_rows(&MemoryDisk::new(), Arc::new(Panics));
    let scan = store.scan(from(0));
    assert!(catch_unwind(AssertUnwindSafe(|| block_on(scan))).is_err());
}
