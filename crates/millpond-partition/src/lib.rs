//! One partition of Millpond: its loop turns commands into batches, and durable commits into events. It
//! names no backend and no runtime: it works over any [`PartitionStore`], and its futures run on any
//! executor.
//!
//! A [`Partition`] owns one store and one thread. All state is changed by that thread only; everybody
//! else talks to it through a bounded mailbox. The state machine itself is sans-IO, so the same code runs
//! under the loop, under tests and under a simulator.
//!
//! ```
//! use std::sync::Arc;
//!
//! use millpond_partition::{LeaseCall, LeaseRef, LeaseSource, NewEntry, Partition, QueueRef};
//! use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
//! use millpond_sync::thread::block_on;
//! use millpond_types::{Body, Priority, QueueKey, TopicName};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! block_on(async {
//!     let store = MemoryStore::open(&MemoryDisk::new(), MemoryOptions::default())?;
//!     let partition = Partition::open(Arc::new(store), Default::default()).await?;
//!     let queue = QueueRef::new(TopicName::new("emails")?, QueueKey::new("tenant-42")?);
//!
//!     let body = Body { payload: "hello".into(), ..Body::default() }.encode();
//!     let entry = NewEntry { priority: Priority::default(), body };
//!     let accepted = partition.enqueue(&queue, vec![entry]).await?;
//!
//!     let (call, answer) = LeaseCall::new(1, 30_000);
//!     partition.lease(LeaseSource::Topic(queue.topic_id), &call, true).await?;
//!     let grant = answer.await??.accept().remove(0).into_inner();
//!     assert_eq!(grant.id, accepted.get()[0]);
//!     partition.ack(LeaseRef { id: grant.id, token: grant.token }).await?;
//!     partition.close().await?;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # One entry's life in rows
//!
//! | step | rows | why |
//! |---|---|---|
//! | enqueue | put `entries`, put `active` (once per queue and commit); put `payloads` above 1 KiB; put `queues` when the queue is not in memory | the entry; exact counters and floor for restart; the names |
//! | lease | put `leases` | the entry's row does not move |
//! | ack | single-delete `entries`, delete `leases`, put or delete `active`; delete `payloads` if there | the entry's row was put once, so the two annihilate each other in a compaction |
//! | nack, expiry | put `leases` | keeps the attempts without rewriting the entry |
//! | extend | put `leases` | the new deadline |
//!
//! # The loop
//!
//! One turn takes messages from the mailbox, a guaranteed share of each class; takes over the commits that
//! have become durable; handles the messages and the deadlines that have passed; starts the reads that
//! queues without a known head need; grants what can be granted; and submits everything staged meanwhile
//! as one batch. While a batch is being synced the next turns stage the next one. What a batch changes in
//! memory waits beside it as a list of effects, and so do the replies.
//!
//! * **P1** The inbox of a queue hears of a change only after its commit is durable.
//! * **P2** A reply that carries a receipt, a grant or a settlement is built from the
//!   [`Durable`] position of the commit that contains it.
//! * **P3** Every row of a queue below its stored floor is dead, at every commit.
//! * **P4** A queue whose head can be leased is in the ring of its topic, exactly once.
//! * **P5** A queue that has work but no known head is being loaded, waits for a load, or backs off until
//!   a stated time.
//! * **P6** A lease is in memory from the moment it is staged until its end is durable, so an entry has at
//!   most one lease in force.
//!
//! The crate's tests play random histories against an oracle and look at all six after every step; they
//! also leave out the rules of the state machine one at a time and show that it is noticed.
//!
//! # The end
//!
//! A failed commit, a takeover of the store or a panic stops the partition: whoever waits, and whoever
//! comes later, gets [`PartitionError::Stopped`] with the reason, and the store is given up so that it can
//! be opened again. Nothing is retried in place.
//!
//! # Delivery
//!
//! At least once, in the order of [`EntryRank`](millpond_types::EntryRank) among the ready entries of a
//! queue. A lease ends by ack, nack or expiry; whoever comes later with its token is refused.

mod clock;
mod command;
mod core;
mod driver;
mod end;
mod error;
mod executor;
pub mod inspect;
mod latency;
mod mailbox;
mod options;
mod partition;
mod report;
pub mod verify;

pub use clock::Clock;
pub use command::{
    Grant, Grants, LeaseAnswer, LeaseCall, LeaseRef, LeaseSource, NewEntry, Purged, QueueRef,
};
pub use error::{PartitionError, StaleReason};
pub use latency::Latency;
pub use millpond_inbox::Limits as InboxLimits;
pub use millpond_storage_api::{Durable, PartitionStore};
pub use options::{LeasesAtOpen, OptionsError, PartitionOptions};
pub use partition::Partition;
pub use report::{Counters, PartitionReport, QueueReport, QueueState};

#[cfg(test)]
mod models;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
