//! How many workers have ended, for who waits for all of them.

use std::time::Instant;

use millpond_sync::{Condvar, Mutex};

/// See the module.
#[derive(Debug)]
pub(crate) struct Exits {
    n_ended: Mutex<usize>,
    changed: Condvar,
}

/// Counts its thread as ended when it is dropped, however it ends.
#[derive(Debug)]
pub(crate) struct Exit<'a>(pub(crate) &'a Exits);

impl Exits {
    pub(crate) fn new() -> Self {
        Self { n_ended: Mutex::new(0), changed: Condvar::new() }
    }

    #[cfg(test)]
    pub(crate) fn n_ended(&self) -> usize {
        *self.n_ended.lock()
    }

    /// Waits until `n` have ended, or for as long as `deadline` says; without one there is no end of it.
    #[expect(clippy::disallowed_methods, reason = "the wait ends at a real point in time")]
    pub(crate) fn wait_for(&self, n: usize, deadline: Option<Instant>) {
        let mut n_ended = self.n_ended.lock();
        while *n_ended < n {
            n_ended = match deadline {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => self.changed.wait_until(n_ended, deadline),
                None => self.changed.wait(n_ended),
            };
        }
    }
}

impl Drop for Exit<'_> {
    fn drop(&mut self) {
        // After loom found a deadlock, a destructor must not take a lock.
        #[cfg(millpond_loom)]
        if std::thread::panicking() {
            return;
        }
        *self.0.n_ended.lock() += 1;
        self.0.changed.notify_all();
    }
}
