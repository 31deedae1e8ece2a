//! The suite that every Millpond storage backend must pass: the contract of `millpond-storage-api`, one
//! test per sentence. It is not a benchmark and measures nothing.

pub mod broken;
mod cases;
mod fixture;
mod harness;
mod oracle;
mod random;
mod suite;

pub use harness::{FaultHarness, Harness};
pub use suite::{Case, cases, fault_cases, run_case, run_fault_case};
