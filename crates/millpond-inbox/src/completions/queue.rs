//! The owner's end: a queue that every ticket reports to.

use std::collections::VecDeque;
use std::fmt;

use millpond_sync::atomic::AtomicBool;
use millpond_sync::{Arc, Mutex};

use super::{Completion, RefillFlight, RefillTicket};

/// The queue in which the refills of many inboxes arrive. `Q` names the inbox, `T` is what a scan yields,
/// `E` how it fails.
///
/// Dropping it closes the queue: what arrived is dropped, and so is everything that arrives later.
pub struct Completions<Q, T, E> {
    shared: Arc<Shared<Completion<Q, T, E>>>,
    /// What was fetched in one go and not handed out yet; the lock is taken once per batch.
    fetched: VecDeque<Completion<Q, T, E>>,
    last_generation: u64,
}

impl<Q, T, E> Completions<Q, T, E> {
    /// An empty queue. `notify` is called by whichever thread pushes into the empty queue; it must latch,
    /// and it must neither block nor panic, because a ticket may be dropped during a panic.
    pub fn new(notify: impl Fn() + Send + Sync + 'static) -> Self {
        let pushed = Mutex::new(Pushed { completions: VecDeque::new(), closed: false });
        let shared = Arc::new(Shared { pushed, notify: Box::new(notify) });
        Self { shared, fetched: VecDeque::new(), last_generation: 0 }
    }

    /// The next completion, oldest first. After `None` the owner may park: whatever is pushed from then on
    /// notifies it. While it still got `Some`, it may not.
    #[expect(clippy::should_implement_trait, reason = "`None` is no end: more may come")]
    pub fn next(&mut self) -> Option<Completion<Q, T, E>> {
        if self.fetched.is_empty() {
            std::mem::swap(&mut self.fetched, &mut self.shared.pushed.lock().completions);
        }
        self.fetched.pop_front()
    }

    /// Starts a refill of the inbox named `tag`: the flight stays with the inbox, the ticket goes to the
    /// worker.
    pub fn issue(&mut self, tag: Q) -> (RefillFlight, RefillTicket<Q, T, E>) {
        self.last_generation += 1;
        let generation = self.last_generation;
        let cancelled = Arc::new(AtomicBool::new(false));
        let ticket = RefillTicket::new(tag, generation, cancelled.clone(), self.shared.clone());
        (RefillFlight::new(generation, cancelled), ticket)
    }
}

impl<Q, T, E> Drop for Completions<Q, T, E> {
    fn drop(&mut self) {
        let unread = {
            let mut pushed = self.shared.pushed.lock();
            pushed.closed = true;
            std::mem::take(&mut pushed.completions)
        };
        // Outside the lock: rows are the user's and may do anything when they are dropped.
        drop(unread);
    }
}

impl<Q, T, E> fmt::Debug for Completions<Q, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completions")
            .field("n_fetched", &self.fetched.len())
            .field("last_generation", &self.last_generation)
            .finish_non_exhaustive()
    }
}

pub(super) struct Shared<T> {
    pushed: Mutex<Pushed<T>>,
    notify: Box<dyn Fn() + Send + Sync>,
}

struct Pushed<T> {
    completions: VecDeque<T>,
    closed: bool,
}

impl<T> Shared<T> {
    pub(super) fn push(&self, completion: T) {
        let was_empty = {
            let mut pushed = self.pushed.lock();
            if pushed.closed {
                // The value must not be dropped under the lock, see `Completions::drop`.
                drop(pushed);
                return drop(completion);
            }
            pushed.completions.push_back(completion);
            pushed.completions.len() == 1
        };
        // After the push and outside the lock: the owner that wakes finds the completion and a free lock.
        if was_empty {
            (self.notify)();
        }
    }
}
