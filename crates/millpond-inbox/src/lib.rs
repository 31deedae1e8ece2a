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
//! assert_eq!(inbox.refill_finished(rows, end), Finish::Merged { n_admitted: 4, overlay_overflowed: false });
//!
//! let (head, _) = inbox.take().expect("the window holds the first rows");
//! assert_eq!(head, 1);
//! store.remove(&head); // ... and once that is durable:
//! inbox.confirm(&head);
//! assert_eq!(inbox.peek(), Some((&2, &"row")));
//! ```
//!
//! # State
//!
//! * `items`: sorted rows. Inserts fill the window up to `C` (the [capacity](Limits::capacity)), refills up
//!   to their batch where that is larger.
//! * `cov`: the exclusive upper bound of what is known, a [`Frontier`] from −∞ to +∞.
//! * `taken`: keys handed out or reserved whose departure is not durable yet.
//! * `batch`: how many rows a refill asks for, from [`batch_min`](Limits::batch_min) to
//!   [`batch_max`](Limits::batch_max).
//! * at most one refill in flight: `from`, where its scan starts; `overlay`, at most `M` changes since then;
//!   `horizon`, from where on changes were not all remembered.
//!
//! # Invariants
//!
//! * **I1** `items` is exactly the live, untaken keys below `cov`, once pending notifications are applied.
//! * **I2** Therefore the front of `items` is the minimum of the whole queue, always.
//! * **I3** `cov = +∞` means "this is the whole queue": no read is needed to know that it is empty.
//! * **I4** `|items| ≤ max(C, batch_max)`, no insert raises `|items|` above `C`, and `|overlay| ≤ M`.
//!
//! # Rules
//!
//! *Insert*, once durable: ignored if the key is taken, because a scan saw the row before its notification
//! came. At or above a refill's `from` it becomes an overlay *add*. Below `cov` it joins `items`; if there
//! are `C` or more already, the back is evicted instead of growing, and `cov` falls to it, which keeps I1.
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
//! The window has room for `max(C, batch) − |items|` of them; if it is full at key `k`, `limit = k`. Then
//! `cov = max(cov, limit)`.
//!
//! *Batch*: it starts at `batch_min`. A refill that admitted a whole batch, or filled the window, doubles
//! it; [`shrink_to`](Inbox::shrink_to) that forgets something halves it: multiplicative increase while the
//! queue drains, decrease under memory pressure. Filling the window counts because items that a low mark
//! leaves there take room from the batch. The batch decides how much is read and never what is believed,
//! so I1 to I3 do not depend on it. A window that a stale request finds above `max(C, batch)` admits nothing
//! and keeps what it has.
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
//! I3, and eviction as the only thing that lowers `cov`. Each rule, and each bound that I4 and progress rest
//! on, is indispensable: the test suite leaves out one at a time (`src/mutation.rs`) and shows that the
//! property test then fails.
//!
//! # What it costs
//!
//! The structure stays within 64 bytes for keys and values of 16, and an idle inbox owns no heap memory.
//! A queue whose depth stays within the capacity is never read at all. A deeper one that is drained is read
//! once per batch: 19 times per 1000 FIFO dequeues at a depth of 500, with capacity 24 and batches of 4 to
//! 64. A batch fixed at the capacity takes 41, the fewest possible for it, because each refill brings one
//! batch and FIFO inserts land beyond it. [`Limits`] has the counts, and tells what prefetching costs on
//! top; [`heap_bytes`](Inbox::heap_bytes) says what a window holds now.
//!
//! The refill's way back from a worker thread is in [`completions`].

pub mod completions;
mod frontier;
mod inbox;
mod limits;
mod mutation;
mod refill;
mod sizing;

pub use frontier::Frontier;
pub use inbox::{Inbox, Insertion};
pub use limits::{Limits, LimitsError};
pub use refill::{Finish, RefillEnd, RefillRequest};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
