//! What becomes of entries whose attempts fail.

use std::time::Duration;

use millpond::{
    DeadCause, Delivery, Engine, Entry, ErrorKind, Nack, Nacked, Queue, Settings, TopicName, limits,
};
use millpond_it::{drain, open, options, status, text};
use tokio::time::Instant;

use crate::backends::Backend;

const LONG: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

async fn next(queue: &Queue) -> Delivery {
    queue.lease().wait(LONG).fetch_one().await.unwrap().expect("it comes")
}

fn at_most(n_attempts: u32) -> Settings {
    Settings::default().with_attempts_max(n_attempts)
}

fn is_backing_off(nacked: Nacked) -> bool {
    matches!(nacked, Nacked::BackingOff { .. })
}

#[tokio::test]
async fn a_poison_entry_that_backs_off_lets_the_others_flow() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        queue.enqueue_batch(["poison", "b", "c"].map(Entry::new).to_vec()).await.unwrap();
        let poison = next(&queue).await;
        let before = poison.deadline();
        let nacked = poison.nack_after(HOUR).await.unwrap().into_inner();
        let Nacked::BackingOff { until } = nacked else { panic!("{nacked:?}") };
        assert!(until > before, "an hour is longer than a lease");
        assert_eq!(drain(queue.lease()).await.unwrap(), ["b", "c"]);
        queue.enqueue(Entry::new("d")).await.unwrap();
        assert_eq!(drain(queue.lease()).await.unwrap(), ["d"]);
        let after = status(&engine).await.unwrap();
        assert_eq!((after.n_entries, after.n_delayed), (0, 1));
        assert_eq!(after.counters.n_backed_off, 1);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn attempts_are_counted_through_waits_and_restarts_and_the_last_one_is_the_last() {
    for backend in Backend::both() {
        let engine = backend.open(at_most(3)).await;
        let queue = engine.topic("t").queue("q");
        let id = queue.enqueue(Entry::new("x")).await.unwrap().into_inner();
        let started = Instant::now();
        let first = next(&queue).await;
        assert!(is_backing_off(first.nack_after(SHORT).await.unwrap().into_inner()));
        engine.close().await.unwrap();

        let engine = backend.open(at_most(3)).await;
        let queue = engine.topic("t").queue("q");
        let second = next(&queue).await;
        assert!(started.elapsed() >= SHORT);
        assert_eq!((second.id(), second.attempt()), (id.id(), 2));
        assert_eq!(second.nack().await.unwrap().into_inner(), Nacked::Ready);
        let third = next(&queue).await;
        assert_eq!(third.attempt(), 3);
        // Whatever is wished for, that was all.
        let nack = Nack::after(HOUR).because("still no answer");
        assert_eq!(third.nack_with(nack).await.unwrap().into_inner(), Nacked::Dead);
        assert!(queue.lease().fetch_one().await.unwrap().is_none());
        engine.close().await.unwrap();

        let engine = backend.open(at_most(3)).await;
        let letters = engine.topic("t").queue("q").dead_letters().list(None, 9).await.unwrap();
        assert_eq!((letters.len(), letters[0].id, letters[0].attempts), (1, id.id(), 3));
        let expected = (DeadCause::AttemptsSpent, "still no answer");
        assert_eq!((letters[0].cause, letters[0].reason.as_str()), expected);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_that_ends_by_itself_is_an_attempt_too() {
    for backend in Backend::both() {
        let engine = backend.open(at_most(2)).await;
        let queue = engine.topic("t").queue("q");
        queue.enqueue(Entry::new("x")).await.unwrap();
        for attempt in 1..=2 {
            let request = queue.lease().lease_for(Duration::from_millis(1)).wait(LONG);
            let delivery = request.fetch_one().await.unwrap().expect("it comes again");
            assert_eq!(delivery.attempt(), attempt);
        }
        let letters = loop {
            let letters = queue.dead_letters().list(None, 9).await.unwrap();
            if !letters.is_empty() {
                break letters;
            }
        };
        assert_eq!((letters[0].cause, letters[0].attempts), (DeadCause::AttemptsSpent, 2));
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_floor_stays_with_its_entry() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        queue.enqueue(Entry::new("x")).await.unwrap();
        let mut started = Instant::now();
        let nacked = next(&queue).await.nack_with_floor(SHORT).await.unwrap();
        assert!(is_backing_off(nacked.into_inner()));
        for nack in [Nack::retry(), Nack::after(Duration::ZERO), Nack::with_floor(Duration::ZERO)] {
            let delivery = next(&queue).await;
            assert!(started.elapsed() >= SHORT);
            started = Instant::now();
            let nacked = delivery.nack_with(nack).await.unwrap().into_inner();
            assert!(is_backing_off(nacked), "{nacked:?}");
        }
        // A longer wait holds, and a new floor replaces the old one.
        let nacked = next(&queue).await.nack_with_floor(HOUR).await.unwrap();
        assert!(is_backing_off(nacked.into_inner()));
        assert!(queue.lease().fetch_one().await.unwrap().is_none());
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn back_off_is_within_its_bounds() {
    let policy = Settings::default().with_backoff(HOUR, 2 * HOUR);
    for backend in Backend::both() {
        let engine = backend.open(policy.clone()).await;
        let queue = engine.topic("t").queue("q");
        queue.enqueue_batch(vec![Entry::new("x"); 20]).await.unwrap();
        for delivery in queue.lease_batch(20, Duration::ZERO).await.unwrap() {
            let at = delivery.enqueued_at();
            match delivery.nack().await.unwrap().into_inner() {
                Nacked::BackingOff { until } => {
                    assert!(until.since(at) <= 3_600_000 + 60_000, "{until} {at}");
                }
                // Once in some million times.
                nacked => assert_eq!(nacked, Nacked::Ready),
            }
        }
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_rejected_entry_is_set_aside_at_once_with_as_much_of_the_reason_as_fits() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        queue.enqueue_batch(["a", "b"].map(Entry::new).to_vec()).await.unwrap();
        let nacked = next(&queue).await.reject("no such address").await.unwrap();
        assert_eq!(nacked.into_inner(), Nacked::Dead);
        // The limit falls into the middle of a character.
        let long = format!("x{}", "ü".repeat(2000));
        next(&queue).await.reject(long.clone()).await.unwrap();
        let letters = queue.dead_letters().list(None, 9).await.unwrap();
        assert_eq!((letters[0].cause, letters[0].attempts), (DeadCause::Rejected, 1));
        assert_eq!(letters[0].reason, "no such address");
        assert_eq!(letters[1].reason, long[..limits::REASON_BYTES_MAX - 1]);
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_topic_may_have_a_policy_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path()).defaults(at_most(1));
    let engine = Engine::open(options).await.unwrap();
    engine.topic("patient").set(at_most(2)).await.unwrap();
    for (topic, expected) in [("t", Nacked::Dead), ("patient", Nacked::Ready)] {
        let queue = engine.topic(topic).queue("q");
        queue.enqueue(Entry::new("x")).await.unwrap();
        assert_eq!(next(&queue).await.nack().await.unwrap().into_inner(), expected);
    }
    assert_eq!(next(&engine.topic("patient").queue("q")).await.attempt(), 2);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn policies_that_make_no_sense_are_refused() {
    let ms = Duration::from_millis;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let none = Settings::default();
    let name = |name| TopicName::new(name).unwrap();
    for (defaults, says) in [
        (none.clone().with_backoff(ms(2), ms(1)), "above its cap"),
        (none.clone().with_attempts_max(0), "the number of attempts is at least 1"),
        (none.clone().with_concurrency_together(3), "together is for topics"),
        (none.clone().with_paused(true), "not opened paused"),
        (none.clone().with_dead_letter_topic(name("dead")), "say it of topics"),
        (none.with_dead_letter_topic(name("any")), "cannot go to any, its own would go round"),
    ] {
        let error = Engine::open(options(&path).defaults(defaults)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
        assert!(!path.exists(), "nothing was created");
    }
}

#[tokio::test]
async fn a_wait_beyond_the_limit_is_refused_and_the_lease_stands() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue(Entry::new("x")).await.unwrap();
    let lease = next(&queue).await.lease();
    let beyond = Duration::from_millis(limits::DELAY_MS_MAX + 1);
    for nack in [Nack::after(beyond), Nack::with_floor(beyond), Nack::after(Duration::MAX)] {
        let error = engine.nack_with(lease, nack).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.limit().expect("it is a limit").limit, limits::DELAY_MS_MAX);
    }
    let longest = Nack::after(Duration::from_millis(limits::DELAY_MS_MAX));
    let nacked = engine.nack_with(lease, longest).await.unwrap();
    assert!(is_backing_off(nacked.into_inner()));
    engine.close().await.unwrap();
}

#[tokio::test]
async fn whoever_has_given_an_entry_back_has_no_say_in_it() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        for nack in [Nack::retry(), Nack::after(HOUR), Nack::reject()] {
            queue.enqueue(Entry::new("x")).await.unwrap();
            let lease = next(&queue).await.lease();
            engine.nack_with(lease, nack).await.unwrap();
            for late in [
                engine.nack(lease).await.map(drop),
                engine.nack_with(lease, Nack::after(HOUR)).await.map(drop),
                engine.nack_with(lease, Nack::reject()).await.map(drop),
                engine.ack(lease).await.map(drop),
                engine.extend(lease, LONG).await.map(drop),
            ] {
                assert_eq!(late.unwrap_err().kind(), ErrorKind::StaleLease);
            }
            queue.purge().await.unwrap();
        }
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_that_has_ended_is_not_extended() {
    for backend in Backend::both() {
        let engine = backend.open(Settings::default()).await;
        let queue = engine.topic("t").queue("q");
        queue.enqueue(Entry::new("x")).await.unwrap();
        let short = queue.lease().lease_for(Duration::from_millis(1));
        let first = short.fetch_one().await.unwrap().expect("one is ready");
        let second = next(&queue).await;
        let late = first.extend(LONG).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::StaleLease);
        for length in [Duration::ZERO, 365 * 24 * HOUR, Duration::MAX] {
            let error = second.extend(length).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("1 ms to 7 days"), "{error}");
        }
        assert_eq!(text(&second), "x");
        second.ack().await.unwrap();
        engine.close().await.unwrap();
    }
}
