//! Checkpoints: a second set of hard links to the files of a store.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use millpond_storage_api::{
    GetFuture, ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError, StoreErrorKind, StoreRead,
    Table,
};
use rocksdb::DB;
use rocksdb::checkpoint::Checkpoint as RocksCheckpoint;

use crate::RocksReader;
use crate::error::read_error;

/// Where the checkpoints of a store are, inside its directory: on the same file system, which hard links
/// need, and nowhere that is not ours.
const DIRECTORY: &str = "checkpoints";

/// The directory of one checkpoint. It goes when this is dropped.
#[derive(Debug)]
pub(crate) struct CheckpointDir(PathBuf);

impl CheckpointDir {
    /// Names the checkpoint `number` of the store at `store`; nothing is there yet.
    pub(crate) fn new(store: &Path, number: u64) -> Result<Self, StoreError> {
        let parent = store.join(DIRECTORY);
        std::fs::create_dir_all(&parent).map_err(|error| io_error(&parent, &error))?;
        Ok(Self(parent.join(number.to_string())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Flushes what is in memory and links every file.
    pub(crate) fn link(&self, db: &DB) -> Result<(), StoreError> {
        RocksCheckpoint::new(db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(&self.0))
            .map_err(|error| read_error(&error))
    }
}

impl Drop for CheckpointDir {
    fn drop(&mut self) {
        remove(&self.0);
        if let Some(parent) = self.0.parent() {
            // Fails while another checkpoint is there.
            let _ = std::fs::remove_dir(parent);
        }
    }
}

/// Removes the checkpoints of an earlier process.
pub(crate) fn remove_stale(store: &Path) {
    remove(&store.join(DIRECTORY));
}

fn remove(path: &Path) {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            // It costs space, nothing else; the next open tries again.
            tracing::warn!(path = %path.display(), %error, "a checkpoint could not be removed");
        }
        _ => {}
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> StoreError {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            StoreErrorKind::NoSpace
        }
        _ => StoreErrorKind::Io,
    };
    StoreError::new(kind, format!("{}: {error}", path.display()))
}

/// The view of a checkpoint.
pub(crate) struct CheckpointView {
    /// Before the directory: fields are dropped in this order.
    pub(crate) reader: RocksReader,
    pub(crate) _dir: CheckpointDir,
}

impl StoreRead for CheckpointView {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        self.reader.try_scan(request, out)
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        self.reader.scan(request)
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.reader.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        self.reader.get(table, key)
    }
}
