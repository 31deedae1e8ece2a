//! The scheduler, without keys.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ladder::Ladder;
use crate::rules::{Mutation, Rules};
use crate::slab::{Node, Slab};
use crate::timer::{Drained, Due, Earlier, Handle, Replaced, Revision, Timer};
use crate::{Nanos, Rejected, RejectedKind};

/// Timers that carry values, in the order `(deadline, revision)`.
///
/// The owner hands in the time. It sleeps until [`next_deadline`](Self::next_deadline), then takes out what
/// is due; a deadline in the past is accepted and due at once.
///
/// ```
/// use millpond_wakeup::{Nanos, Timers};
///
/// let mut timers = Timers::new(1_000);
/// let retry = timers.insert(Nanos::from_millis(30), "retry")?;
/// let flush = timers.insert(Nanos::from_millis(20), "flush")?;
/// timers.reset(retry, Nanos::from_millis(10));
/// assert_eq!(timers.next_deadline(), Some(Nanos::from_millis(10)));
///
/// let due = timers.pop_due(Nanos::from_millis(15)).expect("one is due");
/// assert_eq!(due.value, "retry");
/// assert!(timers.pop_due(Nanos::from_millis(15)).is_none());
///
/// assert_eq!(timers.cancel(flush), Some("flush"));
/// assert_eq!(timers.cancel(flush), None);
/// # Ok::<(), millpond_wakeup::Rejected<&str>>(())
/// ```
pub struct Timers<T> {
    slab: Slab<T>,
    ladder: Ladder,
    revision: Revision,
    capacity: usize,
    is_shut_down: bool,
    rules: Rules,
}

impl<T> Timers<T> {
    /// The largest capacity there is: 33 million timers.
    pub const CAPACITY_MAX: usize = 1 << 25;

    /// A scheduler for at most `capacity` live timers, cut to [`CAPACITY_MAX`](Self::CAPACITY_MAX). Memory
    /// grows with use.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::with_rules(capacity, Rules::SHIPPED)
    }

    pub(crate) fn with_rules(capacity: usize, rules: Rules) -> Self {
        Self {
            slab: Slab::new(generation_first(), rules),
            ladder: Ladder::new(rules),
            revision: Revision::FIRST,
            capacity: capacity.min(Self::CAPACITY_MAX),
            is_shut_down: false,
            rules,
        }
    }

    /// Adds a timer. One whose deadline has passed is due at once.
    ///
    /// # Errors
    ///
    /// [`RejectedKind::Capacity`] if as many timers are live as there may be, and
    /// [`RejectedKind::ShuttingDown`] after [`shutdown`](Self::shutdown). The value comes back.
    pub fn insert(&mut self, deadline: Nanos, value: T) -> Result<Handle, Rejected<T>> {
        if let Some(kind) = self.refusal() {
            return Err(Rejected { value, kind });
        }
        let revision = self.next_revision();
        let handle = self.slab.insert(deadline, revision, value);
        self.ladder.insert(&mut self.slab, handle.slot(), deadline);
        Ok(handle)
    }

    /// Gives a timer another deadline, earlier or later. It counts as set now: among timers of the same
    /// deadline it fires last. `None` if the handle is stale.
    pub fn reset(&mut self, handle: Handle, deadline: Nanos) -> Option<Replaced> {
        let node = self.slab.find_mut(handle)?;
        let previous = std::mem::replace(&mut node.deadline, deadline);
        let place = node.place;
        if !self.rules.lacks(Mutation::KeepRevision) {
            node.revision = self.revision;
        }
        let revision = node.revision;
        self.revision = self.revision.next();
        self.ladder.reset(&mut self.slab, handle.slot(), (place, previous), deadline);
        Some(Replaced { previous, revision })
    }

    /// Gives a timer another deadline if that is earlier. `None` if the handle is stale.
    pub fn reset_if_earlier(&mut self, handle: Handle, deadline: Nanos) -> Option<Earlier> {
        let node = self.slab.find(handle)?;
        if node.deadline <= deadline {
            let (deadline, revision) = node.key();
            return Some(Earlier::Kept { deadline, revision });
        }
        self.reset(handle, deadline).map(Earlier::Moved)
    }

    /// Removes a timer before it fires and returns its value. `None` if the handle is stale.
    pub fn cancel(&mut self, handle: Handle) -> Option<T> {
        if !self.slab.contains(handle) {
            return None;
        }
        let (_, node) = self.slab.remove(handle.slot());
        self.ladder.remove(&mut self.slab, handle.slot(), (node.place, node.deadline));
        Some(node.value)
    }

    /// Looks at a timer. `None` if the handle is stale.
    #[must_use]
    pub fn get(&self, handle: Handle) -> Option<Timer<'_, T>> {
        self.slab.contains(handle).then(|| self.slab.view(handle.slot()))
    }

    /// The earliest deadline: when to call again. Takes constant time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.ladder.first()
    }

    /// Takes out the first timer, if it is due.
    pub fn pop_due(&mut self, now: Nanos) -> Option<Due<T>> {
        if self.next_deadline()? > now {
            return None;
        }
        self.pop()
    }

    /// Moves timers that are due to the end of `batch`, in order, `budget` of them at most.
    pub fn drain_due(&mut self, now: Nanos, budget: usize, batch: &mut Vec<Due<T>>) -> Drained {
        let mut n_due = 0;
        while n_due < budget {
            let Some(due) = self.pop_due(now) else { return Drained { n_due, more: false } };
            batch.push(due);
            n_due += 1;
        }
        Drained { n_due, more: self.next_deadline().is_some_and(|deadline| deadline <= now) }
    }

    /// Removes all timers, in constant time, and gives up their memory. They come back in the order in which
    /// they would have fired; dropping the iterator drops them, which takes time in proportion to their number.
    pub fn clear(&mut self) -> Pending<T> {
        let mut rest = Self::with_rules(self.capacity, self.rules);
        rest.revision = self.revision;
        rest.is_shut_down = self.is_shut_down;
        std::mem::swap(self, &mut rest);
        Pending { timers: rest }
    }

    /// Stops accepting timers, for ever, and returns those that have not fired, in the order in which they
    /// would have. A second call returns nothing.
    pub fn shutdown(&mut self) -> Pending<T> {
        self.is_shut_down = !self.rules.lacks(Mutation::ShutdownForgotten);
        self.clear()
    }

    /// Whether [`shutdown`](Self::shutdown) was called.
    #[must_use]
    pub const fn is_shut_down(&self) -> bool {
        self.is_shut_down
    }

    /// Timers that have neither fired nor been cancelled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most timers that can be live.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of heap memory in use, without what the values own.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.slab.heap_bytes() + self.ladder.heap_bytes()
    }

    /// Why no timer can be added, if so.
    pub(crate) fn refusal(&self) -> Option<RejectedKind> {
        if self.is_shut_down {
            return Some(RejectedKind::ShuttingDown);
        }
        let live = self.len();
        let capacity = self.capacity + usize::from(self.rules.lacks(Mutation::OneTooMany));
        (live >= capacity).then_some(RejectedKind::Capacity { live })
    }

    /// A timer that is known to be live.
    pub(crate) fn at(&self, slot: u32) -> Timer<'_, T> {
        self.slab.view(slot)
    }

    #[cfg(test)]
    pub(crate) const fn n_touched(&self) -> usize {
        self.ladder.n_touched()
    }

    #[cfg(test)]
    pub(crate) fn audit(&self) -> Result<(), String> {
        self.ladder.audit(&self.slab)
    }

    fn pop(&mut self) -> Option<Due<T>> {
        let slot = self.ladder.pop(&mut self.slab)?;
        let (handle, Node { deadline, revision, value, .. }) = self.slab.remove(slot);
        Some(Due { deadline, revision, handle, value })
    }

    fn next_revision(&mut self) -> Revision {
        let revision = self.revision;
        self.revision = revision.next();
        revision
    }
}

impl<T> fmt::Debug for Timers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .field("next_deadline", &self.next_deadline())
            .field("is_shut_down", &self.is_shut_down)
            .finish_non_exhaustive()
    }
}

/// The timers that were left when a scheduler was cleared or shut down, in the order in which they would
/// have fired. Dropping it drops those that were not taken.
pub struct Pending<T> {
    timers: Timers<T>,
}

impl<T> Iterator for Pending<T> {
    type Item = Due<T>;

    fn next(&mut self) -> Option<Due<T>> {
        self.timers.pop()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.timers.len(), Some(self.timers.len()))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T> ExactSizeIterator for Pending<T> {}
impl<T> std::iter::FusedIterator for Pending<T> {}

/// Where the generations of a new scheduler start. Multiples of the golden ratio lie far apart, whatever
/// their number, so a handle of one scheduler is stale in every other for a long time.
fn generation_first() -> u32 {
    const GOLDEN: u32 = 0x9E37_79B9;
    // Orders nothing: it only has to give out different numbers, so it is not part of any model.
    static N_SCHEDULERS: AtomicU32 = AtomicU32::new(0);
    N_SCHEDULERS.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN)
}
