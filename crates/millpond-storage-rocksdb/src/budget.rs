//! What all stores of one engine share.

use rocksdb::{Cache, Env, WriteBufferManager};

use crate::Guards;

/// Sizes of the memory and the thread pool that all stores of one engine share, and what guards their
/// reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetOptions {
    /// Bytes of the block cache: data, index and filter blocks, and blobs, of every store together.
    pub cache_bytes: usize,
    /// Bytes of rows that are durable in the log but not yet in sorted files, of every store together.
    /// When they are used up, the fullest memtables are flushed.
    pub write_buffer_bytes: usize,
    /// Threads that compact; half as many, and at least one, flush.
    pub background_threads: u16,
    /// Switches for benchmarks; all on by default.
    pub guards: Guards,
}

impl Default for BudgetOptions {
    /// 256 MiB of cache, 128 MiB of write buffers, 2 threads, all guards.
    fn default() -> Self {
        Self {
            cache_bytes: 256 << 20,
            write_buffer_bytes: 128 << 20,
            background_threads: 2,
            guards: Guards::ALL,
        }
    }
}

/// One block cache, one write-buffer budget and one thread pool for all stores of an engine. Clones
/// share them.
#[derive(Clone)]
pub struct RocksBudget {
    pub(crate) cache: Cache,
    pub(crate) write_buffers: WriteBufferManager,
    /// `None` where RocksDB could not give its environment; it then falls back to the same one itself.
    pub(crate) env: Option<Env>,
    pub(crate) options: BudgetOptions,
}

impl RocksBudget {
    /// Reserves nothing yet: cache and buffers grow as they are used.
    pub fn new(options: BudgetOptions) -> Self {
        let threads = i32::from(options.background_threads.max(1));
        let env = Env::new().ok().map(|mut env| {
            env.set_background_threads(threads);
            env.set_high_priority_background_threads((threads / 2).max(1));
            env
        });
        Self {
            // Lock-free on hits; 0 lets it size its slots by what it is given, blocks and blobs alike.
            cache: Cache::new_hyper_clock_cache(options.cache_bytes, 0),
            // No stall: RocksDB's own limits on memtables per table already push back on the writer,
            // and a stalled commit of one store would be lifted only by the flush of another.
            write_buffers: WriteBufferManager::new_write_buffer_manager(
                options.write_buffer_bytes,
                false,
            ),
            env,
            options,
        }
    }

    /// Bytes of the block cache in use.
    pub fn cache_used_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    /// Bytes of memtables in use.
    pub fn write_buffer_used_bytes(&self) -> usize {
        self.write_buffers.get_usage()
    }
}

impl Default for RocksBudget {
    fn default() -> Self {
        Self::new(BudgetOptions::default())
    }
}

impl std::fmt::Debug for RocksBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksBudget").field("options", &self.options).finish_non_exhaustive()
    }
}
