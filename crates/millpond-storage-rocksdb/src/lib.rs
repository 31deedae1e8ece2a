//! The RocksDB backend of Millpond: one store per partition, with at most one sync per group of commits and reads
//! that can be told never to wait for the disk. It knows rows and tables only: no queues, no leases, no
//! clock and no runtime, and no other crate of the workspace names RocksDB.
//!
//! ```
//! use millpond_storage_api::{PartitionStore, StoreRead, Table, WriteBatch};
//! use millpond_storage_rocksdb::{OpenMode, RocksBudget, RocksStore};
//! use millpond_sync::thread::block_on;
//!
//! # let scratch = tempfile::tempdir()?;
//! # let path = scratch.path().join("partition-0");
//! let budget = RocksBudget::default(); // one per engine, shared by its stores
//! let store = RocksStore::open(&path, &budget, OpenMode::Create)?;
//!
//! let mut batch = WriteBatch::new();
//! batch.put(Table::Queues, b"tenant-42", b"weight 3");
//! let durable = block_on(store.submit(batch))?; // after the sync
//! assert_eq!(*durable.get(), store.durable_position());
//! assert!(store.try_get(Table::Queues, b"tenant-42")?.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a commit goes
//!
//! [`submit`](millpond_storage_api::PartitionStore::submit) puts the batch into a queue, which gives it its
//! log position, and returns; so does
//! [`submit_buffered`](millpond_storage_api::PartitionStore::submit_buffered). The writer thread takes
//! everything that waits, up to 4 MiB, as one group: one RocksDB write with the changes of every batch in
//! order, the row `system/log_position` with the position of the last, and, while somebody holds a pin,
//! each batch once more as a row of `log`. If any batch in it is to be durable, it syncs the write, and
//! only then resolves the tickets. What is submitted meanwhile is the next group.
//!
//! 1. *Order and positions.* A position is given out under the lock that orders the queue, so positions are
//!    dense and the order of the queue is theirs.
//! 2. *A group is atomic.* It is one record of RocksDB's log, so after a crash the store holds the batches
//!    up to the end of some group, and `log_position` agrees with them.
//! 3. *Durable means synced, buffered means written.* No ticket resolves before the write of its group
//!    returned, and none as durable unless that write had `sync` set. A synced write covers every unsynced
//!    one before it, also where the log file changed in between: RocksDB syncs all of its `logs_`, and a
//!    file leaves those once it is synced, or when all of its rows are in synced sorted files
//!    (`DBImpl::WriteGroupToWAL`, `MarkLogsSynced` and `FindObsoleteFiles` in `db/db_impl`, 11.8.1). A
//!    write that is not synced has still left the process, because each record is flushed to the system.
//! 4. *Fail-stop.* The first failed write closes the queue before it fails its tickets; every later group
//!    fails without being written.
//! 5. *No lost record.* A pin is taken under the lock of invariant 1, so every batch submitted after it is
//!    drained after it, and the writer sees it.
//! 6. *A checkpoint's position is exact.* The writer itself links the files, between two groups.
//! 7. *Nobody waits for a writer that is gone.* However its thread ends, it closes the queue, drops the
//!    promises that are left, ends the reading threads and closes the database. On the way it syncs what
//!    is only buffered.
//! 8. *What a power cut leaves is a prefix.* A memtable is made a sorted file only after the log files
//!    behind it are synced, because there is more than one table (`needs_to_sync_closed_wals` in
//!    `DBImpl::FlushMemTableToOutputFile`): no table gets ahead of the others. And no more than one group
//!    is written to a new log file while the one before it is not synced.
//!
//! The queue and the pool of reading threads have loom models; the rest of the contract is checked by
//! `millpond-storage-conformance`, with write failures that are real ones of RocksDB.
//!
//! # How a read goes
//!
//! `try_scan` and `try_get` ask RocksDB for memtables and block cache only. RocksDB answers `Incomplete`
//! both when a block is not there and when one step skipped too many keys; a counter over the whole scan
//! holds `skip_max` where many steps skip a few each. All of it is `WouldBlock`, and the rows so far are
//! valid. `scan` and `get` run on two threads of the store; 4,096 of them may wait.
//!
//! A scan inside one queue may use the filters on the queue id; any other range must not, or it would miss
//! rows in files whose filter does not know the id at its lower bound.
//!
//! # Dead rows
//!
//! A queue is consumed at its head, so tombstones gather exactly where the next read starts. What stands
//! between them and a read, and what each is worth (`cargo xtask bench dead-prefix`; two virtual cores,
//! medians; reads of 24 rows in memory; 100,000 entries consumed where nothing else is said):
//!
//! | guard | read | with | without |
//! |---|---|---|---|
//! | floor (`lower` of the request) | the head, tombstones in memory or in files | 7 µs | 12.5 to 13 ms |
//! | compact-on-deletion | the head without a floor, tombstones in files | 6 µs | 13 ms |
//! | skip budget of 1,000 keys | `try_scan` from below: gives up | 65 µs | 12.5 ms |
//! | upper bound | a queue of ten rows to its end, deleted dead letters behind it | 5 µs | 12 ms |
//! | prefix filters | a queue without rows among 10,000, file not in the cache: would block | 4 % | 100 % |
//! | | the same in the cache: blocks looked at | 2 | 5 |
//! | range delete limit | any head after a range delete, 10,000 before it | 23 µs | 0.83 ms |
//!
//! The head behind a million consumed entries takes 1.0 (files) to 1.3 (memtable) times as long as that of a
//! new queue. [`Guards`] are the switches of those guards that are not part of a request. An entry consumed
//! counts twice against the budget: its tombstone, and the row below it.
//!
//! **Range deletes.** One is cheaper to write than a delete for each row (1 µs against 2 to 5 µs for 10 rows
//! and 1.6 ms for 10,000), and what it covers in older files is skipped by one seek. Two things to know:
//!
//! * After each, the next read of the table, whatever its queue, sorts all range deletes of the memtable
//!   again, on its own thread: 0.09 µs for each. Several in one commit cost that once. From about 100 rows
//!   on a range delete is the cheaper one, reads included.
//! * Rows in the same memtable as the range delete that covers them are stepped over one by one, 0.025 µs
//!   each, inside RocksDB and outside every budget of skipped keys. Whoever empties a queue raises its
//!   floor.
//!
//! **Checksums.** Blocks of sorted files have XXH3, records of the log have CRC32C. Checking blocks takes
//! 4 % of a scan that finds none of them in the cache and all of them in the system's.
//!
//! # What a store costs
//!
//! Besides what [`RocksBudget`] shares: three threads, at most 512 open files, RocksDB's log of at most
//! about 128 MiB plus two old files of it that are kept for their blocks. Opening after a crash with
//! 126 MiB of log took 90 to 225 ms.
//!
//! # Figures
//!
//! Rows of 300 bytes, one `fdatasync` per group, 2 virtual cores, ext4 on a virtual disk. Medians of six
//! rounds in which other work kept both cores busy; the ratio is to raw `WriteBatch` + sync in the same
//! round with the same rows per commit.
//!
//! | rows per commit | raw, rows/s | this store, 1 batch in flight | ratio | 16 batches in flight |
//! |---|---|---|---|---|
//! | 1 | 255 | 266 | 0.96 | 8,990 |
//! | 16 | 3,970 | 4,660 | 1.16 | 125,000 |
//! | 256 | 54,500 | 58,300 | 1.05 | 314,000 |
//! | 2,048 | 303,000 | 241,000 | 0.92 | 340,000 |
//!
//! In quieter minutes the same disk syncs ten times as often: at 256 rows per commit 594,000 rows/s raw,
//! 496,000 with one batch in flight and 914,000 with sixteen. Processor time per row at 256 rows per
//! commit: 1.4 µs raw, 1.6 µs here, flushes included.
//!
//! Recycling RocksDB's log files spares each sync the update of the file's size. In quiet rounds commits of
//! one row went from 4,000 to 7,800 per second to 8,900 to 10,700, those of 256 rows from 1,400 to 2,100
//! per second to 1,500 to 3,000; when both cores are busy, a sync waits for the scheduler and there is no
//! difference.

mod budget;
mod checkpoint;
mod error;
mod guards;
mod log;
mod open;
mod options;
mod pool;
mod queue;
mod read;
mod reader;
mod stats;
mod store;
mod writer;

pub use budget::{BudgetOptions, RocksBudget};
pub use guards::Guards;
pub use open::OpenMode;
pub use reader::RocksReader;
pub use stats::CommitStats;
pub use store::RocksStore;

#[cfg(test)]
mod models;
#[cfg(all(test, not(millpond_loom)))]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
