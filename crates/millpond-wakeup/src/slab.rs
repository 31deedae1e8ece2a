//! The timers themselves, at places that do not move.
//!
//! Places come in chunks, so that growing copies one chunk at most. A place that is given up keeps its
//! generation, which is how a stale handle is told from a new one.

use crate::ladder::Place;
use crate::rules::{Mutation, Rules};
use crate::timer::{Handle, Revision};
use crate::{Nanos, Timer};

const CHUNK_BITS: u32 = 11;
/// Places in a chunk.
const CHUNK: usize = 1 << CHUNK_BITS;
/// No place: ends the list of vacant ones.
const NONE: u32 = u32::MAX;

/// A live timer.
#[derive(Debug)]
pub(crate) struct Node<T> {
    pub(crate) deadline: Nanos,
    pub(crate) revision: Revision,
    pub(crate) value: T,
    generation: u32,
    /// Where the ladder keeps it; the slab does not look at it.
    pub(crate) place: Place,
}

impl<T> Node<T> {
    /// What timers are ordered by.
    pub(crate) const fn key(&self) -> (Nanos, Revision) {
        (self.deadline, self.revision)
    }
}

#[derive(Debug)]
enum Slot<T> {
    Vacant { generation: u32, next: u32 },
    Occupied(Node<T>),
}

const GROUP: usize = 4;

/// Places side by side. Their size is a multiple of 8 bytes, so that four of them fit the alignment without
/// loss, and a place of 32 bytes does not lie across two lines of the cache.
#[derive(Debug)]
#[repr(align(32))]
struct Group<T>([Slot<T>; GROUP]);

#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Group<T>>>,
    /// Places that have been used.
    n_slots: u32,
    vacant: u32,
    n_live: usize,
    /// Of places that are used for the first time.
    generation_first: u32,
    rules: Rules,
}

impl<T> Slab<T> {
    pub(crate) const fn new(generation_first: u32, rules: Rules) -> Self {
        Self { chunks: Vec::new(), n_slots: 0, vacant: NONE, n_live: 0, generation_first, rules }
    }

    pub(crate) const fn len(&self) -> usize {
        self.n_live
    }

    pub(crate) fn insert(&mut self, deadline: Nanos, revision: Revision, value: T) -> Handle {
        self.n_live += 1;
        let slot = self.vacant;
        let node = |generation| {
            Slot::Occupied(Node { deadline, revision, value, generation, place: Place::FRONT })
        };
        if slot == NONE {
            return self.grow(node);
        }
        let Slot::Vacant { generation, next } = *self.at(slot) else {
            unreachable!("the list of vacant places has no other")
        };
        *self.at(slot) = node(generation);
        self.vacant = next;
        Handle::new(slot, generation)
    }

    /// The timer of a handle, unless it is stale.
    pub(crate) fn find(&self, handle: Handle) -> Option<&Node<T>> {
        let slot = &self.chunks.get(chunk_of(handle.slot()))?.get(group_of(handle.slot()))?.0
            [lane_of(handle.slot())];
        match slot {
            Slot::Occupied(node) if node.generation == handle.generation => Some(node),
            _ => None,
        }
    }

    pub(crate) fn contains(&self, handle: Handle) -> bool {
        self.find(handle).is_some()
    }

    /// A timer that is known to be live.
    pub(crate) fn node(&self, slot: u32) -> &Node<T> {
        match &self.chunks[chunk_of(slot)][group_of(slot)].0[lane_of(slot)] {
            Slot::Occupied(node) => node,
            Slot::Vacant { .. } => unreachable!("only live timers are in the order and the index"),
        }
    }

    pub(crate) fn node_mut(&mut self, slot: u32) -> &mut Node<T> {
        match self.at(slot) {
            Slot::Occupied(node) => node,
            Slot::Vacant { .. } => unreachable!("only live timers are in the order and the index"),
        }
    }

    pub(crate) fn view(&self, slot: u32) -> Timer<'_, T> {
        let Node { deadline, revision, value, generation, .. } = self.node(slot);
        let handle = Handle::new(slot, *generation);
        Timer { deadline: *deadline, revision: *revision, handle, value }
    }

    /// The timer of a handle, unless it is stale.
    pub(crate) fn find_mut(&mut self, handle: Handle) -> Option<&mut Node<T>> {
        let chunk = self.chunks.get_mut(chunk_of(handle.slot()))?;
        match &mut chunk.get_mut(group_of(handle.slot()))?.0[lane_of(handle.slot())] {
            Slot::Occupied(node) if node.generation == handle.generation => Some(node),
            _ => None,
        }
    }

    /// Takes out a timer that is known to be live, and makes its handle stale.
    pub(crate) fn remove(&mut self, slot: u32) -> (Handle, Node<T>) {
        let generation = self.node(slot).generation;
        let step = u32::from(!self.rules.lacks(Mutation::KeepGeneration));
        let vacant = Slot::Vacant { generation: generation.wrapping_add(step), next: self.vacant };
        let Slot::Occupied(node) = std::mem::replace(self.at(slot), vacant) else {
            unreachable!("it was occupied just now")
        };
        self.vacant = slot;
        self.n_live -= 1;
        (Handle::new(slot, generation), node)
    }

    /// Bytes of heap memory, without what the values own.
    pub(crate) fn heap_bytes(&self) -> usize {
        let groups: usize = self.chunks.iter().map(Vec::capacity).sum();
        groups * size_of::<Group<T>>() + self.chunks.capacity() * size_of::<Vec<Group<T>>>()
    }

    /// Puts a timer at a place that was not used before.
    fn grow(&mut self, node: impl FnOnce(u32) -> Slot<T>) -> Handle {
        let (slot, generation) = (self.n_slots, self.generation_first);
        if lane_of(slot) == 0 {
            self.grow_by_a_group();
        }
        self.n_slots += 1;
        *self.at(slot) = node(generation);
        Handle::new(slot, generation)
    }

    fn grow_by_a_group(&mut self) {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK / GROUP) {
            // The first chunk grows as it is needed: most schedulers are small.
            let room = if self.chunks.is_empty() { 0 } else { CHUNK / GROUP };
            self.chunks.push(Vec::with_capacity(room));
        }
        let generation = self.generation_first;
        let group = std::array::from_fn(|_| Slot::Vacant { generation, next: NONE });
        self.chunks.last_mut().expect("there is a chunk with room").push(Group(group));
    }

    fn at(&mut self, slot: u32) -> &mut Slot<T> {
        &mut self.chunks[chunk_of(slot)][group_of(slot)].0[lane_of(slot)]
    }
}

const fn chunk_of(slot: u32) -> usize {
    (slot >> CHUNK_BITS) as usize
}

const fn group_of(slot: u32) -> usize {
    (slot as usize & (CHUNK - 1)) / GROUP
}

const fn lane_of(slot: u32) -> usize {
    slot as usize % GROUP
}
