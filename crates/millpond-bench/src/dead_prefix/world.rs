//! A store with rows of some queues, and reads of it that are timed, counted and checked.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millpond_storage_api::{
    CommitTicket, PartitionStore, ScanEnd, ScanRequest, ScanRows, StoreRead, Table, WriteBatch,
};
use millpond_storage_rocksdb::{BudgetOptions, Guards, OpenMode, RocksBudget, RocksStore};
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::Outcome;

/// Rows of one read at the head: the capacity of an inbox.
pub(super) const HEAD_ROWS: usize = 24;
/// Value of a row, in bytes: a header with a short payload.
pub(super) const VALUE: [u8; 100] = [0x5A; 100];
/// Rows changed by one batch.
const BATCH_ROWS: usize = 10_000;

pub(super) type Key = [u8; 26];

/// Stages of a row: ready, and set aside as a dead letter.
const READY: u8 = 2;
const DEAD: u8 = 3;

/// Key of the `n`-th ready entry of a queue. Queues are neighbours when their numbers are.
pub(super) fn key(queue: u64, n: u64) -> Key {
    key_in(queue, READY, n)
}

/// Key of the `n`-th dead letter of a queue; they stand just behind its ready entries.
pub(super) fn dead_letter(queue: u64, n: u64) -> Key {
    key_in(queue, DEAD, n)
}

fn key_in(queue: u64, stage: u8, n: u64) -> Key {
    let mut key = [0; 26];
    key[..8].copy_from_slice(&queue.to_be_bytes());
    key[16..18].copy_from_slice(&[stage, 128]);
    key[18..].copy_from_slice(&n.to_be_bytes());
    key
}

/// First key behind the ready entries of a queue.
pub(super) fn end_of(queue: u64) -> Vec<u8> {
    let mut end = key(queue, 0)[..17].to_vec();
    end[16] += 1;
    end
}

/// A read at the head of a queue, from its entry `from` on.
pub(super) fn head(queue: u64, from: u64) -> ScanRequest {
    ScanRequest {
        table: Table::Entries,
        lower: key(queue, from).to_vec(),
        upper: Some(end_of(queue)),
        rows_max: HEAD_ROWS,
        bytes_max: usize::MAX,
        skip_max: u64::MAX,
    }
}

/// One read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) took: Duration,
    pub(super) n_rows: usize,
    pub(super) would_block: bool,
    /// Dead keys and tombstones that were stepped over, as RocksDB counts them.
    pub(super) n_skipped: u64,
    /// Blocks looked at.
    pub(super) n_blocks: u64,
}

impl Read {
    /// This read, if it was answered with so many rows.
    pub(super) fn with_rows(self, n_rows: usize) -> Outcome<Self> {
        if self.would_block {
            return Err("a read of rows in memory would block".into());
        }
        if self.n_rows != n_rows {
            return Err(format!("a read found {} rows instead of {n_rows}", self.n_rows).into());
        }
        Ok(self)
    }
}

/// One store, with nothing in it at first.
pub(super) struct World {
    path: PathBuf,
    options: BudgetOptions,
    budget: RocksBudget,
    store: RocksStore,
    runtime: Runtime,
    directory: TempDir,
}

impl World {
    pub(super) fn new(dir: &Path, guards: Guards) -> Outcome<Self> {
        // Large enough that nothing is flushed before a case says so.
        let options =
            BudgetOptions { write_buffer_bytes: 512 << 20, guards, ..BudgetOptions::default() };
        let directory = tempfile::tempdir_in(dir)?;
        let path = directory.path().join("p");
        let budget = RocksBudget::new(options);
        let store = RocksStore::open(&path, &budget, OpenMode::Create)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Self { path, options, budget, store, runtime, directory })
    }

    /// The same store with nothing in its cache.
    pub(super) fn reopened(self) -> Outcome<Self> {
        let Self { path, options, budget, store, runtime, directory } = self;
        drop((store, budget));
        let budget = RocksBudget::new(options);
        let store = RocksStore::open(&path, &budget, OpenMode::OpenExisting)?;
        Ok(Self { path, options, budget, store, runtime, directory })
    }

    pub(super) fn submit(&self, build: impl FnOnce(&mut WriteBatch)) -> CommitTicket {
        let mut batch = WriteBatch::new();
        build(&mut batch);
        self.store.submit(batch)
    }

    /// Adds ready entries of these queues.
    pub(super) fn put(
        &self,
        queues: impl IntoIterator<Item = u64>,
        entries: Range<u64>,
    ) -> Outcome<()> {
        self.change(queues, entries, |batch, key| batch.put(Table::Entries, key, &VALUE))
    }

    /// Removes them as an ack does.
    pub(super) fn consume(
        &self,
        queues: impl IntoIterator<Item = u64>,
        entries: Range<u64>,
    ) -> Outcome<()> {
        self.change(queues, entries, |batch, key| batch.single_delete(Table::Entries, key))
    }

    fn change(
        &self,
        queues: impl IntoIterator<Item = u64>,
        entries: Range<u64>,
        change: impl Fn(&mut WriteBatch, &[u8]),
    ) -> Outcome<()> {
        let (mut batch, mut tickets) = (WriteBatch::new(), Vec::new());
        for queue in queues {
            for n in entries.clone() {
                change(&mut batch, &key(queue, n));
                if batch.len() == BATCH_ROWS {
                    tickets.push(self.store.submit(std::mem::take(&mut batch)));
                }
            }
        }
        tickets.push(self.store.submit(batch));
        self.wait(tickets)
    }

    /// Until all of them are durable.
    pub(super) fn wait(&self, tickets: Vec<CommitTicket>) -> Outcome<()> {
        for ticket in tickets {
            self.runtime.block_on(ticket)?;
        }
        Ok(())
    }

    /// Writes the memtables to sorted files.
    pub(super) fn flush(&self) -> Outcome<()> {
        self.store.flush()?;
        Ok(())
    }

    /// Waits for what the store compacts by itself.
    pub(super) fn settle(&self) -> Outcome<()> {
        self.store.settle()?;
        Ok(())
    }

    /// Merges all files of a table into one.
    pub(super) fn compact(&self) -> Outcome<()> {
        self.store.compact()?;
        Ok(())
    }

    /// Brings into the cache what a read needs.
    pub(super) fn warm(&self, request: &ScanRequest) -> Outcome<()> {
        self.read(request).map(drop)
    }

    /// Reads without waiting, on this thread.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    pub(super) fn try_read(&self, request: &ScanRequest) -> Outcome<Read> {
        let mut rows = ScanRows::new();
        let counters = PerfContext::default();
        // The counters grow only; the store switches them off again.
        set_perf_stats(PerfStatsLevel::EnableCount);
        let before = (n_skipped(&counters), n_blocks(&counters));
        let started = Instant::now();
        let end = self.store.try_scan(request, &mut rows);
        let took = started.elapsed();
        let n_rows = rows.len() as u64;
        let (would_block, n_steps) = match end {
            Ok(ScanEnd::Exhausted) => (false, n_rows),
            Ok(ScanEnd::Truncated { .. }) => (false, n_rows.saturating_sub(1)),
            Err(error) if error.would_block() => (true, n_rows),
            Err(error) => return Err(error.into()),
        };
        Ok(Read {
            took,
            n_rows: rows.len(),
            would_block,
            // RocksDB counts the live row that a step leaves, too.
            n_skipped: (n_skipped(&counters) - before.0).saturating_sub(n_steps),
            n_blocks: n_blocks(&counters) - before.1,
        })
    }

    /// Reads as far as it takes, on a thread of the store. Returns the time and the number of rows.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    pub(super) fn read(&self, request: &ScanRequest) -> Outcome<(Duration, usize)> {
        let started = Instant::now();
        let (rows, _) = self.runtime.block_on(self.store.scan(request.clone()))?;
        Ok((started.elapsed(), rows.len()))
    }
}

fn n_skipped(counters: &PerfContext) -> u64 {
    counters.metric(PerfMetric::InternalKeySkippedCount)
        + counters.metric(PerfMetric::InternalDeleteSkippedCount)
}

fn n_blocks(counters: &PerfContext) -> u64 {
    counters.metric(PerfMetric::BlockCacheHitCount) + counters.metric(PerfMetric::BlockReadCount)
}
