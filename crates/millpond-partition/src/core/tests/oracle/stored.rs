//! The rows of a store, held against the model.

use std::collections::BTreeMap;

use millpond_storage_api::{LogPosition, ScanRequest, StoreRead, Table};
use millpond_sync::thread::block_on;
use millpond_types::{
    DedupKey, DedupRow, DelayedEntryKey, DelayedKey, DelayedRow, DueClock, EntryId, EntryKey,
    LeaseKey, PayloadKey, SystemKey, UnixMillis, decode_u64,
};
use proptest::prelude::*;

use super::{Checked, Model, ModelEntry, Place, fail};

type StoredRows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct Expected {
    entries: StoredRows,
    delayed: StoredRows,
    bodies: StoredRows,
    leases: StoredRows,
}

impl Model {
    /// The rows of a store are exactly these entries, these bodies and these leases, and no line's floor is
    /// above what waits in it (D2).
    pub(in crate::core::tests) fn check_store(
        &self,
        store: &dyn StoreRead,
        durable: LogPosition,
        now: UnixMillis,
    ) -> Checked {
        let mut expected = Expected::default();
        for (id, entry) in &self.entries {
            if entry.removed.is_none_or(|at| at > durable) {
                expected.add(*id, entry);
            }
        }
        for (table, rows) in [
            (Table::Entries, expected.entries),
            (Table::Delayed, expected.delayed),
            (Table::Payloads, expected.bodies),
            (Table::Leases, expected.leases),
        ] {
            check_rows(store, table, &rows)?;
        }
        self.check_keys(store, now)?;
        for clock in DueClock::ALL {
            let key = SystemKey::DelayedFloor(clock).encode();
            let floor = block_on(store.get(Table::System, key)).map_err(fail)?;
            let floor = floor.map_or(Ok(0), |floor| decode_u64(&floor)).map_err(fail)?;
            let due = self.entries.values().filter_map(ModelEntry::due);
            let lowest = due.filter(|due| due.clock == clock).map(|due| due.at.0).min();
            let is_below = lowest.is_none_or(|lowest| floor <= lowest);
            prop_assert!(is_below, "{:?}: the floor {} is above {:?}", clock, floor, lowest);
        }
        Ok(())
    }
}

impl Model {
    /// Keys whose time has passed may have been forgotten, and a clock that was set back does not bring them
    /// back.
    pub(in crate::core::tests) fn forget_keys(
        &mut self,
        store: &dyn StoreRead,
        now: UnixMillis,
    ) -> Checked {
        let stored = read_all(store, Table::Dedup)?;
        self.keys.retain(|key, (_, until)| *until > now || stored.contains_key(&key.encode()));
        Ok(())
    }

    /// Every key that is remembered is stored, and no other was ever taken.
    fn check_keys(&self, store: &dyn StoreRead, now: UnixMillis) -> Checked {
        let mut n_stored = 0;
        let mut live = self.keys.iter().filter(|(_, (_, until))| *until > now).count();
        for (key, row) in &read_all(store, Table::Dedup)? {
            let Ok(key) = DedupKey::decode(key) else { continue };
            let row = DedupRow::decode(row).map_err(fail)?;
            let stored = (EntryId { queue: key.queue, rank: row.rank }, row.expires_at);
            prop_assert_eq!(self.keys.get(&key), Some(&stored), "{:?}", key);
            live -= usize::from(row.expires_at > now);
            n_stored += 1;
        }
        prop_assert_eq!(live, 0, "keys forgotten too early, of {} stored", n_stored);
        Ok(())
    }
}

impl Expected {
    fn add(&mut self, id: EntryId, entry: &ModelEntry) {
        let EntryId { queue, rank } = id;
        let mut row = Vec::new();
        let key = EntryKey { queue, stage: entry.place.stage(), rank }.encode();
        match &entry.place {
            Place::Ready => {
                entry.row().encode_into(&mut row);
                self.entries.insert(key.to_vec(), row);
            }
            Place::Dead(dead) => {
                dead.encode_into(&mut row);
                self.entries.insert(key.to_vec(), row);
            }
            Place::Delayed(due) => {
                let delayed = DelayedRow { priority: rank.priority, entry: entry.row() };
                let by_time = DelayedKey { due: *due, queue, sequence: rank.sequence };
                delayed.encode_into(&mut row);
                self.delayed.insert(by_time.encode().to_vec(), row);
                let key = DelayedEntryKey { queue, due: *due, rank };
                let notice = delayed.notice().encode();
                self.entries.insert(key.encode().to_vec(), notice.to_vec());
            }
        }
        if entry.has_separate_body() {
            let key = PayloadKey { queue, sequence: rank.sequence };
            self.bodies.insert(key.encode().to_vec(), entry.body.to_vec());
        }
        if let Some(lease) = entry.lease.as_ref().filter(|lease| lease.gone.is_none()) {
            let key = LeaseKey { queue, sequence: rank.sequence };
            self.leases.insert(key.encode().to_vec(), lease.row.encode().to_vec());
        }
    }
}

fn read_all(store: &dyn StoreRead, table: Table) -> Checked<StoredRows> {
    let request = ScanRequest {
        table,
        lower: Vec::new(),
        upper: None,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        skip_max: u64::MAX,
    };
    let (rows, _) = block_on(store.scan(request)).map_err(fail)?;
    Ok(rows.iter().map(|(key, row)| (key.to_vec(), row.to_vec())).collect())
}

fn check_rows(store: &dyn StoreRead, table: Table, expected: &StoredRows) -> Checked {
    let rows = read_all(store, table)?;
    for (key, row) in expected {
        let stored = rows.get(key);
        prop_assert!(stored == Some(row), "{:?}: row {} is wrong", table, key.escape_ascii());
    }
    for key in rows.keys() {
        let is_due = expected.contains_key(key);
        prop_assert!(is_due, "{:?}: row {} should not be there", table, key.escape_ascii());
    }
    Ok(())
}
