//! The order in which residents leave: SIEVE, by Zhang, Yang, Yue, Vigfusson and Rashmi (NSDI 2024).
//!
//! New residents enter at the head. A hit sets a bit and moves nothing. The hand goes from the tail to the head,
//! over and over: it takes the bit of who has one and evicts the first that has none. Unlike a CLOCK, survivors
//! stay where they are, so what is new is looked at soon.

use slab::Slab;

use super::slot::{NONE, Slot};

/// Ends of the list and the hand; the links are in the slots.
#[derive(Debug)]
pub(super) struct Sieve {
    head: u32,
    tail: u32,
    /// Who is looked at next; `NONE` is the tail.
    hand: u32,
}

impl Sieve {
    pub(super) fn new() -> Self {
        Self { head: NONE, tail: NONE, hand: NONE }
    }

    pub(super) fn push(&mut self, slots: &mut Slab<Slot>, at: u32) {
        let old_head = std::mem::replace(&mut self.head, at);
        slots[at as usize].newer = NONE;
        slots[at as usize].older = old_head;
        match old_head {
            NONE => self.tail = at,
            _ => slots[old_head as usize].newer = at,
        }
    }

    pub(super) fn unlink(&mut self, slots: &mut Slab<Slot>, at: u32) {
        let (newer, older) = (slots[at as usize].newer, slots[at as usize].older);
        if self.hand == at {
            self.hand = newer;
        }
        match newer {
            NONE => self.head = older,
            _ => slots[newer as usize].older = older,
        }
        match older {
            NONE => self.tail = newer,
            _ => slots[older as usize].newer = newer,
        }
    }

    /// Who leaves next. `is_spared` takes the bit. It is asked at most twice about each resident.
    pub(super) fn victim(
        &mut self,
        slots: &mut Slab<Slot>,
        mut is_spared: impl FnMut(&mut Slot) -> bool,
    ) -> Option<u32> {
        loop {
            let at = if self.hand == NONE { self.tail } else { self.hand };
            let slot = slots.get_mut(at as usize)?;
            if !is_spared(slot) {
                self.hand = at;
                return Some(at);
            }
            self.hand = slot.newer;
        }
    }
}
