//! A peer: quick_cache. A load holds the guard of its key's placeholder, and every write replaces the placeholder.

use bytes::Bytes;
use foldhash::fast::FixedState;
use quick_cache::sync::{Cache as Sync, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use super::{ROOMY_BYTES, entry_bytes};
use crate::cache::{Cache, Key, Load, LoadFailed, Support};
use crate::hit_ratio::{MEAN_VALUE_BYTES, Policy};

/// As many as the peer that has a number of its own; the number of cores would make figures depend on it.
const N_SHARDS: usize = 8;

pub(crate) struct QuickCache(Sync<Key, Bytes, EntryBytes, FixedState>);

#[derive(Clone)]
struct EntryBytes;

impl Weighter<Key, Bytes> for EntryBytes {
    fn weight(&self, _key: &Key, value: &Bytes) -> u64 {
        entry_bytes(value) as u64
    }
}

impl QuickCache {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(capacity_bytes / MEAN_VALUE_BYTES)
            .weight_capacity(capacity_bytes as u64)
            .shards(N_SHARDS)
            .build()
            .expect("both capacities are given");
        let (hasher, lifecycle) = (FixedState::default(), DefaultLifecycle::default());
        Self(Sync::with_options(options, EntryBytes, hasher, lifecycle))
    }
}

impl Cache for QuickCache {
    const NAME: &'static str = "quick_cache";

    fn new() -> Self {
        Self::new(ROOMY_BYTES)
    }

    async fn get(&self, key: Key) -> Option<Bytes> {
        self.0.get(&key)
    }

    async fn insert(&self, key: Key, value: Bytes) {
        self.0.insert(key, value);
    }

    async fn remove(&self, key: Key) {
        self.0.remove(&key);
    }

    async fn get_or_load(&self, key: Key, load: Load) -> Result<Bytes, LoadFailed> {
        self.0.get_or_insert_async(&key, load).await
    }

    async fn clear(&self) -> Support {
        self.0.clear();
        Support::Done
    }
}

impl Policy for QuickCache {
    fn get(&mut self, key: Key) -> Option<Bytes> {
        self.0.get(&key)
    }

    fn insert(&mut self, key: Key, value: Bytes) {
        self.0.insert(key, value);
    }

    fn remove(&mut self, key: Key) {
        self.0.remove(&key);
    }

    fn held_bytes(&mut self) -> usize {
        usize::try_from(self.0.weight()).unwrap_or(usize::MAX)
    }
}
