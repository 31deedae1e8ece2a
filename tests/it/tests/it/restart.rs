//! What survives closing and opening.

use std::time::Duration;

use millpond::{Engine, Entry, ErrorKind, LeasesAtOpen};
use millpond_it::{drain, open, options, status};

#[tokio::test]
async fn entries_order_and_attempts_survive() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    for n in 0..200 {
        let queue = engine.topic("t").queue(format!("queue-{}", n % 7));
        queue.enqueue(Entry::new(format!("{n:03}"))).await.unwrap();
    }
    let queue = engine.topic("t").queue("queue-0");
    queue.lease().fetch_one().await.unwrap().unwrap().nack().await.unwrap();
    engine.close().await.unwrap();

    let engine = open(directory.path()).await.unwrap();
    assert_eq!(status(&engine).await.unwrap().n_entries, 200);
    let queue = engine.topic("t").queue("queue-0");
    let first = queue.lease().fetch_one().await.unwrap().unwrap();
    assert_eq!((first.attempt(), &first.payload()[..]), (2, &b"000"[..]));
    first.ack().await.unwrap();
    for key in 0..7 {
        let queue = engine.topic("t").queue(format!("queue-{key}"));
        let payloads = drain(queue.lease()).await.unwrap();
        let expected = (0..200).filter(|n| n % 7 == key && *n != 0).map(|n| format!("{n:03}"));
        assert!(payloads.iter().cloned().eq(expected), "{payloads:?}");
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn kept_leases_are_honoured_by_their_token() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue_batch(["a", "b"].map(Entry::new).to_vec()).await.unwrap();
    let lease = queue.lease().fetch_one().await.unwrap().unwrap().lease();
    engine.close().await.unwrap();

    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    let other = queue.lease().fetch_one().await.unwrap().expect("b is ready");
    assert_eq!(other.payload(), "b");
    assert!(other.token() > lease.token, "tokens grow across restarts");
    engine.ack(lease).await.unwrap();
    other.ack().await.unwrap();
    assert_eq!(status(&engine).await.unwrap().n_entries, 0);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn released_leases_are_ready_at_once_and_their_tokens_are_dead() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue(Entry::new("a")).await.unwrap();
    let lease = queue.lease().fetch_one().await.unwrap().unwrap().lease();
    engine.close().await.unwrap();

    let options = options(directory.path()).leases_at_open(LeasesAtOpen::Release);
    let engine = Engine::open(options).await.unwrap();
    assert_eq!(engine.ack(lease).await.unwrap_err().kind(), ErrorKind::StaleLease);
    engine.close().await.unwrap();

    // Not even a later owner that keeps leases revives the token.
    let engine = open(directory.path()).await.unwrap();
    assert_eq!(engine.ack(lease).await.unwrap_err().kind(), ErrorKind::StaleLease);
    let again = engine.topic("t").lease().fetch_one().await.unwrap().expect("released");
    assert_eq!(again.attempt(), 2);
    again.ack().await.unwrap();
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_dropped_is_closed_before_anything_else_runs() {
    let directory = tempfile::tempdir().unwrap();
    for n in 0..5 {
        let engine = open(directory.path()).await.unwrap();
        engine.topic("t").queue("q").enqueue(Entry::new("a")).await.unwrap();
        assert_eq!(status(&engine).await.unwrap().n_entries, n + 1);
        drop(engine);
    }
}

#[tokio::test]
async fn a_kept_lease_still_expires() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue(Entry::new("a")).await.unwrap();
    let short = queue.lease().lease_for(Duration::from_millis(1));
    drop(short.fetch_one().await.unwrap().unwrap());
    engine.close().await.unwrap();

    let engine = open(directory.path()).await.unwrap();
    let request = engine.topic("t").lease().wait(Duration::from_secs(60));
    assert_eq!(request.fetch_one().await.unwrap().expect("it expires").attempt(), 2);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn the_number_of_partitions_is_fixed_at_creation() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(directory.path()).partitions(3)).await.unwrap();
    for n in 0..30 {
        engine.topic("t").queue(format!("{n}")).enqueue(Entry::new("x")).await.unwrap();
    }
    engine.close().await.unwrap();
    let engine = Engine::open(options(directory.path()).partitions(8)).await.unwrap();
    let after = status(&engine).await.unwrap();
    assert_eq!((after.n_partitions, after.n_entries), (3, 30));
    assert_eq!(drain(engine.topic("t").lease()).await.unwrap().len(), 30);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_partition_that_has_gone_missing_is_not_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    engine.topic("t").queue("q").enqueue(Entry::new("x")).await.unwrap();
    engine.close().await.unwrap();
    std::fs::remove_dir_all(directory.path().join("partition-001")).unwrap();
    assert_eq!(open(directory.path()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!directory.path().join("partition-001").exists());
}
