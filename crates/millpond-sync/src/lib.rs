//! Locks, atomics, cells, threads, a place to sleep in and a one-shot hand-off that run on std or under the
//! loom model checker. It has no queues, no timers of its own and no runtime.
//!
//! Code written against this crate is compiled twice: normally on std (with `parking_lot` locks that
//! know no poison), and under `--cfg millpond_loom` on loom, which explores
//! every interleaving. The surface is the intersection of both, so nothing can be used that a model
//! would not see. The cfg switches the whole dependency graph: no crate may choose its own arm.
//!
//! ```
//! use millpond_sync::{Arc, Mutex, model, thread};
//!
//! // Under std this runs once; under loom it runs once per interleaving.
//! model("two_increments_are_both_seen", || {
//!     let count = Arc::new(Mutex::new(0));
//!     let other = { let count = count.clone(); thread::spawn(move || *count.lock() += 1) };
//!     *count.lock() += 1;
//!     other.join().expect("the thread only adds");
//!     assert_eq!(*count.lock(), 2);
//! });
//! ```
//!
//! # What loom does not see
//!
//! * Time. [`Condvar::wait_until`] never times out under a model, so a protocol must not *need* its
//!   deadline in order to make progress; deadlines enter the cores as a `now` argument.
//! * `SeqCst` accesses count as acquire-release. Use fences where sequential consistency matters.
//! * Anything that is not from this crate: channels, concurrent maps, a runtime's primitives.

mod model;
pub mod oneshot;

#[cfg(millpond_loom)]
mod loom_arm;
#[cfg(millpond_loom)]
pub use loom_arm::{Arc, Condvar, Mutex, MutexGuard, Parker, RwLock, atomic, cell, thread};

#[cfg(not(millpond_loom))]
mod std_arm;
#[cfg(not(millpond_loom))]
pub use std_arm::{Arc, Condvar, Mutex, MutexGuard, Parker, RwLock, atomic, cell, thread};

pub use model::model;

#[cfg(test)]
mod models;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
