//! A peer: no window. Every take makes an iterator on RocksDB, seeks, and reads one row.
//!
//! The store is opened as the one of [`crate::raw_rocksdb`]. The rows that fill the queues are flushed to a
//! file before the clock starts; those that come and go while it runs are where RocksDB has them, mostly
//! in its memtable. Nothing waits for the disk.

use std::path::Path;

use rocksdb::{ColumnFamily, DB, IteratorMode, Options};
use tempfile::TempDir;

use super::{Key, Outcome, Subject, Value};
use crate::N_QUEUES;

const ENTRIES: &str = "entries";
/// Queue id, priority and sequence number.
const KEY_BYTES: usize = 16 + 1 + 8;

/// Where a take seeks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The first key that the queue could have.
    Start,
    /// The first key that the queue could have after its last take.
    Floor,
}

pub(super) struct Store {
    db: DB,
    from: From,
    floors: Vec<[u8; KEY_BYTES]>,
    n_seeks: u64,
    /// Removed when the store is closed.
    _directory: TempDir,
}

impl Store {
    pub(super) fn open(dir: &Path, from: From) -> Outcome<Self> {
        let directory = tempfile::tempdir_in(dir)?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_recycle_log_file_num(2);
        let db = DB::open_cf(&options, directory.path(), [ENTRIES])?;
        let floors = (0..N_QUEUES).map(|queue| encode(queue, &(0, 0))).collect();
        Ok(Self { db, from, floors, n_seeks: 0, _directory: directory })
    }

    fn entries(&self) -> Outcome<&ColumnFamily> {
        Ok(self.db.cf_handle(ENTRIES).ok_or("the table was made at open")?)
    }
}

impl Subject for Store {
    fn insert(&mut self, queue: usize, key: Key, (first, second): Value) -> Outcome<()> {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&first.to_be_bytes());
        value[8..].copy_from_slice(&second.to_be_bytes());
        Ok(self.db.put_cf(self.entries()?, encode(queue, &key), value)?)
    }

    fn take(&mut self, queue: usize) -> Outcome<Option<(Key, Value)>> {
        self.n_seeks += 1;
        let mut iterator = self.db.raw_iterator_cf(self.entries()?);
        iterator.seek(self.floors[queue]);
        let Some((found, value)) = iterator.item() else {
            return Ok(iterator.status().map(|()| None)?);
        };
        if found.len() != KEY_BYTES || found[..16] != self.floors[queue][..16] {
            return Ok(None);
        }
        let key = (found[16], integer(&found[17..])?);
        let value = (integer(&value[..8])?, integer(&value[8..])?);
        if self.from == From::Floor {
            self.floors[queue] = encode(queue, &(key.0, key.1 + 1));
        }
        Ok(Some((key, value)))
    }

    fn confirm(&mut self, queue: usize, key: &Key) -> Outcome<()> {
        Ok(self.db.delete_cf(self.entries()?, encode(queue, key))?)
    }

    fn filled(&mut self) -> Outcome<()> {
        Ok(self.db.flush_cf(self.entries()?)?)
    }

    fn n_held(&self, _queue: usize) -> usize {
        0
    }

    fn n_reads(&self) -> u64 {
        self.n_seeks
    }

    fn n_left(&mut self) -> Outcome<u64> {
        let mut n_left = 0;
        for row in self.db.iterator_cf(self.entries()?, IteratorMode::Start) {
            row?;
            n_left += 1;
        }
        Ok(n_left)
    }
}

fn encode(queue: usize, (priority, sequence): &Key) -> [u8; KEY_BYTES] {
    // Spread over the key space like hashes, and the same in every run.
    let spread = (queue as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    let mut key = [0; KEY_BYTES];
    key[..16].copy_from_slice(&spread.to_be_bytes());
    key[16] = *priority;
    key[17..].copy_from_slice(&sequence.to_be_bytes());
    key
}

fn integer(bytes: &[u8]) -> Outcome<u64> {
    Ok(u64::from_be_bytes(bytes.try_into()?))
}
