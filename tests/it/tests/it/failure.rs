//! Storage that fails: the engine stops, says so, and loses nothing.

use std::time::Duration;

use millpond::{Engine, Entry, ErrorKind, PartitionOptions};
use millpond_it::drain;
use millpond_storage_api::StoreErrorKind;
use millpond_storage_memory::{BlockReads, FailedBatch, MemoryDisk, SyncMode};

use crate::backends::store;

async fn engine_on(disk: &MemoryDisk) -> Engine {
    let stores = vec![store(disk, SyncMode::Automatic)];
    Engine::with_stores(stores, PartitionOptions::default()).await.unwrap()
}

#[tokio::test]
async fn a_full_disk_stops_the_engine_and_keeps_every_receipt() {
    for (fault, kind) in
        [(StoreErrorKind::NoSpace, ErrorKind::NoSpace), (StoreErrorKind::Io, ErrorKind::Io)]
    {
        let disk = MemoryDisk::new();
        let engine = engine_on(&disk).await;
        let topic = engine.topic("t");
        let queue = topic.queue("q");
        queue.enqueue(Entry::new("kept")).await.unwrap();
        let waiting = tokio::spawn(topic.queue("other").lease().wait(Duration::MAX).fetch());

        disk.fail_commit(0, fault, FailedBatch::Lost);
        assert_eq!(queue.enqueue(Entry::new("lost")).await.unwrap_err().kind(), kind);
        assert_eq!(waiting.await.unwrap().unwrap_err().kind(), kind, "waiters hear of it");
        assert_eq!(queue.enqueue(Entry::new("late")).await.unwrap_err().kind(), kind);
        assert_eq!(queue.lease().fetch().await.unwrap_err().kind(), kind);
        assert_eq!(engine.close().await.unwrap_err().kind(), kind);

        let engine = engine_on(&disk).await;
        assert_eq!(drain(engine.topic("t").lease()).await.unwrap(), ["kept"]);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn reads_that_would_block_are_waited_for() {
    let disk = MemoryDisk::new();
    let engine = engine_on(&disk).await;
    let queue = engine.topic("t").queue("q");
    let expected: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
    let batch = expected.iter().map(|payload| Entry::new(payload.clone())).collect();
    queue.enqueue_batch(batch).await.unwrap();
    disk.block_reads(BlockReads::Always);
    assert_eq!(drain(queue.lease()).await.unwrap(), expected);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_partition_taken_over_by_somebody_else_is_fenced() {
    let disk = MemoryDisk::new();
    let old = engine_on(&disk).await;
    old.topic("t").queue("q").enqueue(Entry::new("a")).await.unwrap();
    let new = engine_on(&disk).await;
    let zombie = old.topic("t").queue("q").enqueue(Entry::new("b")).await.unwrap_err();
    assert_eq!(zombie.kind(), ErrorKind::Fenced);
    assert_eq!(drain(new.topic("t").lease()).await.unwrap(), ["a"]);
    new.close().await.unwrap();
}
