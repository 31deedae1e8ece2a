//! Entries that were set aside: they are listed, shown, replayed and dropped.

use std::time::Duration;

use millpond::admin::Admin;
use millpond::{Accepted, DeadCause, Engine, Entry, EntryId, ErrorKind, Nacked, Queue, Settings};
use millpond_it::{drain, status, text};

use crate::backends::Backend;

const LONG: Duration = Duration::from_secs(60);

/// Enqueues and rejects entries; returns their ids in the order of the payloads.
async fn reject(queue: &Queue, payloads: &[&str]) -> Vec<EntryId> {
    let entries = payloads.iter().map(|payload| Entry::new(payload.to_string())).collect();
    let ids = queue.enqueue_batch(entries).await.unwrap().into_inner();
    for delivery in queue.lease_batch(payloads.len(), Duration::ZERO).await.unwrap() {
        let reason = format!("{}?", text(&delivery));
        assert_eq!(delivery.reject(reason).await.unwrap().into_inner(), Nacked::Dead);
    }
    ids.iter().map(Accepted::id).collect()
}

async fn opened(backend: &Backend) -> (Engine, Queue) {
    let engine = backend.open(Settings::default()).await;
    let queue = engine.topic("t").queue("q");
    (engine, queue)
}

#[tokio::test]
async fn they_are_listed_in_pages_beside_what_is_ready_and_delayed() {
    for backend in Backend::both() {
        let (engine, queue) = opened(&backend).await;
        let ids = reject(&queue, &["a", "b", "c", "d", "e"]).await;
        reject(&engine.topic("t").queue("other"), &["x"]).await;
        queue.enqueue(Entry::new("ready")).await.unwrap();
        queue.enqueue(Entry::new("delayed").delay(LONG * 60)).await.unwrap();
        for _ in ["running", "reopened"] {
            let engine = opened_again(&backend, &engine).await;
            let dead = engine.topic("t").queue("q").dead_letters();
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = dead.list(after, 2).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                seen.extend(page);
            }
            assert_eq!(seen.iter().map(|letter| letter.id).collect::<Vec<_>>(), ids);
            let reasons: Vec<_> = seen.iter().map(|letter| letter.reason.as_str()).collect();
            assert_eq!(reasons, ["a?", "b?", "c?", "d?", "e?"]);
            assert!(seen.iter().all(|letter| letter.cause == DeadCause::Rejected));
            assert!(seen.iter().all(|letter| letter.died_at >= letter.enqueued_at));
            assert_eq!(dead.list(None, 0).await.unwrap(), []);
            let counts = status(&engine).await.unwrap();
            assert_eq!((counts.n_entries, counts.n_delayed, counts.n_dead), (1, 1, 6));
            engine.close().await.unwrap();
        }
    }
}

/// The engine, or a new one if it is closed.
async fn opened_again(backend: &Backend, engine: &Engine) -> Engine {
    match engine.status().await {
        Ok(_) => engine.clone(),
        Err(_) => backend.open(Settings::default()).await,
    }
}

#[tokio::test]
async fn one_is_shown_with_all_that_it_carries() {
    for backend in Backend::both() {
        let (engine, queue) = opened(&backend).await;
        for payload in ["small".to_owned(), "large ".repeat(1000)] {
            let entry = Entry::new(payload.clone()).header("to", "a").header("to", "b");
            let id = queue.enqueue(entry).await.unwrap().get().id();
            assert_eq!(queue.dead_letters().show(id).await.unwrap(), None, "it is not dead");
            let delivery = queue.lease().fetch_one().await.unwrap().expect("one is ready");
            delivery.reject("").await.unwrap();
            let (letter, body) = queue.dead_letters().show(id).await.unwrap().expect("it is dead");
            assert_eq!((letter.id, letter.attempts, letter.reason.as_str()), (id, 1, ""));
            assert_eq!((letter.n_body_bytes, body.payload.len()), {
                (payload.len() as u64 + 16, payload.len())
            });
            assert_eq!(body.payload, payload);
            let headers: Vec<_> = body.headers.iter().map(|header| &header.value[..]).collect();
            assert_eq!(headers, [b"a", b"b"]);
        }
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_replayed_one_is_ready_at_its_old_place_and_starts_anew() {
    for backend in Backend::both() {
        let policy = Settings::default().with_attempts_max(2);
        let engine = backend.open(policy).await;
        let queue = engine.topic("t").queue("q");
        let large = "large ".repeat(1000);
        queue.enqueue(Entry::new(large.clone())).await.unwrap();
        for expected in [Nacked::Ready, Nacked::Dead] {
            let delivery = queue.lease().wait(LONG).fetch_one().await.unwrap().unwrap();
            assert_eq!(delivery.nack().await.unwrap().into_inner(), expected);
        }
        queue.enqueue(Entry::new("newer")).await.unwrap();
        let dead = queue.dead_letters();
        let id = dead.list(None, 9).await.unwrap()[0].id;
        dead.replay(id).await.unwrap();
        let again = queue.lease().fetch_one().await.unwrap().expect("it is ready");
        assert_eq!((again.id(), again.attempt(), text(&again)), (id, 1, large));
        assert_eq!(again.nack().await.unwrap().into_inner(), Nacked::Ready, "one of two attempts");
        let counters = status(&engine).await.unwrap().counters;
        assert_eq!((counters.n_died, counters.n_replayed, counters.n_dropped), (1, 1, 0));
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_one_is_gone_for_good() {
    for backend in Backend::both() {
        let (engine, queue) = opened(&backend).await;
        let ids = reject(&queue, &["a", "b"]).await;
        queue.dead_letters().drop(ids[0]).await.unwrap();
        engine.close().await.unwrap();
        let (engine, queue) = opened(&backend).await;
        let left = queue.dead_letters().list(None, 9).await.unwrap();
        assert_eq!(left.iter().map(|letter| letter.id).collect::<Vec<_>>(), ids[1..]);
        queue.dead_letters().drop(ids[1]).await.unwrap();
        let after = status(&engine).await.unwrap();
        assert_eq!((after.n_queues, after.n_dead, after.counters.n_dropped), (0, 0, 1));
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn whatever_is_no_dead_letter_is_not_found() {
    for backend in Backend::both() {
        let (engine, queue) = opened(&backend).await;
        let dead = reject(&queue, &["dead"]).await[0];
        let ready = queue.enqueue(Entry::new("ready")).await.unwrap().get().id();
        let delayed = Entry::new("delayed").delay(LONG * 60);
        let delayed = queue.enqueue(delayed).await.unwrap().get().id();
        let other = engine.topic("t").queue("other").dead_letters();
        assert_eq!(other.show(dead).await.unwrap(), None);
        let letters = queue.dead_letters();
        letters.replay(dead).await.unwrap();
        for outcome in [
            letters.replay(ready).await,
            letters.drop(ready).await,
            letters.drop(delayed).await,
            letters.replay(delayed).await,
            // It was one, and is one no more.
            letters.replay(dead).await,
            letters.drop(dead).await,
            // Not of this queue.
            other.drop(dead).await,
            engine.topic("t").queue("nobody").dead_letters().replay(dead).await,
        ] {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            assert!(error.to_string().contains("is not a dead letter"), "{error}");
        }
        let invalid = engine.topic("").queue("q").dead_letters();
        assert_eq!(invalid.list(None, 1).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(invalid.replay_all().await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(drain(queue.lease()).await.unwrap(), ["dead", "ready"], "nothing was touched");
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn of_two_who_settle_the_same_one_succeeds() {
    for backend in Backend::both() {
        let (engine, queue) = opened(&backend).await;
        for n in 0..20 {
            let id = reject(&queue, &["x"]).await[0];
            let letters = queue.dead_letters();
            let (replayed, dropped) = tokio::join!(letters.replay(id), letters.drop(id));
            assert_eq!(u32::from(replayed.is_ok()) + u32::from(dropped.is_ok()), 1, "round {n}");
            let lost = replayed.and(dropped).unwrap_err();
            assert_eq!(lost.kind(), ErrorKind::NotFound);
            drain(queue.lease()).await.unwrap();
        }
        let after = status(&engine).await.unwrap();
        assert_eq!((after.n_queues, after.n_dead), (0, 0));
        engine.close().await.unwrap();
    }
}

/// More than go in one step.
#[tokio::test]
async fn all_of_a_queue_are_replayed_and_dropped() {
    const N: usize = 600;
    for backend in Backend::both() {
        let (engine, queue) = opened(&backend).await;
        assert_eq!(queue.dead_letters().replay_all().await.unwrap(), 0);
        let payloads: Vec<String> = (0..N).map(|n| format!("{n:03}")).collect();
        let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
        reject(&queue, &payloads).await;
        let other = engine.topic("t").queue("other");
        reject(&other, &["x"]).await;

        assert_eq!(queue.dead_letters().replay_all().await.unwrap(), N as u64);
        let after = status(&engine).await.unwrap();
        assert_eq!((after.n_entries, after.n_dead), (N as u64, 1));
        let again = queue.lease_batch(N, LONG / 10).await.unwrap();
        assert!(again.iter().map(text).eq(payloads), "in the old order");
        for delivery in again {
            delivery.reject("").await.unwrap();
        }
        assert_eq!(queue.dead_letters().drop_all().await.unwrap(), N as u64);
        let after = status(&engine).await.unwrap();
        assert_eq!((after.n_queues, after.n_entries, after.n_dead), (1, 0, 1));
        engine.close().await.unwrap();
    }
}

/// More than go in one answer, and in one step; asked over the socket, and of a stopped engine.
#[tokio::test]
async fn all_of_a_queue_are_told_and_settled_from_outside() {
    const N: usize = 600;
    let directory = tempfile::tempdir().unwrap();
    let engine = millpond_it::open(directory.path()).await.unwrap();
    let ids = reject(&engine.topic("t").queue("q"), &["x"; N]).await;
    let expected: Vec<_> = ids.iter().map(|id| (id.rank.priority.0, id.rank.sequence.0)).collect();
    let list = async |after, n_max| {
        let admin = Admin::connect(directory.path()).await.unwrap();
        let letters = admin.dead_letters("t", b"q", after, n_max).await.unwrap();
        letters.iter().map(|letter| (letter.priority, letter.sequence)).collect::<Vec<_>>()
    };
    let settle = async |verb: &str| {
        let admin = Admin::connect(directory.path()).await.unwrap();
        match verb {
            "replay" => admin.replay_all("t", b"q").await.unwrap(),
            _ => admin.drop_all_dead("t", b"q").await.unwrap(),
        }
    };
    for n_max in [0, 1, 256, 257, 512, usize::MAX] {
        assert_eq!(list(None, n_max).await, expected[..n_max.min(N)]);
    }
    assert_eq!(list(Some(expected[299]), 1).await, expected[300..301]);
    assert_eq!(settle("replay").await.n_done, N as u64);
    for delivery in engine.topic("t").lease_batch(N, LONG / 10).await.unwrap() {
        delivery.reject("").await.unwrap();
    }
    engine.close().await.unwrap();
    assert_eq!(list(None, usize::MAX).await, expected);
    let dropped = settle("drop").await;
    assert_eq!((dropped.topic.as_str(), dropped.key.as_str(), dropped.n_done), ("t", "q", 600));
    assert_eq!(list(None, usize::MAX).await, []);
    assert_eq!(settle("drop").await.n_done, 0);
}

#[tokio::test]
async fn a_purge_removes_them_too() {
    for backend in Backend::both() {
        let (engine, queue) = opened(&backend).await;
        let id = reject(&queue, &["a", "b"]).await[0];
        queue.enqueue(Entry::new("c").delay(LONG * 60)).await.unwrap();
        queue.enqueue(Entry::new("d")).await.unwrap();
        assert_eq!(queue.purge().await.unwrap().get().n_entries, 4);
        let gone = queue.dead_letters().replay(id).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        assert_eq!(queue.dead_letters().list(None, 9).await.unwrap(), []);
        engine.close().await.unwrap();
    }
}
