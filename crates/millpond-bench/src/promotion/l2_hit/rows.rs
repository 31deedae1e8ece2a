//! A store whose values are in sorted files and in its block cache.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::try_join_all;
use millpond_blob_cache::{Blob, BlobCache, CacheOptions, Key};
use millpond_storage_api::PartitionStore;
use millpond_storage_rocksdb::{OpenMode, RocksBudget, RocksStore};
use millpond_types::UnixMillis;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::promotion::Outcome;

/// Keys of one reader.
pub(super) const N_KEYS: usize = 256;
const N_READERS_MAX: usize = 2;
/// Values that fit into memory.
const N_RESIDENT: usize = 64;
/// More than a key and its entry take in memory.
const OVERHEAD_BYTES: usize = 256;

pub(super) const NOW: UnixMillis = UnixMillis(0);

pub(super) struct Rows {
    pub(super) store: Arc<dyn PartitionStore>,
    pub(super) runtime: Runtime,
    pub(super) values: Vec<Vec<u8>>,
    pub(super) memory_bytes: usize,
    _directory: TempDir,
}

impl Rows {
    pub(super) fn new(dir: &Path, value_bytes: usize) -> Outcome<Self> {
        let directory = tempfile::tempdir_in(dir)?;
        let runtime = Builder::new_current_thread().build()?;
        let path = directory.path().join("store");
        let store = Arc::new(RocksStore::open(&path, &RocksBudget::default(), OpenMode::Create)?);
        let values: Vec<_> = (0..N_KEYS * N_READERS_MAX).map(|n| value(n, value_bytes)).collect();
        runtime.block_on(async {
            let cache = BlobCache::open(store.clone(), CacheOptions::default()).await?;
            let ids: Vec<_> = (0..values.len()).map(id).collect();
            let puts = ids.iter().zip(&values).map(|(id, value)| {
                let (cache, blob) = (&cache, Blob::new(value.clone()));
                async move { Outcome::Ok(cache.put(key(id)?, blob, NOW).await?) }
            });
            try_join_all(puts).await.map(drop)
        })?;
        store.flush()?;
        store.settle()?;
        let memory_bytes = N_RESIDENT * (value_bytes + OVERHEAD_BYTES);
        Ok(Self { store, runtime, values, memory_bytes, _directory: directory })
    }
}

pub(super) fn id(n: usize) -> [u8; 8] {
    n.to_be_bytes()
}

pub(super) fn key(id: &[u8]) -> Outcome<Key<'_>> {
    Ok(Key::new("bench", id)?)
}

/// Bytes that do not compress, other ones for each key.
fn value(n: usize, n_bytes: usize) -> Vec<u8> {
    let mut state = u64::try_from(n).unwrap_or(0) + 1;
    let mut bytes = Vec::with_capacity(n_bytes);
    while bytes.len() < n_bytes {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes
}
