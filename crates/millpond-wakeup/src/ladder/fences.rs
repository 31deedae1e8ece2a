//! Which bucket a deadline belongs to.

use crate::Nanos;

/// The least deadline of every bucket, and the bucket. The latest comes first, so that the earliest buckets,
/// which come and go most, are at the end. Among buckets with the same fence, those with later revisions come
/// first.
#[derive(Debug, Default)]
pub(super) struct Fences {
    least: Vec<Nanos>,
    buckets: Vec<u32>,
}

impl Fences {
    #[inline]
    pub(super) const fn new() -> Self {
        Self { least: Vec::new(), buckets: Vec::new() }
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.least.len()
    }

    /// The position of the bucket for a timer set later than all others; `len()` if all begin after it.
    #[inline]
    pub(super) fn position(&self, deadline: Nanos) -> usize {
        self.least.partition_point(|least| *least > deadline)
    }

    /// The position of a bucket whose fence is known.
    #[inline]
    pub(super) fn position_of(&self, least: Nanos, bucket: u32) -> usize {
        let first = self.position(least);
        let more = self.buckets[first..].iter().position(|other| *other == bucket);
        first + more.expect("every bucket has a fence")
    }

    #[inline]
    pub(super) fn bucket(&self, position: usize) -> Option<u32> {
        self.buckets.get(position).copied()
    }

    #[cfg(test)]
    #[inline]
    pub(super) fn least(&self, position: usize) -> Nanos {
        self.least[position]
    }

    /// The least deadline in any bucket, or less.
    #[inline]
    pub(super) fn earliest(&self) -> Option<Nanos> {
        self.least.last().copied()
    }

    #[inline]
    pub(super) fn insert(&mut self, position: usize, least: Nanos, bucket: u32) {
        self.least.insert(position, least);
        self.buckets.insert(position, bucket);
    }

    #[inline]
    pub(super) fn remove(&mut self, position: usize) {
        self.least.remove(position);
        self.buckets.remove(position);
    }

    #[inline]
    pub(super) fn lower(&mut self, position: usize, least: Nanos) {
        self.least[position] = least;
    }

    pub(super) const fn heap_bytes(&self) -> usize {
        self.least.capacity() * size_of::<Nanos>() + self.buckets.capacity() * size_of::<u32>()
    }
}
