//! Timers in no order.

use crate::Nanos;
use crate::rules::{Mutation, Rules};
use crate::slab::Slab;

const POSITION_BITS: u32 = 10;

/// Where the ladder keeps a timer: in the front, or at a position in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    pub(crate) const FRONT: Self = Self(u32::MAX);

    #[inline]
    fn new(bucket: u32, position: usize) -> Self {
        debug_assert!(position < 1 << POSITION_BITS && bucket < u32::MAX >> POSITION_BITS);
        let position = u32::try_from(position).expect("a bucket holds 2^10 timers at most");
        Self(bucket << POSITION_BITS | position)
    }

    #[inline]
    pub(super) fn bucket(self) -> Option<u32> {
        (self != Self::FRONT).then_some(self.0 >> POSITION_BITS)
    }

    #[inline]
    pub(super) const fn position(self) -> usize {
        (self.0 & ((1 << POSITION_BITS) - 1)) as usize
    }
}

#[derive(Debug)]
struct Bucket {
    /// Its fence.
    least: Nanos,
    slots: Vec<u32>,
}

/// All buckets. Every timer in one is told its place.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    buckets: Vec<Bucket>,
    vacant: Vec<u32>,
}

impl Buckets {
    #[inline]
    pub(super) const fn new() -> Self {
        Self { buckets: Vec::new(), vacant: Vec::new() }
    }

    pub(super) fn add(&mut self, least: Nanos, room: usize) -> u32 {
        let bucket = Bucket { least, slots: Vec::with_capacity(room) };
        if let Some(vacant) = self.vacant.pop() {
            self.buckets[vacant as usize] = bucket;
            return vacant;
        }
        self.buckets.push(bucket);
        u32::try_from(self.buckets.len() - 1).expect("there are fewer buckets than timers")
    }

    /// Gives up a bucket. Its timers are the caller's.
    pub(super) fn release(&mut self, bucket: u32) -> Vec<u32> {
        self.vacant.push(bucket);
        std::mem::take(&mut self.buckets[bucket as usize].slots)
    }

    #[inline]
    pub(super) fn len(&self, bucket: u32) -> usize {
        self.buckets[bucket as usize].slots.len()
    }

    #[inline]
    pub(super) fn least(&self, bucket: u32) -> Nanos {
        self.buckets[bucket as usize].least
    }

    #[inline]
    pub(super) fn set_least(&mut self, bucket: u32, least: Nanos) {
        self.buckets[bucket as usize].least = least;
    }

    #[inline]
    pub(super) fn slots(&self, bucket: u32) -> &[u32] {
        &self.buckets[bucket as usize].slots
    }

    pub(super) fn push<T>(&mut self, slab: &mut Slab<T>, bucket: u32, slot: u32) {
        let slots = &mut self.buckets[bucket as usize].slots;
        slab.set_place(slot, Place::new(bucket, slots.len()));
        slots.push(slot);
    }

    /// Empties a bucket in favour of these.
    pub(super) fn refill<T>(
        &mut self,
        slab: &mut Slab<T>,
        bucket: u32,
        slots: impl Iterator<Item = u32>,
    ) {
        self.buckets[bucket as usize].slots.clear();
        slots.for_each(|slot| self.push(slab, bucket, slot));
    }

    /// Takes a timer out of its bucket, where another one takes its position. Returns how many are left.
    pub(super) fn remove<T>(
        &mut self,
        slab: &mut Slab<T>,
        bucket: u32,
        position: usize,
        rules: Rules,
    ) -> usize {
        const ROOM_MIN: usize = 32;
        let slots = &mut self.buckets[bucket as usize].slots;
        slots.swap_remove(position);
        if let Some(moved) = slots.get(position)
            && !rules.lacks(Mutation::MovedWithoutNotice)
        {
            slab.set_place(*moved, Place::new(bucket, position));
        }
        let room = slots.capacity();
        if slots.len() * 4 < room && room > ROOM_MIN {
            slots.shrink_to(room / 2);
        }
        slots.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let slots: usize = self.buckets.iter().map(|bucket| bucket.slots.capacity()).sum();
        self.buckets.capacity() * size_of::<Bucket>()
            + (slots + self.vacant.capacity()) * size_of::<u32>()
    }
}
