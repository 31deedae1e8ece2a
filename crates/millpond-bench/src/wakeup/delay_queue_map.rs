//! A peer: `DelayQueue` with a map beside it, for who knows a timer by its key only.

use std::collections::HashMap;
use std::task::{Context, Poll, Waker};

use foldhash::fast::RandomState;
use tokio_util::time::delay_queue::Key;

use super::delay_queue::Clocked;
use super::{Outcome, Subject};

pub(super) struct QueueAndMap {
    clocked: Clocked,
    keys: HashMap<u64, Key, RandomState>,
}

impl QueueAndMap {
    pub(super) fn new() -> Self {
        Self { clocked: Clocked::new(), keys: HashMap::default() }
    }
}

impl Subject for QueueAndMap {
    fn insert(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let (queue, when, _guard) = self.clocked.at(deadline_ns);
        if self.keys.insert(timer as u64, queue.insert_at(timer as u64, when)).is_some() {
            return Err("the key was set before".into());
        }
        Ok(())
    }

    fn replace(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let key = self.keys.get(&(timer as u64)).ok_or("the key was not set before")?;
        let (queue, when, _guard) = self.clocked.at(deadline_ns);
        queue.reset_at(key, when);
        Ok(())
    }

    fn cancel(&mut self, timer: usize) -> Outcome<()> {
        let key = self.keys.remove(&(timer as u64)).ok_or("the key was not set")?;
        let (queue, _, _guard) = self.clocked.at(0);
        queue.remove(&key);
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
            let timer = expired.into_inner();
            self.keys.remove(&timer);
            deliver(usize::try_from(timer)?);
        }
        Ok(())
    }
}
