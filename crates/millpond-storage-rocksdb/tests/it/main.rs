//! The store from outside, on real files.
#![cfg(not(millpond_loom))]

mod conformance;
mod dead_rows;
mod opening;
mod reading;
mod running;
mod support;
