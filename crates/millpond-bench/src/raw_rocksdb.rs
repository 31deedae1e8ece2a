//! RocksDB by itself: one thread that fills a `WriteBatch` and writes it with sync, over and over.

use std::path::Path;
use std::time::{Duration, Instant};

use rocksdb::{DB, IteratorMode, Options, WriteBatch, WriteOptions};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What one commit holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    /// Keys and values of all rows.
    pub(crate) bytes: usize,
}

/// Length of a key: as in the `entries` table.
const KEY_BYTES: usize = 26;

/// Synced commits of this shape, per second.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn commits_per_second(dir: &Path, shape: Shape, run: Duration) -> Outcome<f64> {
    let directory = tempfile::tempdir_in(dir)?;
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(32 << 20);
    let db = DB::open(&options, directory.path())?;
    let mut write = WriteOptions::default();
    write.set_sync(true);
    let rows = shape.rows.max(1);
    let value = vec![0x5A; (shape.bytes / rows).saturating_sub(KEY_BYTES)];
    let mut key = [0; KEY_BYTES];
    let mut sequence = 0_u64;
    let started = Instant::now();
    let mut n_commits = 0_u32;
    while started.elapsed() < run {
        let mut batch = WriteBatch::with_capacity_bytes(shape.bytes + 16 * rows);
        for _ in 0..rows {
            sequence += 1;
            key[KEY_BYTES - 8..].copy_from_slice(&sequence.to_be_bytes());
            batch.put(key, &value);
        }
        db.write_opt(batch, &write)?;
        n_commits += 1;
    }
    let rate = f64::from(n_commits) / started.elapsed().as_secs_f64();
    if db.iterator(IteratorMode::Start).count() as u64 != sequence {
        return Err("RocksDB does not hold what was written".into());
    }
    Ok(rate)
}
