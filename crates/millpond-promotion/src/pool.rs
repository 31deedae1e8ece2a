//! The handle of a pool.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use millpond_sync::Arc;
use millpond_sync::thread::Builder;

use crate::options::{PoolError, PoolOptions};
use crate::outcome::{Closed, Scheduled};
use crate::request::{Executor, Request};
use crate::rules::Rules;
use crate::shared::Shared;
use crate::stats::Stats;
use crate::worker;

/// A bounded pool of threads; see the crate's documentation.
///
/// The handle owns the threads, and may be shared by reference or in an `Arc`. Dropping it closes the pool as
/// [`close`](Self::close) with a deadline of zero does, without waiting for anything.
pub struct Pool<R: Request> {
    pub(crate) shared: Arc<Shared<R>>,
}

impl<R: Request> Pool<R> {
    /// Starts the threads, which sleep until there is something to do.
    ///
    /// # Errors
    ///
    /// Where the options cannot be, or the system gives no thread.
    pub fn new(options: PoolOptions, executor: impl Executor<R>) -> Result<Self, PoolError> {
        Self::start(options, Box::new(executor), Rules::SHIPPED, spawn)
    }

    /// The threads come from `spawn`, which learns their numbers.
    pub(crate) fn start(
        options: PoolOptions,
        executor: Box<dyn Executor<R>>,
        rules: Rules,
        spawn: impl Fn(usize, Box<dyn FnOnce() + Send>) -> io::Result<()>,
    ) -> Result<Self, PoolError> {
        options.check()?;
        let pool = Self { shared: Arc::new(Shared::new(&options, executor, rules)) };
        for worker in 0..options.workers {
            let shared = pool.shared.clone();
            // On an error the pool is dropped, which ends the threads there are.
            spawn(worker, Box::new(move || worker::serve(&shared, worker)))
                .map_err(PoolError::Thread)?;
        }
        Ok(pool)
    }

    /// Queues `request`, and wakes one worker if one sleeps. It never blocks, allocates nothing and takes no
    /// lock.
    ///
    /// # Panics
    ///
    /// Where a method of the request does; nothing has happened then.
    pub fn schedule(&self, request: R) -> Scheduled<R> {
        self.shared.schedule(request)
    }

    /// The counts at this moment.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Takes no more requests, lets the workers see to those that wait, and gives up what has not been started at
    /// the deadline. It returns when every request has ended, or after `deadline`, even if an executor hangs.
    ///
    /// A call of [`schedule`](Self::schedule) that is under way at the deadline gives up what it has queued by
    /// itself, right away. A second close waits again, and can shorten the deadline of the first. On a thread of
    /// the pool it waits for itself: to no end, but no longer than the deadline either.
    #[expect(clippy::disallowed_methods, reason = "the wait ends at a real point in time")]
    pub fn close(&self, deadline: Duration) -> Closed {
        let before = self.stats();
        if !deadline.is_zero() {
            // `None` is a deadline beyond the end of time.
            let deadline = Instant::now().checked_add(deadline);
            self.shared.close(false);
            self.shared.exits.wait_for(self.shared.parkers.len(), deadline);
        }
        self.shared.close(true);
        let after = self.stats();
        Closed {
            completed: after.n_completed() - before.n_completed(),
            abandoned: after.n_abandoned - before.n_abandoned,
            still_running: after.n_in_flight + after.n_waiting,
        }
    }
}

/// A thread of the system.
pub(crate) fn spawn(worker: usize, serve: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    Builder::new().name(format!("millpond-pool-{worker}")).spawn(serve).map(drop)
}

impl<R: Request> Drop for Pool<R> {
    fn drop(&mut self) {
        self.shared.close(true);
    }
}

impl<R: Request> fmt::Debug for Pool<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
