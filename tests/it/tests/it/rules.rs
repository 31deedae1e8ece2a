//! Rules: what they refuse, what they let through, and that they survive.

use std::sync::Arc;
use std::time::Duration;

use millpond::{
    Engine, Entry, ErrorKind, PartitionOptions, Quantum, QueueId, QueueKey, RateLimit, Scope,
    Settings, TopicName,
};
use millpond_it::{drain, refused};
use millpond_storage_api::StoreErrorKind;
use millpond_storage_memory::{FailedBatch, MemoryStore};

use crate::backends::{Backend, keys};

fn settings() -> Settings {
    Settings::default()
}

/// Where a queue of topic `t` lives.
fn partition_of(key: &str) -> u16 {
    QueueId::derive(&TopicName::new("t").unwrap(), &QueueKey::new(key).unwrap()).partition(2)
}

/// One entry in each of these queues of topic `t`, named after its queue.
async fn fill(engine: &Engine, keys: &[&str]) {
    for key in keys {
        engine.topic("t").queue(key).enqueue(Entry::new(key.to_string())).await.unwrap();
    }
}

/// Everything of topic `t` that may be leased, in alphabetical order.
async fn drained(engine: &Engine) -> Vec<String> {
    let mut payloads = drain(engine.topic("t").lease()).await.unwrap();
    payloads.sort_unstable();
    payloads
}

#[tokio::test]
async fn what_is_paused_is_accepted_and_comes_after_the_last_resume_across_restarts() {
    for backend in Backend::both() {
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        topic.pause().await.unwrap();
        topic.prefix("a/").pause().await.unwrap();
        topic.queue("a/1").pause().await.unwrap();
        fill(&engine, &["a/1", "a/2", "b"]).await;
        assert_eq!(drained(&engine).await, [""; 0]);
        engine.close().await.unwrap();

        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        assert_eq!(topic.settings().unwrap(), Some(settings().with_paused(true)));
        assert_eq!(engine.rules().len(), 3);
        assert_eq!(drained(&engine).await, [""; 0]);
        topic.queue("a/1").resume().await.unwrap();
        assert_eq!(drained(&engine).await, [""; 0], "whoever pauses is not overruled");
        topic.resume().await.unwrap();
        assert_eq!(drained(&engine).await, ["b"]);
        engine.close().await.unwrap();

        let engine = backend.open(settings()).await;
        assert_eq!(drained(&engine).await, [""; 0]);
        let prefix = engine.topic("t").prefix("a/");
        let waiting = tokio::spawn(engine.topic("t").lease().max(2).wait(Duration::MAX).fetch());
        prefix.resume().await.unwrap();
        assert_eq!(prefix.settings().unwrap(), None);
        assert!(!waiting.await.unwrap().unwrap().is_empty(), "whoever waits hears of it");
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_pause_outlives_rules_that_do_not_speak_of_it() {
    for backend in Backend::both() {
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        fill(&engine, &["a/1"]).await;
        topic.pause().await.unwrap();
        topic.prefix("a/").pause().await.unwrap();
        topic.queue("a/1").pause().await.unwrap();
        let rule = settings().with_weight(2);
        let paused = Some(rule.clone().with_paused(true));
        topic.set(rule.clone()).await.unwrap();
        assert_eq!(topic.settings().unwrap(), paused);
        topic.prefix("a/").set(rule.clone()).await.unwrap();
        assert_eq!(topic.prefix("a/").settings().unwrap(), paused);
        topic.queue("a/1").set(rule.clone()).await.unwrap();
        assert_eq!(topic.queue("a/1").settings().unwrap(), paused);

        topic.set(rule.with_paused(false)).await.unwrap();
        topic.prefix("a/").set(settings()).await.unwrap();
        assert_eq!(drained(&engine).await, [""; 0], "the queue is paused");
        topic.queue("a/1").resume().await.unwrap();
        assert_eq!(drained(&engine).await, ["a/1"]);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_limit_of_zero_pauses() {
    for backend in Backend::both() {
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        topic.queue("q").set(settings().with_concurrency(0)).await.unwrap();
        topic.prefix("p/").set(settings().with_concurrency_together(0)).await.unwrap();
        fill(&engine, &["p/1", "q", "r"]).await;
        assert_eq!(drained(&engine).await, ["r"]);
        topic.queue("q").set(settings().with_concurrency(1)).await.unwrap();
        topic.prefix("p/").set(settings()).await.unwrap();
        assert_eq!(drained(&engine).await, ["p/1", "q"]);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_most_specific_rule_decides_what_a_queue_may() {
    for backend in Backend::both() {
        let engine = backend.open(settings().with_concurrency(1)).await;
        let topic = engine.topic("t");
        topic.set(settings().with_concurrency(2)).await.unwrap();
        topic.prefix("a").set(settings().with_concurrency(3)).await.unwrap();
        topic.prefix("ab").set(settings().with_concurrency(4).with_weight(2)).await.unwrap();
        topic.queue("abc").set(settings().with_concurrency(5)).await.unwrap();
        topic.queue("abd").set(settings().without_concurrency()).await.unwrap();
        topic.queue("abe").set(settings().with_weight(7)).await.unwrap();
        let expected = [("b", 2), ("ac", 3), ("abf", 4), ("abc", 5), ("abd", 9), ("abe", 4)];
        for (key, n_expected) in expected {
            let queue = topic.queue(key);
            queue.enqueue_batch(vec![Entry::new("x"); 9]).await.unwrap();
            let leased = queue.lease().max(9).fetch().await.unwrap();
            assert_eq!(leased.len(), n_expected, "{key}");
        }
        let other = engine.topic("u").queue("q");
        other.enqueue_batch(vec![Entry::new("x"); 9]).await.unwrap();
        assert_eq!(other.lease().max(9).fetch().await.unwrap().len(), 1, "by default");
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused_and_change_nothing() {
    let rate = |n, per_ms, burst| RateLimit::new(n, Duration::from_millis(per_ms), burst);
    let [second, day] = [Duration::from_secs(1), Duration::from_secs(24 * 3600)];
    let topic_name = TopicName::new("t").unwrap();
    let anywhere = [
        (settings().with_weight(0), "a weight is from 1 to 1000000, not 0"),
        (settings().with_weight(u32::MAX), "a weight is from 1 to 1000000"),
        (settings().with_band(4), "there is no band 4"),
        (settings().with_rate(rate(0, 1000, 1)), "at least 1 entry per period"),
        (settings().with_rate(rate(1, 1000, 0)), "a rate needs a burst of at least 1 entry"),
        (settings().with_rate(rate(1, 0, 1)), "from 1 to 86400000 ms, not 0 ms"),
        (settings().with_rate(RateLimit::new(1, 2 * day, 1)), "not 172800000 ms"),
        (settings().with_backoff(2 * second, second), "above its cap of 1000 ms"),
        (settings().with_dead_letter_topic(topic_name), "cannot go to the same topic"),
        (settings().with_dedup_window(8 * day), "a dedup window is from 1 to 604800000 ms"),
        (settings().with_dedup_window(Duration::ZERO), "not 0 ms"),
        (settings().with_retention(Duration::ZERO), "a retention is from 1"),
        (settings().with_entries_max(0), "a bound on entries is at least 1"),
        (settings().with_bytes_max(0), "a bound on bytes is at least 1"),
        (settings().with_attempts_max(0), "the number of attempts is at least 1"),
    ];
    let of_topics = [
        (settings().with_rate_together(rate(1, 1000, 0)), "a burst of at least 1 entry"),
        (settings().with_ageing(0), "the number of picks before ageing is at least 1"),
        (settings().with_quantum(Quantum::Entries(0)), "a quantum is at least 1"),
    ];
    let not_of_queues = [
        (settings().with_concurrency_together(2), "a concurrency together is for topics"),
        (settings().with_rate_together(rate(1, 1000, 1)), "a rate together is for topics"),
        (settings().with_quantum(Quantum::Bytes(9)), "a quantum is a setting of a topic"),
        (settings().with_ageing(9), "ageing is a setting of a topic"),
    ];
    for backend in Backend::both() {
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        let (prefix, queue) = (topic.prefix("a"), topic.queue("a"));
        let before = settings().with_weight(3);
        topic.set(before.clone()).await.unwrap();
        prefix.set(before.clone()).await.unwrap();
        queue.set(before.clone()).await.unwrap();
        for (wrong, says) in &anywhere {
            refused(topic.set(wrong.clone()).await, says);
            refused(prefix.set(wrong.clone()).await, says);
            refused(queue.set(wrong.clone()).await, says);
        }
        for (wrong, says) in &of_topics {
            refused(topic.set(wrong.clone()).await, says);
        }
        for (wrong, says) in &not_of_queues {
            refused(queue.set(wrong.clone()).await, says);
        }
        for (wrong, says) in &not_of_queues[2..] {
            refused(prefix.set(wrong.clone()).await, says);
        }
        refused(engine.topic("").pause().await, "must not be empty");
        refused(topic.prefix("").pause().await, "a prefix must not be empty");
        refused(topic.queue(vec![b'k'; 4096]).resume().await, "the limit is 1024 bytes");
        let unchanged = |engine: &Engine| {
            let topic = engine.topic("t");
            for found in
                [topic.settings(), topic.prefix("a").settings(), topic.queue("a").settings()]
            {
                assert_eq!(found.unwrap().as_ref(), Some(&before));
            }
            assert_eq!(engine.rules().len(), 3);
        };
        unchanged(&engine);
        engine.close().await.unwrap();
        let engine = backend.open(settings()).await;
        unchanged(&engine);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn prefixes_within_each_other_have_limits_together_up_to_three_deep() {
    let limited = || settings().with_concurrency_together(9);
    for backend in Backend::both() {
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        for prefix in ["a", "ab", "abc"] {
            topic.prefix(prefix).set(limited()).await.unwrap();
        }
        for prefix in ["abcd", "abc/"] {
            refused(topic.prefix(prefix).set(limited()).await, "at most 3 prefixes of a key");
            assert_eq!(topic.prefix(prefix).settings().unwrap(), None);
        }
        // A chain of its own, and one that limits nothing together.
        topic.prefix("ac").set(limited()).await.unwrap();
        topic.prefix("abcd").set(settings().with_concurrency(1)).await.unwrap();
        topic.prefix("ab").set(settings()).await.unwrap();
        topic.prefix("abc/").set(limited()).await.unwrap();
        assert_eq!(engine.rules().len(), 5);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_rule_that_one_partition_lacks_is_completed_when_the_engine_is_opened() {
    for batch in [FailedBatch::Lost, FailedBatch::Survives] {
        let [_, backend] = Backend::both();
        let Backend::Memory(disks) = &backend else { panic!("it was just made") };
        let engine = backend.open(settings()).await;
        let keys = ["a", "b", "c", "d", "e", "f"];
        fill(&engine, &keys).await;
        let n_second = keys.iter().filter(|key| partition_of(key) == 1).count();
        assert!((1..6).contains(&n_second), "both partitions have work");
        disks[1].fail_commit(0, StoreErrorKind::Io, batch);
        let failed = engine.topic("t").pause().await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Io, "nobody knows");
        // The first partition, which was asked before the other one, stores it.
        while engine.rules().is_empty() {
            tokio::task::yield_now().await;
        }
        engine.close().await.unwrap_err();

        let engine = backend.open(settings()).await;
        let scope = Scope::Topic(TopicName::new("t").unwrap());
        let rules = engine.rules();
        assert_eq!(rules.iter().map(|rule| &rule.scope).collect::<Vec<_>>(), [&scope]);
        assert_eq!(drained(&engine).await, [""; 0], "it holds in both");
        engine.close().await.unwrap();
        // Stored in both by now: each alone has it.
        for disk in disks {
            let store = MemoryStore::open(disk, Default::default());
            let alone = Engine::with_stores(vec![Arc::new(store.unwrap())], Default::default());
            let alone = alone.await.unwrap();
            assert_eq!(alone.rules(), rules);
            alone.close().await.unwrap();
        }
        let engine = backend.open(settings()).await;
        engine.topic("t").resume().await.unwrap();
        assert_eq!(drained(&engine).await, keys);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_rule_reaches_the_partitions_that_work_beside_one_that_has_stopped() {
    for stopped in [0, 1] {
        let [_, backend] = Backend::both();
        let Backend::Memory(disks) = &backend else { panic!("it was just made") };
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        let keys = keys("", 1).map(|keys| topic.queue(&keys[0]));
        let working = &keys[1 - stopped];
        working.enqueue(Entry::new("x")).await.unwrap();
        disks[stopped].fail_commit(0, StoreErrorKind::Io, FailedBatch::Lost);
        keys[stopped].enqueue(Entry::new("y")).await.unwrap_err();

        assert_eq!(topic.pause().await.unwrap_err().kind(), ErrorKind::Io);
        assert!(working.lease().fetch_one().await.unwrap().is_none(), "it is paused");
        topic.resume().await.unwrap_err();
        working.lease().fetch_one().await.unwrap().expect("it is resumed");
        engine.close().await.unwrap_err();
    }
}

#[tokio::test]
async fn rules_that_a_stopped_partition_never_heard_of_are_there_after_opening() {
    let limited = || settings().with_concurrency_together(1);
    let [_, backend] = Backend::both();
    let Backend::Memory(disks) = &backend else { panic!("it was just made") };
    let engine = backend.open(settings()).await;
    let topic = engine.topic("t");
    for prefix in ["abc", "abcd", "abcde"] {
        topic.prefix(prefix).set(limited()).await.unwrap();
    }
    disks[0].fail_commit(0, StoreErrorKind::Io, FailedBatch::Lost);
    // Three within each other at all times, but five on the way from the first to the last by name.
    for (withdrawn, made) in [("abcd", "a"), ("abcde", "ab")] {
        topic.prefix(withdrawn).set(settings()).await.unwrap_err();
        topic.prefix(made).set(limited()).await.unwrap_err();
    }
    engine.close().await.unwrap_err();

    let engine = backend.open(settings()).await;
    let topic = engine.topic("t");
    let said = |prefix| topic.prefix(prefix).settings().unwrap();
    assert_eq!(["a", "ab", "abc"].map(said), [(); 3].map(|()| Some(limited())));
    assert_eq!((said("abcd"), said("abcde"), engine.rules().len()), (None, None, 3));
    fill(&engine, &["ab", "abcdef"]).await;
    let leased = topic.lease().max(2).fetch().await.unwrap();
    assert_eq!(leased.len(), 1, "together");
    engine.close().await.unwrap();
}

#[tokio::test]
async fn defaults_hold_in_whatever_order_options_are_said() {
    let directory = tempfile::tempdir().unwrap();
    let limited = settings().with_concurrency(1);
    let others = PartitionOptions::default();
    let options = || millpond_it::options(directory.path());
    for options in [
        options().defaults(limited.clone()).partition_options(others.clone()),
        options().partition_options(others).defaults(limited.clone()),
        options().defaults(settings().with_concurrency(2)).partition_options(PartitionOptions {
            defaults: limited,
            ..PartitionOptions::default()
        }),
    ] {
        let engine = Engine::open(options).await.unwrap();
        let queue = engine.topic("t").queue("q");
        queue.enqueue_batch(vec![Entry::new("x"); 2]).await.unwrap();
        let mut leased = queue.lease().max(2).fetch().await.unwrap();
        assert_eq!(leased.len(), 1);
        leased.remove(0).ack().await.unwrap();
        engine.close().await.unwrap();
    }
}
