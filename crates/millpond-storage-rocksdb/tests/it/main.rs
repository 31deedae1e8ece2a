//! The store from outside, on real files.
#![cfg(not(millpond_loom))]

mod conformance;
mod opening;
mod reading;
mod running;
mod support;
