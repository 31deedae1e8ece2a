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
mod explaining;
mod failure;
mod leases;
mod limits;
mod purge;
mod reads;
mod restart;
mod retries;
mod rules;
mod waiting;
mod watched;
