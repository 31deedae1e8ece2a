//! The first timers, sorted.

use crate::Nanos;

/// Timers in descending order, so that the first one leaves from the end.
#[derive(Debug, Default)]
pub(super) struct Front {
    timers: Vec<(Nanos, u32)>,
}

impl Front {
    #[inline]
    pub(super) const fn new() -> Self {
        Self { timers: Vec::new() }
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.timers.len()
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    #[inline]
    pub(super) fn first(&self) -> Option<Nanos> {
        self.timers.last().map(|(deadline, _)| *deadline)
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        self.timers.pop().map(|(_, slot)| slot)
    }

    /// Adds a timer that was set later than all others; before those of its deadline if `is_first` says so.
    #[inline]
    pub(super) fn insert(&mut self, deadline: Nanos, slot: u32, is_first: bool) {
        let at = self
            .timers
            .partition_point(|(other, _)| *other > deadline || (is_first && *other == deadline));
        self.timers.insert(at, (deadline, slot));
    }

    /// Removes a timer that is in it.
    #[inline]
    pub(super) fn remove(&mut self, deadline: Nanos, slot: u32) {
        let first = self.timers.partition_point(|(other, _)| *other > deadline);
        let more = self.timers[first..].iter().position(|(_, other)| *other == slot);
        self.timers.remove(first + more.expect("the place of a timer says where it is"));
    }

    /// Fills an empty front with timers in ascending order.
    pub(super) fn fill(&mut self, ascending: impl DoubleEndedIterator<Item = (Nanos, u32)>) {
        debug_assert!(self.is_empty(), "only an empty front is filled");
        self.timers.extend(ascending.rev());
    }

    /// Takes out the later half, in descending order.
    pub(super) fn spill(&mut self) -> impl Iterator<Item = (Nanos, u32)> {
        let half = self.timers.len() / 2;
        self.timers.drain(..half)
    }

    /// In ascending order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (Nanos, u32)> {
        self.timers.iter().rev().copied()
    }

    pub(super) const fn heap_bytes(&self) -> usize {
        self.timers.capacity() * size_of::<(Nanos, u32)>()
    }
}
