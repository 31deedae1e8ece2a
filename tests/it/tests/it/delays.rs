//! Entries that are not ready at once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millpond::{Entry, ErrorKind, Queue, Settings, UnixMillis, limits};
use millpond_it::{drain, open, status, text};
use tokio::time::Instant;

use crate::backends::Backend;

/// Far longer than any of these tests.
const LONG: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(30);

async fn next(queue: &Queue) -> millpond::Delivery {
    queue.lease().wait(LONG).fetch_one().await.unwrap().expect("it comes")
}

#[tokio::test]
async fn a_delay_is_in_nobodys_way_and_ends_never_early() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        let started = Instant::now();
        let entries = vec![
            Entry::new("never").priority(0).delay(HOUR),
            Entry::new("later").priority(1).delay(SHORT),
            Entry::new("now").priority(2),
        ];
        let ids = queue.enqueue_batch(entries).await.unwrap().into_inner();
        let now = queue.lease().fetch_one().await.unwrap().expect("one is ready");
        // A slow machine may be past the short delay already.
        if started.elapsed() < SHORT {
            assert_eq!(text(&now), "now");
        }
        let rest = next(&queue).await;
        assert!(started.elapsed() >= SHORT, "{:?}", started.elapsed());
        assert_ne!(text(&rest), text(&now));
        let later = if text(&now) == "later" { now } else { rest };
        assert_eq!((later.id(), later.attempt()), (ids[1].id(), 1));

        let after = status(&engine).await.unwrap();
        assert_eq!((after.n_entries, after.n_delayed, after.n_leased), (2, 1, 2));
        assert_eq!((after.counters.n_delayed, after.counters.n_due), (2, 1));
        assert!(queue.lease().fetch_one().await.unwrap().is_none());
        assert_eq!(queue.browse(None, 9).await.unwrap().len(), 2, "of those that are ready");
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn no_delay_and_what_is_past_are_at_once() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        let entries = vec![
            Entry::new("a").delay(Duration::ZERO),
            Entry::new("b").run_at(UNIX_EPOCH),
            Entry::new("c").run_at(UNIX_EPOCH - HOUR),
            Entry::new("d").run_at(UNIX_EPOCH + HOUR),
            Entry::new("e").delay(HOUR).run_at(UNIX_EPOCH),
            Entry::new("f").run_at(UNIX_EPOCH).delay(Duration::ZERO),
        ];
        queue.enqueue_batch(entries).await.unwrap();
        assert_eq!(drain(queue.lease()).await.unwrap(), ["a", "b", "c", "d", "e", "f"]);
        let counters = engine.status().await.unwrap().counters;
        assert_eq!((counters.n_delayed, counters.n_due), (0, 0));
        engine.close().await.unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "dates are about the wall clock")]
#[tokio::test]
async fn a_date_comes_when_the_wall_clock_shows_it() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        let date = SystemTime::now() + SHORT;
        queue.enqueue(Entry::new("x").run_at(date)).await.unwrap();
        next(&queue).await.ack().await.unwrap();
        assert!(SystemTime::now() >= date);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_waits_survives_a_restart() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        let large = "x".repeat(5000);
        let entries = vec![
            Entry::new("never").delay(HOUR),
            Entry::new(large.clone()).header("h", "v").delay(SHORT),
        ];
        let ids = queue.enqueue_batch(entries).await.unwrap().into_inner();
        engine.close().await.unwrap();

        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        let delivery = next(&queue).await;
        assert_eq!((delivery.id(), text(&delivery)), (ids[1].id(), large));
        assert_eq!(delivery.headers().get("h").map(|value| &value[..]), Some(&b"v"[..]));
        delivery.ack().await.unwrap();
        let after = status(&engine).await.unwrap();
        assert_eq!((after.n_queues, after.n_entries, after.n_delayed), (1, 0, 1));
        assert!(queue.lease().fetch_one().await.unwrap().is_none());
        assert_eq!(queue.purge().await.unwrap().get().n_entries, 1);
        let after = status(&engine).await.unwrap();
        assert_eq!((after.n_queues, after.n_delayed), (0, 0));
        engine.close().await.unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "dates are about the wall clock")]
#[tokio::test]
async fn a_delay_has_a_limit_and_beyond_it_nothing_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    let longest = Duration::from_millis(limits::DELAY_MS_MAX);
    let now = SystemTime::now();
    for beyond in [
        Entry::new("x").delay(longest + Duration::from_nanos(1)),
        Entry::new("x").delay(Duration::MAX),
        Entry::new("x").run_at(now + longest + HOUR),
        Entry::new("x").run_at(now + longest * 20),
    ] {
        let batch = vec![Entry::new("fine"), beyond.clone()];
        for error in [
            queue.enqueue(beyond).await.map(drop).unwrap_err(),
            queue.enqueue_batch(batch).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            let limit = error.limit().expect("it is a limit");
            assert_eq!((limit.what, limit.limit), ("delay", limits::DELAY_MS_MAX));
            assert!(error.to_string().contains("the limit is 315360000000 ms"), "{error}");
        }
    }
    assert_eq!(engine.status().await.unwrap().counters.n_enqueued, 0);
    queue.enqueue(Entry::new("x").delay(longest)).await.unwrap();
    queue.enqueue(Entry::new("x").run_at(now + longest - SHORT)).await.unwrap();
    assert_eq!(engine.status().await.unwrap().n_delayed, 2);
    engine.close().await.unwrap();
}

/// So many that no window holds them all, with bodies of both kinds, over queues that leave memory.
#[tokio::test]
async fn many_short_delays_all_end() {
    const N_QUEUES: usize = 40;
    const N_EACH: usize = 50;
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let topic = engine.topic("t");
        for n in 0..N_QUEUES {
            let delay = |m: usize| Duration::from_millis(((n * 7 + m * 13) % 60) as u64);
            let payload = |m: usize| format!("{n:02} {m:02} {}", "x".repeat(m * 40));
            let entries = (0..N_EACH).map(|m| Entry::new(payload(m)).delay(delay(m))).collect();
            topic.queue(format!("{n}")).enqueue_batch(entries).await.unwrap();
        }
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < N_QUEUES * N_EACH {
            let deliveries = topic.lease().max(500).wait(LONG).fetch().await.unwrap();
            assert!(!deliveries.is_empty(), "{} came", seen.len());
            for delivery in &deliveries {
                assert!(seen.insert(text(delivery)[..5].to_owned()), "twice");
                assert_eq!(delivery.attempt(), 1);
            }
            let acks = deliveries.into_iter().map(|delivery| tokio::spawn(delivery.ack()));
            for ack in acks.collect::<Vec<_>>() {
                ack.await.unwrap().unwrap();
            }
        }
        let after = status(&engine).await.unwrap();
        assert_eq!((after.n_queues, after.n_entries, after.n_delayed), (0, 0, 0));
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_time_of_acceptance_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue(Entry::new("x").delay(SHORT)).await.unwrap();
    queue.enqueue(Entry::new("y")).await.unwrap();
    let accepted = async |payload: &str| -> UnixMillis {
        loop {
            let delivery = next(&queue).await;
            if text(&delivery) == payload {
                return delivery.enqueued_at();
            }
            delivery.nack().await.unwrap();
        }
    };
    let y = accepted("y").await;
    assert!(accepted("x").await <= y, "though it was ready later");
    engine.close().await.unwrap();
}
