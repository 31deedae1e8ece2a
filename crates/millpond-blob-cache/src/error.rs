//! What can go wrong, by what the caller must do.

use std::sync::Arc;

use millpond_storage_api::StoreError;
use millpond_types::{ErrorKind, LimitExceeded};

/// Options that no cache can be made of. Change them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The option must not be zero.
    #[error("{what} must not be 0")]
    Zero {
        /// The option.
        what: &'static str,
    },
    /// The option is larger than it may be.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// Rows of a cache cannot be in this table.
    #[error("the table {table} has other rules for its rows than a cache can keep")]
    Table {
        /// Its name.
        table: &'static str,
    },
}

/// Why a call of a [`BlobCache`](crate::BlobCache) failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The store failed: act on its [kind](millpond_storage_api::StoreErrorKind). A write may or may not have taken
    /// effect; until it is known, the key has no value in memory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row of the key is damaged. A put or a removal of the key heals it; other keys are not affected.
    #[error("the row of a value is damaged: {why}")]
    Corrupt {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something is larger than it may be. Nothing was changed.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The loader failed; whoever waited for it gets the same error. Nothing was stored.
    #[error("the loader failed: {0}")]
    Load(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl CacheError {
    /// What to do about it, in the words of the engine. A loader's error is `Retry`: what it means is up to the loader.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind().into(),
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Limit(_) => ErrorKind::InvalidInput,
            Self::Load(_) => ErrorKind::Retry,
        }
    }
}

/// Why a [`BlobCache`](crate::BlobCache) could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Change the options.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// There is no pool.
    #[error(transparent)]
    Pool(#[from] millpond_promotion::PoolError),
    /// The store failed, or is not one of a cache: act on its kind.
    #[error(transparent)]
    Store(#[from] StoreError),
}
