//! Receipts that a power cut may take back, among those that it may not.

use millpond::{Buffered, Durable, Engine, Entry, ErrorKind, PartitionOptions, Settings};
use millpond_it::{drain, open, options, status};
use millpond_storage_memory::{MemoryDisk, SyncMode};

use crate::backends::{Backend, keys, store};

#[tokio::test]
async fn receipts_of_both_kinds_keep_one_order_and_survive_a_close() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        let mut ids = Vec::new();
        for n in 0..60 {
            let entry = Entry::new(format!("{n:02}"));
            ids.push(if n % 3 == 0 {
                let receipt: Durable<_> = queue.enqueue(entry).await.unwrap();
                receipt.into_inner().id()
            } else {
                let receipt: Buffered<_> = queue.enqueue_buffered(entry).await.unwrap();
                receipt.into_inner().id()
            });
        }
        assert!(ids.is_sorted());
        let more = ["60", "61"].map(Entry::new).to_vec();
        assert_eq!(queue.enqueue_batch_buffered(more).await.unwrap().get().len(), 2);
        engine.close().await.unwrap();

        let engine = backend.open(Settings::default()).await;
        let payloads = drain(engine.topic("t").queue("q").lease()).await.unwrap();
        assert!(payloads.into_iter().eq((0..62).map(|n| format!("{n:02}"))));
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_key_is_taken_by_callers_of_either_kind() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(directory.path()).partitions(1)).await.unwrap();
    let queue = engine.topic("t").queue("q");
    let callers = (0..200).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let entry = Entry::new("x").once(format!("key-{}", n / 2));
            if n % 2 == 0 {
                queue.enqueue(entry).await.unwrap().into_inner()
            } else {
                queue.enqueue_buffered(entry).await.unwrap().into_inner()
            }
        })
    });
    let mut n_new = 0;
    for caller in callers.collect::<Vec<_>>() {
        n_new += usize::from(!caller.await.unwrap().is_duplicate());
    }
    assert_eq!(n_new, 100, "a key is taken by either kind");
    assert_eq!(status(&engine).await.unwrap().n_entries, 100);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_buffered_ack_removes_the_entry_and_ends_the_lease() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue_batch(["a", "b"].map(Entry::new).to_vec()).await.unwrap();
    let delivery = queue.lease().fetch_one().await.unwrap().expect("one is ready");
    let lease = delivery.lease();
    let _: Buffered<()> = delivery.ack_buffered().await.unwrap();
    assert_eq!(engine.ack(lease).await.unwrap_err().kind(), ErrorKind::StaleLease);
    engine.close().await.unwrap();

    let engine = open(directory.path()).await.unwrap();
    assert_eq!(drain(engine.topic("t").lease()).await.unwrap(), ["b"]);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn whoever_keeps_only_the_lease_acks_buffered_or_with_what_comes_next() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let (from, to) = (engine.topic("from"), engine.topic("to"));
    let keys = keys("", 1);
    let [here, there] = [&keys[0][0], &keys[1][0]];
    from.queue(here).enqueue_batch(["a", "b"].map(Entry::new).to_vec()).await.unwrap();
    let leased = from.lease().max(2).fetch().await.unwrap();
    let [first, second] = [leased[0].lease(), leased[1].lease()];
    drop(leased);
    let _: Buffered<()> = engine.ack_buffered(first).await.unwrap();
    assert_eq!(engine.ack_buffered(first).await.unwrap_err().kind(), ErrorKind::StaleLease);

    let next = vec![Entry::new("c")];
    let refused = engine.ack_and_enqueue(second, &to.queue(there), next.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    engine.ack_and_enqueue(second, &to.queue(here), next.clone()).await.unwrap();
    let again = engine.ack_and_enqueue(second, &to.queue(here), next).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::StaleLease);
    assert_eq!(drain(from.lease()).await.unwrap(), [""; 0]);
    assert_eq!(drain(to.lease()).await.unwrap(), ["c"]);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn what_is_refused_is_refused_to_either_kind() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    topic.set(Settings::default().with_entries_max(1)).await.unwrap();
    let queue = topic.queue("q");
    let pair = vec![Entry::new("x"); 2];
    assert_eq!(queue.enqueue_batch_buffered(pair).await.unwrap_err().kind(), ErrorKind::Full);
    let empty = queue.enqueue_batch_buffered(Vec::new()).await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::InvalidInput);
    engine.close().await.unwrap();
    let closed = queue.enqueue_buffered(Entry::new("x")).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
}

async fn open_on(disk: &MemoryDisk) -> Engine {
    let stores = vec![store(disk, SyncMode::Automatic)];
    Engine::with_stores(stores, PartitionOptions::default()).await.unwrap()
}

/// What is there after `a` was durable, `b` and `c` were buffered, and then this happened.
async fn left_after(end: impl FnOnce(&MemoryDisk)) -> Vec<String> {
    let disk = MemoryDisk::new();
    let engine = open_on(&disk).await;
    let queue = engine.topic("t").queue("q");
    queue.enqueue(Entry::new("a")).await.unwrap();
    queue.enqueue_buffered(Entry::new("b")).await.unwrap();
    queue.enqueue_buffered(Entry::new("c")).await.unwrap();
    assert!(disk.n_unsynced() > 0, "nobody asked for a sync");
    end(&disk);
    drop((queue, engine));
    let engine = open_on(&disk).await;
    let left = drain(engine.topic("t").lease()).await.unwrap();
    engine.close().await.unwrap();
    left
}

#[tokio::test]
async fn a_power_cut_takes_the_newest_and_the_end_of_the_process_takes_nothing() {
    assert_eq!(left_after(|disk| disk.crash(0)).await, ["a"]);
    assert_eq!(left_after(|disk| disk.crash(1)).await, ["a", "b"]);
    assert_eq!(left_after(|disk| disk.kill(0)).await, ["a", "b", "c"]);
}
