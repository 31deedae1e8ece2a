//! The set against a map from id to slot.

use std::collections::{BTreeMap, BTreeSet};

use millpond_inbox::{Inbox, Limits};
use millpond_scheduler::{Limits as Governed, QueueOptions, Scheduler, SchedulerOptions};
use millpond_types::{ActiveRow, QueueId};
use proptest::prelude::*;

use super::{N_SHARDS, PAGE_QUEUES, QueueSet, Slot};
use crate::core::classes::ClassOf;
use crate::core::queue::Queue;

fn queue(id: u8) -> Queue {
    let mut bytes = [0; 16];
    // Two ids in three share their bucket with another, and all shards are used.
    (bytes[7], bytes[8], bytes[0]) = (id % 7, id / 3, id);
    let (mut limits, window) = (Governed::new(), Inbox::new(true, Limits::default()));
    let mut scheduler = Scheduler::new(SchedulerOptions::new(), &mut limits).unwrap();
    let handle = scheduler.add(&mut limits, QueueOptions::default()).unwrap();
    Queue::new(QueueId(bytes), (0, handle), ClassOf::new(0, false), ActiveRow::default(), window)
}

proptest! {
    #[test]
    fn the_set_is_a_map_from_id_to_slot(ops in prop::collection::vec((0_u8..60, any::<bool>()), 0..300)) {
        let mut set = QueueSet::new();
        let mut model: BTreeMap<u8, Slot> = BTreeMap::new();
        for (id, insert) in ops {
            match (insert, model.get(&id).copied()) {
                (true, None) => drop(model.insert(id, set.insert(queue(id)))),
                (false, Some(slot)) => {
                    let removed = set.remove(slot).map(|queue| queue.id);
                    prop_assert_eq!(removed, Some(queue(id).id));
                    prop_assert!(set.remove(slot).is_none() && !set.contains(slot));
                    model.remove(&id);
                }
                _ => {}
            }
            prop_assert_eq!(set.len(), model.len());
            for id in 0..60 {
                let found = set.find(&queue(id).id);
                prop_assert_eq!(found, model.get(&id).copied());
                prop_assert!(found.is_none_or(|slot| set[slot].id == queue(id).id));
            }
            let slots: BTreeSet<Slot> = set.iter().map(|(slot, _)| slot).collect();
            prop_assert_eq!(slots, model.values().copied().collect::<BTreeSet<_>>());
            // Pages that hold nothing are given back, the last ones also their place.
            let n_present = set.pages.iter().flatten().count();
            prop_assert!(set.pages.iter().flatten().all(|page| page.n_used > 0));
            prop_assert!(set.pages.last().is_none_or(Option::is_some));
            prop_assert!(n_present * PAGE_QUEUES >= model.len());
        }
    }
}

#[test]
fn every_shard_is_reached() {
    let mut set = QueueSet::new();
    for id in 0..60 {
        set.insert(queue(id));
    }
    assert_eq!(set.shards.len(), N_SHARDS);
    assert!(set.shards.iter().all(|shard| !shard.is_empty()));
}
