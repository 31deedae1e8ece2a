//! Neighbours of the queues in their lists, by slot.
//!
//! They are kept apart from the queues, so that the turns to come can be found in a few bytes each and the
//! queues be fetched from memory together, before they are needed: going from queue to queue would wait for each.

use std::ops::{Index, IndexMut};

use crate::arena::NONE;

/// Slots in a chunk, so that growing copies one chunk at most.
const CHUNK: usize = 1 << 10;

/// Neighbours in the one list that a queue is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links {
    pub(crate) previous: u32,
    pub(crate) next: u32,
}

#[derive(Debug)]
pub(crate) struct LinkTable {
    chunks: Vec<Vec<Links>>,
}

impl LinkTable {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// Makes room for a slot; those before it have room.
    pub(crate) fn reach(&mut self, slot: u32) {
        let (chunk, offset) = place_of(slot);
        if chunk == self.chunks.len() {
            // The first chunk grows as it is needed: most schedulers are small.
            let room = if chunk == 0 { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        if offset == self.chunks[chunk].len() {
            self.chunks[chunk].push(Links { previous: NONE, next: NONE });
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let links: usize = self.chunks.iter().map(Vec::capacity).sum();
        links * size_of::<Links>() + self.chunks.capacity() * size_of::<Vec<Links>>()
    }
}

impl Index<u32> for LinkTable {
    type Output = Links;

    #[inline]
    fn index(&self, slot: u32) -> &Links {
        let (chunk, offset) = place_of(slot);
        &self.chunks[chunk][offset]
    }
}

impl IndexMut<u32> for LinkTable {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut Links {
        let (chunk, offset) = place_of(slot);
        &mut self.chunks[chunk][offset]
    }
}

const fn place_of(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}
