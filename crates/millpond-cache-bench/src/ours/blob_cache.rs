//! The payload cache over a store in memory, which has no threads of its own.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use millpond_blob_cache::{Blob, BlobCache, CacheOptions, Key as Name, Meta, Scope};
use millpond_storage_api::PartitionStore;
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
use millpond_types::UnixMillis;

use super::held::{Held, hold};
use crate::Outcome;
use crate::cache::{Cache, Key, Load, LoadFailed, Support};

/// Nothing expires.
const NOW: UnixMillis = UnixMillis(0);
const NAMESPACE: &str = "bench";

pub(crate) struct Ours {
    store: Arc<dyn PartitionStore>,
    cache: RefCell<BlobCache>,
    held: RefCell<Option<Held>>,
}

impl Ours {
    fn cache(&self) -> BlobCache {
        self.cache.borrow().clone()
    }

    /// The store answers at once.
    fn open(store: &Arc<dyn PartitionStore>) -> BlobCache {
        let opening = BlobCache::open(store.clone(), CacheOptions::default());
        opening.now_or_never().expect("it does not wait").expect("the store is sound")
    }

    async fn invalidate(&self, scope: Scope<'_>) -> Support {
        self.cache().invalidate(scope).await.expect("the store is sound");
        Support::Done
    }
}

impl Cache for Ours {
    const NAME: &'static str = "ours";

    fn new() -> Self {
        let store = MemoryStore::open(&MemoryDisk::new(), MemoryOptions::default());
        let store: Arc<dyn PartitionStore> = Arc::new(store.expect("nobody else has it open"));
        let cache = RefCell::new(Self::open(&store));
        Self { store, cache, held: RefCell::default() }
    }

    async fn get(&self, key: Key) -> Option<Bytes> {
        let blob = self.cache().get(name(&key.to_be_bytes()), NOW).await;
        Some(blob.expect("the store is sound")?.value)
    }

    async fn insert(&self, key: Key, value: Bytes) {
        let put = self.cache();
        let put = put.put(name(&key.to_be_bytes()), blob(key, value), NOW).await;
        put.expect("the store is sound");
    }

    async fn remove(&self, key: Key) {
        self.cache().remove(name(&key.to_be_bytes())).await.expect("the store is sound");
    }

    async fn get_or_load(&self, key: Key, load: Load) -> Result<Bytes, LoadFailed> {
        let id = key.to_be_bytes();
        let load = || async { load.await.map(|value| Some(blob(key, value))) };
        let loaded = self.cache().get_or_load(name(&id), NOW, load).await;
        Ok(loaded.map_err(|_| LoadFailed)?.ok_or(LoadFailed)?.value)
    }

    async fn clear(&self) -> Support {
        self.invalidate(Scope::All).await
    }

    async fn clear_namespace(&self) -> Support {
        self.invalidate(Scope::Namespace(NAMESPACE)).await
    }

    async fn remove_tag_of(&self, key: Key) -> Support {
        self.invalidate(Scope::Tag(&tag(key))).await
    }

    async fn hold_promotion(&self, key: Key, value: Bytes) -> Outcome<Support> {
        self.insert(key, value.clone()).await;
        // A cache that was opened anew has nothing in memory.
        let (executor, held) = hold();
        let options = CacheOptions { inline_bytes_max: 0, ..CacheOptions::default() };
        let cache = BlobCache::open_with(self.store.clone(), options, executor).await?;
        self.cache.replace(cache);
        // The second read within the window schedules.
        for _ in 0..2 {
            if self.get(key).await.as_ref() != Some(&value) {
                return Err("the slow tier lacks what was put".into());
            }
        }
        let n_pooled = self.cache().stats().n_pooled;
        if n_pooled != 1 {
            return Err(
                format!("{n_pooled} promotions are scheduled, and one is to be held").into()
            );
        }
        held.has_begun()?;
        self.held.replace(Some(held));
        Ok(Support::Done)
    }

    async fn end_promotion(&self) -> Outcome<()> {
        self.held.take().map_or(Ok(()), Held::end)
    }
}

fn name(id: &[u8]) -> Name<'_> {
    Name::new(NAMESPACE, id).expect("both are short")
}

fn tag(key: Key) -> String {
    format!("tag-{key}")
}

fn blob(key: Key, value: Bytes) -> Blob {
    Blob::with_meta(value, Meta::new().tagged(&tag(key)).expect("it is short"))
}
