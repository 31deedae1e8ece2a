//! The order of the timers: a sorted front, and buckets behind it that are sorted when their time comes.
//!
//! * **L1** Every timer is in the front or in one bucket, and its place says where.
//! * **L2** The front is sorted. It is empty only if there are no timers, so its first timer is the first of
//!   all.
//! * **L3** Every timer of the front comes before every timer of a bucket, and every timer of a bucket before
//!   every timer of the next, by deadline and revision. A fence is not greater than the deadlines behind it.
//! * **L4** No bucket is empty or holds more than `bucket` timers, and the front holds `2 × front` at most.
//! * **L5** Two neighbours hold `merge` timers together, so that there are few buckets.
//!
//! A timer that is set has the latest revision there is, so its deadline alone says where it belongs: behind
//! the last fence that is not greater. That is the whole reason why fences are bare deadlines.
//!
//! What bounds every call: a bucket that is full is split at its median; a front that ran empty halves the
//! first bucket until a part is small enough to be sorted, and leaves the other halves as buckets. Either
//! touches `bucket` timers at most, whatever the deadlines are, since a revision tells apart what a
//! deadline does not.

mod buckets;
mod fences;
mod front;

use crate::Nanos;
use crate::rules::{Mutation, Rules};
use crate::slab::Slab;
use crate::timer::Revision;
use buckets::Buckets;
use fences::Fences;
use front::Front;

pub(crate) use buckets::Place;

type Key = (Nanos, Revision);

/// A timer and its position in its bucket.
#[derive(Debug, Clone, Copy)]
struct Gathered {
    key: Key,
    slot: u32,
    position: u32,
}

impl Gathered {
    /// The key as one number, which is compared without a branch.
    fn order(&self) -> u128 {
        let (deadline, revision) = self.key;
        u128::from(deadline.0) << 64 | u128::from(revision.get())
    }
}

#[derive(Debug)]
pub(crate) struct Ladder {
    front: Front,
    fences: Fences,
    buckets: Buckets,
    /// Where the timers of one bucket are put in order.
    scratch: Vec<Gathered>,
    rules: Rules,
}

impl Ladder {
    pub(crate) const fn new(rules: Rules) -> Self {
        Self {
            front: Front::new(),
            fences: Fences::new(),
            buckets: Buckets::new(),
            scratch: Vec::new(),
            rules,
        }
    }

    /// The first deadline.
    pub(crate) fn first(&self) -> Option<Nanos> {
        self.front.first()
    }

    /// Adds a timer that was set later than all others.
    #[inline]
    pub(crate) fn insert<T>(&mut self, slab: &mut Slab<T>, slot: u32, deadline: Nanos) {
        let position = self.fences.position(deadline);
        self.insert_at(slab, position, slot, deadline);
    }

    /// Takes out a timer, which may have left the slab, from where it was. True if there are other buckets
    /// now.
    #[inline]
    pub(crate) fn remove<T>(
        &mut self,
        slab: &mut Slab<T>,
        slot: u32,
        (place, deadline): (Place, Nanos),
    ) -> bool {
        let Some(bucket) = place.bucket() else {
            self.front.remove(deadline, slot);
            return self.refill_if_empty(slab);
        };
        let n_left = self.buckets.remove(slab, bucket, place.position(), self.rules);
        if n_left >= self.rules.shape().merge.max(1) {
            return false;
        }
        self.merge(slab, bucket);
        true
    }

    /// Moves a timer that was set later than all others from where it was to its new deadline.
    #[inline]
    pub(crate) fn reset<T>(
        &mut self,
        slab: &mut Slab<T>,
        slot: u32,
        from: (Place, Nanos),
        deadline: Nanos,
    ) {
        let position = self.fences.position(deadline);
        if let Some(bucket) = from.0.bucket() {
            let stays = self.fences.bucket(position) == Some(bucket);
            let lacks = self.rules.lacks(Mutation::StaysBeyondFence);
            if stays || (lacks && self.buckets.least(bucket) <= deadline) {
                return;
            }
        }
        if self.remove(slab, slot, from) {
            return self.insert(slab, slot, deadline);
        }
        self.insert_at(slab, position, slot, deadline);
    }

    /// Takes out the first timer.
    #[inline]
    pub(crate) fn pop<T>(&mut self, slab: &mut Slab<T>) -> Option<u32> {
        if self.rules.lacks(Mutation::LazyRefill) {
            self.refill_if_empty(slab);
        }
        let slot = self.front.pop()?;
        if !self.rules.lacks(Mutation::LazyRefill) {
            self.refill_if_empty(slab);
        }
        Some(slot)
    }

    /// Bytes of heap memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        let scratch = self.scratch.capacity() * size_of::<Gathered>();
        self.front.heap_bytes() + self.fences.heap_bytes() + self.buckets.heap_bytes() + scratch
    }

    #[inline]
    fn is_front(&self, deadline: Nanos) -> bool {
        self.rules.lacks(Mutation::TieBelowFence) && self.fences.earliest() == Some(deadline)
    }

    /// Adds a timer where its deadline says.
    #[inline]
    fn insert_at<T>(&mut self, slab: &mut Slab<T>, position: usize, slot: u32, deadline: Nanos) {
        match self.fences.bucket(position) {
            Some(bucket) if !self.is_front(deadline) => {
                self.push(slab, position, bucket, deadline, slot);
            }
            _ => self.insert_in_front(slab, deadline, slot),
        }
    }

    #[inline]
    fn insert_in_front<T>(&mut self, slab: &mut Slab<T>, deadline: Nanos, slot: u32) {
        self.front.insert(deadline, slot, self.rules.lacks(Mutation::TieBeforeOlder));
        slab.node_mut(slot).place = Place::FRONT;
        if self.front.len() > 2 * self.rules.shape().front {
            self.spill(slab);
        }
    }

    #[inline]
    fn push<T>(
        &mut self,
        slab: &mut Slab<T>,
        position: usize,
        bucket: u32,
        deadline: Nanos,
        slot: u32,
    ) {
        let mut bucket = bucket;
        if self.buckets.len(bucket) == self.rules.shape().bucket {
            let (least, upper) = self.split(slab, position, bucket);
            if deadline >= least {
                bucket = upper;
            }
        }
        self.buckets.push(slab, bucket, slot);
    }

    /// Moves the later part of a full bucket to a new one; returns that and its fence.
    #[inline(never)]
    fn split<T>(&mut self, slab: &mut Slab<T>, position: usize, bucket: u32) -> (Nanos, u32) {
        let capacity = self.rules.shape().bucket;
        self.gather(slab, bucket);
        // Deadlines tend to be set in ascending order: the last bucket is left nearly full.
        let n_lower = if position == 0 { capacity - capacity / 4 } else { capacity / 2 };
        self.select(n_lower);
        let (least, _) = self.scratch[n_lower].key;
        let upper = self.buckets.add(least, capacity);
        // Those that stay keep their positions.
        for Gathered { slot, position, .. } in &self.scratch[n_lower..] {
            self.buckets.vacate(bucket, *position);
            self.buckets.push(slab, upper, *slot);
        }
        self.fences.insert(position, least, upper);
        (least, upper)
    }

    /// Moves the later half of the front to the first bucket, or to a new one before it.
    #[inline(never)]
    fn spill<T>(&mut self, slab: &mut Slab<T>) {
        let n_spilled = self.front.len() / 2;
        let first = self.fences.len().checked_sub(1);
        let roomy = first.and_then(|position| {
            let bucket = self.fences.bucket(position)?;
            let room = self.rules.shape().bucket - self.buckets.len(bucket);
            (room >= n_spilled).then_some((position, bucket))
        });
        let (position, bucket) = roomy.unwrap_or_else(|| {
            let bucket = self.buckets.add(Nanos::MAX, n_spilled);
            self.fences.insert(self.fences.len(), Nanos::MAX, bucket);
            (self.fences.len() - 1, bucket)
        });
        let mut least = Nanos::MAX;
        for (deadline, slot) in self.front.spill() {
            least = deadline;
            self.buckets.push(slab, bucket, slot);
        }
        if roomy.is_none() || !self.rules.lacks(Mutation::SpillKeepsFence) {
            self.set_fence(position, bucket, least);
        }
    }

    /// Fills a front that ran empty. True if there are other buckets now.
    #[inline]
    fn refill_if_empty<T>(&mut self, slab: &mut Slab<T>) -> bool {
        let ran_empty = self.front.is_empty();
        if ran_empty {
            self.refill(slab);
        }
        ran_empty
    }

    /// Sorts the first timers of the first bucket into the front.
    #[inline(never)]
    fn refill<T>(&mut self, slab: &mut Slab<T>) {
        let Some(position) = self.fences.len().checked_sub(1) else { return };
        let bucket = self.fences.bucket(position).expect("the position is below the length");
        self.fences.remove(position);
        self.gather(slab, bucket);
        drop(self.buckets.release(bucket));
        while self.scratch.len() > self.rules.shape().front {
            let half = self.scratch.len() / 2;
            self.select(half);
            let (least, _) = self.scratch[half].key;
            let later = self.buckets.add(least, self.scratch.len() - half);
            self.buckets.refill(slab, later, self.scratch[half..].iter().map(|timer| timer.slot));
            self.fences.insert(self.fences.len(), least, later);
            self.scratch.truncate(half);
        }
        if self.rules.lacks(Mutation::OrderWithoutRevision) {
            self.scratch.sort_unstable_by_key(|timer| timer.key.0);
        } else {
            self.scratch.sort_unstable_by_key(Gathered::order);
        }
        for timer in &self.scratch {
            slab.node_mut(timer.slot).place = Place::FRONT;
        }
        self.front.fill(self.scratch.iter().map(|timer| (timer.key.0, timer.slot)));
    }

    /// Lets a bucket that has become small join a neighbour that has room, or go if it is empty.
    #[inline(never)]
    fn merge<T>(&mut self, slab: &mut Slab<T>, bucket: u32) {
        let position = self.fences.position_of(self.buckets.least(bucket), bucket);
        let n_timers = self.buckets.len(bucket);
        if n_timers == 0 {
            self.fences.remove(position);
            drop(self.buckets.release(bucket));
            return;
        }
        if self.rules.lacks(Mutation::NoMerge) {
            return;
        }
        let n_max = self.rules.shape().bucket / 2;
        let fits = |other: &u32| self.buckets.len(*other) + n_timers <= n_max;
        if let Some(earlier) = self.fences.bucket(position + 1).filter(fits) {
            self.join(slab, position + 1, earlier, bucket);
        } else if position > 0
            && let Some(later) = self.fences.bucket(position - 1).filter(fits)
        {
            self.join(slab, position, bucket, later);
        }
    }

    /// Moves the smaller of two neighbours into the larger. `position` is that of the earlier one.
    fn join<T>(&mut self, slab: &mut Slab<T>, position: usize, earlier: u32, later: u32) {
        let least = self.buckets.least(earlier);
        if self.buckets.len(earlier) >= self.buckets.len(later) {
            self.fences.remove(position - 1);
            self.pour(slab, later, earlier);
            return;
        }
        self.fences.remove(position);
        self.pour(slab, earlier, later);
        if !self.rules.lacks(Mutation::MergeKeepsFence) {
            self.set_fence(position - 1, later, least);
        }
    }

    fn pour<T>(&mut self, slab: &mut Slab<T>, from: u32, to: u32) {
        for slot in self.buckets.release(from) {
            self.buckets.push(slab, to, slot);
        }
    }

    fn set_fence(&mut self, position: usize, bucket: u32, least: Nanos) {
        self.fences.lower(position, least);
        self.buckets.set_least(bucket, least);
    }

    fn gather<T>(&mut self, slab: &Slab<T>, bucket: u32) {
        self.scratch.clear();
        let slots = self.buckets.slots(bucket);
        let gathered = |(position, slot)| Gathered { key: slab.node(slot).key(), slot, position };
        self.scratch.extend(slots.map(gathered));
    }

    /// Puts the first `n` timers of the scratch before the others.
    fn select(&mut self, n: usize) {
        if self.rules.lacks(Mutation::OrderWithoutRevision) {
            self.scratch.select_nth_unstable_by_key(n, |timer| timer.key.0);
        } else {
            self.scratch.select_nth_unstable_by_key(n, Gathered::order);
        }
    }

    /// Timers that were touched in buckets so far: the work that could be out of proportion.
    #[cfg(test)]
    pub(crate) const fn n_touched(&self) -> usize {
        self.buckets.n_touched.get()
    }

    /// Whether the invariants hold; takes time in proportion to the number of timers.
    #[cfg(test)]
    pub(crate) fn audit<T>(&self, slab: &Slab<T>) -> Result<(), String> {
        let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let shape = self.rules.shape();
        let mut n_timers = self.front.len();
        ensure(n_timers <= 2 * shape.front, "L4: the front is too large")?;
        ensure(n_timers > 0 || slab.len() == 0, "L2: the front is empty")?;
        let mut before: Option<Key> = None;
        for (deadline, slot) in self.front.iter() {
            let node = slab.node(slot);
            ensure(node.place == Place::FRONT, "L1: a timer of the front is elsewhere")?;
            ensure(node.deadline == deadline, "L2: the front has another deadline")?;
            ensure(before < Some(node.key()), "L2: the front is not sorted")?;
            before = Some(node.key());
        }
        let mut len_before = usize::MAX;
        for position in (0..self.fences.len()).rev() {
            let bucket = self.fences.bucket(position).expect("below the length");
            let len = self.buckets.len(bucket);
            n_timers += len;
            ensure(len > 0 && len <= shape.bucket, "L4: the size of a bucket")?;
            let n_positions = self.buckets.n_positions(bucket);
            ensure(n_positions <= shape.bucket, "L4: the positions of a bucket")?;
            ensure(len.saturating_add(len_before) >= shape.merge, "L5: small neighbours")?;
            ensure(self.buckets.slots(bucket).count() == len, "L1: holes are miscounted")?;
            len_before = len;
            let least = self.fences.least(position);
            ensure(least == self.buckets.least(bucket), "L3: a bucket has another fence")?;
            ensure(before.is_none_or(|(deadline, _)| deadline <= least), "L3: a fence is too low")?;
            let mut last = before;
            for (index, slot) in self.buckets.slots(bucket) {
                let node = slab.node(slot);
                let place = (node.place.bucket(), node.place.position());
                ensure(place == (Some(bucket), index), "L1: a timer of a bucket is elsewhere")?;
                ensure(node.deadline >= least, "L3: a timer lies before its fence")?;
                ensure(Some(node.key()) > before, "L3: buckets overlap")?;
                last = last.max(Some(node.key()));
            }
            before = last;
        }
        ensure(n_timers == slab.len(), "L1: timers were lost")
    }
}
