//! What goes in comes out, in order, to the right caller.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond::{Entry, ErrorKind};
use millpond_it::{drain, open, text};

/// Far longer than any of these tests: a wait that ends by it has failed.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_delivery_carries_what_was_enqueued() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("emails").queue("tenant-42");
    let entry = Entry::new("hello").priority(3).header("to", "a@example.org").header("to", "b");
    let receipt = queue.enqueue(entry).await.unwrap();

    let delivery = engine.topic("emails").lease().fetch_one().await.unwrap().expect("one is ready");
    assert_eq!(delivery.payload(), "hello");
    assert_eq!(delivery.id(), receipt.get().id());
    assert_eq!(delivery.id().rank.priority.0, 3);
    assert_eq!((delivery.topic().as_str(), delivery.attempt()), ("emails", 1));
    assert_eq!(delivery.queue_key().as_bytes(), b"tenant-42");
    let headers: Vec<_> = delivery.headers().iter().map(|h| (&h.name[..], &h.value[..])).collect();
    assert_eq!(headers, [("to", &b"a@example.org"[..]), ("to", &b"b"[..])]);
    assert!(delivery.deadline() > delivery.enqueued_at());
    delivery.ack().await.unwrap();
    assert_eq!(engine.status().await.unwrap().n_entries, 0);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn ready_entries_come_by_priority_and_then_by_age() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    for (payload, priority) in [("a", 200), ("b", 128), ("c", 0), ("d", 128), ("e", 0)] {
        queue.enqueue(Entry::new(payload).priority(priority)).await.unwrap();
    }
    let batch = ["f", "g"].map(Entry::new).to_vec();
    let ids = queue.enqueue_batch(batch).await.unwrap().into_inner();
    assert!(ids[0].id() < ids[1].id());
    assert_eq!(drain(queue.lease()).await.unwrap(), ["c", "e", "b", "d", "f", "g", "a"]);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_deep_queue_of_large_and_small_bodies_comes_back_whole_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    // Deeper than the window, and on both sides of the inline limit.
    let payload = |n: usize| format!("{n:04}{}", "x".repeat((n * 37) % 3000));
    let expected: Vec<String> = (0..500).map(payload).collect();
    for chunk in expected.chunks(50) {
        let batch = chunk.iter().map(|payload| Entry::new(payload.clone())).collect();
        queue.enqueue_batch(batch).await.unwrap();
    }
    let mut seen = Vec::new();
    loop {
        let deliveries = queue.lease().max(33).fetch().await.unwrap();
        if deliveries.is_empty() {
            break;
        }
        for delivery in deliveries {
            seen.push(text(&delivery));
            delivery.ack().await.unwrap();
        }
    }
    assert!(seen == expected, "{} of {} entries, or another order", seen.len(), expected.len());
    engine.close().await.unwrap();
}

#[tokio::test]
async fn the_queues_of_a_topic_take_turns() {
    let directory = tempfile::tempdir().unwrap();
    let options = millpond_it::options(directory.path()).partitions(1);
    let engine = millpond::Engine::open(options).await.unwrap();
    let topic = engine.topic("t");
    for key in ["flood", "quiet-1", "quiet-2"] {
        let n = if key == "flood" { 100 } else { 3 };
        topic.queue(key).enqueue_batch(vec![Entry::new(key); n]).await.unwrap();
    }
    let first: Vec<_> = topic.lease().max(9).fetch().await.unwrap();
    let mut counts = BTreeMap::new();
    for delivery in &first {
        *counts.entry(text(delivery)).or_insert(0) += 1;
    }
    let expected = [("flood", 3), ("quiet-1", 3), ("quiet-2", 3)];
    assert_eq!(counts, expected.map(|(key, n)| (key.to_owned(), n)).into());
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_waiting_lease_is_answered_by_an_enqueue_in_any_partition() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    for n in 0..20 {
        let waiting = tokio::spawn(topic.lease().wait(LONG).fetch_one());
        topic.queue(format!("queue-{n}")).enqueue(Entry::new(format!("{n}"))).await.unwrap();
        let delivery = waiting.await.unwrap().unwrap().expect("it waited for an entry");
        assert_eq!(text(&delivery), format!("{n}"));
        delivery.ack().await.unwrap();
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_wait_for_nothing_ends() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let request = engine.topic("t").lease().wait(Duration::from_millis(1));
    assert!(request.fetch().await.unwrap().is_empty());
    assert!(engine.topic("t").queue("q").lease().fetch().await.unwrap().is_empty());
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_consumer_holds_no_more_than_its_credits_and_ends_with_the_engine() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    topic.queue("q").enqueue_batch(vec![Entry::new("x"); 10]).await.unwrap();
    let mut consumer = topic.consumer().credits(4).lease_for(LONG).start().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(consumer.next().await.unwrap().expect("ten are ready"));
    }
    assert_eq!(engine.status().await.unwrap().n_leased, 4);
    for delivery in held {
        delivery.ack().await.unwrap();
    }
    for _ in 0..6 {
        let delivery = consumer.next().await.unwrap().expect("six are left");
        delivery.ack().await.unwrap();
    }
    let ended = tokio::spawn(async move { consumer.next().await });
    engine.close().await.unwrap();
    assert!(ended.await.unwrap().unwrap().is_none());
    let refused = topic.queue("q").enqueue(Entry::new("late")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
}
