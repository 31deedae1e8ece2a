//! Histories of any shape against plain maps.

use std::collections::BTreeMap;

use millpond_storage_api::{
    LogPosition, PartitionStore, ScanRequest, StoreErrorKind, StoreRead, Table, WriteBatch,
};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore, SyncMode};
use millpond_sync::thread::block_on;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Change {
    Put(u8, u8),
    Delete(u8),
    SingleDelete(u8),
    DeleteRange(u8, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let key = || 0..6_u8;
    prop_oneof![
        3 => (key(), any::<u8>()).prop_map(|(key, value)| Change::Put(key, value)),
        1 => key().prop_map(Change::Delete),
        2 => key().prop_map(Change::SingleDelete),
        1 => (key(), key()).prop_map(|(lower, upper)| Change::DeleteRange(lower, upper)),
    ]
}

fn batch(table: Table, changes: &[Change]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for change in changes {
        match *change {
            Change::Put(key, value) => batch.put(table, &[key], &[value]),
            Change::Delete(key) => batch.delete(table, &[key]),
            Change::SingleDelete(key) if table == Table::Entries => {
                batch.single_delete(table, &[key]);
            }
            Change::SingleDelete(key) => batch.delete(table, &[key]),
            Change::DeleteRange(lower, upper) => batch.delete_range(table, &[lower], &[upper]),
        }
    }
    batch
}

/// Applies the changes; `None` if an entry was put twice or a missing one was removed as single.
fn apply(rows: &BTreeMap<u8, u8>, changes: &[Change]) -> Option<BTreeMap<u8, u8>> {
    let mut rows = rows.clone();
    for change in changes {
        match *change {
            Change::Put(key, value) => rows.insert(key, value).is_none().then_some(())?,
            Change::SingleDelete(key) => rows.remove(&key).map(drop)?,
            Change::Delete(key) => drop(rows.remove(&key)),
            Change::DeleteRange(lower, upper) => {
                rows.retain(|key, _| !(lower..upper).contains(key));
            }
        }
    }
    Some(rows)
}

fn rows(store: &MemoryStore, table: Table) -> BTreeMap<u8, u8> {
    let request = ScanRequest {
        table,
        lower: Vec::new(),
        upper: None,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        skip_max: u64::MAX,
    };
    let (rows, _) = block_on(store.scan(request)).expect("the store is open");
    rows.iter().map(|(key, value)| (key[0], value[0])).collect()
}

proptest! {
    /// A commit is refused exactly when it breaks the single-put discipline, and changes nothing then.
    #[test]
    fn the_discipline_is_checked_exactly(
        batches in vec(vec(change(), 0..6), 1..20),
        tombstones: bool,
    ) {
        let disk = MemoryDisk::new();
        let options = MemoryOptions { tombstones, ..MemoryOptions::default() };
        let mut store = MemoryStore::open(&disk, options).unwrap();
        let mut expected = BTreeMap::new();
        for changes in &batches {
            let mut ticket = store.submit(batch(Table::Entries, changes));
            let outcome = ticket.try_outcome().expect("the mode is automatic");
            match apply(&expected, changes) {
                Some(after) => {
                    prop_assert!(outcome.is_ok());
                    expected = after;
                }
                None => {
                    prop_assert_eq!(outcome.unwrap_err().kind(), StoreErrorKind::Corrupt);
                    store = MemoryStore::open(&disk, options).unwrap();
                }
            }
            prop_assert_eq!(&rows(&store, Table::Entries), &expected);
        }
    }

    /// After a crash or the end of the process the store holds the batches up to where the caller cut, and
    /// nothing else. Every ticket that resolved had a right to.
    #[test]
    fn a_crash_cuts_where_it_is_told(
        batches in vec((vec(change(), 0..6), any::<bool>()), 0..12),
        steps in vec(any::<bool>(), 0..16),
        keep in 0..12_usize,
        power_cut: bool,
        tombstones: bool,
    ) {
        let disk = MemoryDisk::new();
        let options =
            MemoryOptions { sync: SyncMode::Stepped, tombstones, ..MemoryOptions::default() };
        let store = MemoryStore::open(&disk, options).unwrap();
        let mut tickets: Vec<_> = batches
            .iter()
            .map(|(changes, needs_sync)| match (batch(Table::Active, changes), needs_sync) {
                (batch, true) => (Some(store.submit(batch)), None),
                (batch, false) => (None, Some(store.submit_buffered(batch))),
            })
            .collect();
        for &sync in &steps {
            if sync { disk.sync_next() } else { disk.write_next() };
        }
        let n_durable = batches.len() - disk.n_unsynced();
        let n_written = batches.len() - disk.n_unwritten();
        if power_cut { disk.crash(keep) } else { disk.kill(keep) }
        for (index, (durable, buffered)) in tickets.iter_mut().enumerate() {
            let durable = durable.as_mut().map(|ticket| ticket.try_outcome().expect("resolved"));
            let buffered = buffered.as_mut().map(|ticket| ticket.try_outcome().expect("resolved"));
            prop_assert!(durable.is_none_or(|outcome| outcome.is_ok() == (index < n_durable)));
            prop_assert!(buffered.is_none_or(|outcome| outcome.is_ok() == (index < n_written)));
        }

        let n_safe = if power_cut { n_durable } else { n_written };
        let n_left = (n_safe + keep).min(batches.len());
        let mut expected = BTreeMap::new();
        for (changes, _) in &batches[..n_left] {
            for change in changes {
                match *change {
                    Change::Put(key, value) => drop(expected.insert(key, value)),
                    Change::Delete(key) | Change::SingleDelete(key) => drop(expected.remove(&key)),
                    Change::DeleteRange(lower, upper) => {
                        expected.retain(|key, _| !(lower..upper).contains(key));
                    }
                }
            }
        }
        let again = MemoryStore::open(&disk, options).unwrap();
        prop_assert_eq!(again.durable_position(), LogPosition(n_left as u64));
        prop_assert_eq!(rows(&again, Table::Active), expected);
    }
}
