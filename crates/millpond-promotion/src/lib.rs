//! A bounded pool of parked threads for work that may be dropped: promotions between tiers, prefetching, warming. It
//! knows no cache and no storage, needs no runtime, and never makes a caller wait.
//!
//! A read that was answered by the slow tier has its bytes; that the value should move to the fast tier is
//! somebody else's work, and not worth a queue that grows. Here it is a [`Request`], an [`Executor`] does it,
//! and what does not fit is refused or takes the place of what has waited longest, with a word of it in each
//! case.
//!
//! ```
//! use std::time::Duration;
//! use millpond_promotion::{Ended, Pool, PoolOptions, Rejection, Request, Scheduled};
//!
//! struct Promote { key: u64, value: Vec<u8> }
//!
//! impl Request for Promote {
//!     fn key_hash(&self) -> u64 { self.key }
//!     fn n_bytes(&self) -> usize { self.value.len() }
//! }
//!
//! let options = PoolOptions { slots: 64, bytes_max: 1 << 20, workers: 1, ..PoolOptions::default() };
//! let pool = Pool::new(options, |promote: Promote| {
//!     // Install `promote.value`, unless its key was written since.
//!     if promote.value.is_empty() { Ended::Failed } else { Ended::Installed }
//! })?;
//!
//! match pool.schedule(Promote { key: 7, value: vec![1; 100] }) {
//!     Scheduled::Queued => {}
//!     Scheduled::QueuedEvicting(victim) => println!("{} will be asked for again", victim.key),
//!     Scheduled::Rejected { request, why: Rejection::Duplicate } => println!("{} is on its way", request.key),
//!     Scheduled::Rejected { why, .. } => println!("not now: {why:?}"),
//! }
//!
//! let closed = pool.close(Duration::from_secs(5));
//! assert_eq!(closed.abandoned + closed.still_running, 0);
//! assert_eq!(pool.stats().n_installed, 1);
//! # Ok::<(), millpond_promotion::PoolError>(())
//! ```
//!
//! # When to use it, and when not
//!
//! Use it where work is optional, short compared to how often it is worth doing, and blocking: it may read and write
//! storage, because its threads are nobody else's. Do not use it for work that must be done (anything can be
//! evicted or refused), that has an order, or that somebody waits for: a request has no reply. Its bounds hold over
//! all that share it, so a program has one, whatever number of caches and partitions it has.
//!
//! # What it promises
//!
//! 1. **Bounds.** No more than `slots` requests wait and no more than `workers` run; what waits and runs takes no
//!    more than `bytes_max`. Bytes are taken before the request is queued and come back on every way out of
//!    the pool, a panic included.
//! 2. **One outcome.** Each call of [`schedule`](Pool::schedule) has one of the outcomes of [`Scheduled`]. All
//!    that can refuse comes before the one step that evicts, so nobody is evicted for a newcomer that is then
//!    refused. Therefore a newcomer for which there are not enough bytes is refused under either [`Overflow`]:
//!    one victim might be too small to make room, and the pool never drops two for one.
//! 3. **One request per key** waits or runs. The table behind this is fixed in size and lock-free.
//! 4. **One end.** Every accepted request is run once, or evicted, or abandoned, and is counted so; [`Stats`] has
//!    the equations. At the moment at which an end is counted its key and bytes are free.
//! 5. **No polling.** A worker without work is parked: no wake-ups, no CPU. `schedule` wakes at most one, and
//!    only if one sleeps, which costs a call of the system; beside workers that are awake it costs none. No
//!    request waits while a worker sleeps.
//! 6. **`schedule` never blocks**, allocates nothing and takes no lock.
//! 7. **Panics** of an executor are caught and counted, and the thread goes on.
//! 8. **The end.** After [`close`](Pool::close) or a drop nothing is accepted, and nothing is stranded. An
//!    executor that hangs delays neither; its thread ends when it does.
//!
//! # How it works
//!
//! A ring holds what waits. One word, the gate, has a bit for "closed", a bit for each worker that sleeps, and
//! the number of producers that are inside. A producer enters, claims the key's lane and the bytes, pushes, and
//! leaves; the same step that counts it out tells it whether a worker sleeps (5) and whether it is the last one
//! to leave a closed pool, who sees to what is left (8). A worker enters itself as asleep and only then looks
//! at the ring for the last time. That both happen on one word is all the ordering there is to think about.
//!
//! # Limits
//!
//! * At most [`PoolOptions::SLOTS_MAX`] slots and [`PoolOptions::WORKERS_MAX`] threads, which are started with the pool.
//! * The order is that of arrival, roughly; there are no priorities.
//! * The ring is that of `crossbeam-queue`: a thread that meets another one in the middle of its push or pop spins until
//!   that is through, which the system can stretch by taking the other one's processor away.
//! * A table of fingerprints can take one key for another. It costs the second one this attempt, in a full pool
//!   less than once in ten thousand times.
//! * A thread cannot be stopped. An executor that hangs for ever keeps its thread and its request.

mod claims;

mod exits;
mod gate;
mod keys;
mod options;
mod outcome;
mod pool;
mod request;
mod ring;
mod rules;
mod shared;
mod stats;
mod waiting;
mod worker;

pub use options::{OptionsError, Overflow, PoolError, PoolOptions};
pub use outcome::{Closed, Rejection, Scheduled};
pub use pool::Pool;
pub use request::{Ended, Executor, Request};
pub use stats::Stats;

#[cfg(test)]
mod models;
#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
