//! What is known of one queue.

use crate::{Band, QueueOptions};

/// Names a queue of one scheduler, in 8 bytes. It finds nothing once the queue was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueHandle {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// What stands at the front of a queue, as far as its owner knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Nothing: the queue has no turn.
    None,
    /// Something that has to be read first. The queue has its turn, and the reading comes out of it.
    Unknown,
    /// Something that costs so much, in units of the quantum. 0 counts as 1.
    Cost(u32),
}

/// Where a queue is. It is in one place at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In no list: it has no head, or is paused.
    Out,
    Ring,
    /// Among those whose turn came and was interrupted.
    Due,
    /// Its turn came, and its owner reads the head.
    Loading,
    /// Its turn came, and a resource lacks something.
    Waiting,
}

/// How far the turn of a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It comes when the ring has gone round.
    Ahead,
    /// It came, and the head was unknown: no quantum was granted.
    Come,
    /// The quantum was granted, and nothing was served.
    Begun,
    /// Something was served, and credit is left.
    Served,
}

/// There may be a million of these: every byte counts.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) credit: u64,
    /// Of the head; 0 if there is none or it is unknown.
    pub(crate) cost: u32,
    pub(crate) weight: u32,
    pub(crate) owner_slot: u32,
    pub(crate) leaf: u32,
    pub(crate) ticket: u32,
    /// The changes of the quantum that its credit has seen.
    pub(crate) n_quanta: u32,
    pub(crate) band: Band,
    pub(crate) place: Place,
    pub(crate) turn: Turn,
    pub(crate) has_head: bool,
    pub(crate) is_paused: bool,
}

impl Queue {
    pub(crate) const fn new(options: &QueueOptions, leaf: u32) -> Self {
        use crate::arena::NONE;
        Self {
            credit: 0,
            cost: 0,
            weight: options.weight.get(),
            owner_slot: options.owner_slot,
            leaf,
            ticket: NONE,
            n_quanta: 0,
            band: options.band,
            place: Place::Out,
            turn: Turn::Ahead,
            has_head: false,
            is_paused: false,
        }
    }

    pub(crate) const fn head_is_unknown(&self) -> bool {
        self.has_head && self.cost == 0
    }

    pub(crate) fn set_head(&mut self, head: Head) {
        (self.has_head, self.cost) = match head {
            Head::None => (false, 0),
            Head::Unknown => (true, 0),
            Head::Cost(cost) => (true, cost.max(1)),
        };
    }
}
