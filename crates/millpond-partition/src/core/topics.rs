//! The topics of a partition: whose turn it is, and who waits for work.

use std::collections::{BTreeSet, HashMap};

use millpond_scheduler::Scheduler;
use millpond_types::{QueueId, TopicId};
use slab::Slab;

use super::reserve::Reserve;
use super::waiters::Waiters;
pub(super) use crate::governor::TopicSlot;

/// Whether the queues of a topic were brought back after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Recall {
    /// In the order of the others.
    #[default]
    Unasked,
    /// Before the others, because somebody wants its work.
    Asked,
    Done,
}

/// The queues of one topic, and who waits for them.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    /// Whose turn it is, among those that can be served (P4).
    pub(super) scheduler: Scheduler,
    /// Whether turns are counted in bytes.
    pub(super) by_bytes: bool,
    pub(super) waiters: Waiters,
    pub(super) reserve: Reserve,
    /// Queues of which callers asked for the head, and which were refused because the topic as a whole may
    /// have no more at the moment.
    pub(super) held_up: BTreeSet<QueueId>,
    /// Queues that are being loaded and may turn out to have a head.
    pub(super) n_loading: usize,
    pub(super) listed: bool,
    /// Something was made available to it, and what it does not use must be passed on.
    pub(super) woken: bool,
    pub(super) recall: Recall,
    /// Queues in memory that belong to it.
    pub(super) n_queues: usize,
}

impl Topic {
    fn new(id: TopicId, scheduler: Scheduler) -> Self {
        Self {
            id,
            scheduler,
            by_bytes: false,
            waiters: Waiters::default(),
            reserve: Reserve::default(),
            held_up: BTreeSet::new(),
            n_loading: 0,
            listed: false,
            woken: false,
            recall: Recall::default(),
            n_queues: 0,
        }
    }

    /// Nobody serves it and nobody asks for it.
    fn is_unused(&self) -> bool {
        self.n_queues == 0 && self.waiters.is_empty() && !self.listed
    }
}

/// All topics that have queues in memory or callers that wait.
#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: Slab<Topic>,
    slots: HashMap<TopicId, TopicSlot>,
}

impl Topics {
    pub(super) fn find(&self, id: TopicId) -> Option<TopicSlot> {
        self.slots.get(&id).copied()
    }

    pub(super) fn get(&self, slot: TopicSlot) -> Option<&Topic> {
        self.topics.get(slot as usize)
    }

    /// Adds a topic that is not there.
    pub(super) fn add(
        &mut self,
        id: TopicId,
        scheduler: impl FnOnce(TopicSlot) -> Scheduler,
    ) -> TopicSlot {
        let vacant = self.topics.vacant_entry();
        let slot = u32::try_from(vacant.key()).expect("fewer topics than queues");
        vacant.insert(Topic::new(id, scheduler(slot)));
        self.slots.insert(id, slot);
        slot
    }

    /// Removes a topic that nobody needs.
    pub(super) fn remove_unused(&mut self, slot: TopicSlot) -> Option<Topic> {
        if !self.get(slot)?.is_unused() {
            return None;
        }
        let topic = self.topics.remove(slot as usize);
        self.slots.remove(&topic.id);
        Some(topic)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TopicSlot, &Topic)> {
        let number = |slot| u32::try_from(slot).expect("fewer topics than queues");
        self.topics.iter().map(move |(slot, topic)| (number(slot), topic))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.topics.iter_mut().map(|(_, topic)| topic)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Topic> + '_ {
        self.slots.clear();
        self.topics.drain()
    }
}

impl std::ops::Index<TopicSlot> for Topics {
    type Output = Topic;

    fn index(&self, slot: TopicSlot) -> &Topic {
        &self.topics[slot as usize]
    }
}

impl std::ops::IndexMut<TopicSlot> for Topics {
    fn index_mut(&mut self, slot: TopicSlot) -> &mut Topic {
        &mut self.topics[slot as usize]
    }
}
