//! Limits and shares over queues that live in different partitions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millpond::{Delivery, Engine, Entry, RateLimit, Settings, Topic};

use crate::backends::{Backend, keys};

const LONG: Duration = Duration::from_secs(3600);

fn settings() -> Settings {
    Settings::default()
}

async fn fill(topic: &Topic, keys: &[Vec<String>; 2], n_entries: usize) {
    for key in keys.iter().flatten() {
        let batch = vec![Entry::new(key.clone()); n_entries];
        topic.queue(key).enqueue_batch(batch).await.unwrap();
    }
}

/// Leases until nothing comes.
async fn take(topic: &Topic) -> Vec<Delivery> {
    let mut taken = Vec::new();
    loop {
        let more = topic.lease().max(7).lease_for(LONG).fetch().await.unwrap();
        if more.is_empty() {
            return taken;
        }
        taken.extend(more);
    }
}

/// Waits for what was just made available, which may be on its way from one partition to the other.
async fn await_some(topic: &Topic) -> Vec<Delivery> {
    topic.lease().max(7).lease_for(LONG).wait(Duration::MAX).fetch().await.unwrap()
}

#[tokio::test]
async fn a_limit_together_holds_over_partitions_and_across_restarts() {
    for backend in Backend::both() {
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        topic.prefix("a/").set(settings().with_concurrency_together(3)).await.unwrap();
        let (limited, others) = (keys("a/", 3), keys("b/", 1));
        fill(&topic, &limited, 2).await;
        fill(&topic, &others, 2).await;
        let taken = take(&topic).await;
        let (mut held, others): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|delivery| delivery.payload().starts_with(b"a/"));
        assert_eq!((held.len(), others.len()), (3, 4));
        // What one partition gives back, another may have.
        for _ in 0..6 {
            held.remove(0).ack().await.unwrap();
            held.extend(await_some(&topic).await);
            assert_eq!((held.len(), take(&topic).await.len()), (3, 0));
        }
        let leases: Vec<_> = held.iter().map(Delivery::lease).collect();
        engine.close().await.unwrap();

        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        assert_eq!(take(&topic).await.len(), 0, "three are leased since before");
        engine.ack(leases[0]).await.unwrap();
        assert_eq!(await_some(&topic).await.len(), 1);
        assert_eq!(take(&topic).await.len(), 0);
        topic.prefix("a/").set(settings()).await.unwrap();
        assert_eq!(take(&topic).await.len(), 12 - 10);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn whoever_waits_gets_what_another_partition_gives_back() {
    for backend in Backend::both() {
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        topic.set(settings().with_concurrency_together(1)).await.unwrap();
        let keys = keys("", 1);
        fill(&topic, &keys, 20).await;
        let [here, there] = keys.map(|keys| topic.queue(&keys[0]));
        let mut held = here.lease().fetch_one().await.unwrap().expect("nothing is leased yet");
        for n in 0..20 {
            let [from, to] = if n % 2 == 0 { [&here, &there] } else { [&there, &here] };
            let waiting = tokio::spawn(to.lease().wait(Duration::MAX).fetch_one());
            assert!(from.lease().fetch_one().await.unwrap().is_none());
            held.ack().await.unwrap();
            held = waiting.await.unwrap().unwrap().expect("it waits for ever");
        }
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_lowered_limit_drains_and_ends_no_lease() {
    for backend in Backend::both() {
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        topic.set(settings().with_concurrency_together(4)).await.unwrap();
        fill(&topic, &keys("", 2), 5).await;
        let mut held = take(&topic).await;
        assert_eq!(held.len(), 4);
        topic.set(settings().with_concurrency_together(2)).await.unwrap();
        for delivery in &held {
            delivery.extend(LONG).await.expect("it stays leased");
        }
        for n_left in [3, 2] {
            held.remove(0).ack().await.unwrap();
            assert_eq!(take(&topic).await.len(), 0, "{n_left} are leased");
        }
        held.remove(0).ack().await.unwrap();
        held.extend(await_some(&topic).await);
        assert_eq!((held.len(), take(&topic).await.len()), (2, 0));
        topic.set(settings().with_concurrency_together(5)).await.unwrap();
        while held.len() < 5 {
            held.extend(await_some(&topic).await);
        }
        assert_eq!((held.len(), take(&topic).await.len()), (5, 0));
        engine.close().await.unwrap();
    }
}

/// Burst and rate are bounds from above for any time that has passed, measured from before the rule.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a rate is about real time")]
async fn a_rate_lets_its_burst_through_and_then_what_time_brings() {
    const PER_SECOND: u32 = 200;
    const BURST: u32 = 5;
    let rate = RateLimit::new(PER_SECOND, Duration::from_secs(1), BURST);
    for together in [true, false] {
        for backend in Backend::both() {
            let engine = backend.open(settings()).await;
            let topic = engine.topic("t");
            let rule = settings();
            let rule = if together { rule.with_rate_together(rate) } else { rule.with_rate(rate) };
            let keys = keys("", 2);
            fill(&topic, &keys, 15).await;
            let n_buckets = if together { 1 } else { 4 };
            let before = Instant::now();
            topic.set(rule).await.unwrap();
            let mut n_come = 0;
            while n_come < 60 {
                let come = topic.lease().max(60).wait(Duration::MAX).fetch().await.unwrap();
                n_come += come.len();
                let brought = before.elapsed().as_secs_f64() * f64::from(PER_SECOND);
                let n_max = f64::from(n_buckets) * (f64::from(BURST) + brought + 1.0);
                assert!(n_come as f64 <= n_max, "{n_come} have come, at most {n_max} may");
                for delivery in come {
                    delivery.ack().await.unwrap();
                }
            }
            engine.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_backlog_over_two_partitions_is_served_by_weight() {
    const N_SERVED: usize = 1200;
    for backend in Backend::both() {
        let engine = backend.open(settings()).await;
        let topic = engine.topic("t");
        // Unequal weights within the partitions and between them.
        let keys = keys("", 2);
        let weights = [1, 2, 3, 6];
        for (key, weight) in keys.iter().flatten().zip(weights) {
            topic.queue(key).set(settings().with_weight(weight)).await.unwrap();
        }
        fill(&topic, &keys, N_SERVED).await;
        let served = serve(&engine, N_SERVED).await;
        for (key, weight) in keys.iter().flatten().zip(weights) {
            let share = N_SERVED * weight as usize / 12;
            let n_served = served[key];
            // While a head is being read, others of its partition are served.
            let slack = share / 4;
            assert!(n_served.abs_diff(share) <= slack, "weight {weight}: {served:?}");
        }
        engine.close().await.unwrap();
    }
}

/// Serves so many entries, some at a time, and counts them by queue.
async fn serve(engine: &Engine, n: usize) -> BTreeMap<String, usize> {
    let mut served = BTreeMap::new();
    let mut n_left = n;
    while n_left > 0 {
        let some = engine.topic("t").lease().max(n_left.min(24)).fetch().await.unwrap();
        n_left -= some.len();
        for delivery in some {
            *served.entry(millpond_it::text(&delivery)).or_default() += 1;
            delivery.ack().await.unwrap();
        }
    }
    served
}
