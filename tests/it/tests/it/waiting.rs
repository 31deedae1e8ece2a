//! What is told of queues that wait: for a lease, a delay, a date, a retry, or a person.

use std::time::{Duration, SystemTime};

use millpond::admin::{Admin, Explanation, Order, WaitsFor};
use millpond::{Engine, Entry, Nack};
use millpond_it::open;

const HOUR: Duration = Duration::from_secs(3600);

#[expect(clippy::disallowed_methods, reason = "dates are about the wall clock")]
async fn fill(engine: &Engine) {
    let topic = engine.topic("t");
    let lease = async |key| {
        let request = topic.queue(key).lease().lease_for(HOUR).named("worker-3");
        request.fetch_one().await.unwrap().expect("one is ready")
    };
    topic.queue("leased").enqueue(Entry::new("x")).await.unwrap();
    drop(lease("leased").await);

    let delayed = topic.queue("delayed");
    delayed.enqueue(Entry::new("x").delay(3 * HOUR)).await.unwrap();
    delayed.enqueue(Entry::new("x").run_at(SystemTime::now() + 2 * HOUR)).await.unwrap();
    for _ in 0..20 {
        delayed.enqueue(Entry::new("x").delay(4 * HOUR)).await.unwrap();
    }

    topic.queue("retried").enqueue(Entry::new("x")).await.unwrap();
    lease("retried").await.nack().await.unwrap();
    lease("retried").await.nack_with(Nack::after(HOUR).because("busy")).await.unwrap();
    topic.queue("retried").enqueue(Entry::new("x").delay(2 * HOUR)).await.unwrap();

    topic.queue("dead").enqueue_batch(vec![Entry::new("x"); 2]).await.unwrap();
    lease("dead").await.reject("no").await.unwrap();
    lease("dead").await.reject("no").await.unwrap();
}

fn counts(explanation: &Explanation) -> [u64; 4] {
    let queue = &explanation.queue;
    [queue.n_entries, queue.n_leased, queue.n_delayed, queue.n_dead]
}

async fn look(admin: &Admin) {
    let leased = admin.explain("t", b"leased").await.unwrap();
    assert_eq!((leased.state.as_str(), counts(&leased)), ("leased", [1, 1, 0, 0]));
    if admin.is_running() {
        assert_eq!(leased.leased_by.as_deref(), Some("worker-3"));
        assert!(leased.reason.contains("the first lease, of \"worker-3\", ends in"), "{leased:?}");
    }

    let delayed = admin.explain("t", b"delayed").await.unwrap();
    assert_eq!((delayed.state.as_str(), counts(&delayed)), ("delayed", [0, 0, 22, 0]));
    assert!(delayed.reason.contains("is delayed until 2"), "{delayed:?}");
    let waits: Vec<_> = delayed.delayed.iter().map(|info| info.waits_for).collect();
    assert_eq!(waits[..2], [WaitsFor::Date, WaitsFor::Delay]);
    assert_eq!(waits.len(), 10, "the next ten");
    assert!(delayed.delayed.is_sorted_by_key(|info| info.due_at_ms));
    let [date, delay] = [0, 1].map(|n| delayed.delayed[n].due_in_ms);
    assert!(0 < date && date <= 7_200_001 && date < delay && delay <= 10_800_001, "{delayed:?}");

    let retried = admin.explain("t", b"retried").await.unwrap();
    assert_eq!((retried.state.as_str(), counts(&retried)), ("backing_off", [0, 0, 2, 0]));
    assert!(
        retried.reason.contains("has failed 2 times and is backing off until 2"),
        "{retried:?}"
    );
    let first = &retried.delayed[0];
    assert_eq!((first.waits_for, first.n_attempts), (WaitsFor::BackOff, 2));

    let dead = admin.explain("t", b"dead").await.unwrap();
    assert_eq!((dead.state.as_str(), counts(&dead)), ("dead", [0, 0, 0, 2]));
    assert!(dead.delayed.is_empty() && dead.reason.contains("dead letters (2)"), "{dead:?}");

    let names = async |order, n_max| {
        let queues = admin.queues(None, order, n_max).await.unwrap().queues;
        queues.into_iter().map(|queue| queue.key).collect::<Vec<_>>()
    };
    assert_eq!(names(Order::Name, 9).await, ["dead", "delayed", "leased", "retried"]);
    assert_eq!(names(Order::MostDead, 9).await, ["dead"]);
    let deepest = names(Order::Deepest, 9).await;
    assert_eq!((deepest.len(), deepest[0].as_str()), (4, "leased"));
    assert_eq!(names(Order::Oldest, 9).await, ["leased"], "of the others nothing is ready");

    let partitions = admin.partitions().await.unwrap();
    let sum = |count: fn(&millpond::admin::PartitionInfo) -> u64| {
        partitions.iter().map(count).sum::<u64>()
    };
    assert_eq!((sum(|p| p.n_entries), sum(|p| p.n_delayed), sum(|p| p.n_dead)), (1, 24, 2));
}

#[tokio::test]
async fn a_running_and_a_stopped_engine_tell_what_queues_wait_for() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    fill(&engine).await;
    look(&Admin::connect(directory.path()).await.unwrap()).await;
    engine.close().await.unwrap();
    look(&Admin::connect(directory.path()).await.unwrap()).await;
    // Opened again, the queues with nothing ready stay outside of memory.
    let engine = open(directory.path()).await.unwrap();
    assert_eq!(millpond_it::status(&engine).await.unwrap().n_queues, 4);
    let admin = Admin::connect(directory.path()).await.unwrap();
    assert_eq!(admin.explain("t", b"retried").await.unwrap().state, "backing_off");
    assert_eq!(admin.queues(None, Order::Deepest, 9).await.unwrap().queues.len(), 4);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn what_was_due_while_no_engine_ran_is_owned_up_to() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue(Entry::new("x").delay(Duration::from_millis(50))).await.unwrap();
    engine.close().await.unwrap();
    let admin = Admin::connect(directory.path()).await.unwrap();
    loop {
        let explanation = admin.explain("t", b"q").await.unwrap();
        match explanation.state.as_str() {
            "stopped" => break,
            // A slow machine has moved it before it was closed, and a fast one comes too early.
            state => assert_eq!(state, "delayed"),
        }
    }
}
