//! Replaceable, cancelable deadlines in exact order, for one owner that keeps the clock. It reads no time,
//! sleeps nowhere and starts nothing: the owner says what time it is and asks when to come back.
//!
//! * [`Timers`] carries values and names them by [`Handle`]s: nothing is hashed.
//! * [`Wakeups`] has at most one live deadline per key.
//! * [`DeadlineIndex`] holds the several deadlines of something that has one wakeup.

mod deadline_index;
mod error;
mod index;
mod ladder;
mod nanos;
mod rules;
mod slab;
mod timer;
mod timers;
mod wakeups;

#[cfg(test)]
mod tests;

pub use deadline_index::DeadlineIndex;
pub use error::{Rejected, RejectedKind};
pub use nanos::Nanos;
pub use timer::{Drained, Due, Earlier, Handle, Replaced, Revision, Set, SetOutcome, Timer};
pub use timers::{Pending, Timers};
pub use wakeups::Wakeups;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
