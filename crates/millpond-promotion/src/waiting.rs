//! The requests that wait, and the places of those that may not push one another out.

use millpond_sync::atomic::{AtomicUsize, Ordering};

use crate::options::Overflow;
use crate::ring::{DefaultRing, Ring};
use crate::rules::{Mutation, Rules};

/// A ring in which a push cannot fail. A newcomer that has to yield learns so before it is counted as accepted.
pub(crate) struct Waiting<T> {
    ring: DefaultRing<T>,
    places: Option<Places>,
    rules: Rules,
}

/// The places of a ring that overwrites nothing.
struct Places {
    n_taken: AtomicUsize,
    n_max: usize,
}

impl<T> Waiting<T> {
    pub(crate) fn new(slots: usize, overflow: Overflow, rules: Rules) -> Self {
        let places = match overflow {
            Overflow::DropOldest => None,
            Overflow::DropNewest => Some(Places { n_taken: AtomicUsize::new(0), n_max: slots }),
        };
        Self { ring: DefaultRing::with_capacity(slots), places, rules }
    }

    /// Takes the place that a push needs. Whoever gets it must push.
    pub(crate) fn reserve(&self) -> bool {
        let Some(Places { n_taken, n_max }) = &self.places else { return true };
        if self.rules.lacks(Mutation::NewestEvicts) {
            return true;
        }
        // Acquire pairs with the release in `pop`: the slot that was emptied can be filled.
        n_taken
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |n| (n < *n_max).then_some(n + 1))
            .is_ok()
    }

    /// Appends. Gives the oldest item where it had to go, which is never the case where places are counted.
    pub(crate) fn push(&self, item: T) -> Option<T> {
        self.ring.push_evicting(item)
    }

    /// The oldest item.
    pub(crate) fn pop(&self) -> Option<T> {
        let item = Ring::pop(&self.ring)?;
        if let Some(places) = &self.places
            && !self.rules.lacks(Mutation::PlaceStays)
        {
            places.n_taken.fetch_sub(1, Ordering::Release);
        }
        Some(item)
    }

    pub(crate) fn is_empty(&self) -> bool {
        Ring::is_empty(&self.ring)
    }
}
