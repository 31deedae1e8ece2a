//! Lists of queues over rows that were put there by hand, with limits small enough to be reached.

use std::sync::Arc;

use millpond_storage_api::{PartitionStore, StoreRead, Table, WriteBatch};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
use millpond_types::{
    ActiveKey, ActiveRow, EntryKey, EntryRank, EntryRow, Priority, QueueId, QueueKey, QueueRow,
    Sequence, Stage, StoredBody, TopicId, TopicName, UnixMillis,
};

use super::queues;
use crate::admin::{Order, QueueList, View};

/// A stopped engine of one partition.
struct Stored {
    store: MemoryStore,
    batch: WriteBatch,
}

impl Stored {
    fn new() -> Self {
        let store = MemoryStore::open(&MemoryDisk::new(), MemoryOptions::default()).unwrap();
        Self { store, batch: WriteBatch::new() }
    }

    /// A queue that counts `n_ready` entries, of which only the head is there, accepted at `enqueued_at`.
    fn queue(&mut self, topic: &str, key: &str, n_ready: u64, enqueued_at: u64) {
        let (topic, key) = (TopicName::new(topic).unwrap(), QueueKey::new(key).unwrap());
        let queue = QueueId::derive(&topic, &key);
        let active = ActiveKey { topic: TopicId::derive(&topic), queue };
        let rank = EntryRank { priority: Priority::default(), sequence: Sequence(enqueued_at) };
        let row = ActiveRow { n_ready, floor: rank, ..ActiveRow::default() };
        self.batch.put(Table::Active, &active.encode(), &row.encode());
        self.batch.put(Table::Queues, &queue.0, &QueueRow { topic, key }.encode());
        let mut entry = Vec::new();
        let body = StoredBody::Inline("".into());
        let enqueued_at = UnixMillis(enqueued_at);
        EntryRow { attempts: 0, enqueued_at, retry_floor_ms: 0, body }.encode_into(&mut entry);
        let key = EntryKey { queue, stage: Stage::Ready, rank };
        self.batch.put(Table::Entries, &key.encode(), &entry);
    }

    async fn list(self, topic: Option<&str>, order: Order, n_max: usize) -> (String, bool) {
        self.store.submit(self.batch).await.unwrap();
        let view = View::Stopped(vec![Arc::new(self.store) as Arc<dyn StoreRead>]);
        let QueueList { queues, incomplete } = queues(&view, topic, order, n_max).await.unwrap();
        let keys: Vec<_> = queues.into_iter().map(|queue| queue.key).collect();
        (keys.join(" "), incomplete.is_some())
    }
}

fn five() -> Stored {
    let mut stored = Stored::new();
    for (key, n_ready, enqueued_at) in
        [("a", 3, 50), ("b", 5, 20), ("c", 1, 40), ("d", 4, 10), ("e", 2, 30)]
    {
        stored.queue("t", key, n_ready, enqueued_at);
    }
    stored
}

#[tokio::test]
async fn each_order_gives_its_first() {
    assert_eq!(five().list(None, Order::Name, 3).await, ("a b c".to_owned(), false));
    assert_eq!(five().list(None, Order::Deepest, 3).await, ("b d a".to_owned(), false));
}

#[tokio::test]
async fn whoever_seems_oldest_is_looked_at_and_the_rest_is_owned_up_to() {
    let (keys, incomplete) = five().list(None, Order::Oldest, 99).await;
    assert_eq!((keys.as_str(), incomplete), ("d b e", true));
    let mut three = Stored::new();
    for (key, enqueued_at) in [("x", 2), ("y", 3), ("z", 1)] {
        three.queue("t", key, 1, enqueued_at);
    }
    assert_eq!(three.list(None, Order::Oldest, 2).await, ("z x".to_owned(), false));
}

#[tokio::test]
async fn more_names_than_are_read_are_owned_up_to() {
    let mut six = five();
    six.queue("u", "f", 1, 60);
    let (keys, incomplete) = six.list(None, Order::Name, 99).await;
    assert_eq!((keys.split(' ').count(), incomplete), (5, true));

    let mut six = five();
    six.queue("u", "f", 1, 60);
    assert_eq!(six.list(Some("u"), Order::Name, 99).await, ("f".to_owned(), false));
}

#[tokio::test]
async fn a_list_that_is_cut_off_says_so_and_one_that_was_to_be_short_does_not() {
    let six = || {
        let mut six = five();
        six.queue("u", "f", 6, 60);
        six
    };
    assert_eq!(six().list(None, Order::Deepest, 9).await, ("f b d a e".to_owned(), true));
    assert_eq!(six().list(None, Order::Deepest, 2).await, ("f b".to_owned(), false));
    assert_eq!(five().list(None, Order::Deepest, 9).await, ("b d a e c".to_owned(), false));
}

#[tokio::test]
async fn damaged_rows_are_passed_over_and_owned_up_to() {
    let mut stored = five();
    stored.batch.put(Table::Active, b"short", b"row");
    let (keys, incomplete) = stored.list(None, Order::Deepest, 2).await;
    assert_eq!((keys.as_str(), incomplete), ("b d", true));

    // Without its names a queue is listed all the same.
    let mut stored = Stored::new();
    stored.queue("t", "a", 1, 1);
    let id = QueueId::derive(&TopicName::new("t").unwrap(), &QueueKey::new("a").unwrap());
    stored.batch.put(Table::Queues, &id.0, b"garbage");
    assert_eq!(stored.list(None, Order::Name, 2).await, ("?".to_owned(), false));
}
