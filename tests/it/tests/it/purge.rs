//! Purges: what was there goes, what comes after stays, and whoever held something learns of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::admin::Admin;
use millpond::{Accepted, Engine, Entry, EntryId, ErrorKind, Purged, Queue};
use millpond_it::{drain, open, status};
use tokio::sync::Semaphore;

/// Far longer than any of these tests.
const LONG: Duration = Duration::from_secs(3600);

/// Depths that are purged row by row, and by their range.
const DEPTHS: [usize; 3] = [1, 20, 500];

fn entries(n: usize) -> Vec<Entry> {
    (0..n).map(|n| Entry::new(format!("{n}"))).collect()
}

#[tokio::test]
async fn what_was_accepted_before_goes_and_what_comes_after_stays() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    for depth in DEPTHS {
        let (queue, other) = (topic.queue("q"), topic.queue("other"));
        queue.enqueue_batch(entries(depth)).await.unwrap();
        other.enqueue(Entry::new("neighbour")).await.unwrap();
        // First polled in this order, and so taken in this order.
        let (before, purged, after) = tokio::join!(
            biased;
            queue.enqueue(Entry::new("before")),
            queue.purge(),
            queue.enqueue_batch(["y", "z"].map(Entry::new).to_vec()),
        );
        before.unwrap();
        let n_entries = depth as u64 + 1;
        assert_eq!(purged.unwrap().into_inner(), Purged { n_entries, n_leased: 0 });
        after.unwrap();
        assert_eq!(status(&engine).await.unwrap().n_entries, 3);
        assert_eq!(drain(queue.lease()).await.unwrap(), ["y", "z"], "depth {depth}");
        assert_eq!(drain(topic.lease()).await.unwrap(), ["neighbour"]);
    }
    let n_purged: u64 = DEPTHS.iter().map(|depth| *depth as u64 + 1).sum();
    assert_eq!(status(&engine).await.unwrap().counters.n_purged, n_purged);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_queue_that_holds_nothing_is_purged_of_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    assert_eq!(topic.queue("nobody").purge().await.unwrap().into_inner(), Purged::default());
    let queue = topic.queue("q");
    queue.enqueue_batch(entries(3)).await.unwrap();
    let (first, second) = tokio::join!(biased; queue.purge(), queue.purge());
    assert_eq!((first.unwrap().get().n_entries, second.unwrap().get().n_entries), (3, 0));
    assert_eq!(queue.purge().await.unwrap().into_inner(), Purged::default());
    let after = status(&engine).await.unwrap();
    assert_eq!((after.n_queues, after.n_entries), (0, 0));
    for name in [topic.queue("").purge().await, engine.topic("").queue("q").purge().await] {
        assert_eq!(name.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    engine.close().await.unwrap();
    assert_eq!(queue.purge().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn whoever_holds_a_lease_learns_of_the_purge_when_settling() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    for depth in DEPTHS.map(|depth| depth.max(4)) {
        queue.enqueue_batch(entries(depth)).await.unwrap();
        let held = queue.lease().max(4).lease_for(LONG).fetch().await.unwrap();
        let [acked, nacked, extended, dropped] = <[_; 4]>::try_from(held).unwrap();
        drop(dropped);
        let purged = queue.purge().await.unwrap().into_inner();
        assert_eq!(purged, Purged { n_entries: depth as u64, n_leased: 4 });
        let stale = ErrorKind::StaleLease;
        assert_eq!(extended.extend(LONG).await.unwrap_err().kind(), stale);
        assert_eq!(acked.ack().await.unwrap_err().kind(), stale);
        assert_eq!(nacked.nack().await.unwrap_err().kind(), stale);
        assert!(queue.lease().fetch().await.unwrap().is_empty());
        // Nothing of the old leases clings to what comes now.
        queue.enqueue(Entry::new("new")).await.unwrap();
        let delivery = queue.lease().fetch_one().await.unwrap().unwrap();
        assert_eq!((&delivery.payload()[..], delivery.attempt()), (&b"new"[..], 1));
        delivery.ack().await.unwrap();
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_purge_outlives_the_engine() {
    let directory = tempfile::tempdir().unwrap();
    for depth in DEPTHS {
        let engine = open(directory.path()).await.unwrap();
        let queue = engine.topic("t").queue("q");
        queue.enqueue_batch(entries(depth)).await.unwrap();
        engine.topic("t").queue("other").enqueue(Entry::new("neighbour")).await.unwrap();
        let held = queue.lease().lease_for(LONG).fetch_one().await.unwrap().unwrap();
        assert_eq!(queue.purge().await.unwrap().get().n_entries, depth as u64);
        queue.enqueue(Entry::new("after")).await.unwrap();
        let lease = held.lease();
        engine.close().await.unwrap();

        for check in Admin::connect(directory.path()).await.unwrap().verify().await.unwrap() {
            assert_eq!(check.problems, Vec::<String>::new(), "depth {depth}");
        }
        let engine = open(directory.path()).await.unwrap();
        assert_eq!(engine.ack(lease).await.unwrap_err().kind(), ErrorKind::StaleLease);
        // Also before anybody has asked for its head.
        assert_eq!(status(&engine).await.unwrap().n_entries, 2);
        assert_eq!(drain(engine.topic("t").queue("q").lease()).await.unwrap(), ["after"]);
        assert_eq!(drain(engine.topic("t").lease()).await.unwrap(), ["neighbour"]);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_queue_is_purged_right_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for depth in DEPTHS {
        let engine = open(directory.path()).await.unwrap();
        let queue = engine.topic("t").queue("q");
        queue.enqueue_batch(entries(depth)).await.unwrap();
        let held = queue.lease().lease_for(LONG).fetch_one().await.unwrap().unwrap();
        engine.close().await.unwrap();

        let engine = open(directory.path()).await.unwrap();
        let purged = engine.topic("t").queue("q").purge().await.unwrap().into_inner();
        assert_eq!(purged, Purged { n_entries: depth as u64, n_leased: 1 });
        assert_eq!(engine.ack(held.lease()).await.unwrap_err().kind(), ErrorKind::StaleLease);
        assert_eq!(status(&engine).await.unwrap().n_entries, 0);
        engine.close().await.unwrap();
    }
}

/// What producers, consumers and the one who purges know of each other.
#[derive(Default)]
struct Books {
    accepted: Mutex<BTreeSet<EntryId>>,
    acked: Mutex<BTreeSet<EntryId>>,
    n_stale: AtomicU64,
    /// Every entry of the queue up to this sequence was accepted before a purge that has ended.
    purged_upto: AtomicU64,
    /// Nobody enqueues or purges any more.
    done: AtomicBool,
}

impl Books {
    fn newest_accepted(&self) -> u64 {
        let accepted = self.accepted.lock().unwrap();
        accepted.iter().map(|id| id.rank.sequence.0).max().unwrap_or(0)
    }
}

async fn produce(queue: Queue, books: Arc<Books>, receipts: Arc<Semaphore>, sizes: [usize; 40]) {
    for n in sizes {
        let ids = queue.enqueue_batch(entries(n)).await.unwrap().into_inner();
        books.accepted.lock().unwrap().extend(ids.iter().map(Accepted::id));
        receipts.add_permits(n);
    }
}

async fn consume(queue: Queue, books: Arc<Books>) {
    loop {
        let (upto, done) =
            (books.purged_upto.load(Ordering::SeqCst), books.done.load(Ordering::SeqCst));
        let deliveries = queue.lease().max(7).lease_for(LONG).fetch().await.unwrap();
        if deliveries.is_empty() && done {
            return;
        }
        for delivery in deliveries {
            let id = delivery.id();
            assert!(id.rank.sequence.0 > upto, "{id} was purged before it was asked for");
            assert_eq!(delivery.attempt(), 1, "{id} was leased before");
            match delivery.ack().await {
                Ok(_) => assert!(books.acked.lock().unwrap().insert(id), "{id} was acked twice"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StaleLease);
                    books.n_stale.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_entry_leaves_exactly_once() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    let (books, receipts) = (Arc::new(Books::default()), Arc::new(Semaphore::new(0)));
    // Bursts of the last one are purged by their range if nobody was faster.
    let sizes = [[1; 40], [5; 40], std::array::from_fn(|n| if n % 8 == 7 { 600 } else { 1 })];
    let producers = sizes
        .map(|sizes| tokio::spawn(produce(queue.clone(), books.clone(), receipts.clone(), sizes)));
    let consumers = [(); 2].map(|()| tokio::spawn(consume(queue.clone(), books.clone())));

    let mut purged = Purged::default();
    for _ in 0..12 {
        receipts.acquire_many(250).await.unwrap().forget();
        let upto = books.newest_accepted();
        let removed = queue.purge().await.unwrap().into_inner();
        books.purged_upto.store(upto, Ordering::SeqCst);
        purged.n_entries += removed.n_entries;
        purged.n_leased += removed.n_leased;
    }
    for producer in producers {
        producer.await.unwrap();
    }
    // Accepted after the last purge: all of it is delivered.
    let last = queue.enqueue_batch(entries(300)).await.unwrap().into_inner();
    books.done.store(true, Ordering::SeqCst);
    for consumer in consumers {
        consumer.await.unwrap();
    }
    let acked = std::mem::take(&mut *books.acked.lock().unwrap());
    assert!(last.iter().all(|id| acked.contains(&id.id())), "an entry was lost");
    let n_accepted = books.accepted.lock().unwrap().len() + last.len();
    assert_eq!(acked.len() as u64 + purged.n_entries, n_accepted as u64);
    assert!(books.n_stale.load(Ordering::SeqCst) <= purged.n_leased, "nobody else ends leases");
    check_empty(&engine, acked.len() as u64, purged.n_entries).await;
}

async fn check_empty(engine: &Engine, n_acked: u64, n_purged: u64) {
    let after = status(engine).await.unwrap();
    assert_eq!((after.n_entries, after.n_leased), (0, 0));
    assert_eq!((after.counters.n_acked, after.counters.n_purged), (n_acked, n_purged));
    engine.close().await.unwrap();
}
