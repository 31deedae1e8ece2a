//! The RocksDB backend of Millpond. It knows rows and tables only: no queues, no leases, no runtime.

mod budget;
mod checkpoint;
mod error;
mod log;
mod open;
mod options;
mod pool;
mod queue;
mod read;
mod reader;
mod stats;
mod store;
mod writer;

pub use budget::{BudgetOptions, RocksBudget};
pub use open::OpenMode;
pub use reader::RocksReader;
pub use stats::CommitStats;
pub use store::RocksStore;

#[cfg(test)]
mod models;
#[cfg(all(test, not(millpond_loom)))]
mod tests;

#[cfg(all(doctest, not(millpond_loom)))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
