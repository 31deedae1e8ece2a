//! What keeps dead rows from being read, as switches.

/// The store's guards against dead rows before, behind and between those that a scan looks for. All are
/// on by default.
///
/// They are switches so that a benchmark can measure what each is worth; leave them on. None changes what
/// a read returns, and a store may be opened with other guards than the last time. The other two guards
/// belong to each [`ScanRequest`](millpond_storage_api::ScanRequest): its floor and its budget of skipped
/// keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// Compact a sorted file at once when it is written with many tombstones side by side. Without it,
    /// tombstones stay where reads start until the levels above and below them fill up.
    pub compact_on_deletion: bool,
    /// Filters on the queue id, in memtables and in sorted files written meanwhile, and scans that use
    /// them. Without them, a scan looks into every file whose keys span the queue.
    pub prefix_filters: bool,
    /// Tell RocksDB where a scan ends. Without it, a scan finds the first live row behind the range before
    /// it knows that there is none left inside.
    pub upper_bounds: bool,
    /// Flush a memtable that holds 1,000 range deletes. After every range delete the next read of its
    /// table sorts all those of the memtable again, on the reader's thread: 0.09 µs for each.
    pub range_delete_limit: bool,
}

impl Guards {
    /// All on.
    pub const ALL: Self = Self {
        compact_on_deletion: true,
        prefix_filters: true,
        upper_bounds: true,
        range_delete_limit: true,
    };
}

impl Default for Guards {
    /// [All](Self::ALL).
    fn default() -> Self {
        Self::ALL
    }
}
