//! The reference storage backend of Millpond, with a crash and fault model. It stores nothing outside
//! this process's memory.

mod device;
mod discipline;
mod disk;
mod fault;
mod handle;
mod options;
mod store;
mod tables;

pub use disk::MemoryDisk;
pub use fault::{BlockReads, FailedBatch, SnapshotAt};
pub use options::{MemoryOptions, Sharing, SyncMode, Visibility};
pub use store::MemoryStore;
