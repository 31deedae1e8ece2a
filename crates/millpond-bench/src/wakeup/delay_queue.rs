//! A peer: `DelayQueue` of tokio-util, a hierarchical wheel of milliseconds.
//!
//! It is polled outside of any task, where tokio's budget for a task does not end the drain early. Its clock is
//! tokio's, paused.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{EnterGuard, Runtime};
use tokio::time::{Instant, advance, pause};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::{Outcome, Subject, set};

/// The queue and its clock.
pub(super) struct Clocked {
    queue: DelayQueue<u64>,
    origin: Instant,
    now_ns: u64,
    runtime: Runtime,
}

impl Clocked {
    pub(super) fn new() -> Self {
        let builder = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = builder.expect("a runtime without I/O needs nothing of the system");
        let origin = runtime.block_on(async {
            pause();
            Instant::now()
        });
        Self { queue: DelayQueue::new(), origin, now_ns: 0, runtime }
    }

    /// The queue, a time for it, and the runtime that it works in.
    pub(super) fn at(&mut self, ns: u64) -> (&mut DelayQueue<u64>, Instant, EnterGuard<'_>) {
        let when = self.origin + Duration::from_nanos(ns);
        (&mut self.queue, when, self.runtime.enter())
    }

    pub(super) fn advance(&mut self, now_ns: u64) {
        self.runtime.block_on(advance(Duration::from_nanos(now_ns - self.now_ns)));
        self.now_ns = now_ns;
    }
}

pub(super) struct Queue {
    clocked: Clocked,
    /// By number of the timer.
    keys: Vec<Key>,
}

impl Queue {
    pub(super) fn new(n_timers: usize) -> Self {
        Self { clocked: Clocked::new(), keys: Vec::with_capacity(n_timers) }
    }
}

impl Subject for Queue {
    fn insert(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let (queue, when, _guard) = self.clocked.at(deadline_ns);
        set(&mut self.keys, timer, queue.insert_at(timer as u64, when));
        Ok(())
    }

    fn replace(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let (queue, when, _guard) = self.clocked.at(deadline_ns);
        queue.reset_at(&self.keys[timer], when);
        Ok(())
    }

    fn cancel(&mut self, timer: usize) -> Outcome<()> {
        let (queue, _, _guard) = self.clocked.at(0);
        if queue.remove(&self.keys[timer]).into_inner() != timer as u64 {
            return Err("another timer was cancelled".into());
        }
        Ok(())
    }

    fn advance(&mut self, now_ns: u64) -> Outcome<()> {
        self.clocked.advance(now_ns);
        Ok(())
    }

    fn drain(&mut self, _now_ns: u64, deliver: &mut impl FnMut(usize)) -> Outcome<()> {
        let (queue, _, _guard) = self.clocked.at(0);
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(expired)) = queue.poll_expired(&mut context) {
            deliver(usize::try_from(expired.into_inner())?);
        }
        Ok(())
    }
}
