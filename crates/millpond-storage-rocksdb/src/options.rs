//! RocksDB's options, each with its reason.

use millpond_storage_api::Table;
use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options,
    SliceTransform,
};

use crate::{Guards, RocksBudget};

/// Length of the queue id that starts every key of `entries`, `payloads` and `leases`, in bytes.
pub(crate) const PREFIX_BYTES: usize = 16;

/// Largest memtable of one table, in bytes; smaller budgets get a quarter of the budget.
const MEMTABLE_BYTES_MAX: usize = 64 << 20;
const MEMTABLE_BYTES_MIN: usize = 1 << 20;
/// Bytes of log after which the tables that hold the oldest of it are flushed. It bounds what the open
/// after a crash replays, at some 14 ms per MB.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// Old log files kept for their blocks, each as long as a log file gets (about one memtable).
const RECYCLED_LOGS: usize = 2;
/// Open files of one store. Each costs a descriptor; index and filter blocks are in the cache.
const OPEN_FILES_MAX: i32 = 512;
/// A file whose rows are to this part tombstones is compacted at once.
const TOMBSTONE_RATIO: f64 = 0.5;
/// As is one with this many tombstones …
const TOMBSTONES_TRIGGER: usize = 2048;
/// … among this many neighbouring rows.
const TOMBSTONE_WINDOW: usize = 4096;

/// Range deletes of one memtable, beyond which it is flushed: after each of them the next read sorts all
/// of the memtable's again. Those of a sorted file are sorted once.
const RANGE_DELETES_MAX: u32 = 1000;

/// Options of the whole store.
pub(crate) fn db_options(budget: &RocksBudget, create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    if let Some(env) = &budget.env {
        options.set_env(env);
    }
    options.set_write_buffer_manager(&budget.write_buffers);
    options.set_max_background_jobs(i32::from(budget.options.background_threads.max(1)) + 1);
    options.set_max_open_files(OPEN_FILES_MAX);

    // The tail of the log that was not synced holds nothing that anybody was told is durable. A power cut can leave that tail torn in the middle (blocks reach the disk in any
    // order), which kTolerateCorruptedTailRecords calls damage and refuses to open. Damage to a log file
    // that was closed is found by its size and number in the manifest.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    // Writing over blocks that exist spares each sync the update of the file's size.
    options.set_recycle_log_file_num(RECYCLED_LOGS);
    // Each record is with the system when the write returns: what is buffered rests on it.
    options.set_manual_wal_flush(false);

    // A flush writes back as it goes; otherwise its last sync competes with the syncs of commits.
    options.set_bytes_per_sync(1 << 20);
    // Files that a scan was the last to hold are deleted by a background thread, not by the scan.
    options.set_avoid_unnecessary_blocking_io(true);

    // RocksDB's own text log, bounded.
    options.set_max_log_file_size(4 << 20);
    options.set_keep_log_file_num(4);
    options.set_stats_dump_period_sec(0);
    options
}

/// All tables with their options.
pub(crate) fn column_families(budget: &RocksBudget) -> Vec<ColumnFamilyDescriptor> {
    Table::ALL
        .into_iter()
        .map(|table| ColumnFamilyDescriptor::new(table.name(), table_options(table, budget)))
        .collect()
}

fn table_options(table: Table, budget: &RocksBudget) -> Options {
    let guards = budget.options.guards;
    let mut options = new_table_options(guards);
    let memtable_bytes =
        (budget.options.write_buffer_bytes / 4).clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX);
    options.set_write_buffer_size(memtable_bytes);
    // One being filled and three waiting: a slow flush does not stop commits.
    options.set_max_write_buffer_number(4);
    options.set_level_compaction_dynamic_level_bytes(true);
    // Level 0 is short-lived in a queue: compress only what survives it.
    options.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::Lz4]);

    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&budget.cache);
    // Inside the shared budget instead of beside it.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    match table {
        Table::Entries => {
            queue_keys(&mut options, &mut blocks, guards);
            consumed_at_the_head(&mut options, guards);
            // A refill reads some tens of neighbouring rows of about 300 bytes.
            blocks.set_block_size(16 << 10);
        }
        Table::Payloads => {
            queue_keys(&mut options, &mut blocks, guards);
            consumed_at_the_head(&mut options, guards);
            payload_blobs(&mut options, budget);
        }
        Table::Leases => {
            queue_keys(&mut options, &mut blocks, guards);
            consumed_at_the_head(&mut options, guards);
        }
        Table::Active => consumed_at_the_head(&mut options, guards),
        Table::Delayed => {
            consumed_at_the_head(&mut options, guards);
            // Read in order and never looked up, some hundreds of rows at a time.
            blocks.set_block_size(32 << 10);
        }
        Table::Dedup => {
            seen_keys(&mut options, &mut blocks, memtable_bytes);
            consumed_at_the_head(&mut options, guards);
        }
        Table::Queues => blocks.set_bloom_filter(10.0, false),
        // Some rows, seldom written, read when the store is opened.
        Table::Settings => options.set_write_buffer_size(MEMTABLE_BYTES_MIN),
        Table::Log | Table::System => {}
    }
    options.set_block_based_table_factory(&blocks);
    options
}

fn new_table_options(guards: Guards) -> Options {
    let mut options = Options::default();
    if !guards.range_delete_limit {
        return options;
    }
    // The crate has no setter for it. It is in force from the first memtable on only if it is here.
    let text = format!("memtable_max_range_deletions={RANGE_DELETES_MAX}");
    options.get_options_from_string(text).expect("RocksDB 11.8 knows the option")
}

/// Keys start with a queue id: a scan inside one queue skips the files and memtables that do not know
/// the queue, and a look-up those that do not know the key.
fn queue_keys(options: &mut Options, blocks: &mut BlockBasedOptions, guards: Guards) {
    if guards.prefix_filters {
        options.set_prefix_extractor(SliceTransform::create_fixed_prefix(PREFIX_BYTES));
        options.set_memtable_prefix_bloom_ratio(0.02);
    }
    blocks.set_bloom_filter(10.0, false);
    blocks.set_whole_key_filtering(true);
}

/// Most look-ups are of keys that are not there, and neither a memtable nor a file is searched for those.
/// A prefix filter would not fit: half of the keys start with a time.
fn seen_keys(options: &mut Options, blocks: &mut BlockBasedOptions, memtable_bytes: usize) {
    // Rows of some tens of bytes: a part of what the tables of the entries need.
    options.set_write_buffer_size((memtable_bytes / 4).max(MEMTABLE_BYTES_MIN));
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.02);
    blocks.set_bloom_filter(10.0, false);
}

/// Tombstones gather exactly where the next read starts, so files full of them are compacted at once.
fn consumed_at_the_head(options: &mut Options, guards: Guards) {
    if !guards.compact_on_deletion {
        return;
    }
    options.add_compact_on_deletion_collector_factory(
        TOMBSTONE_WINDOW,
        TOMBSTONES_TRIGGER,
        TOMBSTONE_RATIO,
    );
}

/// Payloads leave the tree, so that compaction moves keys and not bodies.
fn payload_blobs(options: &mut Options, budget: &RocksBudget) {
    options.set_enable_blob_files(true);
    options.set_min_blob_size(1 << 10);
    options.set_blob_file_size(64 << 20);
    options.set_blob_compression_type(DBCompressionType::Lz4);
    options.set_blob_cache(&budget.cache);
    // Queues die from the front: most blob files become garbage as a whole. This is for the rest.
    options.set_enable_blob_gc(true);
    options.set_blob_gc_age_cutoff(0.5);
    options.set_blob_gc_force_threshold(0.5);
}
