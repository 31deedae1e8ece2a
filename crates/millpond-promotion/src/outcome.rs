//! What the calls of a pool answer.

/// What became of a request that was scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a request that was refused or evicted comes back in it"]
pub enum Scheduled<R> {
    /// It waits for a worker.
    Queued,
    /// It waits for a worker, in the place of the request that had waited longest, which is given back.
    QueuedEvicting(R),
    /// Nothing was changed.
    Rejected {
        /// What was asked for.
        request: R,
        /// What stood in its way.
        why: Rejection,
    },
}

/// What stood in a request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// Every place is taken and newcomers have to yield ([`Overflow::DropNewest`](crate::Overflow)); or, in a
    /// full pool about seven times in a million under either policy, its part of the table of keys is taken. Ask
    /// again later.
    Full,
    /// It would exceed the bound on bytes: alone (it will never fit), or with what waits and runs.
    Bytes,
    /// A request for this key waits or runs already; or, in a full pool about six times in 100,000, one whose key
    /// has the same fingerprint.
    Duplicate,
    /// The pool was closed and takes nothing any more.
    Closed,
}

/// What had become of all accepted requests when [`Pool::close`](crate::Pool::close) returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closed {
    /// Ended by the executor since the call, in whatever way.
    pub completed: u64,
    /// Given up since the call without having been started.
    pub abandoned: u64,
    /// Not ended yet: the executor still runs them. Their threads go on and end with them.
    pub still_running: u64,
}
