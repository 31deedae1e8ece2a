//! One binary for all end-to-end tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod administration;
mod bad_input;
mod corrupt;
mod delivery;
mod failure;
mod leases;
mod purge;
mod reads;
mod restart;
mod watched;
