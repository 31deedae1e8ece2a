//! RocksDB by itself: one thread that fills a `WriteBatch` and writes it with sync, over and over.
//!
//! The rows are those of the engine: as many per commit, with keys of the same length and the same
//! order (entries of many queues, each queue growing at its end), in as many tables. What is missing is
//! everything else: callers, receipts, a loop, a window over each queue.

use std::path::Path;
use std::time::{Duration, Instant};

use rocksdb::{ColumnFamily, DB, IteratorMode, Options, WriteBatch, WriteOptions};

use crate::N_QUEUES;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What one commit holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Rows that are new with every entry.
    pub(crate) entry_rows: usize,
    /// Rows that are written again and again: counters of queues.
    pub(crate) other_rows: usize,
    /// Keys and values of all rows.
    pub(crate) bytes: usize,
}

const ENTRIES: &str = "entries";
const OTHERS: &str = "others";
/// Lengths of keys and of the value of a counter row, in bytes, as in the engine's tables.
const ENTRY_KEY_BYTES: usize = 26;
const OTHER_KEY_BYTES: usize = 32;
const OTHER_VALUE_BYTES: usize = 33;

struct Rows {
    shape: Shape,
    queues: Vec<[u8; 16]>,
    sequence: u64,
    entry_value: Vec<u8>,
}

impl Rows {
    fn new(shape: Shape) -> Self {
        let others = shape.other_rows * (OTHER_KEY_BYTES + OTHER_VALUE_BYTES);
        let entry_bytes = shape.bytes.saturating_sub(others) / shape.entry_rows.max(1);
        // Spread over the key space like hashes, and the same in every run.
        let queue = |n: usize| {
            let spread = (n as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            spread.to_be_bytes()
        };
        Self {
            shape,
            queues: (0..N_QUEUES).map(queue).collect(),
            sequence: 0,
            entry_value: vec![0x5A; entry_bytes.saturating_sub(ENTRY_KEY_BYTES)],
        }
    }

    fn fill(&mut self, batch: &mut WriteBatch, entries: &ColumnFamily, others: &ColumnFamily) {
        let mut key = [0; ENTRY_KEY_BYTES];
        for row in 0..self.shape.entry_rows {
            self.sequence += 1;
            key[..16].copy_from_slice(&self.queues[row % N_QUEUES]);
            key[ENTRY_KEY_BYTES - 8..].copy_from_slice(&self.sequence.to_be_bytes());
            batch.put_cf(entries, key, &self.entry_value);
        }
        let mut key = [0; OTHER_KEY_BYTES];
        for row in 0..self.shape.other_rows {
            key[OTHER_KEY_BYTES - 16..].copy_from_slice(&self.queues[row % N_QUEUES]);
            batch.put_cf(others, key, [0x5A; OTHER_VALUE_BYTES]);
        }
    }
}

/// Synced commits of this shape, per second.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn commits_per_second(dir: &Path, shape: Shape, run: Duration) -> Outcome<f64> {
    let directory = tempfile::tempdir_in(dir)?;
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_recycle_log_file_num(2);
    let db = DB::open_cf(&options, directory.path(), [ENTRIES, OTHERS])?;
    let entries = db.cf_handle(ENTRIES).ok_or("the table was just made")?;
    let others = db.cf_handle(OTHERS).ok_or("the table was just made")?;
    let mut write = WriteOptions::default();
    write.set_sync(true);
    let mut rows = Rows::new(shape);
    let started = Instant::now();
    let mut n_commits = 0_u32;
    while started.elapsed() < run {
        let n_rows = shape.entry_rows + shape.other_rows;
        let mut batch = WriteBatch::with_capacity_bytes(shape.bytes + 16 * n_rows);
        rows.fill(&mut batch, entries, others);
        db.write_opt(batch, &write)?;
        n_commits += 1;
    }
    let rate = f64::from(n_commits) / started.elapsed().as_secs_f64();
    if db.iterator_cf(entries, IteratorMode::Start).count() as u64 != rows.sequence {
        return Err("RocksDB does not hold what was written".into());
    }
    Ok(rate)
}
