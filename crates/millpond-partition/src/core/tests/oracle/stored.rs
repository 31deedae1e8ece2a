//! The rows of a store, held against the model.

use std::collections::BTreeMap;

use millpond_storage_api::{LogPosition, ScanRequest, StoreRead, Table};
use millpond_sync::thread::block_on;
use millpond_types::{
    DelayedEntryKey, DelayedKey, DelayedRow, DueClock, EntryId, EntryKey, LeaseKey, PayloadKey,
    SystemKey, decode_u64,
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

fn check_rows(store: &dyn StoreRead, table: Table, expected: &StoredRows) -> Checked {
    let request = ScanRequest {
        table,
        lower: Vec::new(),
        upper: None,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        skip_max: u64::MAX,
    };
    let (rows, _) = block_on(store.scan(request)).map_err(fail)?;
    let rows: StoredRows = rows.iter().map(|(key, row)| (key.to_vec(), row.to_vec())).collect();
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
