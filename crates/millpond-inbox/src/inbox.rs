//! The window itself.

use std::collections::BTreeSet;
use std::ops::Bound;

use itertools::{EitherOrBoth, Itertools};

use crate::mutation::Mutation;
use crate::refill::{Change, Refill};
use crate::sizing::Sizing;
use crate::{Finish, Frontier, Limits, RefillEnd, RefillRequest};

#[cfg(test)]
mod tests;

/// A sorted window over the head of one ordered queue; the [crate's page](crate) tells how it works.
///
/// Every call takes effect at once, does no I/O and is O(log n) plus the move of at most
/// [`Limits::items_max`] items. An idle inbox (nothing cached, nothing taken, no refill) owns no heap memory.
#[derive(Debug)]
pub struct Inbox<K, V> {
    /// Descending, so that the head leaves from the end of the vector.
    items: Vec<(K, V)>,
    /// Exclusive upper bound of what is known.
    cov: Frontier<K>,
    /// Absent while nothing is taken and no refill is in flight, which is most inboxes most of the time.
    busy: Option<Box<Busy<K, V>>>,
    sizing: Sizing,
    #[cfg(test)]
    broken: Option<Mutation>,
}

#[derive(Debug)]
struct Busy<K, V> {
    /// Keys handed out or reserved whose departure is not durable yet.
    taken: BTreeSet<K>,
    refill: Option<Box<Refill<K, V>>>,
}

impl<K, V> Default for Busy<K, V> {
    fn default() -> Self {
        Self { taken: BTreeSet::new(), refill: None }
    }
}

/// What became of an inserted key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    /// It is in the window.
    Cached,
    /// It is in the window, and the window's last item made room for it.
    CachedByEviction,
    /// It lies beyond what the window knows or can hold; a refill will find it.
    Beyond,
    /// It was there already: a refill saw the row first.
    Duplicate,
    /// It was taken already: a refill saw the row first, and it was handed out.
    Taken,
}

impl<K: Ord + Clone, V> Inbox<K, V> {
    /// An inbox that knows its queue to be empty (`known_empty`) or knows nothing.
    ///
    /// `known_empty` needs proof: metadata that says so and was read in the commit that created the
    /// queue, or after recovery. Without proof pass `false`, and the first refill finds out (**I3**).
    pub fn new(known_empty: bool, limits: Limits) -> Self {
        Self {
            items: Vec::new(),
            cov: if known_empty { Frontier::End } else { Frontier::Start },
            busy: None,
            sizing: Sizing::new(limits),
            #[cfg(test)]
            broken: None,
        }
    }

    /// Adds a row whose commit is durable.
    pub fn insert(&mut self, key: K, value: V) -> Insertion {
        if self.is_taken(&key) && !self.is_broken(Mutation::AdmitTakenInsert) {
            return Insertion::Taken;
        }
        // `cov ≤ from` while a refill is in flight, so a key goes to the overlay or the window, never both.
        let overlay_max = self.limits().overlay_max();
        if let Some(refill) = self.refill_mut()
            && refill.concerns(&key)
        {
            refill.record(key, Change::Add(value), overlay_max);
            return Insertion::Beyond;
        }
        if !self.cov.covers(&key) {
            return Insertion::Beyond;
        }
        self.insert_known(key, value)
    }

    /// The queue's first row that nobody holds (**I2**), which now counts as taken until
    /// [`confirm`](Self::confirm) or [`restore`](Self::restore).
    ///
    /// `None` means "none that is known": only with [`is_known_empty`](Self::is_known_empty) does it
    /// mean "none".
    pub fn take(&mut self) -> Option<(K, V)> {
        let (key, value) = self.items.pop()?;
        self.busy_mut().taken.insert(key.clone());
        Some((key, value))
    }

    /// The row that [`take`](Self::take) would hand out.
    pub fn peek(&self) -> Option<(&K, &V)> {
        self.items.last().map(|(key, value)| (key, value))
    }

    /// Takes one particular row, known or not, because its removal, re-key or purge is being staged or
    /// because it was leased before a restart. Nobody else is handed it until [`confirm`](Self::confirm)
    /// or [`restore`](Self::restore). Returns its value if it was in the window.
    pub fn reserve(&mut self, key: K) -> Option<V> {
        let value = self.position(&key).ok().map(|at| self.items.remove(at).1);
        self.busy_mut().taken.insert(key);
        value
    }

    /// Notes that the departure of a taken row is durable. Returns whether the row was taken.
    ///
    /// Every departure must be confirmed, also that of a row which was never handed out: a scan in
    /// flight may have seen it.
    pub fn confirm(&mut self, key: &K) -> bool {
        let was_taken = self.untake(key);
        if !was_taken && let Ok(at) = self.position(key) {
            // Departed without having been reserved. It is dead all the same (I1).
            self.items.remove(at);
        }
        if !self.is_broken(Mutation::NoTombstone) {
            let overlay_max = self.limits().overlay_max();
            if let Some(refill) = self.refill_mut() {
                refill.record(key.clone(), Change::Tombstone, overlay_max);
            }
        }
        self.release_unused();
        was_taken
    }

    /// Gives back a taken row whose departure was abandoned.
    pub fn restore(&mut self, key: K, value: V) -> Insertion {
        self.untake(&key);
        let insertion = self.insert(key, value);
        self.release_unused();
        insertion
    }

    /// The scan that would help now, if any: at most `low_mark` items remain, more may live beyond them,
    /// and no refill is in flight. The caller performs it, or asks again later.
    pub fn refill_wanted(&self) -> Option<RefillRequest<K>> {
        let enough = self.items.len() > self.limits().low_mark();
        if enough || self.knows_whole_queue() || self.refill_in_flight() {
            return None;
        }
        // A refill admits no taken key, so rows beyond `cov` that are taken (after a restart, mostly)
        // are read on top. Bounded, because a purge may have reserved millions.
        let n_counted_max = self.sizing.filled();
        let taken_beyond =
            self.busy.as_ref().zip(self.cov.lower_bound()).map_or(0, |(busy, cov)| {
                busy.taken.range((cov, Bound::Unbounded)).take(n_counted_max).count()
            });
        Some(RefillRequest { from: self.cov.clone(), rows_max: self.sizing.batch() + taken_beyond })
    }

    /// Notes that the scan may take its snapshot from now on.
    ///
    /// # Panics
    ///
    /// If a refill is in flight: the changes that one still needs would be mixed with this one's.
    pub fn refill_started(&mut self, request: RefillRequest<K>) {
        assert!(!self.refill_in_flight(), "at most one refill is in flight");
        // A request that was kept for a while may be stale. Starting at the greater of the two positions
        // makes both cases safe: what the scan read below `cov` is ignored, and if `cov` fell below the
        // scan's start the result is discarded.
        let from = request.from.max(self.cov.clone());
        self.busy_mut().refill = Some(Box::new(Refill::new(from)));
    }

    /// Merges what the scan read, in ascending order, with what changed since it started.
    ///
    /// A partial result (cancelled, out of budget) is as welcome as a full one, as long as `end` says how
    /// far it reached; its snapshot may be of any time since [`refill_started`](Self::refill_started).
    ///
    /// # Panics
    ///
    /// If rows that would be admitted are not in strictly ascending order. The window is then as after
    /// [`refill_failed`](Self::refill_failed).
    pub fn refill_finished(
        &mut self,
        rows: impl IntoIterator<Item = (K, V)>,
        end: RefillEnd<K>,
    ) -> Finish {
        let Some(refill) = self.busy.as_mut().and_then(|busy| busy.refill.take()) else {
            return Finish::Discarded;
        };
        // Evicted meanwhile: rows between `cov` and `from` are unknown, and the scan did not read them.
        if self.cov < refill.from && !self.is_broken(Mutation::NoDiscard) {
            self.release_unused();
            return Finish::Discarded;
        }
        let overlay_overflowed = refill.overflowed();
        let (mut admitted, limit) = self.merge(*refill, rows, end);
        let n_admitted = admitted.len();
        // All of them lie at or above `from`, hence above every item, and items are kept descending.
        admitted.reverse();
        admitted.reserve_exact(self.items.len());
        admitted.append(&mut self.items);
        self.items = admitted;
        if limit > self.cov {
            self.cov = limit;
        }
        self.consider_larger_batch(n_admitted);
        self.release_unused();
        Finish::Merged { n_admitted, overlay_overflowed }
    }

    /// Drops the refill in flight, if any: it failed, was cancelled, or its worker died. The window is as
    /// if it had never started; the caller backs off, and reports the error, before it asks again.
    /// Returns whether one was in flight.
    pub fn refill_failed(&mut self) -> bool {
        let dropped = self.busy.as_mut().and_then(|busy| busy.refill.take()).is_some();
        self.release_unused();
        dropped
    }

    /// Gives memory back: keeps at most the first `n_items_max` items and forgets the others. Always legal,
    /// because what is forgotten is beyond the window again. The window's heap memory is then that of the
    /// items it keeps, and if it forgot any, the batch of the next refill is halved. Returns how many were
    /// forgotten.
    pub fn shrink_to(&mut self, n_items_max: usize) -> usize {
        let n_evicted = self.items.len().saturating_sub(n_items_max);
        let last_evicted = self.items.drain(..n_evicted).next_back();
        if let Some((key, _)) = last_evicted {
            self.cov = Frontier::Before(key);
            self.halve_batch();
        }
        self.items.shrink_to_fit();
        self.release_unused();
        n_evicted
    }
}

impl<K: Ord + Clone, V> Inbox<K, V> {
    /// How many items are in the window.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the window is empty, which says nothing about the queue; see
    /// [`is_known_empty`](Self::is_known_empty).
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the queue is known to hold no row but taken ones (**I3**), without any read.
    pub fn is_known_empty(&self) -> bool {
        self.items.is_empty() && self.knows_whole_queue()
    }

    /// Whether the window is the whole queue, taken rows aside (**I3**).
    pub fn knows_whole_queue(&self) -> bool {
        self.cov == Frontier::End
    }

    /// The exclusive upper bound of what the window knows.
    pub fn frontier(&self) -> &Frontier<K> {
        &self.cov
    }

    /// A lower bound of every key that may be live, taken ones included: where the next scan of this queue
    /// would have to start if the inbox were lost. [`Frontier::End`] means that nothing is live.
    ///
    /// It knows what the inbox was told. An insert that is staged or durable but not yet
    /// [inserted](Self::insert) may lie below it, and whoever stages that insert lowers the floor with it.
    pub fn floor(&self) -> Frontier<K> {
        let head = self.items.last().map(|(key, _)| Frontier::Before(key.clone()));
        let head = head.unwrap_or_else(|| self.cov.clone());
        match self.busy.as_ref().and_then(|busy| busy.taken.first()) {
            Some(taken) => head.min(Frontier::Before(taken.clone())),
            None => head,
        }
    }

    /// How many keys are handed out or reserved.
    pub fn taken_len(&self) -> usize {
        self.busy.as_ref().map_or(0, |busy| busy.taken.len())
    }

    /// Whether `key` is handed out or reserved.
    pub fn is_taken(&self, key: &K) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.taken.contains(key))
    }

    /// Whether a refill was started and has neither finished nor failed.
    pub fn refill_in_flight(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.refill.is_some())
    }

    /// The items, head first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.items.iter().rev().map(|(key, value)| (key, value))
    }

    /// The limits it was created with.
    pub fn limits(&self) -> Limits {
        self.sizing.limits()
    }

    /// How many rows the next refill asks for, taken ones aside; see [`Limits`].
    pub fn batch(&self) -> usize {
        self.sizing.batch()
    }

    /// Bytes of heap that the window's items own now, used or kept for those to come. O(1). What `K` and
    /// `V` own themselves is not counted, nor are taken keys and the overlay of a refill in flight.
    pub fn heap_bytes(&self) -> usize {
        self.items.capacity() * size_of::<(K, V)>()
    }
}

impl<K: Ord + Clone, V> Inbox<K, V> {
    /// Inserts a key below `cov`. Where that would break I4 the last item goes, and `cov` falls to it (I1).
    fn insert_known(&mut self, key: K, value: V) -> Insertion {
        let Err(at) = self.position(&key) else {
            return Insertion::Duplicate;
        };
        let full = if self.is_broken(Mutation::InsertFillsToBatch) {
            self.sizing.filled()
        } else {
            self.limits().capacity()
        };
        if self.items.len() < full {
            if self.items.capacity() == 0 {
                // The vector would start with room for four, and of a million queues most hold one row.
                self.items.reserve_exact(1);
            }
            self.items.insert(at, (key, value));
            return Insertion::Cached;
        }
        if at == 0 {
            self.evicted(key);
            return Insertion::Beyond;
        }
        // The last item's slot becomes the new one's: one move of the items between them.
        self.items[..at].rotate_left(1);
        let (last, _) = std::mem::replace(&mut self.items[at - 1], (key, value));
        self.evicted(last);
        Insertion::CachedByEviction
    }

    fn evicted(&mut self, key: K) {
        if !self.is_broken(Mutation::EvictKeepsCov) {
            self.cov = Frontier::Before(key);
        }
    }

    /// What a finished refill adds to the window, ascending, and the position up to which the window is
    /// then complete. Leaves the window alone, so that a panic of the iterator's cannot tear it.
    fn merge(
        &self,
        refill: Refill<K, V>,
        rows: impl IntoIterator<Item = (K, V)>,
        end: RefillEnd<K>,
    ) -> (Vec<(K, V)>, Frontier<K>) {
        let Refill { from, horizon, overlay } = refill;
        let mut limit = match end {
            _ if self.is_broken(Mutation::IgnoreEnd) => Frontier::End,
            RefillEnd::Exhausted => Frontier::End,
            RefillEnd::Truncated { after } => Frontier::After(after),
            RefillEnd::Nothing => from.clone(),
        };
        if !self.is_broken(Mutation::IgnoreHorizon) {
            limit = limit.min(horizon);
        }
        let room = self.room();
        let rows = rows.into_iter();
        let mut admitted: Vec<(K, V)> = Vec::with_capacity(rows.size_hint().0.min(room));
        let rows = rows.skip_while(|(key, _)| from.covers(key));
        for pair in rows.merge_join_by(overlay, |(row, _), (changed, _)| row.cmp(changed)) {
            let (key, value) = match pair {
                EitherOrBoth::Left((key, value)) => (key, Some(value)),
                EitherOrBoth::Right((key, change)) | EitherOrBoth::Both(_, (key, change)) => {
                    (key, change.into_value())
                }
            };
            if !limit.covers(&key) {
                break;
            }
            let Some(value) = value else { continue };
            if self.is_taken(&key) && !self.is_broken(Mutation::AdmitTakenInMerge) {
                continue;
            }
            let ascending = admitted.last().is_none_or(|(last, _)| *last < key);
            assert!(ascending, "the rows of a refill are in strictly ascending order");
            if admitted.len() == room {
                limit = Frontier::Before(key);
                break;
            }
            admitted.push((key, value));
        }
        (admitted, limit)
    }

    /// How many items a finished refill may add. None where a stale request started it above what memory
    /// pressure left of the batch since.
    fn room(&self) -> usize {
        let n_items = if self.is_broken(Mutation::RoomIgnoresItems) { 0 } else { self.items.len() };
        self.sizing.filled().saturating_sub(n_items)
    }

    /// Doubles the batch if the refill that just admitted `n_admitted` items brought a whole one, or as much
    /// of it as fits beside what a low mark leaves in the window: the queue is deeper than that.
    fn consider_larger_batch(&mut self, n_admitted: usize) {
        let filled = self.items.len() >= self.sizing.filled();
        if n_admitted >= self.sizing.batch() || (n_admitted > 0 && filled) {
            let unbounded = self.is_broken(Mutation::BatchPastMax);
            let batch_max = if unbounded { u8::MAX } else { self.sizing.batch_max };
            self.sizing.batch = self.sizing.batch.saturating_mul(2).min(batch_max);
        }
    }

    fn halve_batch(&mut self) {
        let unbounded = self.is_broken(Mutation::BatchBelowMin);
        let batch_min = if unbounded { 0 } else { self.sizing.batch_min };
        self.sizing.batch = (self.sizing.batch / 2).max(batch_min);
    }

    /// Where `key` is, or belongs, among the descending items.
    fn position(&self, key: &K) -> Result<usize, usize> {
        self.items.binary_search_by(|(item, _)| key.cmp(item))
    }

    fn busy_mut(&mut self) -> &mut Busy<K, V> {
        self.busy.get_or_insert_default()
    }

    fn refill_mut(&mut self) -> Option<&mut Refill<K, V>> {
        self.busy.as_mut().and_then(|busy| busy.refill.as_deref_mut())
    }

    fn untake(&mut self, key: &K) -> bool {
        self.busy.as_mut().is_some_and(|busy| busy.taken.remove(key))
    }

    /// An idle inbox owns no heap memory. A vector that only ran empty keeps its room while rows are still
    /// being handed out of it.
    fn release_unused(&mut self) {
        if self.busy.as_ref().is_some_and(|busy| busy.taken.is_empty() && busy.refill.is_none()) {
            self.busy = None;
        }
        if self.items.is_empty() && self.busy.is_none() {
            self.items = Vec::new();
        }
    }

    #[cfg(test)]
    fn is_broken(&self, rule: Mutation) -> bool {
        self.broken == Some(rule)
    }

    #[cfg(not(test))]
    const fn is_broken(&self, _rule: Mutation) -> bool {
        false
    }
}
