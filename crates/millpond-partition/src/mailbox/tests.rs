use millpond_sync::oneshot::channel;
use millpond_types::{
    EntryId, EntryRank, Epoch, LeaseToken, Priority, QueueKey, Sequence, TopicName,
};

use super::*;
use crate::QueueRef;
use crate::command::{LeaseRef, Start};
use crate::core::Seen;
use crate::durability::Receipt;

fn entries() -> Vec<NewEntry> {
    let entry = |n_body, key: Option<&'static [u8]>| NewEntry {
        priority: Priority::default(),
        body: vec![0; n_body].into(),
        start: Start::Now,
        dedup: key.map(bytes::Bytes::from_static),
    };
    vec![entry(1000, None), entry(10, Some(&[1; 1024]))]
}

#[test]
fn entries_weigh_the_same_with_an_ack_and_without() {
    let topic = TopicName::new("emails").expect("a valid name");
    let queue = QueueRef::new(topic, QueueKey::new("a").expect("a valid key"));
    let rank = EntryRank { priority: Priority::default(), sequence: Sequence(1) };
    let id = EntryId { queue: queue.id, rank };
    let lease = LeaseRef { id, token: LeaseToken { epoch: Epoch(1), number: 1 } };
    let alone = Message::Enqueue {
        queue: queue.clone(),
        entries: entries(),
        seen: Seen::default(),
        reply: Receipt::Synced(channel().0),
    };
    let with_ack = Message::AckAndEnqueue {
        lease,
        queue,
        entries: entries(),
        seen: Seen::default(),
        reply: channel().0,
    };
    assert_eq!(bytes(&alone), bytes(&with_ack));
    assert_eq!(bytes(&alone), 2 * size_of::<NewEntry>() + 1010 + 1024, "bodies and keys");
}
