//! Replaceable, cancelable deadlines in exact order, for one owner that keeps the clock. It reads no time,
//! sleeps nowhere and starts nothing: the owner says what time it is and asks when to come back.
//!
//! * [`Timers`] carries values and names them by [`Handle`]s: nothing is hashed.
//! * [`Wakeups`] has at most one live deadline per key.
//! * [`DeadlineIndex`] holds the several deadlines of something that has one wakeup.
//! * [`BackoffPolicy`] says how long to wait before the next attempt.
//! * With the feature `tokio`, the module `driver` sleeps until the next deadline and delivers what is due.
//! * [`mailbox`](mod@mailbox) brings messages to the same owner, with a guaranteed share for every class.

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
