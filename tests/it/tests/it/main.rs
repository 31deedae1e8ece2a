//! One binary for all end-to-end tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod administration;
mod backends;
mod bad_input;
mod batches;
mod buffered;
mod corrupt;
mod dead_letters;
mod delays;
mod delivery;
mod door;
mod failure;
mod leases;
mod purge;
mod reads;
mod restart;
mod retries;
mod waiting;
mod watched;
