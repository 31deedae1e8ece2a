//! The storage traits of Millpond and their durability contract. There is no backend here and no
//! runtime: a store may be an LSM on a local disk or objects in a cloud, and nothing above may assume
//! which.
//!
//! A [`PartitionStore`] keeps ordered [`Table`]s. Writers [`submit`](PartitionStore::submit) batches and
//! get a [`CommitTicket`]; only when the batch is durable does the ticket resolve to a [`Durable`]
//! value, and nothing else in the workspace can make one. Who can do with less submits with
//! [`submit_buffered`](PartitionStore::submit_buffered) and gets a [`Buffered`] value, sooner. Readers fill a [`ScanRows`] buffer per call:
//! no iterator and no snapshot escapes.
//!
//! ```
//! use millpond_storage_api::{Op, Table, WriteBatch};
//!
//! let mut batch = WriteBatch::new();
//! batch.put(Table::System, b"name", b"value");
//! batch.delete_range(Table::Log, b"a", b"b");
//! assert_eq!(batch.len(), 2);
//! let again = WriteBatch::decode(batch.as_bytes())?;
//! assert_eq!(again.ops().next(), Some(Op::Put { table: Table::System, key: b"name", value: b"value" }));
//! # Ok::<(), millpond_storage_api::StoreError>(())
//! ```
//!
//! # The contract
//!
//! 1. **Order.** Batches take effect in the order in which they were submitted, of either kind, each wholly
//!    or not at all. Their [`LogPosition`]s are dense and grow across reopens.
//! 2. **Durability.** A ticket resolves to `Durable(p)` only after every batch up to `p`, of either kind,
//!    would survive a power cut. After a power cut the store holds exactly the batches up to some `q`, and
//!    `q ≥ p` for every `Durable(p)` that was ever handed out. A ticket resolves to `Buffered(p)` only
//!    after every batch up to `p` would survive the end of the process: after that, `q ≥ p` for every
//!    `Buffered(p)` too.
//! 3. **Visibility.** A batch becomes visible to reads at some moment between `submit` and the
//!    resolution of its ticket. A read that starts after the resolution sees it.
//! 4. **Fail-stop.** After one failed commit of either kind every later commit fails too, and reopening is
//!    the only cure. Nothing that was durable is lost by it. What was only buffered may be: the device
//!    that refused a write or a sync may have dropped what it had not stored yet.
//! 5. **Ownership.** Opening claims an [`Epoch`] higher than any before, durably, before the first
//!    `submit` succeeds. A store whose epoch was overtaken answers [`StoreErrorKind::Fenced`], and what it
//!    had only buffered may be lost.
//! 6. **Scans** start at `lower` (inclusive), end before `upper`, return rows in key order, and say
//!    explicitly whether the range was exhausted: a short result proves nothing by itself.
//!
//! `millpond-storage-conformance` turns each of these sentences into tests.

mod batch;
mod commit;
mod error;
mod log;
mod scan;
mod store;
mod table;

pub use batch::{Op, WriteBatch};
pub use commit::{
    Buffered, BufferedTicket, CommitPromise, CommitTicket, Durable, Ticket, buffered_ticket,
    commit_ticket,
};
pub use error::{OpenError, StoreError, StoreErrorKind};
pub use log::{CommitLog, LogFuture, LogPin, LogPins, LogRecord};
pub use millpond_types::{Epoch, LogPosition};
pub use scan::{ScanEnd, ScanRequest, ScanRows};
pub use store::{
    Capabilities, Checkpoint, CheckpointFuture, CloseFuture, GetFuture, PartitionStore, ScanFuture,
    StoreRead,
};
pub use table::Table;

#[cfg(test)]
mod models;
#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
