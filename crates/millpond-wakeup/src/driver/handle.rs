use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use millpond_sync::Arc;
use tokio::time::Instant;

use super::Clock;
use super::rearm::Shared;
use crate::{
    Earlier, Handle, Nanos, Pending, Rejected, Replaced, Revision, Schedule, Set, Timers, Wakeups,
};

/// Sets deadlines of a [`Driver`](super::Driver). Cheap to clone, and of use from any thread or task.
///
/// Its methods are those of the scheduler, each under one short lock. Keys are hashed, compared and dropped
/// under it, and must not use the handle then.
#[derive(Debug)]
pub struct DriverHandle<S: Schedule> {
    shared: Arc<Shared<S>>,
    clock: Clock,
}

impl<S: Schedule> DriverHandle<S> {
    pub(super) fn new(shared: Arc<Shared<S>>, clock: Clock) -> Self {
        Self { shared, clock }
    }

    /// The time now, as the driver counts it.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.clock.now()
    }

    /// A time of tokio's clock, as the driver counts it. What lies before its origin is its origin.
    #[must_use]
    pub fn at(&self, time: Instant) -> Nanos {
        self.clock.at(time)
    }

    /// Changes several things under one lock, with at most one wake-up of the driver.
    ///
    /// `change` must not use this handle or another of the same driver: it would wait for itself.
    pub fn with<R>(&self, change: impl FnOnce(&mut S) -> R) -> R {
        self.shared.change(change)
    }

    /// Removes all deadlines and returns them in the order in which they would have been delivered.
    pub fn clear(&self) -> Pending<S::Value> {
        self.shared.change(S::clear)
    }

    /// Stops accepting deadlines, for ever, ends the driver, and returns what was pending, in the order in
    /// which it would have been delivered. A second call returns nothing.
    pub fn shutdown(&self) -> Pending<S::Value> {
        self.shared.shutdown()
    }

    /// Whether it was shut down, or the driver dropped.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.shared.read(S::is_shut_down)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.shared.read(S::next_deadline)
    }

    /// Deadlines that are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.read(S::len)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.read(S::is_empty)
    }
}

impl<K: Hash + Eq, B: BuildHasher> DriverHandle<Wakeups<K, B>> {
    /// As [`Wakeups::set`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set(&self, key: K, deadline: Nanos) -> Result<Set, Rejected<K>> {
        self.with(|wakeups| wakeups.set(key, deadline))
    }

    /// As [`Wakeups::set_after`], from now on.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_after(&self, key: K, delay: Duration) -> Result<Set, Rejected<K>> {
        let now = self.now();
        self.with(|wakeups| wakeups.set_after(now, key, delay))
    }

    /// As [`Wakeups::set_if_earlier`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_if_earlier(&self, key: K, deadline: Nanos) -> Result<Set, Rejected<K>> {
        self.with(|wakeups| wakeups.set_if_earlier(key, deadline))
    }

    /// As [`Wakeups::cancel`].
    pub fn cancel<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.with(|wakeups| wakeups.cancel(key))
    }

    /// As [`Wakeups::cancel_handle`].
    pub fn cancel_handle(&self, handle: Handle) -> Option<K> {
        self.with(|wakeups| wakeups.cancel_handle(handle))
    }

    /// As [`Wakeups::reset`].
    pub fn reset(&self, handle: Handle, deadline: Nanos) -> Option<Replaced> {
        self.with(|wakeups| wakeups.reset(handle, deadline))
    }

    /// The deadline of a key, and which setting of it that is.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<(Nanos, Revision)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let look = |wakeups: &Wakeups<K, B>| {
            wakeups.get(key).map(|timer| (timer.deadline, timer.revision))
        };
        self.shared.read(look)
    }

    /// As [`Wakeups::is_current`].
    #[must_use]
    pub fn is_current<Q>(&self, key: &Q, revision: Revision) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.read(|wakeups| wakeups.is_current(key, revision))
    }
}

impl<T> DriverHandle<Timers<T>> {
    /// As [`Timers::insert`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn insert(&self, deadline: Nanos, value: T) -> Result<Handle, Rejected<T>> {
        self.with(|timers| timers.insert(deadline, value))
    }

    /// As [`Timers::insert`], `delay` from now on.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn insert_after(&self, delay: Duration, value: T) -> Result<Handle, Rejected<T>> {
        self.insert(self.now().saturating_add(delay), value)
    }

    /// As [`Timers::reset`].
    pub fn reset(&self, handle: Handle, deadline: Nanos) -> Option<Replaced> {
        self.with(|timers| timers.reset(handle, deadline))
    }

    /// As [`Timers::reset_if_earlier`].
    pub fn reset_if_earlier(&self, handle: Handle, deadline: Nanos) -> Option<Earlier> {
        self.with(|timers| timers.reset_if_earlier(handle, deadline))
    }

    /// As [`Timers::cancel`].
    pub fn cancel(&self, handle: Handle) -> Option<T> {
        self.with(|timers| timers.cancel(handle))
    }
}

impl<S: Schedule> Clone for DriverHandle<S> {
    fn clone(&self) -> Self {
        self.shared.add_handle();
        Self { shared: self.shared.clone(), clock: self.clock }
    }
}

impl<S: Schedule> Drop for DriverHandle<S> {
    fn drop(&mut self) {
        self.shared.remove_handle();
    }
}
