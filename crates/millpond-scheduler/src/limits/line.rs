//! Who waits for one kind of thing of one resource, and what was promised to those who were woken.

use super::DEPTH_MAX;
use crate::Band;
use crate::arena::{Arena, NONE};
use crate::rules::{Mutation, Rules};

/// What a resource can be short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Permits,
    Tokens,
}

/// Where a waiter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// In a line.
    Waiting,
    /// Woken, and its domain has not heard of it.
    Woken,
    /// Woken, and its domain knows.
    Told,
}

/// A queue, or a domain, that waits for something or was promised it.
///
/// Its chain has two *steps* per resource, the innermost first: a permit, then tokens. All steps before the
/// one it waits at are promised to it, so that it has everything once the last one is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) previous: u32,
    pub(super) next: u32,
    pub(super) domain: u32,
    /// [`NONE`] if it is the domain itself.
    pub(super) queue: u32,
    pub(super) leaf: u32,
    /// Where it waits.
    pub(super) resource: u32,
    /// How many it wants of the resources of its chain.
    pub(super) tokens: [u32; DEPTH_MAX as usize],
    /// Steps that are promised to it.
    pub(super) n_steps: u8,
    pub(super) band: Band,
    pub(super) kind: Kind,
    pub(super) stage: Stage,
}

impl Waiter {
    /// How much it waits for. It waits at the first step that is not promised.
    pub(super) fn amount(&self) -> u64 {
        match self.kind {
            Kind::Permits => 1,
            Kind::Tokens => u64::from(self.tokens[usize::from(self.n_steps / 2)]),
        }
    }

    /// What of the n-th resource of its chain is promised to it: a permit, and so many tokens.
    pub(super) fn promised(&self, n: usize, rules: Rules) -> [Option<u64>; 2] {
        let end = usize::from(self.n_steps);
        let mut steps = 0..end;
        if rules.lacks(Mutation::InnerGivenUp) {
            steps.start = end - usize::from(self.stage != Stage::Waiting);
        }
        let tokens = u64::from(self.tokens[n]);
        let (permit_step, token_step) = (2 * n, 2 * n + 1);
        [steps.contains(&permit_step).then_some(1), steps.contains(&token_step).then_some(tokens)]
    }
}

/// A list through the waiters themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };

    pub(super) const fn is_empty(&self) -> bool {
        self.first == NONE
    }

    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    pub(super) fn last(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }

    pub(super) fn push_back(&mut self, waiters: &mut Arena<Waiter>, at: u32) {
        let last = std::mem::replace(&mut self.last, at);
        (waiters[at].previous, waiters[at].next) = (last, NONE);
        match last {
            NONE => self.first = at,
            _ => waiters[last].next = at,
        }
    }

    pub(super) fn push_front(&mut self, waiters: &mut Arena<Waiter>, at: u32) {
        let first = std::mem::replace(&mut self.first, at);
        (waiters[at].previous, waiters[at].next) = (NONE, first);
        match first {
            NONE => self.last = at,
            _ => waiters[first].previous = at,
        }
    }

    pub(super) fn remove(&mut self, waiters: &mut Arena<Waiter>, at: u32) {
        let (previous, next) = (waiters[at].previous, waiters[at].next);
        match previous {
            NONE => self.first = next,
            _ => waiters[previous].next = next,
        }
        match next {
            NONE => self.last = previous,
            _ => waiters[next].previous = previous,
        }
    }
}

/// One list per band, and what was promised in each.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) lists: [List; Band::COUNT],
    pub(super) promised: [u64; Band::COUNT],
    pub(super) n_waiting: u32,
}

impl Line {
    pub(super) const EMPTY: Self =
        Self { lists: [List::EMPTY; Band::COUNT], promised: [0; Band::COUNT], n_waiting: 0 };

    /// What was promised in this band and those before it: the others do not count against it.
    pub(super) fn promised_up_to(&self, band: Band) -> u64 {
        self.promised[..=band.index()].iter().sum()
    }

    /// Whether anybody waits in this band or one before it.
    pub(super) fn has_waiters_up_to(&self, band: Band) -> bool {
        self.n_waiting > 0 && !self.lists[..=band.index()].iter().all(List::is_empty)
    }

    /// The band whose turn it is.
    pub(super) fn first_band(&self) -> Option<Band> {
        if self.n_waiting == 0 {
            return None;
        }
        Band::ALL.into_iter().find(|band| !self.lists[band.index()].is_empty())
    }
}
