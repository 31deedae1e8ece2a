//! Replaceable, cancelable deadlines for one owner, and a mailbox with guaranteed shares. No clock, thread or
//! runtime of its own.

mod backoff;
pub mod mailbox;

pub use backoff::{BackoffError, BackoffPolicy};
