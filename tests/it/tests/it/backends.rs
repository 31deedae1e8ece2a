//! The same on RocksDB and on the memory store.

use std::sync::Arc;

use millpond::{Engine, PartitionOptions, PartitionStore, Settings};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
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
                let store = |disk| {
                    let store = MemoryStore::open(disk, MemoryOptions::default()).unwrap();
                    Arc::new(store) as Arc<dyn PartitionStore>
                };
                let options = PartitionOptions { defaults: retry, ..PartitionOptions::default() };
                Engine::with_stores(disks.iter().map(store).collect(), options).await.unwrap()
            }
        }
    }
}
