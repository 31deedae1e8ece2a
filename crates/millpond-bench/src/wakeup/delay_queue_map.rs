//! A peer: `DelayQueue` with a map beside it, for who knows a timer by its key only.

use std::collections::HashMap;
use std::task::{Context, Poll, Waker};

use foldhash::fast::RandomState;
use tokio::runtime::Runtime;
use tokio_util::time::delay_queue::Key;

use super::delay_queue::Clocked;
use super::{Outcome, Subject};

pub(super) struct QueueAndMap<'a> {
    clocked: Clocked<'a>,
    keys: HashMap<u64, Key, RandomState>,
}

impl<'a> QueueAndMap<'a> {
    pub(super) fn new(runtime: &'a Runtime) -> Self {
        Self { clocked: Clocked::new(runtime), keys: HashMap::default() }
    }
}

impl Subject for QueueAndMap<'_> {
    fn insert(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let when = self.clocked.at(deadline_ns);
        let queue = &mut self.clocked.queue;
        if self.keys.insert(timer as u64, queue.insert_at(timer as u64, when)).is_some() {
            return Err("the key was set before".into());
        }
        Ok(())
    }

    fn replace(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let key = self.keys.get(&(timer as u64)).ok_or("the key was not set before")?;
        let when = self.clocked.at(deadline_ns);
        self.clocked.queue.reset_at(key, when);
        Ok(())
    }

    fn cancel(&mut self, timer: usize) -> Outcome<()> {
        let key = self.keys.remove(&(timer as u64)).ok_or("the key was not set")?;
        self.clocked.queue.remove(&key);
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
            let timer = expired.into_inner();
            self.keys.remove(&timer);
            deliver(usize::try_from(timer)?);
        }
        Ok(())
    }
}
