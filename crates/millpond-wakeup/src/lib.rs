//! Replaceable, cancelable deadlines in exact order, for one owner that keeps the clock. The core reads no
//! time, sleeps nowhere and starts nothing: the owner says what time it is and asks when to come back.
//!
//! * [`Timers`] carries values and names them by [`Handle`]s: nothing is hashed.
//! * [`Wakeups`] has at most one live deadline per key: retry back-off, lease expiry, delayed work.
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
//!
//! ```
//! use std::time::Duration;
//! use millpond_wakeup::{Nanos, Wakeups};
//!
//! let mut wakeups = Wakeups::new(1_000_000);
//! let mut now = Nanos::ZERO;
//! for (job, delay_ms) in [("first", 2), ("second", 1)] {
//!     wakeups.set_after(now, job, Duration::from_millis(delay_ms))?;
//! }
//! wakeups.set_if_earlier("first", Nanos::ZERO)?; // due at once
//!
//! let (mut batch, mut done) = (Vec::new(), Vec::new());
//! while let Some(deadline) = wakeups.next_deadline() {
//!     now = now.max(deadline); // sleep until then, and look at the clock
//!     let _ = wakeups.drain_due(now, 100, &mut batch);
//!     done.extend(batch.drain(..).map(|due| due.value));
//! }
//! assert_eq!(done, ["first", "second"]);
//! # Ok::<(), millpond_wakeup::Rejected<&str>>(())
//! ```
//!
//! # Rules
//!
//! * **Order** is exactly `(deadline, revision)`. The [`Revision`] is one counter per scheduler, and every
//!   setting of a deadline takes the next number: ties fire in the order in which they were set. No deadline
//!   is rounded.
//! * **A deadline in the past** is accepted and due at once, before everything that is due later.
//! * **Replacing** a deadline, by something earlier or later, needs no capacity. A timer that wants to fire
//!   earlier but not later is a primitive (`set_if_earlier`, `reset_if_earlier`).
//! * **A stale handle** finds nothing, whatever is done with it. [`Handle`] says what that rests on.
//! * **A batch** is a moment of the past once it is taken. What was delivered is not live: a cancel returns
//!   false, and [`Wakeups::is_current`] tells whether the key was set anew meanwhile.
//! * **Capacity** is the most live timers. At the limit an insert gives its value back, with the count.
//! * **A shutdown** is latched. What is pending comes back, in order, and later inserts are refused as
//!   [`ShuttingDown`](RejectedKind::ShuttingDown), which a caller may ignore.
//! * **Time** is monotonic [`Nanos`]. An owner whose deadlines come from a wall clock converts them, and
//!   converts them again when that clock steps; nothing that is set here moves by itself.
//!
//! # Structure
//!
//! A *ladder* (Tang, Goh and Thng, 2005, describe the family): timers that are far away lie in buckets, in no
//! order, and are sorted when their time comes. What is different here is where buckets end. They are not
//! equally wide; each holds 2,048 timers at most, and a full one is split at its median. So the
//! distribution of the deadlines does not matter, there is no horizon, nothing has to be moved because time
//! passes, and the worst call is bounded: equal deadlines are told apart by their revisions.
//!
//! 1. The *front* is sorted and holds the first timers of all, 256 at most. Its first timer is the next
//!    deadline.
//! 2. Behind it lie the buckets, each behind a *fence* that is not greater than its deadlines. A search among
//!    the fences, which are few and lie together, says where a timer belongs.
//! 3. A timer knows its bucket and its position there. Taking it out leaves a hole, which the next timer
//!    takes; no other timer is touched.
//! 4. A front that ran empty halves the first bucket until 128 timers are left, and sorts these. The other
//!    halves stay behind as buckets.
//! 5. A bucket of less than 64 timers joins a neighbour that has room.
//!
//! The module `ladder` has the invariants, and the tests leave out its rules one at a time. Both forms agree
//! with an ordered map over millions of random operations (`src/tests.rs`).
//!
//! # What it costs
//!
//! A search among the fences, and two places in memory: that of the timer and that of its hole. With a million
//! timers of 8 bytes the handle form takes 38 bytes per timer and the keyed form about 60. No call touches more
//! than about 3,000 timers, which is some tens of microseconds, whatever is in it. The benchmark `wakeup` of
//! `millpond-bench` has the figures, beside two peers.
//!
//! Memory follows the most timers that were live; what fired leaves room for what comes. `clear` gives it
//! back, and so does a drop; both take time in proportion to the number of timers.

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
