//! Who installs what a reader has read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millpond_blob_cache::{CacheOptions, IndexOptions, Promotion};
use millpond_promotion::{Ended, PoolOptions};
use rustix::time::ClockId;

use super::pass::cpu_ns;
use crate::promotion::start::rest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    Nobody,
    NobodyPaced,
    Inline,
    Awake,
    Parked,
    Polling,
}

impl Arm {
    pub(super) const ALL: [Self; 6] =
        [Self::Nobody, Self::NobodyPaced, Self::Inline, Self::Awake, Self::Parked, Self::Polling];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "none",
            Self::NobodyPaced => "none, paced",
            Self::Inline => "inline",
            Self::Awake => "pool awake",
            Self::Parked => "pool parked",
            Self::Polling => "pool polling",
        }
    }

    /// What its cost is added to.
    pub(super) const fn peer(self) -> Option<Self> {
        match self {
            Self::Nobody | Self::NobodyPaced => None,
            Self::Parked => Some(Self::NobodyPaced),
            Self::Inline | Self::Awake | Self::Polling => Some(Self::Nobody),
        }
    }

    pub(super) const fn promotes(self) -> bool {
        !matches!(self, Self::Nobody | Self::NobodyPaced)
    }

    pub(super) const fn is_paced(self) -> bool {
        matches!(self, Self::NobodyPaced | Self::Parked)
    }

    pub(super) const fn is_pooled(self) -> bool {
        matches!(self, Self::Awake | Self::Parked | Self::Polling)
    }

    pub(super) fn options(self, bytes_max: usize) -> CacheOptions {
        let mut options = CacheOptions::default();
        options.index = IndexOptions { bytes_max, ..options.index };
        if !self.promotes() {
            options.index.ghosts_max = 0;
        }
        if self.is_pooled() {
            options.inline_bytes_max = 0;
            options.pool = Some(PoolOptions { workers: 1, ..PoolOptions::default() });
        }
        options
    }

    /// Installs, and then keeps the worker from going to sleep where the arm says so.
    pub(super) fn execute(self, promotion: Promotion, work: &Work) -> Ended {
        let ended = match self {
            // Elsewhere the thread is measured as a whole, and the clock would be part of it.
            Self::Awake => timed(promotion, work),
            _ => promotion.install(),
        };
        let n_done = work.n_done.fetch_add(1, Ordering::Relaxed) + 1;
        let stays = || {
            n_done >= work.n_asked.load(Ordering::Relaxed) && !work.is_over.load(Ordering::Relaxed)
        };
        match self {
            Self::Awake => {
                while stays() {
                    std::thread::yield_now();
                }
            }
            Self::Polling => {
                while stays() {
                    rest();
                }
            }
            _ => {}
        }
        ended
    }
}

fn timed(promotion: Promotion, work: &Work) -> Ended {
    let before_ns = cpu_ns(ClockId::ThreadCPUTime);
    let ended = promotion.install();
    work.install_ns.fetch_add(cpu_ns(ClockId::ThreadCPUTime) - before_ns, Ordering::Relaxed);
    ended
}

/// What readers and the worker of one pass tell each other. Nothing is published by it: relaxed suffices.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Requests that the pool has accepted.
    pub(super) n_asked: AtomicU64,
    pub(super) n_done: AtomicU64,
    pub(super) install_ns: AtomicU64,
    pub(super) is_over: AtomicBool,
}

/// Lets the worker go, however a pass ends.
pub(super) struct Over(pub(super) Arc<Work>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}
