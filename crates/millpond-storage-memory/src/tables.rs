//! The rows of a partition, cheap to freeze.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use millpond_storage_api::{
    LogPosition, Op, ScanEnd, ScanRequest, ScanRows, StoreError, StoreErrorKind, Table, WriteBatch,
};
use millpond_types::{SystemKey, encode_u64};

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Live(Bytes),
    /// Removed, but still in the way of scans.
    Tombstone,
    /// Its checksum does not match.
    Damaged,
}

/// The outcome of a scan that may wait.
pub(crate) type Scanned = Result<(ScanRows, ScanEnd), StoreError>;

type Rows = BTreeMap<Bytes, Cell>;

/// All tables of one partition. A clone shares the rows until either side changes a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    // std's Arc: frozen rows are shared data, not a protocol that a model must see.
    rows: [Arc<Rows>; Table::ALL.len()],
}

impl Tables {
    /// Applies `batch` together with the store's own row about it.
    pub(crate) fn commit(
        &mut self,
        position: LogPosition,
        batch: &WriteBatch,
        keep_tombstones: bool,
    ) {
        self.apply(batch, keep_tombstones);
        self.put(Table::System, SystemKey::LogPosition.encode(), &encode_u64(position.0));
    }

    fn apply(&mut self, batch: &WriteBatch, keep_tombstones: bool) {
        for op in batch.ops() {
            match op {
                Op::Put { table, key, value } => self.put(table, key, value),
                Op::Delete { table, key } | Op::SingleDelete { table, key } => {
                    remove(self.table_mut(table), key, keep_tombstones);
                }
                Op::DeleteRange { table, lower, upper } if lower < upper => {
                    for key in self.live_keys(table, lower, upper) {
                        remove(self.table_mut(table), &key, keep_tombstones);
                    }
                }
                Op::DeleteRange { .. } => {}
            }
        }
    }

    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let value = Cell::Live(Bytes::copy_from_slice(value));
        self.table_mut(table).insert(Bytes::copy_from_slice(key), value);
    }

    /// Makes every read that reaches `key` fail. Returns whether there was such a row.
    pub(crate) fn damage(&mut self, table: Table, key: &[u8]) -> bool {
        match self.table_mut(table).get_mut(key) {
            None | Some(Cell::Tombstone) => false,
            Some(cell) => {
                *cell = Cell::Damaged;
                true
            }
        }
    }

    /// Forgets tombstones.
    pub(crate) fn compact(&mut self) {
        for rows in &mut self.rows {
            Arc::make_mut(rows).retain(|_, cell| *cell != Cell::Tombstone);
        }
    }

    pub(crate) fn is_live(&self, table: Table, key: &[u8]) -> bool {
        self.rows[table.index()].get(key).is_some_and(|cell| *cell != Cell::Tombstone)
    }

    /// The live keys in `lower..upper`, which must not be inverted.
    pub(crate) fn live_keys(&self, table: Table, lower: &[u8], upper: &[u8]) -> Vec<Bytes> {
        self.rows[table.index()]
            .range::<[u8], _>((Bound::Included(lower), Bound::Excluded(upper)))
            .filter(|(_, cell)| **cell != Cell::Tombstone)
            .map(|(key, _)| key.clone())
            .collect()
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.rows[table.index()].get(key) {
            None | Some(Cell::Tombstone) => Ok(None),
            Some(Cell::Live(value)) => Ok(Some(value.clone())),
            Some(Cell::Damaged) => Err(damaged(table, key)),
        }
    }

    /// Fills `out` with the rows of `request`, at most `rows_readable` of them before `WouldBlock`, and
    /// steps over at most `skip_max` tombstones.
    pub(crate) fn scan(
        &self,
        request: &ScanRequest,
        skip_max: u64,
        rows_readable: Option<usize>,
        out: &mut ScanRows,
    ) -> Result<ScanEnd, StoreError> {
        out.clear();
        let lower = Bound::Included(&request.lower[..]);
        let upper = request.upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        if request.upper.as_ref().is_some_and(|upper| *upper <= request.lower) {
            return Ok(ScanEnd::Exhausted);
        }
        let mut n_skipped = 0;
        for (key, cell) in self.rows[request.table.index()].range::<[u8], _>((lower, upper)) {
            // Before a look at the cell: what lies behind the limit is the next scan's affair.
            if let Some(last) = out.last_key()
                && (out.len() >= request.rows_max || out.n_bytes() >= request.bytes_max)
            {
                return Ok(ScanEnd::Truncated { last: last.to_vec() });
            }
            let value = match cell {
                Cell::Tombstone if n_skipped == skip_max => {
                    return Err(would_block("too many tombstones in the way"));
                }
                Cell::Tombstone => {
                    n_skipped += 1;
                    continue;
                }
                _ if rows_readable == Some(out.len()) => {
                    return Err(would_block("the next row is not in memory"));
                }
                Cell::Damaged => {
                    out.clear();
                    return Err(damaged(request.table, key));
                }
                Cell::Live(value) => value,
            };
            out.push(key, value);
        }
        Ok(ScanEnd::Exhausted)
    }

    /// As [`scan`](Self::scan), with nothing in the way.
    pub(crate) fn scan_all(&self, request: &ScanRequest) -> Scanned {
        let mut rows = ScanRows::new();
        let end = self.scan(request, u64::MAX, None, &mut rows)?;
        Ok((rows, end))
    }

    fn table_mut(&mut self, table: Table) -> &mut Rows {
        Arc::make_mut(&mut self.rows[table.index()])
    }
}

fn remove(rows: &mut Rows, key: &[u8], keep_tombstone: bool) {
    if keep_tombstone {
        if let Some(cell) = rows.get_mut(key) {
            *cell = Cell::Tombstone;
        }
    } else {
        rows.remove(key);
    }
}

pub(crate) fn would_block(why: &str) -> StoreError {
    StoreError::new(StoreErrorKind::WouldBlock, why)
}

fn damaged(table: Table, key: &[u8]) -> StoreError {
    let detail = format!("the row {} of table {} is damaged", key.escape_ascii(), table.name());
    StoreError::new(StoreErrorKind::Corrupt, detail)
}
