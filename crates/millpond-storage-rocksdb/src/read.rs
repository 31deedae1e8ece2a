//! Reading an open database: from memory on the caller's thread, from the disk on the pool.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use millpond_storage_api::{
    GetFuture, ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError, StoreErrorKind, StoreRead,
    Table,
};
use millpond_sync::atomic::{AtomicBool, Ordering};
use millpond_sync::{Arc, RwLock, oneshot};
use millpond_types::prefix_successor;
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions, ReadTier};

use crate::Guards;
use crate::error::{closed, corrupt, read_error};
use crate::options::PREFIX_BYTES;
use crate::pool::ReadPool;

/// A database that is there until it is closed.
pub(crate) struct DbCell {
    /// Readers hold the lock while they use the database, so that closing waits for them.
    db: RwLock<Option<DB>>,
    closing: AtomicBool,
}

impl DbCell {
    pub(crate) fn new(db: DB) -> Self {
        Self { db: RwLock::new(Some(db)), closing: AtomicBool::new(false) }
    }

    /// Calls `f` with the database.
    ///
    /// # Errors
    ///
    /// `Closed`, or the error of `f`.
    pub(crate) fn with<R>(
        &self,
        f: impl FnOnce(&DB) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        // So that a read which must not block does not queue up behind a close that waits for a slow
        // one. Relaxed: the lock decides; this only spares the wait.
        if self.closing.load(Ordering::Relaxed) {
            return Err(closed());
        }
        f(self.db.read().as_ref().ok_or_else(closed)?)
    }

    /// Waits for the readers and closes the database.
    pub(crate) fn close(&self) {
        // Relaxed: see `with`.
        self.closing.store(true, Ordering::Relaxed);
        let db = self.db.write().take();
        drop(db);
    }
}

/// The column family of a table.
pub(crate) fn handle(db: &DB, table: Table) -> Result<&ColumnFamily, StoreError> {
    // Every open passes all tables, so this fails for no store that was opened.
    db.cf_handle(table.name()).ok_or_else(|| corrupt(format_args!("no table {}", table.name())))
}

/// The value of `key`, wherever it is.
pub(crate) fn get_now(
    db: &DB,
    table: Table,
    key: &[u8],
    tier: ReadTier,
) -> Result<Option<Bytes>, StoreError> {
    let mut options = ReadOptions::default();
    options.set_read_tier(tier);
    let value = db
        .get_pinned_cf_opt(handle(db, table)?, key, &options)
        .map_err(|error| read_error(&error))?;
    Ok(value.map(|value| Bytes::copy_from_slice(&value)))
}

/// How far down a scan may reach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Memtables and block cache, within the request's budget of skipped keys.
    Memory,
    /// The disk, however many keys are skipped.
    Disk,
}

/// Fills `out`, which is cleared first.
pub(crate) fn scan_now(
    db: &DB,
    guards: Guards,
    request: &ScanRequest,
    reach: Reach,
    out: &mut ScanRows,
) -> Result<ScanEnd, StoreError> {
    out.clear();
    let upper = request.upper.as_deref();
    if upper.is_some_and(|upper| upper <= &request.lower[..]) {
        return Ok(ScanEnd::Exhausted);
    }
    let options = scan_options(request, guards, reach);
    let mut rows = db.raw_iterator_cf_opt(handle(db, request.table)?, options);
    let end = match reach {
        Reach::Memory => {
            let skips = SkipCount::start();
            fill(&mut rows, request, out, |n_steps| skips.so_far(n_steps) > request.skip_max)
        }
        Reach::Disk => fill(&mut rows, request, out, |_| false),
    };
    if end.as_ref().is_err_and(|error| !error.would_block()) {
        out.clear();
    }
    end
}

/// Reads rows until a limit is reached, or `give_up` says so after that many steps of the iterator.
fn fill(
    rows: &mut DBRawIterator<'_>,
    request: &ScanRequest,
    out: &mut ScanRows,
    give_up: impl Fn(u64) -> bool,
) -> Result<ScanEnd, StoreError> {
    rows.seek(&request.lower);
    let mut n_steps = 0;
    while let Some((key, value)) = rows.item() {
        // Where the iterator does not know the bound; otherwise it ends by itself.
        if request.upper.as_deref().is_some_and(|upper| key >= upper) {
            return Ok(ScanEnd::Exhausted);
        }
        out.push(key, value);
        if out.len() >= request.rows_max || out.n_bytes() >= request.bytes_max {
            return Ok(ScanEnd::Truncated { last: key.to_vec() });
        }
        if give_up(n_steps) {
            let detail = format!("{} keys were skipped", request.skip_max);
            return Err(StoreError::new(StoreErrorKind::WouldBlock, detail));
        }
        rows.next();
        n_steps += 1;
    }
    // An iterator ends without a row both at the end of the range and at an error.
    rows.status().map_err(|error| read_error(&error))?;
    Ok(ScanEnd::Exhausted)
}

/// Counts the keys that the iterators of this thread step over.
///
/// RocksDB's own limit holds for each step of an iterator; this one is for the sum over a scan.
struct SkipCount {
    counters: PerfContext,
    before: u64,
}

impl SkipCount {
    fn start() -> Self {
        set_perf_stats(PerfStatsLevel::EnableCount);
        let counters = PerfContext::default();
        let before = Self::total(&counters);
        Self { counters, before }
    }

    fn total(counters: &PerfContext) -> u64 {
        counters.metric(PerfMetric::InternalKeySkippedCount)
            + counters.metric(PerfMetric::InternalDeleteSkippedCount)
    }

    /// Each step also counts the row that it leaves.
    fn so_far(&self, n_steps: u64) -> u64 {
        (Self::total(&self.counters) - self.before).saturating_sub(n_steps)
    }
}

impl Drop for SkipCount {
    fn drop(&mut self) {
        // The level belongs to the thread, and the thread is the caller's.
        set_perf_stats(PerfStatsLevel::Disable);
    }
}

fn scan_options(request: &ScanRequest, guards: Guards, reach: Reach) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(upper) = request.upper.as_ref().filter(|_| guards.upper_bounds) {
        options.set_iterate_upper_bound(upper.clone());
    }
    if guards.prefix_filters && inside_one_queue(request) {
        // Lets the seek skip files and memtables by their filters on the prefix.
        options.set_prefix_same_as_start(true);
    } else {
        // A filter on the prefix of `lower` says nothing about the rest of the range.
        options.set_total_order_seek(true);
    }
    if reach == Reach::Memory {
        options.set_read_tier(ReadTier::BlockCache);
        // 0 would mean no limit.
        options.set_max_skippable_internal_keys(request.skip_max.max(1));
    }
    options.set_background_purge_on_iterator_cleanup(true);
    options
}

/// Whether every key of the range starts with the same queue id, in a table that has filters on it.
fn inside_one_queue(request: &ScanRequest) -> bool {
    let has_prefix = matches!(request.table, Table::Entries | Table::Payloads | Table::Leases);
    let (Some(prefix), Some(upper)) = (request.lower.get(..PREFIX_BYTES), &request.upper) else {
        return false;
    };
    // `None`: the prefix is all 0xFF, and nothing sorts after its keys.
    let within = prefix_successor(prefix).is_none_or(|successor| *upper <= successor);
    has_prefix && within
}

/// A database with the threads that read from its disk; what every reading handle is made of.
#[derive(Clone)]
pub(crate) struct Reads {
    pub(crate) db: Arc<DbCell>,
    pub(crate) pool: Arc<ReadPool>,
    guards: Guards,
}

impl Reads {
    pub(crate) fn new(db: DB, guards: Guards, n_threads: usize) -> std::io::Result<Self> {
        let pool = Arc::new(ReadPool::start(n_threads)?);
        Ok(Self { db: Arc::new(DbCell::new(db)), pool, guards })
    }

    /// Runs `read` on the pool. Dropping the future before its turn spares the read.
    pub(crate) fn on_pool<R: Send + 'static>(
        &self,
        read: impl FnOnce(&DB) -> Result<R, StoreError> + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = Result<R, StoreError>> + Send + 'static>> {
        let (sender, receiver) = oneshot::channel();
        let db = self.db.clone();
        let queued = self.pool.run(Box::new(move || {
            if !sender.is_closed() {
                // Whoever asked may be gone by now.
                let _ = sender.send(db.with(read));
            }
        }));
        Box::pin(async move {
            queued?;
            receiver.await.unwrap_or_else(|oneshot::Dropped| Err(closed()))
        })
    }

    /// Ends the threads and closes the database. Idempotent.
    pub(crate) fn close(&self) {
        self.pool.close();
        self.db.close();
    }
}

impl StoreRead for Reads {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        out.clear();
        self.db.with(|db| scan_now(db, self.guards, request, Reach::Memory, out))
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        let guards = self.guards;
        self.on_pool(move |db| {
            let mut rows = ScanRows::new();
            let end = scan_now(db, guards, &request, Reach::Disk, &mut rows)?;
            Ok((rows, end))
        })
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.db.with(|db| get_now(db, table, key, ReadTier::BlockCache))
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        let key = key.to_vec();
        self.on_pool(move |db| get_now(db, table, &key, ReadTier::All))
    }
}
