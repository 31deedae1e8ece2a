//! Rules that are withdrawn, over two partitions that crash in between.

use std::sync::Arc;

use millpond_partition::{Governor, Partition, PartitionOptions};
use millpond_storage_api::{StoreRead, Table};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
use millpond_sync::thread::block_on;
use millpond_types::{QueueKey, Scope, Settings, SettingsRow, TopicName};

use crate::fixture::store;

struct Engine {
    governor: Governor,
    partitions: [(Arc<MemoryStore>, Partition); 2],
}

fn scope() -> Scope {
    let topic = TopicName::new("emails").expect("a valid name");
    Scope::Prefix(topic, QueueKey::new("tenant-42/").expect("a valid key"))
}

impl Engine {
    fn open(disks: &[MemoryDisk; 2]) -> Self {
        let governor = Governor::new(2);
        let partitions = [0, 1].map(|number| {
            let store = store(&disks[number], MemoryOptions::default());
            let options = PartitionOptions::default();
            let opened = Partition::open_under(&governor, number, store.clone(), options);
            (store, block_on(opened).expect("it can be read"))
        });
        Self { governor, partitions }
    }

    fn configure(&self, partition: usize, row: &SettingsRow) {
        let stored = self.partitions[partition].1.configure(row.clone());
        block_on(stored).expect("it is stored");
    }

    fn n_rows(&self) -> [usize; 2] {
        [0, 1].map(|number| {
            let row = block_on(
                self.partitions[number].0.get(Table::Settings, &SettingsRow::key(&scope())),
            );
            usize::from(row.expect("it can be read").is_some())
        })
    }

    fn close(self) {
        for (_, partition) in self.partitions {
            block_on(partition.close()).expect("it ends well");
        }
    }
}

#[test]
fn the_rows_of_a_withdrawn_rule_go_although_a_crash_leaves_some_of_them() {
    let disks = [MemoryDisk::new(), MemoryDisk::new()];
    let engine = Engine::open(&disks);
    for settings in [Settings::default().with_paused(true), Settings::default()] {
        let row = engine.governor.change(scope(), settings).expect("it makes sense");
        (0..2).for_each(|partition| engine.configure(partition, &row));
    }
    assert_eq!(engine.n_rows(), [1, 1], "an empty one in each");
    let gone = Governor::row_to_forget(scope());
    engine.configure(0, &gone);
    assert_eq!(engine.n_rows(), [0, 1]);
    engine.close();

    let engine = Engine::open(&disks);
    assert_eq!(engine.governor.withdrawn(), [], "not everywhere");
    let missing = engine.governor.missing_in(0);
    assert_eq!(missing.len(), 1);
    missing.iter().for_each(|row| engine.configure(0, row));
    assert_eq!(engine.governor.withdrawn(), [scope()]);
    (0..2).for_each(|partition| engine.configure(partition, &gone));
    engine.governor.forget(&scope());
    assert_eq!((engine.n_rows(), engine.governor.withdrawn()), ([0, 0], vec![]));
    engine.close();

    let engine = Engine::open(&disks);
    assert_eq!(engine.governor.rule(&scope()), None);
    assert_eq!(engine.governor.missing_in(0), []);
    engine.close();
}
