//! A payload cache.

mod blob;
mod cache;
mod error;
mod generations;
mod index;
mod key;
mod row;
mod rules;

pub use blob::{Blob, METADATA_BYTES_MAX, Meta, TAGS_MAX, VALUE_BYTES_MAX};
pub use cache::{BlobCache, CacheOptions, CacheStats, InlineStats, Promotion};
pub use error::{CacheError, OpenError, OptionsError};
pub use generations::Scope;
pub use index::{
    Committed, ENTRY_OVERHEAD_BYTES, GHOSTS_MAX, Index, IndexOptions, IndexStats, Lookup, Miss,
    SHARDS_MAX, Ticket,
};
pub use key::{ID_BYTES_MAX, Key, NAME_BYTES_MAX};
pub use row::PREFIX_BYTES_MAX;

#[cfg(test)]
mod tests;
