//! Ours: the memory tier alone, as a plain cache.

pub(crate) mod index;
