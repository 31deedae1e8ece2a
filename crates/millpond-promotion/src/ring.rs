//! The bounded ring, behind a trait that a model can stand in for.

/// A bounded queue that many threads push to and pop from.
pub(crate) trait Ring<T> {
    /// Room for so many, at least one.
    fn with_capacity(capacity: usize) -> Self;

    /// Appends; where the ring is full, in the place of its oldest item, which is given back.
    fn push_evicting(&self, item: T) -> Option<T>;

    /// The oldest item.
    fn pop(&self) -> Option<T>;

    /// Whether nothing was in it at some moment during the call. While a push is under way, that moment may lie
    /// inside the push.
    fn is_empty(&self) -> bool;
}

#[cfg(not(millpond_loom))]
pub(crate) type DefaultRing<T> = crossbeam_queue::ArrayQueue<T>;

#[cfg(not(millpond_loom))]
impl<T> Ring<T> for crossbeam_queue::ArrayQueue<T> {
    fn with_capacity(capacity: usize) -> Self {
        Self::new(capacity)
    }

    fn push_evicting(&self, item: T) -> Option<T> {
        self.force_push(item)
    }

    fn pop(&self) -> Option<T> {
        self.pop()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

#[cfg(millpond_loom)]
pub(crate) use stand_in::StandIn as DefaultRing;

#[cfg(millpond_loom)]
mod stand_in {
    use std::collections::VecDeque;

    use millpond_sync::Mutex;
    use millpond_sync::atomic::{AtomicUsize, Ordering};

    use super::Ring;

    /// As weak as the real one where it matters: whether it is empty is read without the lock and without
    /// any ordering, so a protocol that needs to know for certain has to bring its own.
    pub(crate) struct StandIn<T> {
        items: Mutex<VecDeque<T>>,
        n_items: AtomicUsize,
        capacity: usize,
    }

    impl<T> Ring<T> for StandIn<T> {
        fn with_capacity(capacity: usize) -> Self {
            Self { items: Mutex::new(VecDeque::new()), n_items: AtomicUsize::new(0), capacity }
        }

        fn push_evicting(&self, item: T) -> Option<T> {
            let mut items = self.items.lock();
            let victim = if items.len() == self.capacity { items.pop_front() } else { None };
            items.push_back(item);
            self.n_items.store(items.len(), Ordering::Relaxed);
            victim
        }

        fn pop(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            let mut items = self.items.lock();
            let item = items.pop_front();
            self.n_items.store(items.len(), Ordering::Relaxed);
            item
        }

        fn is_empty(&self) -> bool {
            self.n_items.load(Ordering::Relaxed) == 0
        }
    }
}
