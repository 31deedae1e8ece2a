//! The cases. Each is a function of its name and takes a fresh harness.

pub mod batch;
pub mod checkpoint;
pub mod close;
pub mod differential;
pub mod durability;
pub mod fail_stop;
pub mod get;
pub mod log;
pub mod order;
pub mod ownership;
pub mod scan;
pub mod visibility;
