//! What the engine accepts, what it refuses, and that it does either as a whole.

use millpond::{Accepted, Engine, Entry, ErrorKind, FullOf, Settings, Topic, limits};
use millpond_it::{open, options, status};

async fn bounded(topic: &Topic, n_entries: u64) {
    topic.set(Settings::default().with_entries_max(n_entries)).await.unwrap();
}

/// Ready entries, leased ones included, and leases.
async fn held(engine: &Engine) -> (u64, u64) {
    let status = status(engine).await.unwrap();
    (status.n_entries, status.n_leased)
}

#[tokio::test]
async fn keys_out_of_range_are_refused_and_name_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    let empty = queue.enqueue(Entry::new("x").once("")).await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::InvalidInput, "{empty}");
    assert!(empty.to_string().contains("at least 1 byte"), "{empty}");
    let long = Entry::new("x").once(vec![b'k'; 4096]);
    let refused = queue.enqueue_batch(vec![Entry::new("x"), long]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    let limit = refused.limit().expect("a limit was exceeded").limit;
    assert_eq!(limit, limits::DEDUP_KEY_BYTES_MAX as u64);
    assert_eq!(held(&engine).await, (0, 0));
    queue.enqueue(Entry::new("x").once(vec![b'k'; limits::DEDUP_KEY_BYTES_MAX])).await.unwrap();
    engine.close().await.unwrap();
}

#[tokio::test]
async fn what_was_accepted_once_is_known_after_its_ack_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    let entry = || Entry::new("x").once("invoice-17");
    let first = queue.enqueue(entry()).await.unwrap().get().id();
    queue.lease().fetch_one().await.unwrap().expect("one is ready").ack().await.unwrap();
    let again = Accepted::Duplicate { of: first };
    assert_eq!(*queue.enqueue(entry()).await.unwrap().get(), again);
    engine.close().await.unwrap();

    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    let accepted = queue.enqueue_batch(vec![entry(), Entry::new("y"), entry()]).await.unwrap();
    assert_eq!((accepted.get()[0], accepted.get()[2]), (again, again));
    assert!(!accepted.get()[1].is_duplicate());
    // Another queue has not seen it.
    let other = engine.topic("t").queue("other").enqueue(entry()).await.unwrap();
    assert!(!other.get().is_duplicate());
    assert_eq!(held(&engine).await, (2, 0));
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_whole_batches_and_serves_what_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    bounded(&topic, 3).await;
    let queue = topic.queue("q");
    let refused = queue.enqueue_batch(vec![Entry::new("x"); 4]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full, "{refused}");
    assert_eq!(refused.full(), Some((FullOf::QueueEntries, 3)));
    assert_eq!(held(&engine).await, (0, 0));
    queue.enqueue_batch(vec![Entry::new("x"); 3]).await.unwrap();
    assert_eq!(queue.enqueue(Entry::new("y")).await.unwrap_err().kind(), ErrorKind::Full);
    topic.queue("another").enqueue(Entry::new("y")).await.unwrap();
    queue.lease().fetch_one().await.unwrap().expect("one is ready").ack().await.unwrap();
    queue.enqueue(Entry::new("y")).await.unwrap();
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_ack_and_what_it_led_to_are_done_together_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(directory.path()).partitions(8)).await.unwrap();
    let (from, to) = (engine.topic("from"), engine.topic("to"));
    bounded(&to, 1).await;
    from.queue("k").enqueue(Entry::new("work")).await.unwrap();
    let mut delivery = from.lease().fetch_one().await.unwrap().expect("one is ready");

    // Of a hundred keys some live elsewhere.
    let mut n_elsewhere = 0;
    for key in 0..100_u8 {
        let queue = to.queue([key]);
        let Err(refused) = delivery.ack_and_enqueue(&queue, vec![Entry::new("x"); 2]).await else {
            panic!("two entries do not fit");
        };
        match refused.kind() {
            ErrorKind::InvalidInput => {
                let text = refused.to_string();
                assert!(text.contains("from/k") && text.contains("same key"), "{text}");
                n_elsewhere += 1;
            }
            kind => assert_eq!(kind, ErrorKind::Full, "{refused}"),
        }
    }
    assert!(n_elsewhere > 0);
    assert_eq!(held(&engine).await, (1, 1), "nothing was done");

    let next = Entry::new("next").once("step-2");
    let accepted = delivery.ack_and_enqueue(&to.queue("k"), vec![next.clone()]).await.unwrap();
    assert_eq!(held(&engine).await, (1, 0));
    let stale = delivery.ack_and_enqueue(&to.queue("k"), vec![next.clone()]).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::StaleLease, "{stale}");

    // A duplicate takes no room, and the ack happens.
    from.queue("k").enqueue(Entry::new("work")).await.unwrap();
    let mut again = from.lease().fetch_one().await.unwrap().expect("one is ready");
    let duplicate = again.ack_and_enqueue(&to.queue("k"), vec![next]).await.unwrap();
    assert_eq!(duplicate.get()[0], Accepted::Duplicate { of: accepted.get()[0].id() });
    assert_eq!(held(&engine).await, (1, 0));
    engine.close().await.unwrap();
}
