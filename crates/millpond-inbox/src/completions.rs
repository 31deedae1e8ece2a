//! The hand-off that carries a finished refill from a worker back to the owner of the inbox.
//!
//! The owner issues a [`RefillTicket`] per refill and keeps its [`RefillFlight`]. The worker carries the
//! ticket, and whatever becomes of it (done, failed, cancelled, panicked, forgotten at shutdown) exactly
//! one [`Completion`] reaches the owner's [`Completions`] queue, so no inbox stays stuck with a refill in
//! flight. A completion costs O(1); nobody polls the inboxes that wait.
//!
//! 1. Every ticket pushes one completion, at the latest when it is dropped. The queue is therefore never
//!    longer than the tickets that are out, and its bound is the executor's.
//! 2. A push that finds the queue empty calls the owner's notifier, after the completion is in. An owner
//!    that parks only after [`Completions::next`] returned `None` misses nothing, provided that its
//!    notifier *latches*: a notification that comes before the park makes the park return at once.
//!    `Thread::unpark`, an async `Notify` and a mailbox do.
//! 3. A flight [accepts](RefillFlight::accepts) only its own completion. After a cancellation the late one
//!    is nobody's, and the owner drops it: its snapshot may be older than a refill started since.
//!
//! ```
//! use millpond_inbox::completions::{Completions, Outcome};
//! use millpond_inbox::{Inbox, Limits, RefillEnd};
//! use millpond_sync::thread;
//!
//! type Rows = (Vec<(u64, &'static str)>, RefillEnd<u64>);
//!
//! # millpond_sync::model("refill_documentation_example", || {
//! let owner = thread::current();
//! let mut completions = Completions::<&str, Rows, std::io::Error>::new(move || owner.unpark());
//! let mut inbox = Inbox::new(false, Limits::default());
//!
//! let request = inbox.refill_wanted().expect("a new inbox knows nothing");
//! inbox.refill_started(request);
//! let (flight, ticket) = completions.issue("tenant-42");
//! let worker = thread::spawn(move || ticket.complete((vec![(7, "row")], RefillEnd::Exhausted)));
//!
//! let completion = loop {
//!     match completions.next() {
//!         Some(completion) => break completion,
//!         None => thread::park(),
//!     }
//! };
//! assert_eq!(completion.tag, "tenant-42");
//! if flight.accepts(&completion) {
//!     match completion.outcome {
//!         Outcome::Completed((rows, end)) => {
//!             let _ = inbox.refill_finished(rows, end);
//!         }
//!         Outcome::Failed(_) | Outcome::Cancelled => {
//!             inbox.refill_failed();
//!         }
//!     }
//! }
//! assert_eq!(inbox.take(), Some((7, "row")));
//! # worker.join().expect("the worker only completes");
//! # });
//! ```

mod queue;
mod ticket;

pub use queue::Completions;
pub use ticket::{Completion, Outcome, RefillFlight, RefillTicket};

#[cfg(test)]
mod models;
