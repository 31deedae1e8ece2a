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
//! use millpond_partition::{LeaseCall, LeaseRef, LeaseSource, NewEntry, Partition, QueueRef, Start};
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
//!     let entry = NewEntry { priority: Priority::default(), body, start: Start::Now, dedup: None };
//!     let accepted = partition.enqueue(&queue, vec![entry]).await?;
//!
//!     let (call, answer) = LeaseCall::new(1, 30_000);
//!     partition.lease(LeaseSource::Topic(queue.topic_id), &call, true).await?;
//!     let grant = answer.await??.accept().remove(0).into_inner();
//!     assert_eq!(grant.id, accepted.get()[0].id());
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
//! | enqueue with a key | also put `dedup` twice, by key and by the time at which it is forgotten | found by one look-up, forgotten by one scan |
//! | lease | put `leases` | the entry's row does not move |
//! | ack | single-delete `entries`, delete `leases`, put or delete `active`; delete `payloads` if there | the entry's row was put once, so the two annihilate each other in a compaction |
//! | ack and enqueue | both, in one batch | the work and what it has led to |
//! | nack, expiry | put `leases` | keeps the attempts without rewriting the entry |
//! | delay | put `delayed`, and a notice of five bytes in `entries`, instead of the entry's row | what is due next is read in one scan, and the queue knows what it waits for |
//! | due | delete `delayed`, single-delete the notice, put `entries` | the row of a ready entry |
//! | nack with back-off | as ack, but the body stays; and as delay | whoever waits is in nobody's way |
//! | last nack or expiry | as ack, but the body stays; put `entries` in stage dead | dead letters stand apart |
//! | the same, with a dead-letter topic | as ack, and as enqueue in the queue of the same key there | one batch takes it from one queue to the other |
//! | older than its queue keeps it | as ack; delete `leases` only if it was leased before | nobody has to read or lease it first |
//! | replay, drop | single-delete the dead row; put the ready one, or delete `payloads` | |
//! | extend | put `leases` | the new deadline |
//! | forget a key | delete `dedup` twice | |
//! | purge | range-delete `entries` and `payloads`, delete `leases`, delete `active`; row by row for short queues and where ranges are not cheap | everything a queue holds |
//!
//! # The loop
//!
//! One turn takes messages from the mailbox, a guaranteed share of each class; takes over the commits that
//! have become durable; handles the messages and the deadlines that have passed; grants what can be
//! granted; starts the reads that queues without a known head need, and grants again, because most of them
//! end at once; and submits everything staged meanwhile as one batch. While a batch is being synced the
//! next turns stage the next one, but for grants: those wait for its end, so that whoever becomes ready with it
//! has its turn among them. What a batch changes in memory waits beside it as a list of effects,
//! and so do the replies. Whatever may be long is cut: commands by time, the effects of a commit by
//! number, reads, reports and the search for memory by steps, and the rest has a turn of its own.
//!
//! # Time
//!
//! What becomes ready by itself stands in two lines, one for each [clock](millpond_types::DueClock), of which
//! the first few hundred entries are in memory. Everything else that ends by itself (leases, pauses after
//! failed reads) is a wait of its queue, and each queue has one wakeup. A turn of the loop handles
//! [`timers_per_turn`](PartitionOptions::timers_per_turn) of each kind, in two turns of each commit: a million
//! leases that end at the same moment take two thousand turns, and everybody else has a share of each.
//!
//! # A million queues
//!
//! A queue that has something ready, or had it a moment ago, is in memory; one that is not there has nothing
//! that could be served. It takes about 260 bytes, the scheduler's included, and 40 more for every entry in its window. What makes
//! that work:
//!
//! * *Residency.* Idle queues leave, oldest first, beyond [`idle_queues_max`](PartitionOptions::idle_queues_max).
//!   While there are any that hold delayed or dead entries, a command for a queue that is not in memory waits
//!   until that one queue is looked up. After a restart a sweep brings queues back, a step per turn; a topic that somebody wants goes first,
//!   and a command for a queue that is not back yet waits for that one queue to be looked up.
//! * *Heads on demand.* A queue whose head is unknown has its turns like any other and costs nothing. When
//!   its turn comes its head is read, together with those that come next; a queue that was just served is
//!   read ahead while there is memory. What memory cannot serve goes to a few threads, urgent reads first,
//!   neighbours in one job.
//! * *Topics are few.* Each costs some 250 bytes, and the end of the sweep visits all of them in one turn.
//! * *One byte budget* for all windows, [`window_bytes_max`](PartitionOptions::window_bytes_max).
//! * *Floors.* The lowest rank that may be live is stored with the counters of each queue, in the row that
//!   every commit writes anyway, so that the first read after a restart walks over no dead rows.
//! * *Keys seen* are in memory while they are on their way to storage, and nowhere else.
//! * *Failed reads* back off per queue, exponentially and apart from each other, and show in the report of
//!   that queue. A row that cannot be decoded is set aside and its neighbours flow.
//!
//! # Invariants
//!
//! * **P1** The inbox of a queue hears of a change only after its commit has the durability that was asked
//!   for: `Durable`, unless everybody in it can do with less.
//! * **P2** A reply that carries a receipt, a grant or a settlement is built from the
//!   [`Durable`] position of the commit that contains it; or from its [`Buffered`] position, if the caller has
//!   asked for no more than that.
//! * **P3** Every row of a queue below its stored floor is dead, at every commit.
//! * **P4** A queue that has a head, or has work of which the head is unknown, has exactly one
//!   place with the scheduler of its topic; unless it backs off or is being purged.
//! * **P5** A queue with work comes to a head: its turn comes and its head is read, or it backs off until a
//!   stated time. A caller is only told "nothing" when no queue of its topic may be served, is being read, or is
//!   about to be brought back.
//! * **P6** A lease is in memory from the moment it is staged until its end is durable, so an entry has at
//!   most one lease in force.
//! * **P7** What a read says of a queue that is not in memory is true: no queue leaves memory while a read of
//!   it is in flight.
//! * **P8** A purge removes what was accepted before it and nothing that was accepted after it.
//! * **P9** An entry is in one stage of one queue at every commit. It leaves the delayed ones when its clock shows the due
//!   time, and not before; its attempts and its retry floor go with it.
//! * **P10** Each queue that waits has one wakeup, at the first of its waits at the latest.
//! * **P11** A bound refuses what comes, whole, and nothing that is inside. The totals of the partition are
//!   the sum of the counters of its queues, at every commit.
//! * **P12** A queue accepts no key twice within its window. Of what memory cannot tell storage is asked, and
//!   whatever must keep its order waits meanwhile.
//! * **P13** Every lease in force counts once in each limit that its queue is subject to, and nothing else does.
//!   After the answer to a change of rules nothing is granted by older ones.
//!
//! The crate's tests play random histories against an oracle and look at all of these after every step; they
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
//! queue. A lease ends by ack, nack or expiry; whoever comes later with its token is refused. An entry that
//! failed is ready again at its old place, at once or after a [back-off](millpond_types::Settings::backoff) during which newer
//! entries are served; after its last attempt it is a dead letter, until somebody
//! [replays or drops](Partition::dead) it, or a new entry in the topic that its rules name, which [tells of
//! it](dead_headers).
//!
//! An entry that is older than the rules of its queue keep it is not delivered any more. It is removed when it
//! comes to the head of its queue, whether or not anybody asks for work; that takes a known head, so what a
//! restart has left unread stays until it is read. A lease is honoured to its end however old its entry is.
//! Dead letters have no age: give them a topic of their own, with a time of its own.

mod clock;
mod command;
mod core;
pub mod dead_headers;
mod driver;
mod durability;
mod end;
mod error;
mod executor;
mod governor;
pub mod inspect;
mod latency;
mod mailbox;
mod options;
mod partition;
mod payloads;
mod report;
mod rules;
pub mod verify;

pub use clock::Clock;
pub use command::{
    Accepted, DeadAction, Grant, Grants, LeaseAnswer, LeaseCall, LeaseRef, LeaseSource, Nack,
    Nacked, NewEntry, Purged, QueueRef, Retry, Start,
};
pub use error::{FullOf, PartitionError, StaleReason};
pub use governor::Governor;
pub use latency::Latency;
pub use millpond_inbox::Limits as InboxLimits;
pub use millpond_storage_api::{Buffered, Durable, PartitionStore};
pub use options::{LeasesAtOpen, OptionsError, PartitionOptions};
pub use partition::Partition;
pub use payloads::{PayloadStats, Payloads};
pub use report::{Counters, LimitOf, PartitionReport, PausedBy, QueueReport, QueueState};
pub use rules::RuleError;

#[cfg(test)]
mod models;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
