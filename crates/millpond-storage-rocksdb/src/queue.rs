//! The queue between submitters and the writer thread.

use millpond_storage_api::{LogPosition, StoreError};
use millpond_sync::{Condvar, Mutex};

/// Hands items from many submitters to one writer, in order, in batches.
///
/// # Invariants
///
/// 1. Every item that was accepted is drained exactly once, in the order of acceptance.
/// 2. Nothing is accepted after [`close`](Self::close); what was accepted before is still drained.
/// 3. A position is given out only to an accepted commit and in the order of acceptance, so positions are
///    dense (invariant 1 of the crate).
/// 4. A writer that waits is woken by the item or the close that ends its wait: both change the state
///    under the lock that the writer gives up atomically when it starts to wait.
#[derive(Debug)]
pub(crate) struct CommitQueue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    /// Position of the newest accepted commit.
    newest: LogPosition,
    closed: Option<StoreError>,
}

impl<T> CommitQueue<T> {
    /// An open queue whose first commit gets the position after `newest`.
    pub(crate) fn new(newest: LogPosition) -> Self {
        let state = State { items: Vec::new(), newest, closed: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Accepts a commit and gives it its position.
    ///
    /// # Errors
    ///
    /// The reason of the close, with the item.
    pub(crate) fn push_commit(&self, item: T) -> Result<LogPosition, (T, StoreError)> {
        let mut state = self.state.lock();
        state.accept(item)?;
        state.newest = state.newest.next();
        let position = state.newest;
        drop(state);
        self.changed.notify_one();
        Ok(position)
    }

    /// Accepts an item that is not a commit and has no position.
    ///
    /// # Errors
    ///
    /// The reason of the close, with the item.
    pub(crate) fn push_control(&self, item: T) -> Result<(), (T, StoreError)> {
        self.state.lock().accept(item)?;
        self.changed.notify_one();
        Ok(())
    }

    /// Calls `f` with the position of the newest accepted commit, while nothing can be accepted.
    pub(crate) fn with_newest<R>(&self, f: impl FnOnce(LogPosition) -> R) -> R {
        let state = self.state.lock();
        f(state.newest)
    }

    /// Accepts nothing more. The first reason stays.
    pub(crate) fn close(&self, reason: StoreError) {
        self.state.lock().closed.get_or_insert(reason);
        self.changed.notify_all();
    }

    /// Moves everything that was accepted into `out`, waiting until there is something. `false` when the
    /// queue is closed and empty. For the writer only.
    pub(crate) fn drain(&self, out: &mut Vec<T>) -> bool {
        debug_assert!(out.is_empty(), "the writer finishes one batch before the next");
        let mut state = self.state.lock();
        while state.items.is_empty() {
            if state.closed.is_some() {
                return false;
            }
            state = self.changed.wait(state);
        }
        // Both buffers keep their memory and change places.
        std::mem::swap(&mut state.items, out);
        true
    }
}

impl<T> State<T> {
    fn accept(&mut self, item: T) -> Result<(), (T, StoreError)> {
        match &self.closed {
            Some(reason) => Err((item, reason.clone())),
            None => {
                self.items.push(item);
                Ok(())
            }
        }
    }
}
