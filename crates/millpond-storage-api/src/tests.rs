//! Codecs and buffers.

use proptest::prelude::*;

use crate::*;

#[derive(Debug, Clone)]
enum Change {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
    SingleDelete(Vec<u8>),
    DeleteRange(Table, Vec<u8>, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let table = prop::sample::select(Table::ALL.to_vec());
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (table.clone(), bytes(), bytes()).prop_map(|(t, k, v)| Change::Put(t, k, v)),
        (table.clone(), bytes()).prop_map(|(t, k)| Change::Delete(t, k)),
        bytes().prop_map(Change::SingleDelete),
        (table, bytes(), bytes()).prop_map(|(t, l, u)| Change::DeleteRange(t, l, u)),
    ]
}

fn op(change: &Change) -> Op<'_> {
    match change {
        Change::Put(table, key, value) => Op::Put { table: *table, key, value },
        Change::Delete(table, key) => Op::Delete { table: *table, key },
        Change::SingleDelete(key) => Op::SingleDelete { table: Table::Entries, key },
        Change::DeleteRange(table, lower, upper) => Op::DeleteRange { table: *table, lower, upper },
    }
}

proptest! {
    #[test]
    fn batches_round_trip(changes in proptest::collection::vec(change(), 0..20)) {
        let mut batch = WriteBatch::new();
        for change in &changes {
            match op(change) {
                Op::Put { table, key, value } => batch.put(table, key, value),
                Op::Delete { table, key } => batch.delete(table, key),
                Op::SingleDelete { table, key } => batch.single_delete(table, key),
                Op::DeleteRange { table, lower, upper } => batch.delete_range(table, lower, upper),
            }
        }
        let again = WriteBatch::decode(batch.as_bytes()).unwrap();
        prop_assert_eq!(&again, &batch);
        prop_assert_eq!(again.len(), changes.len());
        prop_assert!(again.ops().eq(changes.iter().map(op)));
    }

    #[test]
    fn arbitrary_bytes_are_a_batch_or_corrupt(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Err(error) = WriteBatch::decode(&bytes) {
            prop_assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        }
    }

    #[test]
    fn rows_come_back_as_they_were_pushed(
        rows in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..9), proptest::collection::vec(any::<u8>(), 0..9)), 0..20),
    ) {
        let mut buffer = ScanRows::new();
        buffer.push(b"left", b"over");
        buffer.clear();
        for (key, value) in &rows {
            buffer.push(key, value);
        }
        prop_assert!(buffer.iter().eq(rows.iter().map(|(k, v)| (&k[..], &v[..]))));
        prop_assert_eq!(buffer.last_key(), rows.last().map(|(k, _)| &k[..]));
    }
}

#[test]
fn a_truncated_batch_is_corrupt() {
    let mut batch = WriteBatch::new();
    batch.put(Table::Active, b"key", b"value");
    let cut = &batch.as_bytes()[..batch.n_bytes() - 1];
    assert_eq!(WriteBatch::decode(cut).unwrap_err().kind(), StoreErrorKind::Corrupt);
}

#[test]
fn pins_hold_the_oldest_position_until_the_last_one_leaves() {
    let pins = LogPins::new();
    assert_eq!(pins.oldest(), None);
    let mut first = pins.pin_after(LogPosition(3));
    let second = pins.pin_after(LogPosition(3));
    first.advance(LogPosition(7));
    first.advance(LogPosition(5));
    assert_eq!((first.position(), pins.oldest()), (LogPosition(7), Some(LogPosition(3))));
    drop(second);
    assert_eq!(pins.oldest(), Some(LogPosition(7)));
    drop(first);
    assert_eq!(pins.oldest(), None);
}

#[test]
fn tables_keep_their_numbers() {
    let numbers: Vec<_> = Table::ALL.iter().map(|table| (*table as u8, table.name())).collect();
    let on_disk = [
        (1, "entries"),
        (2, "payloads"),
        (3, "leases"),
        (4, "queues"),
        (5, "active"),
        (6, "log"),
        (7, "system"),
        (8, "delayed"),
        (9, "settings"),
        (10, "dedup"),
    ];
    assert_eq!(numbers, on_disk);
    assert!(Table::ALL.iter().all(|&table| Table::from_u8(table as u8) == Some(table)));
    assert_eq!(Table::from_u8(0), None);
}
