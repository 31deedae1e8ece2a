//! A pool of one worker whose every request waits for the test to end it, beside an oracle that knows each
//! outcome and every count in advance.

use std::collections::{HashMap, VecDeque};
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::yield_now;
use std::time::Duration;

use super::{Item, pool};
use crate::keys::Keys;
use crate::options::{Overflow, PoolOptions};
use crate::outcome::{Closed, Rejection, Scheduled};
use crate::pool::Pool;
use crate::request::{Ended, Executor};
use crate::rules::{Mutation, Rules};
use crate::stats::Stats;

/// How a request shall end; `None` is a panic.
pub(super) type Order = Option<Ended>;
type Checked = Result<(), String>;

struct Driven {
    started: Sender<u64>,
    orders: Mutex<Receiver<Order>>,
}

impl Executor<Item> for Driven {
    fn run(&self, item: Item) -> Ended {
        self.started.send(item.key).expect("the world outlives its worker's requests");
        let order = self.orders.lock().expect("one worker").recv();
        match order {
            Ok(Some(ended)) => ended,
            Ok(None) => resume_unwind(Box::new("an executor's panic")),
            // The world is gone.
            Err(_) => Ended::Failed,
        }
    }
}

pub(super) struct World {
    // Before the receiver of `started`, so that a request that starts now still finds it.
    orders: Sender<Order>,
    pool: Pool<Item>,
    started: Receiver<u64>,
    options: PoolOptions,
    running: Option<Item>,
    waiting: VecDeque<Item>,
    /// Fingerprints by cell.
    lanes: HashMap<usize, Vec<u64>>,
    places: Keys,
    expected: Stats,
}

impl World {
    pub(super) fn new(options: PoolOptions, broken: Option<Mutation>) -> Self {
        assert_eq!(options.workers, 1);
        let (starting, started) = mpsc::channel();
        let (orders, ordered) = mpsc::channel();
        let executor = Driven { started: starting, orders: Mutex::new(ordered) };
        Self {
            orders,
            pool: pool(options, broken, executor),
            started,
            options,
            running: None,
            waiting: VecDeque::new(),
            lanes: HashMap::new(),
            places: Keys::new(options.slots + 1, Rules::SHIPPED),
            expected: Stats::default(),
        }
    }

    pub(super) fn schedule(&mut self, item: Item) -> Checked {
        let is_idle = self.running.is_none();
        if is_idle {
            self.wait(|pool| pool.shared.gate.look().is_asleep(0).then_some(()))?;
        }
        let expected = self.expect(item);
        let scheduled = self.pool.schedule(item);
        if scheduled != expected {
            return Err(format!("{item:?}: {scheduled:?} where {expected:?} was expected"));
        }
        if is_idle && !self.waiting.is_empty() {
            self.expected.n_wakeups += 1;
            self.next_starts()?;
        }
        self.check()
    }

    /// What the pool has to answer; and believes that it did.
    fn expect(&mut self, item: Item) -> Scheduled<Item> {
        self.expected.n_submitted += 1;
        if let Some(why) = self.rejection(item) {
            let counter = match why {
                Rejection::Full => &mut self.expected.n_rejected_full,
                Rejection::Bytes => &mut self.expected.n_rejected_bytes,
                Rejection::Duplicate => &mut self.expected.n_rejected_duplicate,
                Rejection::Closed => &mut self.expected.n_rejected_closed,
            };
            *counter += 1;
            return Scheduled::Rejected { request: item, why };
        }
        self.expected.n_accepted += 1;
        self.expected.n_bytes += item.n_bytes;
        let (cell, fingerprint) = self.places.place(item.key);
        self.lanes.entry(cell).or_default().push(fingerprint);
        let victim = (self.waiting.len() == self.options.slots).then(|| {
            self.expected.n_evicted += 1;
            self.waiting.pop_front().expect("a pool has at least one slot")
        });
        self.waiting.push_back(item);
        victim.map_or(Scheduled::Queued, |victim| {
            self.release(victim);
            Scheduled::QueuedEvicting(victim)
        })
    }

    fn rejection(&self, item: Item) -> Option<Rejection> {
        let (cell, fingerprint) = self.places.place(item.key);
        let lanes = self.lanes.get(&cell).map_or(&[][..], Vec::as_slice);
        let yields = self.options.overflow == Overflow::DropNewest;
        if lanes.contains(&fingerprint) {
            Some(Rejection::Duplicate)
        } else if lanes.len() == 5 {
            Some(Rejection::Full)
        } else if self.expected.n_bytes + item.n_bytes > self.options.bytes_max {
            Some(Rejection::Bytes)
        } else if yields && self.waiting.len() == self.options.slots {
            Some(Rejection::Full)
        } else {
            None
        }
    }

    fn release(&mut self, item: Item) {
        self.expected.n_bytes -= item.n_bytes;
        let (cell, fingerprint) = self.places.place(item.key);
        self.lanes.entry(cell).or_default().retain(|lane| *lane != fingerprint);
    }

    /// Ends what runs, if anything does.
    pub(super) fn finish(&mut self, order: Order) -> Checked {
        let Some(item) = self.running.take() else { return Ok(()) };
        self.orders.send(order).map_err(|_| "the executor is gone")?;
        *match order {
            Some(Ended::Installed) => &mut self.expected.n_installed,
            Some(Ended::Stale) => &mut self.expected.n_stale,
            Some(Ended::AlreadyResident) => &mut self.expected.n_already_resident,
            Some(Ended::Failed) => &mut self.expected.n_failed,
            None => &mut self.expected.n_panicked,
        } += 1;
        self.release(item);
        if self.waiting.is_empty() {
            self.wait(|pool| (pool.stats().n_in_flight == 0).then_some(()))?;
        } else {
            self.next_starts()?;
        }
        self.check()
    }

    fn next_starts(&mut self) -> Checked {
        let item = self.waiting.pop_front().expect("the caller looked");
        let key = self.wait(|_| self.started.try_recv().ok())?;
        self.running = Some(item);
        if key == item.key { Ok(()) } else { Err(format!("{key} runs, and {item:?} should")) }
    }

    /// Until the worker has done something that it must do; it is not waited for if it has ended.
    fn wait<T>(&self, done: impl Fn(&Pool<Item>) -> Option<T>) -> Result<T, String> {
        loop {
            let has_ended = self.pool.shared.exits.n_ended() > 0;
            match done(&self.pool) {
                Some(value) => return Ok(value),
                None if has_ended => return Err("the worker has ended".to_owned()),
                None => yield_now(),
            }
        }
    }

    /// Nothing moves now, so every count is certain.
    fn check(&mut self) -> Checked {
        self.expected.n_waiting = self.waiting.len() as u64;
        self.expected.n_in_flight = u64::from(self.running.is_some());
        let stats = self.pool.stats();
        if stats == self.expected {
            Ok(())
        } else {
            Err(format!("{stats:?} where {:?} was expected", self.expected))
        }
    }

    /// Closes beside what runs, which ends afterwards.
    pub(super) fn close(mut self) -> Checked {
        let is_running = self.running.is_some();
        let expected = Closed {
            completed: 0,
            abandoned: self.waiting.len() as u64,
            still_running: u64::from(is_running),
        };
        self.same_close(Duration::ZERO, expected)?;
        self.expected.n_abandoned = self.waiting.len() as u64;
        for item in std::mem::take(&mut self.waiting) {
            self.release(item);
        }
        self.check()?;
        self.expected.n_rejected_closed += 1;
        self.expected.n_submitted += 1;
        let late = self.pool.schedule(super::item(0));
        if !matches!(late, Scheduled::Rejected { why: Rejection::Closed, .. }) {
            return Err(format!("{late:?} after the close"));
        }
        self.finish(Some(Ended::Installed))?;
        self.same_close(Duration::MAX, Closed::default())?;
        self.check()
    }

    fn same_close(&self, deadline: Duration, expected: Closed) -> Checked {
        let closed = self.pool.close(deadline);
        if closed == expected {
            Ok(())
        } else {
            Err(format!("{closed:?} where {expected:?} was expected"))
        }
    }
}
