//! The few threads on which reads may wait for the disk.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use millpond_storage_api::{StoreError, StoreErrorKind};
use millpond_sync::thread::{Builder, JoinHandle, Thread, current};
use millpond_sync::{Arc, Condvar, Mutex};

use crate::error::closed;

/// Reads that may wait for a thread; one more is refused with [`StoreErrorKind::Retry`].
pub(crate) const READS_WAITING_MAX: usize = 4096;

type Job = Box<dyn FnOnce() + Send>;

/// A bounded queue of reads and the threads that serve it.
pub(crate) struct ReadPool {
    shared: Arc<Shared>,
    members: Vec<Thread>,
    /// Empty once they are joined.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl ReadPool {
    /// Starts `n_threads` threads.
    ///
    /// # Errors
    ///
    /// The system gives no thread; those that were started are stopped again.
    pub(crate) fn start(n_threads: usize) -> std::io::Result<Self> {
        let state = State { jobs: VecDeque::new(), closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let mut pool = Self { shared, members: Vec::new(), threads: Mutex::new(Vec::new()) };
        for index in 0..n_threads {
            let shared = pool.shared.clone();
            let thread = Builder::new()
                .name(format!("millpond-read-{index}"))
                .spawn(move || shared.serve())?;
            pool.members.push(thread.thread().clone());
            pool.threads.lock().push(thread);
        }
        Ok(pool)
    }

    /// Runs `job` on one of the threads. A job that is not run is dropped.
    ///
    /// # Errors
    ///
    /// `Retry` when too many wait already, `Closed` after [`close`](Self::close).
    pub(crate) fn run(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return Err(closed());
        }
        if state.jobs.len() >= READS_WAITING_MAX {
            let detail = format!("{READS_WAITING_MAX} reads are waiting for a thread already");
            return Err(StoreError::new(StoreErrorKind::Retry, detail));
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Whether the caller runs on one of the threads, that is, inside a job.
    pub(crate) fn is_current_thread(&self) -> bool {
        self.members.iter().any(|member| member.id() == current().id())
    }

    /// Drops the jobs that wait and ends the threads after those that run.
    pub(crate) fn close(&self) {
        let dropped = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            std::mem::take(&mut state.jobs)
        };
        self.shared.changed.notify_all();
        // Outside the lock: dropping a job wakes whoever waits for it.
        drop(dropped);
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // A task that a job woke may hold the last handle and close the pool from inside.
            if thread.thread().id() != current().id() {
                thread.join().expect("panics of jobs are caught");
            }
        }
    }
}

impl Drop for ReadPool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn serve(&self) {
        while let Some(job) = self.next_job() {
            // Waking a task may run foreign code; its panic, reported by the panic hook, must not cost
            // the pool a thread.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state);
        }
    }
}
