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

#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Slot<T>>>,
    vacant: u32,
    n_live: usize,
    /// Of places that are used for the first time.
    generation_first: u32,
    rules: Rules,
}

impl<T> Slab<T> {
    pub(crate) const fn new(generation_first: u32, rules: Rules) -> Self {
        Self { chunks: Vec::new(), vacant: NONE, n_live: 0, generation_first, rules }
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
        Handle { slot, generation }
    }

    /// The timer of a handle, unless it is stale.
    pub(crate) fn find(&self, handle: Handle) -> Option<&Node<T>> {
        let slot = self.chunks.get(chunk_of(handle.slot))?.get(offset_of(handle.slot))?;
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
        match &self.chunks[chunk_of(slot)][offset_of(slot)] {
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
        let handle = Handle { slot, generation: *generation };
        Timer { deadline: *deadline, revision: *revision, handle, value }
    }

    /// The timer of a handle, unless it is stale.
    pub(crate) fn find_mut(&mut self, handle: Handle) -> Option<&mut Node<T>> {
        let chunk = self.chunks.get_mut(chunk_of(handle.slot))?;
        match chunk.get_mut(offset_of(handle.slot))? {
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
        (Handle { slot, generation }, node)
    }

    /// Bytes of heap memory, without what the values own.
    pub(crate) fn heap_bytes(&self) -> usize {
        let slots: usize = self.chunks.iter().map(Vec::capacity).sum();
        slots * size_of::<Slot<T>>() + self.chunks.capacity() * size_of::<Vec<Slot<T>>>()
    }

    /// Puts a timer at a place that was not used before.
    fn grow(&mut self, node: impl FnOnce(u32) -> Slot<T>) -> Handle {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // The first chunk grows as it is needed: most schedulers are small.
            let room = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        let first = (self.chunks.len() - 1) << CHUNK_BITS;
        let generation = self.generation_first;
        let chunk = self.chunks.last_mut().expect("there is a chunk with room");
        let slot = u32::try_from(first + chunk.len()).expect("the capacity is below 2^32");
        chunk.push(node(generation));
        Handle { slot, generation }
    }

    fn at(&mut self, slot: u32) -> &mut Slot<T> {
        &mut self.chunks[chunk_of(slot)][offset_of(slot)]
    }
}

const fn chunk_of(slot: u32) -> usize {
    (slot >> CHUNK_BITS) as usize
}

const fn offset_of(slot: u32) -> usize {
    slot as usize & (CHUNK - 1)
}
