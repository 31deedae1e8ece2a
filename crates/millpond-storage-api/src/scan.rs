//! One call, one batch of rows.

use crate::Table;

/// What to scan, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRequest {
    /// The table.
    pub table: Table,
    /// First key that may be returned: a floor, never "the beginning", where rows are consumed at the
    /// head, so that the scan does not walk over their tombstones.
    pub lower: Vec<u8>,
    /// First key that is not returned; `None` is the end of the table.
    pub upper: Option<Vec<u8>>,
    /// Most rows to return, at least 1.
    pub rows_max: usize,
    /// Stop once this many bytes of keys and values were read. A single larger row is still returned.
    pub bytes_max: usize,
    /// Most deleted or overwritten versions `try_scan` may step over before it answers `WouldBlock`.
    /// `scan` ignores it.
    pub skip_max: u64,
}

/// Where a scan ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanEnd {
    /// The range holds nothing beyond the rows that were returned.
    Exhausted,
    /// The range may hold more after `last`, the key of the last row returned.
    Truncated {
        /// Continue just after this key.
        last: Vec<u8>,
    },
}

/// Rows of one scan, in one buffer that is meant to be reused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanRows {
    data: Vec<u8>,
    /// For each row, where its key and its value end in `data`.
    ends: Vec<(usize, usize)>,
}

impl ScanRows {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a row.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.data.extend_from_slice(key);
        let key_end = self.data.len();
        self.data.extend_from_slice(value);
        self.ends.push((key_end, self.data.len()));
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.ends.clear();
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn n_bytes(&self) -> usize {
        self.data.len()
    }

    /// Key and value of the row at `index`.
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let &(key_end, value_end) = self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |previous| self.ends[previous].1);
        Some((&self.data[start..key_end], &self.data[key_end..value_end]))
    }

    /// Keys and values in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> + ExactSizeIterator {
        (0..self.len()).map(|index| self.get(index).expect("index is below len"))
    }

    /// Key of the last row.
    pub fn last_key(&self) -> Option<&[u8]> {
        self.iter().next_back().map(|(key, _)| key)
    }
}
