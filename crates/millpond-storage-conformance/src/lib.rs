//! The suite that every Millpond storage backend must pass: the contract of `millpond-storage-api`, one
//! test per sentence. It measures nothing, and it knows no backend.
//!
//! A backend implements [`Harness`] and calls [`conformance_suite!`] in a test target, which makes one
//! `#[test]` per case in one module per group. [`cases`] gives the same cases as a list.
//!
//! ```
//! use std::future::Future;
//! use std::sync::Arc;
//!
//! use millpond_storage_api::{OpenError, PartitionStore};
//! use millpond_storage_conformance::Harness;
//! use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
//!
//! #[derive(Default)]
//! struct MemoryHarness(MemoryDisk);
//!
//! impl Harness for MemoryHarness {
//!     fn open(&mut self) -> Result<Arc<dyn PartitionStore>, OpenError> {
//!         Ok(Arc::new(MemoryStore::open(&self.0, MemoryOptions::default())?))
//!     }
//!     fn crash(&mut self) {
//!         self.0.crash(0);
//!     }
//!     fn kill(&mut self) {
//!         self.0.kill(0);
//!     }
//!     fn block_on<F: Future>(&mut self, future: F) -> F::Output {
//!         millpond_sync::thread::block_on(future)
//!     }
//! }
//!
//! let cases = millpond_storage_conformance::cases::<MemoryHarness>();
//! let scans = cases.iter().filter(|case| case.group == "scan");
//! assert!(scans.count() > 10);
//! assert!(cases.iter().all(|case| case.failure(MemoryHarness::default()).is_none()));
//! ```
//!
//! # How a case judges
//!
//! 1. Every batch goes to the store and to an oracle of plain maps. Scans and gets are made in both of
//!    their forms, and the one that may not block is held to the same rows.
//! 2. A case demands what the contract says and no more. Where the contract leaves a choice (how soon a
//!    batch is visible, how many rows a scan returns, how much of what was not acknowledged survives), it
//!    looks for *some* permitted answer: a prefix of what was submitted, a prefix of the range.
//! 3. A case ends: loops over scans and logs fail when they make no progress.
//! 4. [`broken`] proves that a case can fail, for each case.

pub mod broken;
mod cases;
mod fixture;
mod harness;
mod oracle;
mod random;
mod suite;

pub use harness::{FaultHarness, Harness};
pub use suite::{Case, cases, fault_cases, run_case, run_fault_case};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
