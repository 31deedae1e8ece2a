use std::time::Duration;

use millpond::{Engine, Entry};

use super::*;
use crate::check::options;
use crate::event::{Leases, Token, queues};
use crate::payload::payload;

/// A marker whose payload stays in the entry's row, and two whose payload does not.
fn markers() -> [Marker; 3] {
    let mut long = (1..).filter(|&marker| payload(marker).len() > 1500);
    let short = (1..).find(|&marker| payload(marker).len() < 100).expect("one is short");
    [short, long.next().expect("one is long"), long.next().expect("one is long")]
}

#[tokio::test]
async fn what_is_stored_is_what_was_accepted_with_its_leases() {
    let place = tempfile::tempdir().expect("a scratch directory");
    let directory = place.path().join("data");
    let options = options(&directory, Leases::Keep).partitions(3);
    let engine = Engine::open(options).await.expect("a new store");
    let markers = markers();
    let mut ids = BTreeMap::new();
    for (queue, marker) in (0..).zip(markers) {
        let handle = engine.topic(queues::topic(queue)).queue(queues::key(queue));
        let id = handle.enqueue(Entry::new(payload(marker)).priority(3)).await.expect("a receipt");
        ids.insert(marker, id.get().id());
    }
    let lease = async |queue| {
        let handle = engine.topic(queues::topic(queue)).queue(queues::key(queue));
        let request = handle.lease().lease_for(Duration::from_secs(1_000));
        request.fetch_one().await.expect("an answer").expect("it is ready")
    };
    let (held, given_back) = (lease(1).await, lease(2).await);
    let (held_token, given_back_token) = (held.token(), given_back.token());
    engine
        .nack(millpond::Lease { id: given_back.id(), token: given_back_token })
        .await
        .expect("done");
    engine.close().await.expect("nothing is left");
    let stored = read(&directory).await.expect("a store");
    assert_eq!(
        stored.iter().map(|(&marker, entry)| (marker, entry.id)).collect::<BTreeMap<_, _>>(),
        ids
    );
    let [never, leased, back] = markers.map(|marker| stored[&marker]);
    assert_eq!((never.lease, never.lease_in_force()), (None, None));
    let in_force = leased.lease_in_force().expect("it is leased");
    assert_eq!(Token::from(in_force.token), Token::from(held_token));
    assert_eq!(back.lease_in_force(), None);
    let row = back.lease.expect("it was leased");
    assert_eq!((Token::from(row.token), row.attempts), (Token::from(given_back_token), 1));
}

#[tokio::test]
async fn an_entry_that_nobody_enqueued_is_damage() {
    let place = tempfile::tempdir().expect("a scratch directory");
    let directory = place.path().join("data");
    let engine = Engine::open(options(&directory, Leases::Keep)).await.expect("a new store");
    let queue = engine.topic("jobs").queue("tenant-0");
    queue.enqueue(Entry::new("no payload of ours")).await.expect("a receipt");
    engine.close().await.expect("nothing is left");
    assert!(matches!(read(&directory).await, Err(Violation::Damaged { .. })));
    let nothing = read(&place.path().join("nothing")).await;
    assert_eq!(nothing, Ok(StoredEntries::new()));
}
