//! What opening an engine reads, and what it says while it still reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millpond::{Engine, Entry};
use millpond_it::{drain, status};
use millpond_storage_memory::MemoryDisk;

use crate::watched::{Watch, Watched};

async fn engine_on(disk: &MemoryDisk) -> (Engine, Arc<Watch>) {
    let (store, watch) = Watched::open(disk);
    let engine = Engine::with_stores(vec![Arc::new(store)], Default::default()).await.unwrap();
    (engine, watch)
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

    let (engine, watch) = engine_on(&disk).await;
    assert_eq!(status(&engine).await.unwrap().n_entries, 10 * depth as u64);
    engine.close().await.unwrap();
    watch.n_entry_rows.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_restart_reads_no_entry() {
    // The count of entries is known from `active`; a head is read when somebody asks for it.
    for depth in [1, 100, 1000] {
        assert_eq!(rows_read_by_opening(depth).await, 0, "at depth {depth}");
    }
}

#[tokio::test]
async fn an_engine_whose_queues_do_not_come_back_says_so_until_they_do() {
    let disk = MemoryDisk::new();
    let (engine, _) = engine_on(&disk).await;
    for n in 0..10 {
        engine.topic("t").queue(format!("{n}")).enqueue(Entry::new("x")).await.unwrap();
    }
    let before = status(&engine).await.unwrap();
    assert_eq!((before.n_queues, before.n_resident), (10, 10));
    assert!(before.window_bytes > 0 && before.recall_failure.is_none());
    engine.close().await.unwrap();

    let (store, watch) = Watched::open(&disk);
    watch.refuses_active.store(true, Ordering::SeqCst);
    let engine = Engine::with_stores(vec![Arc::new(store)], Default::default()).await.unwrap();
    let failure = loop {
        let status = engine.status().await.unwrap();
        assert!(status.recalling, "nothing can be read");
        assert_eq!((status.n_queues, status.n_entries, status.n_resident), (0, 0, 0));
        if let Some(failure) = status.recall_failure {
            break failure;
        }
    };
    assert!(failure.contains("refused by the test"), "{failure}");

    watch.refuses_active.store(false, Ordering::SeqCst);
    let after = status(&engine).await.unwrap();
    assert_eq!((after.n_queues, after.n_entries, after.n_resident), (10, 10, 10));
    assert_eq!((after.recall_failure, after.counters.n_queues_recalled), (None, 10));
    assert_eq!(drain(engine.topic("t").lease()).await.unwrap().len(), 10);
    engine.close().await.unwrap();
}
