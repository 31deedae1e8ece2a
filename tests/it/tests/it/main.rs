//! One binary for all end-to-end tests.

mod administration;
mod bad_input;
mod delivery;
mod failure;
mod leases;
mod restart;
