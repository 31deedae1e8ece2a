//! A small sorted window over an ordered store, one per queue, that always knows the queue's head
//! without scanning from the start, never loses a row and never shows a dead one, while refills read
//! storage on another thread. It does no I/O, owns no clock and no runtime, and keeps no rows beyond its
//! window: its owner performs the scans it asks for and tells it about every commit.
//!
//! ```
//! use millpond_inbox::{Finish, Inbox, Limits, RefillEnd};
//!
//! // The owner's store: rows by key. Nothing is known about it yet.
//! let mut store: std::collections::BTreeMap<u64, &str> = (1..=100).map(|key| (key, "row")).collect();
//! let mut inbox: Inbox<u64, &str> = Inbox::new(false, Limits::default());
//!
//! let request = inbox.refill_wanted().expect("an inbox that knows nothing asks");
//! let lower = request.from.lower_bound().expect("a request never starts at the end").cloned();
//! let rows_max = request.rows_max;
//! inbox.refill_started(request);
//! // ... on another thread, while the owner goes on inserting, taking and confirming:
//! let rows: Vec<_> =
//!     store.range((lower, std::ops::Bound::Unbounded)).map(|(k, v)| (*k, *v)).take(rows_max).collect();
//! let end = RefillEnd::Truncated { after: rows.last().expect("the store is not empty").0 };
//! assert_eq!(inbox.refill_finished(rows, end), Finish::Merged { n_admitted: 24, overlay_overflowed: false });
//!
//! let (head, _) = inbox.take().expect("the window holds 24 rows");
//! assert_eq!(head, 1);
//! store.remove(&head); // ... and once that is durable:
//! inbox.confirm(&head);
//! assert_eq!(inbox.peek(), Some((&2, &"row")));
//! ```
//!
//! # State
//!
//! * `items`: sorted rows, at most `C` (the [capacity](Limits::capacity)).
//! * `cov`: the exclusive upper bound of what is known, a [`Frontier`] from −∞ to +∞.
//! * `taken`: keys handed out or reserved whose departure is not durable yet.
//! * at most one refill in flight: `from`, where its scan starts; `overlay`, at most `M` changes since then;
//!   `horizon`, from where on changes were not all remembered.
//!
//! # Invariants
//!
//! * **I1** `items` is exactly the live, untaken keys below `cov`, once pending notifications are applied.
//! * **I2** Therefore the front of `items` is the minimum of the whole queue, always.
//! * **I3** `cov = +∞` means "this is the whole queue": no read is needed to know that it is empty.
//! * **I4** `|items| ≤ C` and `|overlay| ≤ M`.
//!
//! # Rules
//!
//! *Insert*, once durable: ignored if the key is taken, because a scan saw the row before its notification
//! came. At or above a refill's `from` it becomes an overlay *add*. Below `cov` it joins `items`; if that
//! would break I4, the back is evicted and `cov` falls to it, which keeps I1.
//!
//! *Take* and *reserve* move a key to `taken`. *Confirm*, once the departure is durable, removes it there
//! and leaves a *tombstone* in the overlay: a scan in flight may have seen the row, whether it was
//! handed out or not. *Restore* is an abandoned departure: it leaves `taken` and is inserted again.
//!
//! *Overlay overflow* drops the largest key and lowers `horizon` to it. Dropping it silently would lose a
//! tombstone and re-admit a dead row.
//!
//! *Finish*: if `cov < from`, the window shrank meanwhile and the rows in between were not read, so the
//! result is discarded. Otherwise `limit = min(end, horizon)`, where `end` is +∞ after an exhausted scan,
//! the position just after the last key read by a truncated one, and `from` if nothing was read. Rows and
//! overlay are merged in key order below `limit`; the overlay wins, tombstoned and taken keys are skipped.
//! If the window is full at key `k`, `limit = k`. Then `cov = max(cov, limit)`.
//!
//! Three consequences:
//!
//! 1. A *partial* scan, cancelled or out of budget, is still useful: `end` says how far it reached.
//! 2. The worker may take its snapshot at *any* time between start and finish. What changed before the
//!    snapshot and what changed after it are both in the overlay, and both are right to win.
//! 3. A new queue starts at +∞ only when its metadata, read in the same commit, says that it holds nothing;
//!    otherwise it starts at −∞.
//!
//! # Why exactly these rules
//!
//! The obvious engine of this kind moves its anchor to the largest key it merged. When a scan was truncated
//! and an overlay add lies beyond its last row, the anchor jumps over everything between, and those rows
//! are never seen again: hence `limit = min(end, …)`. It records tombstones only for rows it handed out, so
//! that a row removed otherwise during a scan comes back to life: hence a tombstone on *every* departure. And
//! it forgets that it knows a queue to be empty, so that ten inserts into an empty queue cache one: hence
//! I3, and eviction as the only thing that lowers `cov`. Each rule is indispensable: the test suite leaves
//! out one at a time (`src/mutation.rs`) and shows that the property test then fails.
//!
//! # What it costs
//!
//! The structure stays within 64 bytes for keys and values of 16, and an idle inbox owns no heap memory.
//! A queue whose depth stays within the capacity is never read at all, and one refill of a deeper queue
//! serves a whole window: 41 per 1000 dequeues at capacity 24. A window of `C` cannot do with fewer, because
//! each refill brings at most `C` rows and FIFO inserts land beyond it; [`Limits`] tells what prefetching
//! costs on top.
//!
//! The refill's way back from a worker thread is in [`completions`].

pub mod completions;
mod frontier;
mod inbox;
mod limits;
mod mutation;
mod refill;

pub use frontier::Frontier;
pub use inbox::{Inbox, Insertion};
pub use limits::{Limits, LimitsError};
pub use refill::{Finish, RefillEnd, RefillRequest};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
