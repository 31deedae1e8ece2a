//! Replaceable, cancelable deadlines in exact order, for one owner that keeps the clock. The core reads no
//! time, sleeps nowhere and starts nothing: the owner says what time it is and asks when to come back.
//!
//! * [`Timers`] carries values and names them by [`Handle`]s: nothing is hashed.
//! * [`Wakeups`] has at most one live deadline per key.
//! * [`DeadlineIndex`] holds the several deadlines of something that has one wakeup.
//! * [`BackoffPolicy`] says how long to wait before the next attempt.
//!
//! Around the core there are two ways to bring things to an owner, and each reads the clock only in order to
//! sleep:
//!
//! * [`mailbox`](mod@mailbox): messages of several classes, with a guaranteed share for each; due timers can
//!   be one of them.
//! * With the feature `tokio`, the module `driver`: due timers for a task, set from anywhere.
//!
//! The directory `examples` has three patterns to start from: flush at so many items or after so long, durable
//! retries, lease expiry.

mod backoff;
#[cfg(test)]
mod counter;
mod deadline_index;
#[cfg(any(test, feature = "tokio"))]
pub mod driver;
mod error;
mod index;
mod ladder;
pub mod mailbox;
mod nanos;
mod rules;
mod schedule;
mod slab;
mod timer;
mod timers;
mod wakeups;

#[cfg(test)]
mod tests;

pub use backoff::{BackoffError, BackoffPolicy};
pub use deadline_index::DeadlineIndex;
pub use error::{Rejected, RejectedKind};
pub use nanos::Nanos;
pub use schedule::Schedule;
pub use timer::{Drained, Due, Earlier, Handle, Replaced, Revision, Set, SetOutcome, Timer};
pub use timers::{Pending, Timers};
pub use wakeups::Wakeups;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
