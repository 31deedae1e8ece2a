//! Leases by the batch: as many as wanted, or what there is when the wait is over.
//!
//! Where time is paused it passes as soon as everybody waits, so that waits are exact and cost nothing.

use std::time::Duration;

use millpond::{Delivery, Entry, ErrorKind, LeaseRequest, Settings};
use millpond_it::{open, text};
use tokio::time::{Instant, timeout};

use crate::backends::Backend;

const LONG: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

fn hours(request: LeaseRequest, n: u32) -> LeaseRequest {
    request.lease_for(n * HOUR)
}

fn texts(batch: &[Delivery]) -> Vec<String> {
    batch.iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_comes_at_once_and_another_when_its_wait_is_over() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        let entries = ["a", "b", "c", "d", "e"].map(Entry::new).to_vec();
        queue.enqueue_batch(entries).await.unwrap();
        let batch = |n| hours(queue.lease(), 2).max(n).wait(HOUR).fetch_full();

        let started = Instant::now();
        let full = batch(3).await.unwrap();
        assert_eq!(
            (texts(&full), started.elapsed()),
            (["a", "b", "c"].map(str::to_owned).into(), Duration::ZERO)
        );
        let partial = batch(3).await.unwrap();
        assert_eq!(
            (texts(&partial), started.elapsed()),
            (["d", "e"].map(str::to_owned).into(), HOUR)
        );
        let none = batch(3).await.unwrap();
        assert_eq!((none.len(), started.elapsed()), (0, 2 * HOUR));
        for delivery in full.into_iter().chain(partial) {
            delivery.ack().await.unwrap();
        }
        engine.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_wait_a_batch_is_what_is_ready_in_all_queues() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let topic = engine.topic("t");
        for n in 0..10 {
            // Deeper than a window.
            let entries = (0..100).map(|m| Entry::new(format!("{n} {m:02}"))).collect();
            topic.queue(format!("{n}")).enqueue_batch(entries).await.unwrap();
        }
        let started = Instant::now();
        let batch = topic.lease_batch(2000, Duration::ZERO).await.unwrap();
        assert_eq!((batch.len(), started.elapsed()), (1000, Duration::ZERO));
        for n in 0..10 {
            let of_queue = batch.iter().map(text).filter(|text| text.starts_with(&format!("{n} ")));
            assert!(of_queue.is_sorted(), "in order");
        }
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_ends_when_the_last_of_it_arrives() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let topic = engine.topic("t");
        topic.queue("0").enqueue(Entry::new("0")).await.unwrap();
        let started = Instant::now();
        let enqueue = async {
            for n in 1..5 {
                topic.queue(format!("{n}")).enqueue(Entry::new(format!("{n}"))).await.unwrap();
            }
        };
        let (batch, ()) = tokio::join!(topic.lease_batch(5, LONG), enqueue);
        let mut texts = texts(&batch.unwrap());
        texts.sort();
        assert_eq!(texts, ["0", "1", "2", "3", "4"]);
        assert!(started.elapsed() < LONG, "it did not wait to the end");
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_dropped_batch_had_leased_is_given_back() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        queue.enqueue_batch(["a", "b", "c"].map(Entry::new).to_vec()).await.unwrap();
        let other = queue.clone();
        let waiting = tokio::spawn(async move { other.lease_batch(5, LONG).await });
        while engine.status().await.unwrap().n_leased < 3 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        let batch = queue.lease_batch(3, LONG).await.unwrap();
        assert_eq!(texts(&batch), ["a", "b", "c"]);
        assert!(batch.iter().all(|delivery| delivery.attempt() == 1), "nobody made an attempt");
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn batches_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    topic.queue("q").enqueue(Entry::new("x")).await.unwrap();
    let too_long = [Duration::from_secs(30), Duration::from_secs(31), Duration::MAX];
    for wait in too_long {
        for error in [
            topic.lease_batch(1, wait).await.map(drop).unwrap_err(),
            topic.queue("q").lease_batch(1, wait).await.map(drop).unwrap_err(),
            topic.consumer().batches(1, wait).map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert_eq!(error.limit().expect("it is a limit").limit, 29_999, "{error}");
        }
    }
    let short = topic.lease().lease_for(Duration::from_millis(1));
    assert!(short.clone().wait(Duration::from_nanos(1)).fetch_full().await.is_err());
    for (outcome, says) in [
        (topic.lease_batch(0, LONG).await.map(drop), "at least 1"),
        (topic.lease_batch(10_001, LONG).await.map(drop), "the limit is 10000"),
        (topic.consumer().batches(0, LONG).map(drop), "at least 1"),
        (topic.consumer().batches(10_001, LONG).map(drop), "the limit is 10000"),
        (topic.consumer().credits(2).batches(3, LONG).map(drop), "needs as many credits"),
        (topic.consumer().credits(10_001).batches(3, LONG).map(drop), "the limit is 10000"),
        (topic.lease().named("").fetch().await.map(drop), "must not be empty"),
        (topic.consumer().named("n".repeat(256)).start().map(drop), "the limit is 255 bytes"),
        (engine.topic("").lease_batch(1, LONG).await.map(drop), "must not be empty"),
    ] {
        let error = outcome.expect_err(says);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(engine.status().await.unwrap().counters.n_granted, 0);
    engine.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_consumer_of_batches_waits_for_a_first_entry_and_then_no_longer_than_it_was_told() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let topic = engine.topic("t");
        let entries = (0..5).map(|n| Entry::new(format!("{n}"))).collect();
        topic.queue("q").enqueue_batch(entries).await.unwrap();
        let consumer = topic.consumer().lease_for(2 * HOUR).credits(6);
        let mut batches = consumer.batches(3, HOUR).unwrap();
        let started = Instant::now();
        let first = batches.next_batch().await.unwrap().expect("it is open");
        assert_eq!((first.len(), started.elapsed()), (3, Duration::ZERO));
        let second = batches.next_batch().await.unwrap().expect("it is open");
        assert_eq!((second.len(), started.elapsed()), (2, HOUR));

        // Of six credits five are held: not enough for a batch.
        let waiting = timeout(HOUR, batches.next_batch()).await;
        assert!(waiting.is_err(), "{waiting:?}");
        for delivery in first {
            delivery.ack().await.unwrap();
        }
        topic.queue("q").enqueue(Entry::new("5")).await.unwrap();
        let third = batches.next_batch().await.unwrap().expect("it is open");
        assert_eq!(texts(&third), ["5"]);
        drop((second, third));
        engine.close().await.unwrap();
        assert!(batches.next_batch().await.unwrap().is_none(), "it is closed");
    }
}

#[tokio::test]
async fn a_consumer_of_one_queue_leaves_the_others_alone() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let topic = engine.topic("t");
        topic.queue("a").enqueue(Entry::new("a")).await.unwrap();
        topic.queue("b").enqueue_batch(vec![Entry::new("b"); 2]).await.unwrap();
        let mut consumer = topic.queue("b").consumer().start().unwrap();
        for _ in 0..2 {
            let delivery = consumer.next().await.unwrap().expect("it is open");
            assert_eq!(text(&delivery), "b");
            delivery.ack().await.unwrap();
        }
        assert_eq!(engine.status().await.unwrap().n_entries, 1);
        engine.close().await.unwrap();
    }
}
