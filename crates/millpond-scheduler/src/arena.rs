//! Values at places that do not move, named by a slot and a generation.
//!
//! Places come in chunks, so that growing copies one chunk at most, however many values there are.

use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::rules::{Mutation, Rules};

/// No slot: the end of a list, or "there is none".
pub(crate) const NONE: u32 = u32::MAX;

const CHUNK_BITS: u32 = 10;
/// Places in a chunk.
const CHUNK: usize = 1 << CHUNK_BITS;

#[derive(Debug)]
enum Content<T> {
    Vacant { next: u32 },
    Used(T),
}

#[derive(Debug)]
struct Cell<T> {
    content: Content<T>,
    generation: u32,
}

#[derive(Debug)]
pub(crate) struct Arena<T> {
    chunks: Vec<Vec<Cell<T>>>,
    vacant: u32,
    n_live: usize,
    /// Of places that are used for the first time.
    generation_first: u32,
    rules: Rules,
}

impl<T> Arena<T> {
    /// Names of arenas with different tags are stale in each other for a long time: their generations
    /// start far apart.
    pub(crate) const fn new(tag: u32, rules: Rules) -> Self {
        const GOLDEN: u32 = 0x9E37_79B9;
        let generation_first = tag.wrapping_mul(GOLDEN);
        Self { chunks: Vec::new(), vacant: NONE, n_live: 0, generation_first, rules }
    }

    pub(crate) const fn len(&self) -> usize {
        self.n_live
    }

    /// Whether an insert finds room: a slot has 32 bits, and one of them means that there is none.
    pub(crate) fn is_full(&self) -> bool {
        self.vacant == NONE && self.n_places() >= NONE as usize
    }

    /// Adds a value; the arena must not be full.
    pub(crate) fn insert(&mut self, value: T) -> (u32, u32) {
        let slot = if self.vacant == NONE { self.grow() } else { self.vacant };
        let cell = self.cell_mut(slot).expect("a vacant place exists");
        let Content::Vacant { next } = cell.content else {
            unreachable!("the list of vacant places has no other")
        };
        cell.content = Content::Used(value);
        let generation = cell.generation;
        self.vacant = next;
        self.n_live += 1;
        (slot, generation)
    }

    /// The value of a name, unless it is gone.
    pub(crate) fn find(&self, slot: u32, generation: u32) -> Option<&T> {
        let cell = self.chunks.get(chunk_of(slot))?.get(offset_of(slot))?;
        match &cell.content {
            Content::Used(value) if cell.generation == generation => Some(value),
            _ => None,
        }
    }

    /// The generation of a place, for the name of the value in it.
    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.chunks[chunk_of(slot)][offset_of(slot)].generation
    }

    /// Takes out a value that is known to be there.
    pub(crate) fn remove(&mut self, slot: u32) -> T {
        let step = u32::from(!self.rules.lacks(Mutation::KeepGeneration));
        let next = self.vacant;
        let cell = self.cell_mut(slot).expect("the caller knows the place");
        cell.generation = cell.generation.wrapping_add(step);
        let content = std::mem::replace(&mut cell.content, Content::Vacant { next });
        self.vacant = slot;
        self.n_live -= 1;
        match content {
            Content::Used(value) => value,
            Content::Vacant { .. } => unreachable!("only values are removed"),
        }
    }

    /// The slots in use, in no order that means anything.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        let cells = self.chunks.iter().flatten();
        let used = |(slot, cell): (u32, &Cell<T>)| match cell.content {
            Content::Used(_) => Some(slot),
            Content::Vacant { .. } => None,
        };
        (0_u32..).zip(cells).filter_map(used)
    }

    /// Bytes of heap memory, without what the values own.
    pub(crate) fn heap_bytes(&self) -> usize {
        let cells: usize = self.chunks.iter().map(Vec::capacity).sum();
        cells * size_of::<Cell<T>>() + self.chunks.capacity() * size_of::<Vec<Cell<T>>>()
    }

    #[cfg(test)]
    pub(crate) const fn place_bytes() -> usize {
        size_of::<Cell<T>>()
    }

    fn n_places(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    fn grow(&mut self) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // The first chunk grows as it is needed: most arenas are small.
            let room = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        let slot = u32::try_from(self.n_places()).expect("the arena is not full");
        let content = Content::Vacant { next: NONE };
        let cell = Cell { content, generation: self.generation_first };
        self.chunks.last_mut().expect("there is a chunk with room").push(cell);
        slot
    }

    fn cell_mut(&mut self, slot: u32) -> Option<&mut Cell<T>> {
        self.chunks.get_mut(chunk_of(slot))?.get_mut(offset_of(slot))
    }
}

/// For slots that are known to be in use.
impl<T> Index<u32> for Arena<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: u32) -> &T {
        match &self.chunks[chunk_of(slot)][offset_of(slot)].content {
            Content::Used(value) => value,
            Content::Vacant { .. } => unreachable!("lists and handles lead to places in use"),
        }
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut T {
        match &mut self.chunks[chunk_of(slot)][offset_of(slot)].content {
            Content::Used(value) => value,
            Content::Vacant { .. } => unreachable!("lists and handles lead to places in use"),
        }
    }
}

/// A number for each thing that gives out names.
pub(crate) fn next_tag() -> u32 {
    // Orders nothing: it only has to give out different numbers, so it is not part of any model.
    static N_TAGS: AtomicU32 = AtomicU32::new(1);
    N_TAGS.fetch_add(1, Ordering::Relaxed)
}

const fn chunk_of(slot: u32) -> usize {
    (slot >> CHUNK_BITS) as usize
}

const fn offset_of(slot: u32) -> usize {
    slot as usize & (CHUNK - 1)
}
