//! How a cache is made.

use bytes::Bytes;
use millpond_promotion::PoolOptions;
use millpond_storage_api::Table;
use millpond_types::LimitExceeded;

use crate::row::PREFIX_BYTES_MAX;
use crate::{IndexOptions, OptionsError};

/// Names whose invalidation is remembered, by default.
const NAMES_MAX_DEFAULT: usize = 1 << 20;
/// Largest value that a reader installs by itself, by default, in bytes.
const INLINE_BYTES_MAX_DEFAULT: usize = 64 << 10;

/// Options of a [`BlobCache`](crate::BlobCache).
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// The memory tier.
    pub index: IndexOptions,
    /// The table of the rows. Nobody else may write below [`prefix`](Self::prefix) in it, and no second cache.
    pub table: Table,
    /// How all keys of the cache begin.
    pub prefix: Bytes,
    /// The pool for promotions that the reader does not do itself. Without one the reader does all of them.
    pub pool: Option<PoolOptions>,
    /// Largest value that the reader installs by itself, if its shard is not contended and a few evictions make room,
    /// in bytes. A value is not copied, so even a large one costs little; 0 sends everything but the empty to the pool.
    pub inline_bytes_max: usize,
    /// How many namespaces and tags can have been invalidated since everything was. Each is remembered in memory.
    pub names_max: usize,
}

impl Default for CacheOptions {
    /// 64 MiB, the table `payloads` without a prefix, the pool's defaults.
    fn default() -> Self {
        Self {
            index: IndexOptions::default(),
            table: Table::Payloads,
            prefix: Bytes::new(),
            pool: Some(PoolOptions::default()),
            inline_bytes_max: INLINE_BYTES_MAX_DEFAULT,
            names_max: NAMES_MAX_DEFAULT,
        }
    }
}

impl CacheOptions {
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        self.index.check()?;
        LimitExceeded::check("the prefix", self.prefix.len(), PREFIX_BYTES_MAX, "bytes")?;
        match self.table {
            // Rows are put over rows here, which the first forbids; the others are written by the store itself.
            Table::Entries | Table::Log | Table::System => {
                Err(OptionsError::Table { table: self.table.name() })
            }
            _ => Ok(()),
        }
    }
}
