//! Ours: the payload cache over a store, and its memory tier alone as a plain cache.

pub(crate) mod blob_cache;
mod held;
pub(crate) mod index;
