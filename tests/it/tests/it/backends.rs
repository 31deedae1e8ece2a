//! The same on RocksDB and on the memory store.

use std::sync::Arc;

use millpond::{Engine, PartitionOptions, PartitionStore, QueueId, QueueKey, Settings, TopicName};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore, SyncMode};
use tempfile::TempDir;

/// Where an engine of two partitions is.
pub(crate) enum Backend {
    Rocks(TempDir),
    Memory([MemoryDisk; 2]),
}

impl Backend {
    /// Both, without anything in them.
    pub(crate) fn both() -> [Self; 2] {
        let disks = [MemoryDisk::new(), MemoryDisk::new()];
        [Self::Rocks(tempfile::tempdir().unwrap()), Self::Memory(disks)]
    }

    /// Opens the engine, or opens it again.
    pub(crate) async fn open(&self, retry: Settings) -> Engine {
        match self {
            Self::Rocks(directory) => {
                Engine::open(millpond_it::options(directory.path()).defaults(retry)).await.unwrap()
            }
            Self::Memory(disks) => {
                let options = PartitionOptions { defaults: retry, ..PartitionOptions::default() };
                let stores = disks.iter().map(|disk| store(disk, SyncMode::Automatic));
                Engine::with_stores(stores.collect(), options).await.unwrap()
            }
        }
    }
}

/// A store on a disk that syncs by itself, or when it is told to.
pub(crate) fn store(disk: &MemoryDisk, sync: SyncMode) -> Arc<dyn PartitionStore> {
    let options = MemoryOptions { sync, ..MemoryOptions::default() };
    Arc::new(MemoryStore::open(disk, options).unwrap())
}

/// Keys of queues of topic `t` with this prefix, so many in each of two partitions.
pub(crate) fn keys(prefix: &str, n_each: usize) -> [Vec<String>; 2] {
    let topic = TopicName::new("t").unwrap();
    let mut keys = [Vec::new(), Vec::new()];
    for n in 0.. {
        let key = format!("{prefix}{n}");
        let id = QueueId::derive(&topic, &QueueKey::new(&key).unwrap());
        let keys_there = &mut keys[usize::from(id.partition(2))];
        if keys_there.len() < n_each {
            keys_there.push(key);
        }
        if keys.iter().all(|keys| keys.len() == n_each) {
            break;
        }
    }
    keys
}
