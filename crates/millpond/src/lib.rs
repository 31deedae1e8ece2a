//! Millions of ordered durable queues in one process: fair, leased, crash-safe, on RocksDB. It is not a
//! server and speaks no network protocol: it lives inside your program.
//!
//! ```
//! use std::time::Duration;
//!
//! use millpond::{Engine, Entry, Options};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), millpond::Error> {
//! #   let directory = tempfile::tempdir().expect("a temporary directory");
//! #   let data = directory.path().join("data");
//!     let engine = Engine::open(Options::new(data)).await?;
//!     let emails = engine.topic("emails");
//!
//!     // The receipt exists only once the entry would survive a power cut.
//!     let receipt = emails.queue("tenant-42").enqueue(Entry::new("hello").priority(3)).await?;
//!     println!("accepted {}", receipt.get().id());
//!
//!     let mut consumer = emails.consumer().lease_for(Duration::from_secs(30)).credits(64).start()?;
//!     while let Some(delivery) = consumer.next().await? {
//!         println!("{} for {}", delivery.payload().escape_ascii(), delivery.queue_key());
//!         delivery.ack().await?;
//! #       break;
//!     }
//!     engine.close().await
//! }
//! ```
//!
//! # Guarantees
//!
//! * **Sync policy.** Every commit is synced (`fdatasync` of the write-ahead log) before its receipt,
//!   grant or settlement is handed out; [`Durable`] is the type that says so. Commits that wait for the
//!   same sync share it. Who can do without asks for a [`Buffered`] receipt
//!   ([`Queue::enqueue_buffered`], [`Delivery::ack_buffered`]): it survives the end of the process, and perhaps
//!   not a power cut.
//! * **Delivery** is at least once. A lease ends by ack, nack or expiry; its token is a fencing token, and
//!   whoever comes late with it is refused.
//! * **Order** inside a queue is `(priority, sequence)` among ready entries. Queues of a topic are served
//!   in turn, by their weights, bands and limits ([`Settings`]).
//! * **Delays** end never early: [`Entry::delay`] by a clock of the engine's own, [`Entry::run_at`] by the
//!   wall clock. What waits is in nobody's way.
//! * **Retries.** A failed entry is ready again at once, or backs off as the [`Settings`] of its queue or its
//!   worker ([`Nack`]) says. After its last attempt it is one of the [dead letters](Queue::dead_letters).
//! * **Restart** reads which queues have work, never all entries.
//!
//! # Where things are
//!
//! This crate is a thin facade. The parts can be used alone: `millpond-partition` (the loop),
//! `millpond-inbox` (the in-memory windows), `millpond-storage-api` and its backends.

mod consumer;
mod dead;
mod delivery;
mod engine;
mod entry;
mod error;
mod lease;
mod nack;
mod rules;
#[cfg(feature = "metrics")]
mod series;
mod time;
mod topic;

#[cfg(feature = "rocksdb")]
pub mod admin;
#[cfg(all(feature = "control", unix))]
mod control;
#[cfg(feature = "rocksdb")]
mod layout;

pub use bytes::Bytes;
pub use consumer::{Batches, Consumer, ConsumerBuilder};
pub use dead::DeadLetters;
pub use delivery::{Delivery, Lease};
pub use engine::{Engine, Options, Status};
pub use entry::Entry;
pub use error::Error;
pub use lease::LeaseRequest;
pub use millpond_partition::inspect::{DeadLetter, StoredEntry};
pub use millpond_partition::verify::Verification;
pub use millpond_partition::{
    Accepted, Counters, FullOf, Latency, LeasesAtOpen, Nacked, OptionsError, PartitionOptions,
    PayloadStats, Payloads, Purged,
};
pub use millpond_storage_api::{Buffered, Durable, PartitionStore};
pub use millpond_types::{
    Backoff, Body, DeadCause, EntryId, EntryRank, Epoch, ErrorKind, Headers, InvalidSettings,
    LeaseToken, Priority, Quantum, QueueId, QueueKey, RateLimit, Scope, Sequence, Setting,
    Settings, TopicName, UnixMillis, limits,
};
pub use nack::Nack;
pub use rules::{Prefix, Rule};
pub use topic::{Queue, Topic};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct WorkspaceReadmeDoctests;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/fairness.md")]
struct FairnessDoctests;
