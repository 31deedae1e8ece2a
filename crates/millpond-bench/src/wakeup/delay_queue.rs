//! A peer: `DelayQueue` of tokio-util, a hierarchical wheel of milliseconds.
//!
//! It is polled outside of any task, where tokio's budget for a task does not end the drain early. Its clock is
//! tokio's, paused.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::{Instant, advance, pause};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::{Outcome, Subject, set};

/// The queue and its clock, in the runtime that the caller has entered.
pub(super) struct Clocked<'a> {
    pub(super) queue: DelayQueue<u64>,
    origin: Instant,
    now_ns: u64,
    runtime: &'a Runtime,
}

impl<'a> Clocked<'a> {
    pub(super) fn new(runtime: &'a Runtime) -> Self {
        Self { queue: DelayQueue::new(), origin: Instant::now(), now_ns: 0, runtime }
    }

    pub(super) fn at(&self, ns: u64) -> Instant {
        self.origin + Duration::from_nanos(ns)
    }

    pub(super) fn advance(&mut self, now_ns: u64) {
        self.runtime.block_on(advance(Duration::from_nanos(now_ns - self.now_ns)));
        self.now_ns = now_ns;
    }
}

/// A runtime whose clock stands still.
pub(super) fn paused_runtime() -> std::io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async { pause() });
    Ok(runtime)
}

pub(super) struct Queue<'a> {
    clocked: Clocked<'a>,
    /// By number of the timer.
    keys: Vec<Key>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(runtime: &'a Runtime, n_timers: usize) -> Self {
        Self { clocked: Clocked::new(runtime), keys: Vec::with_capacity(n_timers) }
    }
}

impl Subject for Queue<'_> {
    fn insert(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let when = self.clocked.at(deadline_ns);
        set(&mut self.keys, timer, self.clocked.queue.insert_at(timer as u64, when));
        Ok(())
    }

    fn replace(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let when = self.clocked.at(deadline_ns);
        self.clocked.queue.reset_at(&self.keys[timer], when);
        Ok(())
    }

    fn cancel(&mut self, timer: usize) -> Outcome<()> {
        if self.clocked.queue.remove(&self.keys[timer]).into_inner() != timer as u64 {
            return Err("another timer was cancelled".into());
        }
        Ok(())
    }

    fn advance(&mut self, now_ns: u64) -> Outcome<()> {
        self.clocked.advance(now_ns);
        Ok(())
    }

    fn drain(&mut self, _now_ns: u64, deliver: &mut impl FnMut(usize)) -> Outcome<()> {
        let queue = &mut self.clocked.queue;
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(expired)) = queue.poll_expired(&mut context) {
            deliver(usize::try_from(expired.into_inner())?);
        }
        Ok(())
    }
}
