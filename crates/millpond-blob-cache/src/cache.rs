//! Memory over a store: what is read, written, loaded and invalidated through both.

mod flight;
mod options;
mod promote;
mod read;
mod scopes;
mod stats;
mod write;

use std::fmt;
use std::sync::Arc;

use millpond_promotion::{Executor, Pool};
use millpond_storage_api::PartitionStore;
use millpond_sync::Mutex;

use crate::generations::Generations;
use crate::index::Core;
use crate::row::Rows;
use crate::rules::Rules;
use crate::{Index, OpenError};

pub(crate) use flight::Flight;
#[cfg(test)]
pub(crate) use flight::{Followed, Follower, Leader};
pub use options::CacheOptions;
pub use promote::Promotion;
pub use stats::{CacheStats, InlineStats};

use stats::Counters;
use write::Orphan;

/// Locks over which the writers of keys are spread.
const STRIPES: usize = if cfg!(millpond_loom) { 1 } else { 64 };

/// A payload cache over a store: an [`Index`] in memory, a table below, and promotions between them that never bring
/// back what was overwritten, removed or invalidated. Clones are the same cache.
///
/// The rows below are the cache's own: who writes them past it is not seen. Futures run on any executor. Time comes
/// in as `now`, which should not go back; the wall clock will do.
///
/// See the [crate's documentation](crate) for what holds between concurrent calls.
///
/// # Cancel safety
///
/// Every future may be dropped at any time. A write that was submitted may still take effect, and its key has no value
/// in memory until that is known. A read that others wait for is taken over by one of them.
#[derive(Clone)]
pub struct BlobCache {
    // std's Arc: the store in it is a trait object.
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    index: Index,
    store: Arc<dyn PartitionStore>,
    options: CacheOptions,
    rows: Rows,
    /// Whoever submits a write of a key holds the lock of its stripe from the moment at which the index learns of the
    /// write until it is submitted, so that both have the same order.
    stripes: Box<[Mutex<()>]>,
    /// The same for invalidations.
    numbering: Mutex<()>,
    /// Commits whose callers have gone.
    orphans: Mutex<Vec<Orphan>>,
    pool: Option<Pool<Promotion>>,
    counters: Counters,
}

impl BlobCache {
    /// Opens the cache in `store`, where it may have been before: values and invalidations are still in force.
    ///
    /// # Errors
    ///
    /// Options that cannot be, threads that the system does not give, a store that fails, or rows of another kind.
    pub async fn open(
        store: Arc<dyn PartitionStore>,
        options: CacheOptions,
    ) -> Result<Self, OpenError> {
        Self::open_with(store, options, Promotion::install).await
    }

    /// As [`open`](Self::open), but the pool runs `executor`, which should [`install`](Promotion::install) when it
    /// likes. One that panics, hangs or drops costs promotions and nothing else.
    ///
    /// # Errors
    ///
    /// As `open`.
    pub async fn open_with(
        store: Arc<dyn PartitionStore>,
        options: CacheOptions,
        executor: impl Executor<Promotion>,
    ) -> Result<Self, OpenError> {
        Self::open_ruled(store, options, executor, Rules::SHIPPED).await
    }

    pub(crate) async fn open_ruled(
        store: Arc<dyn PartitionStore>,
        options: CacheOptions,
        executor: impl Executor<Promotion>,
        rules: Rules,
    ) -> Result<Self, OpenError> {
        options.check()?;
        let index = Index::with_rules(options.index, rules)?;
        let rows = Rows { prefix: options.prefix.clone() };
        let generations = &index.core.generations;
        scopes::recover(&*store, options.table, &rows, generations, rules).await?;
        let pool = options.pool.map(|options| Pool::new(options, executor)).transpose()?;
        let shared = Shared {
            index,
            store,
            options,
            rows,
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            numbering: Mutex::new(()),
            orphans: Mutex::new(Vec::new()),
            pool,
            counters: Counters::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What was counted since the cache was opened.
    pub fn stats(&self) -> CacheStats {
        let Shared { index, pool, counters, .. } = &*self.shared;
        counters.stats(index.stats(), pool.as_ref().map(Pool::stats))
    }

    /// The pool of promotions, for instance to [close](Pool::close) it. Without it, or after that, what a reader does
    /// not install itself waits for a later read.
    pub fn pool(&self) -> Option<&Pool<Promotion>> {
        self.shared.pool.as_ref()
    }

    /// The memory tier.
    #[cfg(test)]
    pub(crate) fn index(&self) -> &Index {
        &self.shared.index
    }
}

impl Shared {
    fn core(&self) -> &millpond_sync::Arc<Core> {
        &self.index.core
    }

    fn generations(&self) -> &Generations {
        &self.index.core.generations
    }
}

impl fmt::Debug for BlobCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
