//! A peer: moka's cache for async code, once with `try_get_with` beside `insert` and `invalidate`, and once with
//! everything through `entry`, which lets one operation at a time at a key, the load included.

use bytes::Bytes;
use foldhash::fast::FixedState;
use futures_util::FutureExt as _;
use moka::future::Cache as Future;
use moka::ops::compute::{CompResult, Op};

use super::{ROOMY_BYTES, entry_bytes};
use crate::cache::{Cache, Key, Load, LoadFailed, Support};
use crate::hit_ratio::Policy;

pub(crate) struct Moka(Future<Key, Bytes, FixedState>);

impl Moka {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let builder = Future::builder()
            .max_capacity(capacity_bytes as u64)
            .weigher(|_, value| u32::try_from(entry_bytes(value)).unwrap_or(u32::MAX));
        Self(builder.build_with_hasher(FixedState::default()))
    }

    /// What it does after so many operations or 300 ms otherwise, so that no clock has a say.
    fn keep_house(&self) {
        self.0.run_pending_tasks().now_or_never().expect("nobody else uses the cache");
    }
}

impl Cache for Moka {
    const NAME: &'static str = "moka";

    fn new() -> Self {
        Self::new(ROOMY_BYTES)
    }

    async fn get(&self, key: Key) -> Option<Bytes> {
        self.0.get(&key).await
    }

    async fn insert(&self, key: Key, value: Bytes) {
        self.0.insert(key, value).await;
    }

    async fn remove(&self, key: Key) {
        self.0.invalidate(&key).await;
    }

    async fn get_or_load(&self, key: Key, load: Load) -> Result<Bytes, LoadFailed> {
        self.0.try_get_with(key, load).await.map_err(|_| LoadFailed)
    }

    async fn clear(&self) -> Support {
        self.0.invalidate_all();
        Support::Done
    }
}

/// Every write and every load is a computation of `entry`.
pub(crate) struct MokaEntries(Moka);

impl Cache for MokaEntries {
    const NAME: &'static str = "moka, by entry";

    fn new() -> Self {
        Self(Cache::new())
    }

    async fn get(&self, key: Key) -> Option<Bytes> {
        self.0.get(key).await
    }

    async fn insert(&self, key: Key, value: Bytes) {
        self.0.0.entry(key).and_upsert_with(|_| async { value }).await;
    }

    async fn remove(&self, key: Key) {
        self.0.0.entry(key).and_compute_with(|_| async { Op::Remove }).await;
    }

    async fn get_or_load(&self, key: Key, load: Load) -> Result<Bytes, LoadFailed> {
        let entry = self.0.0.entry(key);
        let computed = entry.and_try_compute_with(async |kept| match kept {
            Some(_) => Ok(Op::Nop),
            None => load.await.map(Op::Put),
        });
        match computed.await? {
            CompResult::Inserted(entry)
            | CompResult::ReplacedWith(entry)
            | CompResult::Unchanged(entry) => Ok(entry.into_value()),
            CompResult::Removed(_) | CompResult::StillNone(_) => Err(LoadFailed),
        }
    }

    async fn clear(&self) -> Support {
        self.0.clear().await
    }
}

impl Policy for Moka {
    fn get(&mut self, key: Key) -> Option<Bytes> {
        let value = self.0.get(&key).now_or_never().expect("nobody else uses the cache");
        self.keep_house();
        value
    }

    fn insert(&mut self, key: Key, value: Bytes) {
        self.0.insert(key, value).now_or_never().expect("nobody else uses the cache");
        self.keep_house();
    }

    fn remove(&mut self, key: Key) {
        self.0.invalidate(&key).now_or_never().expect("nobody else uses the cache");
        self.keep_house();
    }

    fn held_bytes(&mut self) -> usize {
        usize::try_from(self.0.weighted_size()).unwrap_or(usize::MAX)
    }
}
