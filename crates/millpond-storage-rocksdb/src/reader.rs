//! Reading a store that nobody has open.

use std::path::Path;

use bytes::Bytes;
use millpond_storage_api::{
    GetFuture, LogPosition, OpenError, ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError,
    StoreRead, Table,
};
use millpond_types::SystemKey;

use crate::error::{open_io_error, open_store_error};
use crate::open::{open_read_only, system_number};
use crate::read::Reads;
use crate::{BudgetOptions, RocksBudget};

/// Cache of a reader that has no budget of its own, in bytes.
const CACHE_BYTES: usize = 32 << 20;

/// A stopped store, opened for reading. It sees everything that was durable, the tail of RocksDB's own
/// log included, claims nothing and leaves every byte on the disk as it is.
///
/// A store that is open elsewhere can be opened too, but its files may vanish under the reader; ask the
/// process that owns it instead.
pub struct RocksReader {
    reads: Reads,
    position: LogPosition,
}

impl RocksReader {
    /// Opens the store at `path`.
    ///
    /// # Errors
    ///
    /// As [`RocksStore::open`](crate::RocksStore::open), but never `AlreadyOpen`.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let options = BudgetOptions { cache_bytes: CACHE_BYTES, ..BudgetOptions::default() };
        Self::open_with(path.as_ref(), &RocksBudget::new(options))
    }

    pub(crate) fn open_with(path: &Path, budget: &RocksBudget) -> Result<Self, OpenError> {
        let name = path.display().to_string();
        let db = open_read_only(path, budget)?;
        let position = system_number(&db, SystemKey::LogPosition)
            .map_err(|error| open_store_error(&name, &error))?;
        let reads = Reads::new(db, budget.options.guards, 1)
            .map_err(|error| open_io_error(&name, &error))?;
        Ok(Self { reads, position: LogPosition(position.unwrap_or(0)) })
    }

    /// The position of the newest batch.
    pub fn position(&self) -> LogPosition {
        self.position
    }
}

impl Drop for RocksReader {
    fn drop(&mut self) {
        self.reads.close();
    }
}

impl std::fmt::Debug for RocksReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksReader").field("position", &self.position).finish_non_exhaustive()
    }
}

impl StoreRead for RocksReader {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        self.reads.try_scan(request, out)
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        self.reads.scan(request)
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.reads.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        self.reads.get(table, key)
    }
}
