//! What is refused, and what the caller can do about it.

use crate::config::{PER_NS_MAX, WEIGHT_MAX};
use crate::limits::DEPTH_MAX;

/// A call that was refused. Nothing was changed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The queue was removed, or its handle belongs to another scheduler. Forget the handle.
    #[error("there is no such queue: it was removed, or it belongs to another scheduler")]
    UnknownQueue,
    /// The resource was removed, or its id belongs to other limits. Forget the id.
    #[error("there is no such resource: it was removed, or it belongs to other limits")]
    UnknownResource,
    /// The permit was released or given back before. Nothing has to be done.
    #[error("the permit was released before")]
    StalePermit,
    /// The scheduler was made with other [`Limits`](crate::Limits). Pass those.
    #[error("the scheduler belongs to other limits")]
    ForeignLimits,
    /// Something still uses the resource. Remove it once that has ended.
    #[error(
        "the resource is in use: {n_permits} permits, {n_users} queues, schedulers and resources"
    )]
    InUse {
        /// Permits that are out.
        n_permits: u32,
        /// Queues and schedulers that are subject to it, and resources below it.
        n_users: u32,
    },
    /// A chain of resources would be too long. Put the resource higher.
    #[error("a chain of resources has at most {DEPTH_MAX} of them")]
    TooDeep,
    /// The queue would be charged twice, because its domain is subject to the same resource. Name
    /// it in one of the two places.
    #[error("the domain is subject to the same resource already")]
    ChargedTwice,
    /// There are 2^32 − 1 of them already.
    #[error("there is no room for more")]
    Full,
}

/// A figure that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A queue of weight 0 would never be served. Pause it instead.
    #[error("a weight is from 1 to {WEIGHT_MAX}; pause a queue that is not to be served")]
    Weight,
    /// There is no such band.
    #[error("there is no such band: the last one is {}", crate::Band::LAST.get())]
    Band,
    /// No credit would ever be granted.
    #[error("a quantum is at least 1")]
    Quantum,
    /// Bands cannot be passed over less than once.
    #[error("ageing is after at least one pick")]
    Ageing,
    /// A rate of nothing. Pause, or set the concurrency to 0, instead.
    #[error("a rate is at least 1 per period; pause what is not to be served")]
    RateOfNothing,
    /// The period is zero, or longer than a day.
    #[error("the period of a rate is from 1 to {PER_NS_MAX} ns")]
    RatePeriod,
    /// A bucket that holds nothing never lets anything through.
    #[error("a rate has a burst of at least 1")]
    RateWithoutBurst,
}
