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

pub(super) struct Queue {
    queue: DelayQueue<u64>,
    /// By number of the timer.
    keys: Vec<Key>,
    origin: Instant,
    now_ns: u64,
    runtime: Runtime,
}

impl Queue {
    pub(super) fn new(n_timers: usize) -> Self {
        let builder = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = builder.expect("a runtime without I/O needs nothing of the system");
        let _guard = runtime.enter();
        let origin = runtime.block_on(async {
            pause();
            Instant::now()
        });
        Self {
            queue: DelayQueue::new(),
            keys: Vec::with_capacity(n_timers),
            origin,
            now_ns: 0,
            runtime,
        }
    }
}

impl Subject for Queue {
    fn insert(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let when = self.origin + Duration::from_nanos(deadline_ns);
        let _guard = self.runtime.enter();
        set(&mut self.keys, timer, self.queue.insert_at(timer as u64, when));
        Ok(())
    }

    fn replace(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let when = self.origin + Duration::from_nanos(deadline_ns);
        let _guard = self.runtime.enter();
        self.queue.reset_at(&self.keys[timer], when);
        Ok(())
    }

    fn cancel(&mut self, timer: usize) -> Outcome<()> {
        let _guard = self.runtime.enter();
        let expired = self.queue.remove(&self.keys[timer]);
        if expired.into_inner() != timer as u64 {
            return Err("another timer was cancelled".into());
        }
        Ok(())
    }

    fn advance(&mut self, now_ns: u64) -> Outcome<()> {
        self.runtime.block_on(advance(Duration::from_nanos(now_ns - self.now_ns)));
        self.now_ns = now_ns;
        Ok(())
    }

    fn drain(&mut self, _now_ns: u64, deliver: &mut impl FnMut(usize)) -> Outcome<()> {
        let _guard = self.runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(expired)) = self.queue.poll_expired(&mut context) {
            deliver(usize::try_from(expired.into_inner())?);
        }
        Ok(())
    }
}
