//! A circle through the links of the queues, with a cursor. Going on to the next queue writes nothing.

use crate::arena::NONE;
use crate::links::{LinkTable, Links};

#[derive(Debug)]
pub(crate) struct Ring {
    cursor: u32,
    len: u32,
    weight: u64,
}

impl Ring {
    pub(crate) const fn new() -> Self {
        Self { cursor: NONE, len: 0, weight: 0 }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Of all queues in it.
    pub(crate) const fn weight(&self) -> u64 {
        self.weight
    }

    pub(crate) fn front(&self) -> Option<u32> {
        (self.cursor != NONE).then_some(self.cursor)
    }

    /// The queues in the order of their turns.
    pub(crate) fn iter<'a>(&self, links: &'a LinkTable) -> impl Iterator<Item = u32> + 'a {
        let next = move |slot: &u32| Some(links[*slot].next);
        std::iter::successors(self.front(), next).take(self.len as usize)
    }

    pub(crate) fn push_back(&mut self, links: &mut LinkTable, slot: u32, weight: u32) {
        self.weight += u64::from(weight);
        self.link_back(links, slot);
    }

    pub(crate) fn remove(&mut self, links: &mut LinkTable, slot: u32, weight: u32) {
        self.weight -= u64::from(weight);
        self.unlink(links, slot);
    }

    /// Makes a queue the last one.
    pub(crate) fn move_to_back(&mut self, links: &mut LinkTable, slot: u32) {
        if self.cursor == slot {
            self.cursor = links[slot].next;
        } else {
            self.unlink(links, slot);
            self.link_back(links, slot);
        }
    }

    /// The queue `slot`, in the circle, has another weight.
    pub(crate) fn reweigh(&mut self, before: u32, after: u32) {
        self.weight = self.weight - u64::from(before) + u64::from(after);
    }

    fn link_back(&mut self, links: &mut LinkTable, slot: u32) {
        self.len += 1;
        if self.cursor == NONE {
            links[slot] = Links { previous: slot, next: slot };
            self.cursor = slot;
            return;
        }
        let next = self.cursor;
        let previous = std::mem::replace(&mut links[next].previous, slot);
        links[previous].next = slot;
        links[slot] = Links { previous, next };
    }

    fn unlink(&mut self, links: &mut LinkTable, slot: u32) {
        let Links { previous, next } = links[slot];
        self.len -= 1;
        links[previous].next = next;
        links[next].previous = previous;
        if self.cursor == slot {
            self.cursor = if next == slot { NONE } else { next };
        }
    }
}
