//! The reference storage backend of Millpond, with a crash and fault model. It keeps nothing outside
//! this process's memory, and it is not tuned: it is the backend of tests and simulations.
//!
//! A [`MemoryDisk`] is the device: it survives its handles, and a test or a seeded simulator holds its
//! levers. A [`MemoryStore`] is an open store on it. Nothing here has a thread, a clock or randomness,
//! so the same calls give the same history.
//!
//! ```
//! use millpond_storage_api::{PartitionStore, StoreRead, Table, WriteBatch};
//! use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore, SyncMode};
//!
//! let disk = MemoryDisk::new();
//! let options = MemoryOptions { sync: SyncMode::Stepped, ..MemoryOptions::default() };
//! let store = MemoryStore::open(&disk, options)?;
//! let submit = |key: &[u8]| {
//!     let mut batch = WriteBatch::new();
//!     batch.put(Table::Active, key, b"value");
//!     store.submit(batch)
//! };
//! let (mut durable, mut lost) = (submit(b"durable"), submit(b"lost"));
//! disk.sync_next();
//! disk.crash(0);
//! assert!(durable.try_outcome().expect("it is resolved").is_ok());
//! assert!(lost.try_outcome().expect("it is resolved").is_err());
//!
//! let store = MemoryStore::open(&disk, options)?;
//! assert!(store.try_get(Table::Active, b"durable")?.is_some());
//! assert!(store.try_get(Table::Active, b"lost")?.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The model
//!
//! The device holds the *durable* rows, and in order the batches that were submitted and are not durable
//! yet. The first of those may be *written*: a power cut can take them, the end of the process cannot. Every freedom that the [contract](millpond_storage_api#the-contract) leaves a backend is a lever:
//!
//! | the contract leaves open | lever |
//! |---|---|
//! | when a batch becomes durable | [`SyncMode`], [`MemoryDisk::sync_next`] |
//! | when a batch is written before that | [`SyncMode`], [`MemoryDisk::write_next`] |
//! | when it becomes visible before that | [`Visibility`] |
//! | how much of what is not durable survives a power cut | [`MemoryDisk::crash`] |
//! | how much of what is not written survives the end of the process | [`MemoryDisk::kill`] |
//! | whether a batch whose commit failed is on the disk | [`FailedBatch`] |
//! | what memory can serve | [`MemoryDisk::block_reads`], [`MemoryOptions::tombstones`] |
//! | which moment a scan sees, and when it completes | [`MemoryDisk::hold_scans`] |
//! | whether a second handle is refused or fences the first | [`Sharing`] |
//!
//! What should depend on the table or the keys that are read goes through an [`InterceptedStore`], which
//! asks its caller about each read and tells of each commit.
//!
//! What cannot be chosen:
//!
//! 1. Durable rows change only by the oldest pending batch becoming durable, so what survives is a prefix.
//! 2. A ticket resolves as durable after the durable rows hold its batch, never before, and as buffered
//!    after its batch and all before it are written.
//! 3. At most one handle is open or closing; the others are closed, failed or fenced for good.
//! 4. Tickets, scans and closings are answered after the device is unlocked, so a waker may use the store.
//!
//! Beyond the contract, every commit is checked for the single-put discipline of
//! [`Table::Entries`](millpond_storage_api::Table::Entries): putting over a live row, or a `single_delete` of
//! a row that is not there, fails the commit with `Corrupt`. On an LSM the same mistake would bring old
//! rows back much later.

mod device;
mod discipline;
mod disk;
mod fault;
mod handle;
mod intercept;
mod options;
mod store;
mod tables;

pub use disk::MemoryDisk;
pub use fault::{BlockReads, FailedBatch, SnapshotAt};
pub use intercept::{Intercept, InterceptedStore};
pub use options::{MemoryOptions, Sharing, SyncMode, Visibility};
pub use store::MemoryStore;

#[cfg(test)]
mod models;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
