//! The life of a lease.

use std::time::Duration;

use millpond::{Engine, Entry, ErrorKind, PartitionOptions};
use millpond_it::{open, text};
use millpond_storage_api::StoreErrorKind;
use millpond_storage_memory::{FailedBatch, MemoryDisk, SyncMode};

use crate::backends::{keys, store};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_ack_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue(Entry::new("x")).await.unwrap();
    let delivery = queue.lease().fetch_one().await.unwrap().unwrap();
    let lease = delivery.lease();
    delivery.ack().await.unwrap();
    for again in
        [engine.ack(lease).await, engine.nack(lease).await.map(|receipt| receipt.map(drop))]
    {
        assert_eq!(again.unwrap_err().kind(), ErrorKind::StaleLease);
    }
    assert_eq!(engine.extend(lease, LONG).await.unwrap_err().kind(), ErrorKind::StaleLease);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_expired_lease_settles_nothing_and_its_entry_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue(Entry::new("x")).await.unwrap();
    let short = queue.lease().lease_for(Duration::from_millis(1));
    let first = short.fetch_one().await.unwrap().unwrap();
    let second = queue.lease().wait(LONG).fetch_one().await.unwrap().expect("the lease expires");
    assert_eq!((first.id(), first.attempt()), (second.id(), 1));
    assert_eq!(second.attempt(), 2);
    assert!(second.token() > first.token());

    let late = first.ack().await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::StaleLease);
    assert!(late.to_string().contains("leased again"), "{late}");
    second.ack().await.unwrap();
    assert_eq!(engine.status().await.unwrap().n_entries, 0);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_entry_given_back_returns_to_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue_batch(["a", "b"].map(Entry::new).to_vec()).await.unwrap();
    let first = queue.lease().fetch_one().await.unwrap().unwrap();
    first.nack().await.unwrap();
    let again = queue.lease().fetch_one().await.unwrap().unwrap();
    assert_eq!((text(&again).as_str(), again.attempt()), ("a", 2));
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_extended_lease_outlives_its_first_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue(Entry::new("x")).await.unwrap();
    let request = queue.lease().lease_for(Duration::from_secs(5));
    let delivery = request.fetch_one().await.unwrap().unwrap();
    let deadline = delivery.extend(LONG).await.unwrap().into_inner();
    assert!(deadline > delivery.deadline());
    delivery.ack().await.unwrap();
    engine.close().await.unwrap();
}

#[tokio::test]
async fn leases_of_a_dropped_call_are_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    for n in 0..50 {
        let queue = topic.queue(format!("{n}"));
        let waiting = tokio::spawn(topic.lease().wait(LONG).fetch_one());
        tokio::task::yield_now().await;
        let enqueued = queue.enqueue(Entry::new("x"));
        // Wherever the call is at this moment, it ends here.
        waiting.abort();
        enqueued.await.unwrap();
        let delivery = queue.lease().wait(LONG).fetch_one().await.unwrap().expect("given back");
        match waiting.await {
            Err(aborted) => assert!(aborted.is_cancelled()),
            Ok(_) => panic!("the call ended before there was an entry"),
        }
        assert_eq!(delivery.attempt(), 1, "an attempt that nobody made does not count");
        delivery.ack().await.unwrap();
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn what_a_dropped_consumer_had_fetched_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    topic.queue("q").enqueue_batch(["a", "b", "c"].map(Entry::new).to_vec()).await.unwrap();
    let mut consumer = topic.consumer().credits(3).lease_for(LONG).start().unwrap();
    let first = consumer.next().await.unwrap().unwrap();
    assert_eq!(text(&first), "a");
    drop(consumer);
    for expected in ["b", "c"] {
        let delivery = topic.lease().wait(LONG).fetch_one().await.unwrap().unwrap();
        assert_eq!((text(&delivery).as_str(), delivery.attempt()), (expected, 1));
    }
    first.ack().await.unwrap();
    engine.close().await.unwrap();
}

/// Lets a disk sync until this is done.
async fn syncing<T>(disk: &MemoryDisk, doing: impl Future<Output = T>) -> T {
    let mut doing = std::pin::pin!(doing);
    loop {
        tokio::select! {
            biased;
            done = &mut doing => return done,
            () = tokio::task::yield_now() => disk.sync_all(),
        }
    }
}

#[tokio::test]
async fn leases_of_a_call_that_ends_between_two_partitions_are_given_back() {
    for fails in [false, true] {
        let disks = [MemoryDisk::new(), MemoryDisk::new()];
        let slow = &disks[1];
        let stores = vec![store(&disks[0], SyncMode::Automatic), store(slow, SyncMode::Stepped)];
        let engine = syncing(slow, Engine::with_stores(stores, PartitionOptions::default()));
        let engine = engine.await.unwrap();
        let topic = engine.topic("t");
        let keys = keys("", 2);
        let queues = [&keys[0][0], &keys[1][0]].map(|key| topic.queue(key));
        for queue in &queues {
            syncing(slow, queue.enqueue(Entry::new("x"))).await.unwrap();
        }

        if fails {
            slow.fail_commit(0, StoreErrorKind::Io, FailedBatch::Lost);
        }
        let call = tokio::spawn(topic.lease().max(2).fetch());
        while slow.n_unsynced() == 0 || engine.status().await.unwrap().n_leased == 0 {
            tokio::task::yield_now().await;
        }
        // A receipt of the fast partition follows the answer to the call.
        topic.queue(&keys[0][1]).enqueue_batch(vec![Entry::new("y")]).await.unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        if fails {
            slow.sync_all();
            assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Io);
        } else {
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
        }

        for queue in if fails { &queues[..1] } else { &queues[..] } {
            let request = queue.lease().wait(LONG);
            let delivery = syncing(slow, request.fetch_one()).await.unwrap().expect("given back");
            assert_eq!(delivery.attempt(), 1, "nobody made an attempt");
        }
        let closed = syncing(slow, engine.close()).await;
        assert_eq!(closed.is_err(), fails);
    }
}
