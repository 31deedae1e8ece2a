//! A peer: the memory tier of foyer. Loads go through `get_or_fetch`, which runs the loader as a task of its own.

use bytes::Bytes;
use foyer_memory::{
    Cache as Memory, CacheBuilder, EvictionConfig, LfuConfig, LruConfig, S3FifoConfig, SieveConfig,
};

use super::{ROOMY_BYTES, entry_bytes};
use crate::cache::{Cache, Key, Load, LoadFailed, Support};
use crate::hit_ratio::Policy;

pub(crate) struct Foyer(Memory<Key, Bytes>);

impl Foyer {
    /// With the eviction that its builder chooses.
    pub(crate) fn lru(capacity_bytes: usize) -> Self {
        Self::with(capacity_bytes, LruConfig::default())
    }

    /// Its W-TinyLFU.
    pub(crate) fn lfu(capacity_bytes: usize) -> Self {
        Self::with(capacity_bytes, LfuConfig::default())
    }

    pub(crate) fn s3_fifo(capacity_bytes: usize) -> Self {
        Self::with(capacity_bytes, S3FifoConfig::default())
    }

    pub(crate) fn sieve(capacity_bytes: usize) -> Self {
        Self::with(capacity_bytes, SieveConfig)
    }

    fn with(capacity_bytes: usize, eviction: impl Into<EvictionConfig>) -> Self {
        let builder = CacheBuilder::new(capacity_bytes)
            .with_eviction_config(eviction)
            .with_weighter(|_: &Key, value: &Bytes| entry_bytes(value));
        Self(builder.build())
    }
}

impl Cache for Foyer {
    const NAME: &'static str = "foyer";

    fn new() -> Self {
        Self::lru(ROOMY_BYTES)
    }

    async fn get(&self, key: Key) -> Option<Bytes> {
        Some(self.0.get(&key)?.value().clone())
    }

    async fn insert(&self, key: Key, value: Bytes) {
        self.0.insert(key, value);
    }

    async fn remove(&self, key: Key) {
        self.0.remove(&key);
    }

    async fn get_or_load(&self, key: Key, load: Load) -> Result<Bytes, LoadFailed> {
        let entry = self.0.get_or_fetch(&key, || load).await;
        entry.map(|entry| entry.value().clone()).map_err(|_| LoadFailed)
    }

    async fn clear(&self) -> Support {
        self.0.clear();
        Support::Done
    }
}

impl Policy for Foyer {
    fn get(&mut self, key: Key) -> Option<Bytes> {
        Some(self.0.get(&key)?.value().clone())
    }

    fn insert(&mut self, key: Key, value: Bytes) {
        self.0.insert(key, value);
    }

    fn remove(&mut self, key: Key) {
        self.0.remove(&key);
    }

    fn held_bytes(&mut self) -> usize {
        self.0.usage()
    }
}
