//! The scheduler with keys.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::index::Index;
use crate::rules::{Mutation, Rules};
use crate::timer::{Drained, Due, Earlier, Handle, Replaced, Revision, Set, SetOutcome, Timer};
use crate::{Nanos, Pending, Rejected, Timers};

/// At most one live deadline per key.
///
/// Keys are stored once, with their timers; beside them lies an index of 4 bytes and a tag per key.
///
/// ```
/// use std::time::Duration;
/// use millpond_wakeup::{Nanos, SetOutcome, Wakeups};
///
/// let mut wakeups = Wakeups::new(1_000);
/// let now = Nanos::ZERO;
/// wakeups.set_after(now, "tenant-42", Duration::from_secs(30))?;
/// let set = wakeups.set("tenant-42", Nanos::from_millis(5))?;
/// assert_eq!(set.outcome, SetOutcome::Replaced { previous: Nanos::from_millis(30_000) });
///
/// // Something that wants the key earlier, but not later.
/// let set = wakeups.set_if_earlier("tenant-42", Nanos::from_millis(60_000))?;
/// assert_eq!(set.outcome, SetOutcome::Kept { deadline: Nanos::from_millis(5) });
///
/// let due = wakeups.pop_due(Nanos::from_millis(5)).expect("it is due");
/// assert_eq!(due.value, "tenant-42");
/// assert!(!wakeups.cancel("tenant-42"));
/// # Ok::<(), millpond_wakeup::Rejected<&str>>(())
/// ```
pub struct Wakeups<K, S = RandomState> {
    timers: Timers<K>,
    index: Index,
    hasher: S,
    rules: Rules,
}

impl<K, S> fmt::Debug for Wakeups<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakeups").field("timers", &self.timers).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq> Wakeups<K> {
    /// A scheduler for at most `capacity` keys, cut to [`Timers::CAPACITY_MAX`]. Memory grows with use.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::with_hasher(capacity, RandomState::default())
    }
}

impl<K: Hash + Eq, S: BuildHasher> Wakeups<K, S> {
    /// The same with a hash function of the caller's choice. The default is quick and seeded at random; where
    /// keys come from an adversary who can measure how long operations take, that of std is safer.
    #[must_use]
    pub fn with_hasher(capacity: usize, hasher: S) -> Self {
        let rules = Rules::SHIPPED;
        Self { timers: Timers::new(capacity), index: Index::new(rules), hasher, rules }
    }

    /// Sets the deadline of a key, earlier or later than the one it may have. Replacing needs no capacity.
    ///
    /// # Errors
    ///
    /// [`RejectedKind::Capacity`](crate::RejectedKind::Capacity) if the key has no deadline and as many
    /// others have one as there may be, and [`RejectedKind::ShuttingDown`](crate::RejectedKind::ShuttingDown)
    /// after [`shutdown`](Self::shutdown). The key comes back.
    pub fn set(&mut self, key: K, deadline: Nanos) -> Result<Set, Rejected<K>> {
        let hash = self.hasher.hash_one(&key);
        let Some(handle) = self.find(hash, &key) else { return self.insert(hash, key, deadline) };
        if self.rules.lacks(Mutation::ReplaceNeedsRoom)
            && let Some(kind) = self.timers.refusal()
        {
            return Err(Rejected { value: key, kind });
        }
        let Replaced { previous, revision } = self.replace(handle, deadline);
        Ok(Set { handle, revision, outcome: SetOutcome::Replaced { previous } })
    }

    /// Sets the deadline of a key to `delay` after `now`, or to [`Nanos::MAX`] if that is out of range.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn set_after(&mut self, now: Nanos, key: K, delay: Duration) -> Result<Set, Rejected<K>> {
        self.set(key, now.saturating_add(delay))
    }

    /// Sets the deadline of a key unless it has one that is not later: many reasons to wake up, one slot at
    /// the earliest of them.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn set_if_earlier(&mut self, key: K, deadline: Nanos) -> Result<Set, Rejected<K>> {
        let hash = self.hasher.hash_one(&key);
        let Some(handle) = self.find(hash, &key) else { return self.insert(hash, key, deadline) };
        let Timer { deadline: current, revision, .. } = self.timers.at(handle.slot());
        if current <= deadline {
            return Ok(Set { handle, revision, outcome: SetOutcome::Kept { deadline: current } });
        }
        let Replaced { previous, revision } = self.replace(handle, deadline);
        Ok(Set { handle, revision, outcome: SetOutcome::Replaced { previous } })
    }

    /// Removes the deadline of a key. True if it had one that has not been delivered.
    pub fn cancel<Q>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Self { timers, index, hasher, .. } = self;
        let slot = index.remove(hasher.hash_one(key), |slot| timers.at(slot).value.borrow() == key);
        slot.is_some_and(|slot| timers.cancel(timers.at(slot).handle).is_some())
    }

    /// Removes the deadline that a handle names and returns its key. `None` if the handle is stale.
    pub fn cancel_handle(&mut self, handle: Handle) -> Option<K> {
        let hash = self.hasher.hash_one(self.timers.get(handle)?.value);
        self.index.remove(hash, |slot| slot == handle.slot());
        self.timers.cancel(handle)
    }

    /// Gives the key that a handle names another deadline, without hashing. `None` if the handle is stale.
    pub fn reset(&mut self, handle: Handle, deadline: Nanos) -> Option<Replaced> {
        self.timers.reset(handle, deadline)
    }

    /// Gives the key that a handle names another deadline if that is earlier, without hashing. `None` if the
    /// handle is stale.
    pub fn reset_if_earlier(&mut self, handle: Handle, deadline: Nanos) -> Option<Earlier> {
        self.timers.reset_if_earlier(handle, deadline)
    }

    /// The deadline of a key, if it has one that has not been delivered.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<Timer<'_, K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let handle = self.find(self.hasher.hash_one(key), key)?;
        Some(self.timers.at(handle.slot()))
    }

    /// The deadline that a handle names. `None` if the handle is stale.
    #[must_use]
    pub fn get_handle(&self, handle: Handle) -> Option<Timer<'_, K>> {
        self.timers.get(handle)
    }

    /// Whether nothing later than this revision is set for the key.
    ///
    /// A consumer of a batch asks this before it acts on a delivery: between the batch and the act, the key
    /// may have been given a new deadline, which says "not yet". A cancel in between finds nothing to
    /// remove, returns false, and leaves no trace here.
    #[must_use]
    pub fn is_current<Q>(&self, key: &Q, revision: Revision) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get(key).is_none_or(|timer| timer.revision <= revision)
    }

    /// The earliest deadline: when to call again. Takes constant time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.timers.next_deadline()
    }

    /// Takes out the first key, if it is due.
    pub fn pop_due(&mut self, now: Nanos) -> Option<Due<K>> {
        let due = self.timers.pop_due(now)?;
        self.forget(&due);
        Some(due)
    }

    /// Moves keys that are due to the end of `batch`, in order, `budget` of them at most.
    pub fn drain_due(&mut self, now: Nanos, budget: usize, batch: &mut Vec<Due<K>>) -> Drained {
        let first = batch.len();
        let drained = self.timers.drain_due(now, budget, batch);
        let indexed =
            if self.rules.lacks(Mutation::DeliveredStaysIndexed) { batch.len() } else { first };
        for due in &batch[indexed..] {
            self.forget(due);
        }
        drained
    }

    /// Removes all deadlines. They come back in the order in which they would have been delivered; dropping
    /// the iterator drops them.
    pub fn clear(&mut self) -> Pending<K> {
        self.index = Index::new(self.rules);
        self.timers.clear()
    }

    /// Stops accepting deadlines, for ever, and returns those that were not delivered, in the order in which
    /// they would have been. A second call returns nothing.
    pub fn shutdown(&mut self) -> Pending<K> {
        self.index = Index::new(self.rules);
        self.timers.shutdown()
    }

    /// Whether [`shutdown`](Self::shutdown) was called.
    #[must_use]
    pub const fn is_shut_down(&self) -> bool {
        self.timers.is_shut_down()
    }

    /// Keys that have a deadline.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.timers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// Most keys that can have a deadline.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.timers.capacity()
    }

    /// Bytes of heap memory in use, without what the keys own.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.timers.heap_bytes() + self.index.heap_bytes()
    }

    fn insert(&mut self, hash: u64, key: K, deadline: Nanos) -> Result<Set, Rejected<K>> {
        let handle = self.timers.insert(deadline, key)?;
        self.index.insert(hash, handle.slot());
        let revision = self.timers.at(handle.slot()).revision;
        Ok(Set { handle, revision, outcome: SetOutcome::Inserted })
    }

    /// Takes a key that is delivered out of the index.
    fn forget(&mut self, due: &Due<K>) {
        let removed =
            self.index.remove(self.hasher.hash_one(&due.value), |slot| slot == due.handle.slot());
        debug_assert!(removed.is_some(), "every live timer is in the index");
    }

    fn replace(&mut self, handle: Handle, deadline: Nanos) -> Replaced {
        self.timers.reset(handle, deadline).expect("a key in the index has a live timer")
    }

    fn find<Q>(&self, hash: u64, key: &Q) -> Option<Handle>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let slot = self.index.find(hash, |slot| self.timers.at(slot).value.borrow() == key)?;
        Some(self.timers.at(slot).handle)
    }
}

#[cfg(test)]
impl<K: Hash + Eq> Wakeups<K> {
    pub(crate) fn with_rules(capacity: usize, rules: Rules) -> Self {
        let timers = Timers::with_rules(capacity, rules);
        Self { timers, index: Index::new(rules), hasher: RandomState::default(), rules }
    }

    pub(crate) fn audit(&self) -> Result<(), String> {
        if self.index.len() != self.len() {
            return Err(format!("{} keys in the index, {} timers", self.index.len(), self.len()));
        }
        self.timers.audit()
    }
}
