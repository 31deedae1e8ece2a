//! What a scheduler refuses.

use std::fmt;

/// A timer that was not accepted. It gives the value back.
pub struct Rejected<T> {
    /// What was to be delivered: the key, in the keyed form.
    pub value: T,
    /// Why it was not accepted.
    pub kind: RejectedKind,
}

/// Why a timer was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectedKind {
    /// There are as many timers as the scheduler was made for. Try again when one has fired or was
    /// cancelled, or keep the deadline elsewhere.
    #[error("all {live} timers are in use; one has to fire or be cancelled first")]
    Capacity {
        /// Timers that are live: the capacity.
        live: usize,
    },
    /// The scheduler was shut down. Nothing will fire any more, and the caller need not do anything.
    #[error("the scheduler was shut down")]
    ShuttingDown,
}

impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<T> std::error::Error for Rejected<T> {}
