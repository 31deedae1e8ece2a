//! Rules of prefixes within each other, over two partitions.

use std::sync::Arc;

use millpond_partition::{Governor, LeaseSource, Partition, PartitionOptions, QueueRef};
use millpond_storage_memory::{MemoryDisk, MemoryOptions};
use millpond_sync::thread::block_on;
use millpond_types::{QueueKey, Scope, Settings, SettingsRow, TopicName};

use crate::fixture::{answered, call, enqueue, store};

fn topic() -> TopicName {
    TopicName::new("emails").expect("a valid name")
}

fn rule(governor: &Governor, prefix: &str, n_max: u32) -> SettingsRow {
    let scope = Scope::Prefix(topic(), QueueKey::new(prefix).expect("a valid key"));
    let settings = Settings::default().with_concurrency_together(n_max);
    governor.change(scope, settings).expect("a rule that makes sense")
}

fn take(partition: &Partition, queue: &Arc<QueueRef>) -> usize {
    answered(call(partition, LeaseSource::Queue(queue.id), 9, false)).expect("it is open").len()
}

#[test]
fn a_limit_holds_while_one_around_it_reaches_the_partitions() {
    let governor = Governor::new(2);
    let [first, second] = [0, 1].map(|number| {
        let store = store(&MemoryDisk::new(), MemoryOptions::default());
        let options = PartitionOptions::default();
        block_on(Partition::open_under(&governor, number, store, options)).expect("an empty store")
    });
    let configure = |partition: &Partition, row: &SettingsRow| {
        block_on(partition.configure(row.clone())).expect("it is stored");
    };
    let inner = rule(&governor, "ab", 2);
    configure(&first, &inner);
    configure(&second, &inner);
    let queue = |key| QueueRef::new(topic(), QueueKey::new(key).expect("a valid key"));
    let (here, there) = (queue("ab-1"), queue("ab-2"));
    enqueue(&first, &here, 9);
    enqueue(&second, &there, 9);
    assert_eq!(take(&second, &there), 2);
    assert_eq!(take(&first, &here), 0, "the limit is reached");
    let outer = rule(&governor, "a", 9);
    configure(&first, &outer);
    assert_eq!(take(&first, &here), 0, "the limit is reached as before");
    configure(&second, &outer);
    assert_eq!(take(&first, &here), 0, "and now");
}
