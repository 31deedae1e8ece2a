//! What a pool is made of, and why one cannot be made.

use std::io;

/// The bounds of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Requests that can wait. Their places are allocated at once.
    pub slots: usize,
    /// Bytes of all requests that wait and run together. Room is taken before a victim gives its own up, so the
    /// bound should hold one request more than there are `slots` and `workers`.
    pub bytes_max: usize,
    /// Threads, and so requests that run at the same time.
    pub workers: usize,
    /// Who yields when every slot is taken.
    pub overflow: Overflow,
}

/// Who yields when every slot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The request that has waited longest: what was asked for just now is likeliest to be wanted again.
    #[default]
    DropOldest,
    /// The newcomer.
    DropNewest,
}

impl PoolOptions {
    /// Most slots.
    pub const SLOTS_MAX: usize = 1 << 20;
    /// Most threads.
    pub const WORKERS_MAX: usize = crate::gate::SLEEPERS_MAX;

    /// Says which bound cannot be.
    ///
    /// # Errors
    ///
    /// Where a number is 0, or there are too many slots or workers.
    pub fn check(&self) -> Result<(), OptionsError> {
        match self {
            Self { slots: 0, .. } => Err(OptionsError::NoSlots),
            Self { bytes_max: 0, .. } => Err(OptionsError::NoBytes),
            Self { workers: 0, .. } => Err(OptionsError::NoWorkers),
            Self { slots, .. } if *slots > Self::SLOTS_MAX => {
                Err(OptionsError::TooManySlots { n: *slots })
            }
            Self { workers, .. } if *workers > Self::WORKERS_MAX => {
                Err(OptionsError::TooManyWorkers { n: *workers })
            }
            Self { .. } => Ok(()),
        }
    }
}

/// 1,024 slots, 64 MiB and 2 threads; the oldest request yields.
impl Default for PoolOptions {
    fn default() -> Self {
        Self { slots: 1_024, bytes_max: 64 << 20, workers: 2, overflow: Overflow::DropOldest }
    }
}

/// A bound that cannot be. Correct the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Nothing could wait.
    #[error("a pool needs at least one slot")]
    NoSlots,
    /// Nothing that takes memory could be accepted.
    #[error("a pool needs room for at least one byte")]
    NoBytes,
    /// Nothing would be done.
    #[error("a pool needs at least one worker")]
    NoWorkers,
    /// More than [`PoolOptions::SLOTS_MAX`].
    #[error("{n} slots, where {} are allowed", PoolOptions::SLOTS_MAX)]
    TooManySlots {
        /// How many were asked for.
        n: usize,
    },
    /// More than [`PoolOptions::WORKERS_MAX`].
    #[error("{n} workers, where {} are allowed", PoolOptions::WORKERS_MAX)]
    TooManyWorkers {
        /// How many were asked for.
        n: usize,
    },
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The options cannot be; correct them.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The system gave no thread. Those that had been started have been told to end; try again later or with
    /// fewer workers.
    #[error("cannot start a thread of the pool")]
    Thread(#[source] io::Error),
}
