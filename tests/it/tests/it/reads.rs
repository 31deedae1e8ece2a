//! What opening an engine reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::{Bytes, Engine, Entry, Epoch, PartitionStore};
use millpond_storage_api::{
    Capabilities, CheckpointFuture, CloseFuture, CommitLog, CommitTicket, GetFuture, LogPosition,
    ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError, StoreRead, Table, WriteBatch,
};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};

/// A store that counts the rows of `entries` that were read from it.
struct Counting {
    store: MemoryStore,
    n_entry_rows: Arc<AtomicUsize>,
}

impl StoreRead for Counting {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        let end = self.store.try_scan(request, out);
        if request.table == Table::Entries {
            self.n_entry_rows.fetch_add(out.len(), Ordering::SeqCst);
        }
        end
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        let counted = (request.table == Table::Entries).then(|| self.n_entry_rows.clone());
        let scan = self.store.scan(request);
        Box::pin(async move {
            let (rows, end) = scan.await?;
            if let Some(n_entry_rows) = counted {
                n_entry_rows.fetch_add(rows.len(), Ordering::SeqCst);
            }
            Ok((rows, end))
        })
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        assert_ne!(table, Table::Entries, "opening looks up no entry");
        self.store.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        assert_ne!(table, Table::Entries, "opening looks up no entry");
        self.store.get(table, key)
    }
}

impl PartitionStore for Counting {
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

async fn engine_on(disk: &MemoryDisk) -> (Engine, Arc<AtomicUsize>) {
    let store = MemoryStore::open(disk, MemoryOptions::default()).unwrap();
    let n_entry_rows = Arc::new(AtomicUsize::new(0));
    let store = Counting { store, n_entry_rows: n_entry_rows.clone() };
    let engine = Engine::with_stores(vec![Arc::new(store)], Default::default()).await.unwrap();
    (engine, n_entry_rows)
}

/// Rows of entries read between opening and being closed again, with this many entries in each of ten
/// queues.
async fn rows_read_by_opening(depth: usize) -> usize {
    let disk = MemoryDisk::new();
    let (engine, _) = engine_on(&disk).await;
    for n in 0..10 {
        let queue = engine.topic("t").queue(format!("{n}"));
        queue.enqueue_batch(vec![Entry::new("x"); depth]).await.unwrap();
    }
    engine.close().await.unwrap();

    let (engine, n_entry_rows) = engine_on(&disk).await;
    assert_eq!(engine.status().await.unwrap().n_entries, 10 * depth as u64);
    engine.close().await.unwrap();
    n_entry_rows.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_restart_reads_a_window_of_each_queue_and_never_all_entries() {
    // The count of entries is known from `active`; of the entries at most the windows are read.
    let window = millpond::PartitionOptions::default().inbox.capacity();
    for depth in [100, 1000] {
        let n_read = rows_read_by_opening(depth).await;
        assert!(n_read <= 10 * window, "{n_read} rows read at depth {depth}");
    }
}
