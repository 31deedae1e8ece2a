//! The few threads on which reads wait that memory could not serve.
//!
//! They are started when they are first needed, so a partition whose reads memory serves has none. A job
//! that panics takes nothing with it but itself: whoever it worked for learns of it when the job is
//! dropped.
//!
//! * **E1** A job is run once, or dropped: at the latest when the executor is.
//! * **E2** No thread sleeps while a job waits and fewer threads than allowed are at work.
//! * **E3** Urgent jobs start before others.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use millpond_sync::thread::Builder;
use millpond_sync::{Arc, Condvar, Mutex};

#[derive(Debug)]
struct State<J> {
    urgent: VecDeque<J>,
    others: VecDeque<J>,
    n_threads: usize,
    n_asleep: usize,
    closed: bool,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    run: Box<dyn Fn(J) + Send + Sync>,
}

/// Runs jobs on at most so many threads. The caller bounds how many jobs there are.
pub(crate) struct Executor<J: Send + 'static> {
    shared: Arc<Shared<J>>,
    n_threads_max: usize,
}

impl<J: Send + 'static> Executor<J> {
    /// No thread is started yet.
    pub(crate) fn new(n_threads_max: usize, run: impl Fn(J) + Send + Sync + 'static) -> Self {
        let state = State {
            urgent: VecDeque::new(),
            others: VecDeque::new(),
            n_threads: 0,
            n_asleep: 0,
            closed: false,
        };
        let shared =
            Shared { state: Mutex::new(state), changed: Condvar::new(), run: Box::new(run) };
        Self { shared: Arc::new(shared), n_threads_max }
    }

    /// Hands a job over. Where the system gives no thread at all, jobs are dropped.
    pub(crate) fn submit(&self, job: J, urgent: bool) {
        let needs_thread = {
            let mut state = self.shared.state.lock();
            if urgent {
                state.urgent.push_back(job);
            } else {
                state.others.push_back(job);
            }
            let n_jobs = state.urgent.len() + state.others.len();
            let needs_thread = n_jobs > state.n_asleep && state.n_threads < self.n_threads_max;
            state.n_threads += usize::from(needs_thread);
            needs_thread
        };
        if needs_thread {
            self.start_thread();
        } else {
            self.shared.changed.notify_one();
        }
    }

    fn start_thread(&self) {
        let shared = self.shared.clone();
        let started =
            Builder::new().name("millpond-refill".to_owned()).spawn(move || shared.serve());
        let Err(error) = started else { return };
        tracing::error!(%error, "no thread for reads");
        let dropped = {
            let mut state = self.shared.state.lock();
            state.n_threads -= 1;
            (state.n_threads == 0).then(|| state.take_jobs())
        };
        drop(dropped);
    }
}

impl<J> State<J> {
    fn take_jobs(&mut self) -> (VecDeque<J>, VecDeque<J>) {
        (std::mem::take(&mut self.urgent), std::mem::take(&mut self.others))
    }
}

impl<J> Shared<J> {
    fn serve(&self) {
        while let Some(job) = self.next_job() {
            // What the job was for learns of the panic when the job is dropped by it.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.run)(job)));
        }
    }

    /// Waits for a job; `None` when there will be none.
    fn next_job(&self) -> Option<J> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.urgent.pop_front() {
                return Some(job);
            }
            if let Some(job) = state.others.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.n_asleep += 1;
            state = self.changed.wait(state);
            state.n_asleep -= 1;
        }
    }
}

/// Jobs that have not started are dropped; the threads end when theirs are done, and nobody waits for them.
impl<J: Send + 'static> Drop for Executor<J> {
    fn drop(&mut self) {
        let dropped = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            state.take_jobs()
        };
        self.shared.changed.notify_all();
        // Outside the lock: a dropped job reports, and that may run anything.
        drop(dropped);
    }
}
