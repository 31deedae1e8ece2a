//! What a request costs whoever schedules it, how soon it starts, and what a pool costs that has nothing to do.
//!
//! * `pool`: [`millpond_promotion::Pool`] with one worker.
//! * `force-push`: `ArrayQueue::force_push` of the same requests into a ring of the same size; nobody is woken, no key
//!   is looked up, nothing is counted.
//! * `polling`: that ring, and a thread that looks at it once in a millisecond.
//!
//! In the cases named `schedule` the worker is awake. `filling`: it is inside the executor, and the ring is empty in the
//! beginning. `overwriting`: the same, with a full ring, so that each request evicts another. `draining`: it takes out
//! what comes, so that both work on the same memory. In the case `start` each request finds the worker parked; a
//! wake-up of the system is in it. In the case `idle` nothing is scheduled at all. Every run checks what came out of the
//! pool against its counts. *No sync is involved.* The cases `L2 hit` are described in [`l2_hit`].

mod idle;
mod l2_hit;
mod schedule;
mod start;

use std::path::Path;

use millpond_promotion::{Ended, Executor, Overflow, Pool, PoolOptions, Request};

use crate::measure::Effort;
use crate::report::Report;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const SLOTS: usize = 1_024;

/// As large as a promotion is that carries a key, a ticket and a shared value.
#[derive(Debug)]
struct Promote {
    key: u64,
    _rest: [u64; 7],
}

impl Promote {
    const fn new(key: u64) -> Self {
        Self { key, _rest: [key; 7] }
    }
}

impl Request for Promote {
    fn key_hash(&self) -> u64 {
        self.key
    }

    fn n_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

pub(crate) fn run(report: &mut Report, effort: Effort, dir: &Path, only: &str) -> Outcome<()> {
    for case in schedule::CASES {
        if case.name().contains(only) {
            schedule::run(report, effort, case)?;
        }
    }
    if start::CASE.contains(only) {
        start::run(report, effort)?;
    }
    if idle::CASE.contains(only) {
        idle::run(report, effort)?;
    }
    l2_hit::run(report, effort, dir, only)
}

fn pool(executor: impl Executor<Promote>) -> Outcome<Pool<Promote>> {
    let options = PoolOptions {
        slots: SLOTS,
        bytes_max: 64 << 20,
        workers: 1,
        overflow: Overflow::DropOldest,
    };
    Ok(Pool::new(options, executor)?)
}

fn install(_: Promote) -> Ended {
    Ended::Installed
}
