//! A circle through the queues themselves, with a cursor. Going on to the next queue writes nothing.

use crate::arena::{Arena, NONE};
use crate::queue::{Links, Queue};

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
    pub(crate) fn iter<'a>(&self, queues: &'a Arena<Queue>) -> impl Iterator<Item = u32> + 'a {
        let next = move |slot: &u32| Some(queues[*slot].links.next);
        std::iter::successors(self.front(), next).take(self.len as usize)
    }

    pub(crate) fn push_back(&mut self, queues: &mut Arena<Queue>, slot: u32) {
        self.len += 1;
        self.weight += u64::from(queues[slot].weight);
        if self.cursor == NONE {
            queues[slot].links = Links { previous: slot, next: slot };
            self.cursor = slot;
            return;
        }
        let next = self.cursor;
        let previous = std::mem::replace(&mut queues[next].links.previous, slot);
        queues[previous].links.next = slot;
        queues[slot].links = Links { previous, next };
    }

    pub(crate) fn remove(&mut self, queues: &mut Arena<Queue>, slot: u32) {
        let Links { previous, next } = queues[slot].links;
        self.len -= 1;
        self.weight -= u64::from(queues[slot].weight);
        queues[previous].links.next = next;
        queues[next].links.previous = previous;
        if self.cursor == slot {
            self.cursor = if next == slot { NONE } else { next };
        }
    }

    /// Makes a queue the last one.
    pub(crate) fn move_to_back(&mut self, queues: &mut Arena<Queue>, slot: u32) {
        if self.cursor == slot {
            self.cursor = queues[slot].links.next;
        } else {
            self.remove(queues, slot);
            self.push_back(queues, slot);
        }
    }

    /// The queue `slot`, in the circle, has another weight.
    pub(crate) fn reweigh(&mut self, before: u32, after: u32) {
        self.weight = self.weight - u64::from(before) + u64::from(after);
    }
}
