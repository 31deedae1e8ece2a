//! The caches beside ours, each used as its authors mean it, but for hashes without a random seed: a run gives the
//! same figures each time.

pub(crate) mod foyer;
pub(crate) mod moka;
pub(crate) mod quick_cache;

use bytes::Bytes;

use crate::cache::Key;

/// Bytes of an entry, counted the same way for all: the key and the value.
pub(crate) fn entry_bytes(value: &Bytes) -> usize {
    size_of::<Key>() + value.len()
}

/// Room for everything that a case of `coherence` puts in.
const ROOMY_BYTES: usize = 64 << 20;
