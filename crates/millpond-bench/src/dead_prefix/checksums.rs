//! What checking the blocks of sorted files costs a read that does not find them in the cache.

use std::path::Path;
use std::time::{Duration, Instant};

use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use rocksdb::{
    BlockBasedOptions, ChecksumType, DB, DBCompressionType, Options, ReadOptions, WriteOptions,
};

use super::world::{VALUE, key};
use super::{Outcome, Table, median_of};

const N_ROWS: u64 = 200_000;
const ENTRIES: &str = "entries";

pub(super) fn run(table: &mut Table<'_>, dir: &Path) -> Outcome<()> {
    let cases = [
        ("blocks with XXH3, as a store's", ChecksumType::XXH3),
        ("blocks with CRC32C, as the log's", ChecksumType::CRC32c),
    ];
    for (case, checksums) in cases {
        if !table.wants(case) {
            continue;
        }
        let directory = tempfile::tempdir_in(dir)?;
        let db = filled(directory.path(), checksums)?;
        let log = std::fs::read_to_string(directory.path().join("LOG"))?;
        let line = log.lines().find(|line| line.contains("Fast CRC32 supported"));
        println!("RocksDB's LOG: {}", line.ok_or("RocksDB says how it computes CRC32C")?);
        compare(table, case, &db)?;
    }
    Ok(())
}

fn compare(table: &mut Table<'_>, case: &str, db: &DB) -> Outcome<()> {
    let metrics = [("200k rows, no cache", "ms"), ("of it in checksums", "ms")];
    let (with, without) = (|| read_all(db, true), || read_all(db, false));
    table.compare(case, "checksums", &metrics, with, without)
}

/// A database with one sorted file and no block cache, so that each read of a block checks it. The page
/// cache of the system has the file.
fn filled(path: &Path, checksums: ChecksumType) -> Outcome<DB> {
    let mut blocks = BlockBasedOptions::default();
    blocks.disable_cache();
    blocks.set_block_size(16 << 10);
    blocks.set_checksum_type(checksums);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&blocks);
    let db = DB::open_cf_with_opts(&options, path, [(ENTRIES, options.clone())])?;
    let entries = db.cf_handle(ENTRIES).ok_or("the table is open")?;
    let mut unlogged = WriteOptions::default();
    unlogged.disable_wal(true);
    for n in 0..N_ROWS {
        db.put_cf_opt(entries, key(0, n), VALUE, &unlogged)?;
    }
    db.flush_cf(entries)?;
    Ok(db)
}

/// Milliseconds that reading every row takes, and what part of it goes into checksums. The second is from
/// another pass, because asking the clock for each block takes time too.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn read_all(db: &DB, verify: bool) -> Outcome<Vec<f64>> {
    let pass = || -> Outcome<f64> {
        let entries = db.cf_handle(ENTRIES).ok_or("the table is open")?;
        let mut options = ReadOptions::default();
        options.set_verify_checksums(verify);
        options.set_total_order_seek(true);
        let started = Instant::now();
        let mut rows = db.raw_iterator_cf_opt(entries, options);
        rows.seek_to_first();
        let mut n_rows = 0;
        while rows.valid() {
            n_rows += 1;
            rows.next();
        }
        rows.status()?;
        if n_rows != N_ROWS {
            return Err(format!("{n_rows} rows were read").into());
        }
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    let took_ms = median_of(pass)?;
    // The crate's names above `EnableCount` are one level behind RocksDB's; the last one has all times.
    set_perf_stats(PerfStatsLevel::EnableTime);
    let counters = PerfContext::default();
    let before = counters.metric(PerfMetric::BlockChecksumTime);
    pass()?;
    let spent_ns = counters.metric(PerfMetric::BlockChecksumTime) - before;
    set_perf_stats(PerfStatsLevel::Disable);
    Ok(vec![took_ms, Duration::from_nanos(spent_ns).as_secs_f64() * 1e3])
}
