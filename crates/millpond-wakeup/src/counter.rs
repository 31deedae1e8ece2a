//! A waker that counts, for tests that say exactly who is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicUsize);

impl Counter {
    /// How often it was woken.
    pub(crate) fn n(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        // Relaxed: the tests read it on the thread that wakes.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
