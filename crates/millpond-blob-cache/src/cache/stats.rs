//! What the cache has counted.

use millpond_sync::atomic::{AtomicU64, Ordering};

use crate::{Committed, IndexStats};

/// Figures of a [`BlobCache`](crate::BlobCache), each since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// The memory tier. A call that waits for another one's read can count as two misses.
    pub index: IndexStats,
    /// The pool, where there is one.
    pub pool: Option<millpond_promotion::Stats>,
    /// Reads of the store.
    pub n_reads: u64,
    /// Those that found a value that holds.
    pub n_read_hits: u64,
    /// Those that found one which was expired or invalidated.
    pub n_read_stale: u64,
    /// Those that failed, or found a damaged row.
    pub n_read_errors: u64,
    /// Calls that took the answer of another one's read.
    pub n_joined: u64,
    /// Calls of loaders.
    pub n_loads: u64,
    /// Loaders that failed.
    pub n_load_errors: u64,
    /// Promotions that the reader did itself.
    pub inline: InlineStats,
    /// Promotions that were queued in the pool, whatever became of them.
    pub n_pooled: u64,
    /// Promotions that the pool refused.
    pub n_pool_refused: u64,
}

/// How promotions ended that readers did themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InlineStats {
    /// The value became resident.
    pub n_installed: u64,
    /// Its key had been replaced or invalidated.
    pub n_stale: u64,
    /// A newer value was resident.
    pub n_already_resident: u64,
    /// There was no room for it.
    pub n_refused: u64,
    /// Its key was not asked for often enough for its size. Those that would have gone to the pool are counted too.
    pub n_too_seldom: u64,
}

/// The counters. They publish nothing: relaxed suffices.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) reads: Counter,
    pub(super) read_hits: Counter,
    pub(super) read_stale: Counter,
    pub(super) read_errors: Counter,
    pub(super) joined: Counter,
    pub(super) loads: Counter,
    pub(super) load_errors: Counter,
    pub(super) inline_installed: Counter,
    pub(super) inline_stale: Counter,
    pub(super) inline_already_resident: Counter,
    pub(super) inline_refused: Counter,
    pub(super) inline_too_seldom: Counter,
    pub(super) pooled: Counter,
    pub(super) pool_refused: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn inline(&self, committed: Committed) {
        match committed {
            Committed::Installed => self.inline_installed.add(),
            Committed::Stale => self.inline_stale.add(),
            Committed::AlreadyResident => self.inline_already_resident.add(),
            Committed::TooLarge | Committed::NoRoom => self.inline_refused.add(),
            Committed::TooSeldom => self.inline_too_seldom.add(),
        }
    }

    pub(super) fn stats(
        &self,
        index: IndexStats,
        pool: Option<millpond_promotion::Stats>,
    ) -> CacheStats {
        CacheStats {
            index,
            pool,
            n_reads: self.reads.get(),
            n_read_hits: self.read_hits.get(),
            n_read_stale: self.read_stale.get(),
            n_read_errors: self.read_errors.get(),
            n_joined: self.joined.get(),
            n_loads: self.loads.get(),
            n_load_errors: self.load_errors.get(),
            inline: InlineStats {
                n_installed: self.inline_installed.get(),
                n_stale: self.inline_stale.get(),
                n_already_resident: self.inline_already_resident.get(),
                n_refused: self.inline_refused.get(),
                n_too_seldom: self.inline_too_seldom.get(),
            },
            n_pooled: self.pooled.get(),
            n_pool_refused: self.pool_refused.get(),
        }
    }
}
