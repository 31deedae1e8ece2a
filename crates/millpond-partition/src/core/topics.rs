//! The topics of a partition: the round of their queues, and who waits for work.

use std::collections::HashMap;

use millpond_types::TopicId;
use slab::Slab;

use super::queues::{Links, QueueSet, Slot, SlotLink};
use super::waiters::Waiters;

/// Where a topic is in memory, as long as it is.
pub(super) type TopicSlot = u32;

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

/// The queues of one topic that can be served, and who waits for them.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    /// Those whose turn will come: with a head, or with work of which the head is not known (P4).
    pub(super) ring: Ring,
    pub(super) waiters: Waiters,
    /// Queues that are being loaded and may turn out to have a head.
    pub(super) n_loading: usize,
    pub(super) listed: bool,
    pub(super) recall: Recall,
    /// Queues in memory that belong to it.
    pub(super) n_queues: usize,
}

/// A list through the queues themselves, so that any of them leaves in O(1).
#[derive(Debug, Default)]
pub(super) struct Ring {
    first: Option<SlotLink>,
    last: Option<SlotLink>,
}

impl Ring {
    pub(super) fn front(&self) -> Option<Slot> {
        self.first.map(Slot::from)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The queues in the order of their turns.
    pub(super) fn iter<'a>(&self, queues: &'a QueueSet) -> impl Iterator<Item = Slot> + 'a {
        std::iter::successors(self.first, |link| queues[Slot::from(*link)].ring.next)
            .map(Slot::from)
    }

    pub(super) fn push_back(&mut self, queues: &mut QueueSet, slot: Slot) {
        let last = self.last.replace(slot.into());
        queues[slot].ring = Links { previous: last, next: None };
        match last {
            Some(last) => queues[last.into()].ring.next = Some(slot.into()),
            None => self.first = Some(slot.into()),
        }
    }

    pub(super) fn push_front(&mut self, queues: &mut QueueSet, slot: Slot) {
        let first = self.first.replace(slot.into());
        queues[slot].ring = Links { previous: None, next: first };
        match first {
            Some(first) => queues[first.into()].ring.previous = Some(slot.into()),
            None => self.last = Some(slot.into()),
        }
    }

    pub(super) fn remove(&mut self, queues: &mut QueueSet, slot: Slot) {
        let Links { previous, next } = std::mem::take(&mut queues[slot].ring);
        match previous {
            Some(previous) => queues[previous.into()].ring.next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => queues[next.into()].ring.previous = previous,
            None => self.last = previous,
        }
    }
}

impl Topic {
    fn new(id: TopicId) -> Self {
        Self {
            id,
            ring: Ring::default(),
            waiters: Waiters::default(),
            n_loading: 0,
            listed: false,
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

    pub(super) fn find_or_add(&mut self, id: TopicId) -> TopicSlot {
        *self.slots.entry(id).or_insert_with(|| {
            let slot = self.topics.insert(Topic::new(id));
            u32::try_from(slot).expect("fewer topics than queues")
        })
    }

    /// Forgets a topic that nobody needs.
    pub(super) fn tidy(&mut self, slot: TopicSlot) {
        if self.get(slot).is_some_and(Topic::is_unused) {
            let topic = self.topics.remove(slot as usize);
            self.slots.remove(&topic.id);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TopicSlot, &Topic)> {
        let number = |slot| u32::try_from(slot).expect("fewer topics than queues");
        self.topics.iter().map(move |(slot, topic)| (number(slot), topic))
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
