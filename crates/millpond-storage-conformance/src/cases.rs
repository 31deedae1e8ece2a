//! The cases. Each is a function of its name and takes a fresh harness.

pub(crate) mod batch;
pub(crate) mod buffered;
pub(crate) mod checkpoint;
pub(crate) mod close;
pub(crate) mod differential;
pub(crate) mod durability;
pub(crate) mod fail_stop;
pub(crate) mod get;
pub(crate) mod log;
pub(crate) mod order;
pub(crate) mod ownership;
pub(crate) mod scan;
pub(crate) mod visibility;
