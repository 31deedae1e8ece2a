//! Timers in no order.

use crate::Nanos;
use crate::rules::{Mutation, Rules};
use crate::slab::Slab;

const POSITION_BITS: u32 = 11;

/// Where the ladder keeps a timer: in the front, or at a position in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    pub(crate) const FRONT: Self = Self(u32::MAX);

    #[inline]
    fn new(bucket: u32, position: u32) -> Self {
        debug_assert!(position < 1 << POSITION_BITS && bucket < u32::MAX >> POSITION_BITS);
        Self(bucket << POSITION_BITS | position)
    }

    #[inline]
    pub(super) fn bucket(self) -> Option<u32> {
        (self != Self::FRONT).then_some(self.0 >> POSITION_BITS)
    }

    #[inline]
    pub(super) const fn position(self) -> u32 {
        self.0 & ((1 << POSITION_BITS) - 1)
    }
}

/// A position that no timer is at; what remains tells the next such position.
const HOLE: u32 = 1 << 31;
/// The end of the list of holes.
const NO_HOLE: u32 = u32::MAX;

#[derive(Debug)]
struct Bucket {
    /// Its fence.
    least: Nanos,
    /// Where a timer is missing there is a hole, so that taking one out touches no other timer.
    slots: Vec<u32>,
    hole: u32,
    n_timers: u32,
}

/// All buckets. Every timer in one is told its place.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    buckets: Vec<Bucket>,
    vacant: Vec<u32>,
    /// Timers that were put into a bucket or read from one, for the tests to count.
    #[cfg(test)]
    pub(super) n_touched: std::cell::Cell<usize>,
}

impl Buckets {
    pub(super) const fn new() -> Self {
        Self {
            buckets: Vec::new(),
            vacant: Vec::new(),
            #[cfg(test)]
            n_touched: std::cell::Cell::new(0),
        }
    }

    /// Adds an empty bucket with room for some timers.
    pub(super) fn add(&mut self, least: Nanos, room: usize) -> u32 {
        let slots = Vec::with_capacity(room);
        let bucket = Bucket { least, slots, hole: NO_HOLE, n_timers: 0 };
        if let Some(vacant) = self.vacant.pop() {
            self.buckets[vacant as usize] = bucket;
            return vacant;
        }
        self.buckets.push(bucket);
        u32::try_from(self.buckets.len() - 1).expect("there are fewer buckets than timers")
    }

    /// Gives up a bucket. Its timers are the caller's.
    pub(super) fn release(&mut self, bucket: u32) -> impl Iterator<Item = u32> + use<> {
        self.vacant.push(bucket);
        self.take(bucket)
    }

    #[inline]
    pub(super) fn len(&self, bucket: u32) -> usize {
        self.buckets[bucket as usize].n_timers as usize
    }

    #[inline]
    pub(super) fn least(&self, bucket: u32) -> Nanos {
        self.buckets[bucket as usize].least
    }

    #[inline]
    pub(super) fn set_least(&mut self, bucket: u32, least: Nanos) {
        self.buckets[bucket as usize].least = least;
    }

    /// The timers of a bucket and their positions.
    #[inline]
    pub(super) fn slots(&self, bucket: u32) -> impl Iterator<Item = (u32, u32)> {
        #[cfg(test)]
        self.n_touched.update(|n| n + self.len(bucket));
        let slots = self.buckets[bucket as usize].slots.iter().copied();
        (0..).zip(slots).filter(|(_, slot)| slot & HOLE == 0)
    }

    #[cfg(test)]
    pub(super) fn n_positions(&self, bucket: u32) -> usize {
        self.buckets[bucket as usize].slots.len()
    }

    #[inline]
    pub(super) fn push<T>(&mut self, slab: &mut Slab<T>, bucket: u32, slot: u32) {
        #[cfg(test)]
        self.n_touched.update(|n| n + 1);
        let Bucket { slots, hole, n_timers, .. } = &mut self.buckets[bucket as usize];
        let position = if *hole == NO_HOLE {
            slots.push(slot);
            *n_timers
        } else {
            let position = *hole & !HOLE;
            *hole = std::mem::replace(&mut slots[position as usize], slot);
            position
        };
        *n_timers += 1;
        slab.node_mut(slot).place = Place::new(bucket, position);
    }

    /// Empties a bucket in favour of these.
    pub(super) fn refill<T>(
        &mut self,
        slab: &mut Slab<T>,
        bucket: u32,
        timers: impl Iterator<Item = u32>,
    ) {
        let room = &mut self.buckets[bucket as usize];
        room.slots.clear();
        (room.hole, room.n_timers) = (NO_HOLE, 0);
        timers.for_each(|slot| self.push(slab, bucket, slot));
    }

    /// Leaves a hole where a timer is.
    #[inline]
    pub(super) fn vacate(&mut self, bucket: u32, position: u32) {
        let Bucket { slots, hole, n_timers, .. } = &mut self.buckets[bucket as usize];
        slots[position as usize] = *hole | HOLE;
        *hole = position | HOLE;
        *n_timers -= 1;
    }

    /// Takes a timer out of its bucket. Returns how many are left.
    #[inline]
    pub(super) fn remove<T>(
        &mut self,
        slab: &mut Slab<T>,
        bucket: u32,
        position: u32,
        rules: Rules,
    ) -> usize {
        /// A bucket that has three times as many holes as timers, and this many positions, is made smaller.
        const SPARSE_MIN: usize = 64;
        if rules.lacks(Mutation::HolesForgotten) {
            self.buckets[bucket as usize].hole = NO_HOLE;
        }
        self.vacate(bucket, position);
        let room = &mut self.buckets[bucket as usize];
        let n_left = room.n_timers as usize;
        if n_left * 4 < room.slots.len() && room.slots.len() >= SPARSE_MIN {
            let timers = self.take(bucket);
            self.refill(slab, bucket, timers);
        }
        n_left
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let slots: usize = self.buckets.iter().map(|bucket| bucket.slots.capacity()).sum();
        self.buckets.capacity() * size_of::<Bucket>()
            + (slots + self.vacant.capacity()) * size_of::<u32>()
    }

    /// Takes all timers out of a bucket, and its memory.
    fn take(&mut self, bucket: u32) -> impl Iterator<Item = u32> + use<> {
        let room = &mut self.buckets[bucket as usize];
        (room.hole, room.n_timers) = (NO_HOLE, 0);
        std::mem::take(&mut room.slots).into_iter().filter(|slot| slot & HOLE == 0)
    }
}
