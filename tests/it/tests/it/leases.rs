//! The life of a lease.

use std::time::Duration;

use millpond::{Entry, ErrorKind};
use millpond_it::{open, text};

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
