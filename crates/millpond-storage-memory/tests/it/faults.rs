//! Each lever of the fault model.

use std::task::{Context, Poll, Waker};

use millpond_storage_api::{
    LogPosition, OpenError, PartitionStore, ScanEnd, ScanRequest, ScanRows, StoreErrorKind,
    StoreRead, Table, WriteBatch,
};
use millpond_storage_memory::{
    BlockReads, FailedBatch, MemoryDisk, MemoryOptions, MemoryStore, SnapshotAt, SyncMode,
};
use millpond_sync::thread::block_on;
use millpond_types::{FORMAT_VERSION, SystemKey, encode_u64};

fn open(disk: &MemoryDisk) -> MemoryStore {
    MemoryStore::open(disk, MemoryOptions::default()).expect("the disk is in order")
}

fn put(store: &MemoryStore, key: u8) -> Result<LogPosition, StoreErrorKind> {
    let mut batch = WriteBatch::new();
    batch.put(Table::Active, &[key], b"value");
    outcome(store, batch)
}

fn outcome(store: &MemoryStore, batch: WriteBatch) -> Result<LogPosition, StoreErrorKind> {
    let outcome = store.submit(batch).try_outcome().expect("the mode is automatic");
    outcome.map(|durable| durable.into_inner()).map_err(|error| error.kind())
}

fn with_rows(disk: &MemoryDisk, n_rows: u8) -> MemoryStore {
    let store = open(disk);
    (0..n_rows).for_each(|key| assert!(put(&store, key).is_ok()));
    store
}

fn all() -> ScanRequest {
    ScanRequest {
        table: Table::Active,
        lower: Vec::new(),
        upper: None,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        skip_max: u64::MAX,
    }
}

fn n_keys(store: &MemoryStore) -> usize {
    block_on(store.scan(all())).expect("the store is open").0.len()
}

#[test]
fn the_chosen_commit_fails_and_stops_the_store() {
    for batch in [FailedBatch::Lost, FailedBatch::Survives] {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        disk.fail_commit(2, StoreErrorKind::NoSpace, batch);
        let outcomes = [0, 1, 2, 3].map(|key| put(&store, key));
        let (first, second) = (Ok(LogPosition(1)), Ok(LogPosition(2)));
        let (full, closed) = (Err(StoreErrorKind::NoSpace), Err(StoreErrorKind::Closed));
        assert_eq!(outcomes, [first, second, full, closed]);
        assert_eq!(store.durable_position(), LogPosition(2));
        assert_eq!(store.try_get(Table::Active, &[0]).unwrap_err().kind(), StoreErrorKind::Closed);

        let again = open(&disk);
        let n_left = if batch == FailedBatch::Survives { 3 } else { 2 };
        assert_eq!((n_keys(&again), again.durable_position().0), (n_left, n_left as u64));
        assert_eq!(put(&again, 9), Ok(LogPosition(n_left as u64 + 1)), "reopening is the cure");
    }
}

#[test]
fn a_failed_commit_takes_those_behind_it_along() {
    let disk = MemoryDisk::new();
    let options = MemoryOptions { sync: SyncMode::Stepped, ..MemoryOptions::default() };
    let store = MemoryStore::open(&disk, options).expect("the disk is empty");
    disk.fail_commit(1, StoreErrorKind::Io, FailedBatch::Lost);
    let mut tickets = [(); 4].map(|()| store.submit(WriteBatch::new()));
    let close = store.close();
    disk.sync_all();
    block_on(close).expect("every batch is durable or has failed");
    let outcomes = tickets.each_mut().map(|ticket| {
        ticket.try_outcome().expect("it is resolved").map_err(|error| error.kind()).err()
    });
    let closed = Some(StoreErrorKind::Closed);
    assert_eq!(outcomes, [None, Some(StoreErrorKind::Io), closed, closed]);
}

#[test]
fn the_chosen_read_fails_once() {
    let disk = MemoryDisk::new();
    let store = with_rows(&disk, 3);
    disk.fail_read(1, StoreErrorKind::Retry);
    disk.fail_read(2, StoreErrorKind::Io);
    assert_eq!(n_keys(&store), 3);
    assert_eq!(block_on(store.scan(all())).unwrap_err().kind(), StoreErrorKind::Retry);
    let get = block_on(store.get(Table::Active, &[0]));
    assert_eq!(get.unwrap_err().kind(), StoreErrorKind::Io);
    assert!(block_on(store.get(Table::Active, &[0])).unwrap().is_some());
}

#[test]
fn blocked_reads_keep_what_was_read() {
    let disk = MemoryDisk::new();
    let store = with_rows(&disk, 5);
    let mut rows = ScanRows::new();
    let mut blocked = |block| {
        disk.block_reads(block);
        let scan = store.try_scan(&all(), &mut rows);
        (scan.is_err_and(|error| error.would_block()), rows.len())
    };
    assert_eq!(blocked(BlockReads::Never), (false, 5));
    assert_eq!(blocked(BlockReads::Always), (true, 0));
    assert_eq!(blocked(BlockReads::AfterRows(3)), (true, 3));
    assert_eq!(blocked(BlockReads::AfterRows(5)), (false, 5));
    let every_third = [(); 6].map(|()| blocked(BlockReads::EveryNth(3)).0);
    assert_eq!(every_third.iter().filter(|blocked| **blocked).count(), 2);
    disk.block_reads(BlockReads::Always);
    assert!(store.try_get(Table::Active, &[0]).unwrap_err().would_block());
    assert_eq!(n_keys(&store), 5, "the waiting forms never say WouldBlock");
}

#[test]
fn held_scans_see_the_chosen_moment() {
    for (snapshot, n_seen) in [(SnapshotAt::Start, 2), (SnapshotAt::Release, 3)] {
        let disk = MemoryDisk::new();
        let store = with_rows(&disk, 2);
        disk.hold_scans(snapshot);
        let mut scan = store.scan(all());
        let mut context = Context::from_waker(Waker::noop());
        assert!(scan.as_mut().poll(&mut context).is_pending());
        assert!(put(&store, 2).is_ok());
        assert!(disk.release_scan() && !disk.release_scan());
        let Poll::Ready(Ok((rows, ScanEnd::Exhausted))) = scan.as_mut().poll(&mut context) else {
            panic!("the scan was released");
        };
        assert_eq!(rows.len(), n_seen);
    }
}

#[test]
fn held_scans_are_released_in_any_order_or_dropped() {
    let disk = MemoryDisk::new();
    let store = with_rows(&disk, 1);
    disk.hold_scans(SnapshotAt::Release);
    let [first, second, third, fourth] = [(); 4].map(|()| store.scan(all()));
    drop(second);
    assert_eq!(disk.n_held_scans(), 4, "the device does not know who still waits");
    assert!(disk.release_scan_at(2) && !disk.release_scan_at(3));
    assert_eq!(block_on(third).unwrap().0.len(), 1);
    disk.release_scans();
    assert_eq!(block_on(first).unwrap().0.len(), 1);
    assert_eq!(block_on(fourth).unwrap().0.len(), 1);
    assert_eq!(n_keys(&store), 1, "no scan is held any longer");
}

#[test]
fn held_scans_end_with_their_handle() {
    type End = fn(&MemoryDisk, &MemoryStore);
    let ends: [(End, StoreErrorKind); 3] = [
        (|_, store| drop(store.close()), StoreErrorKind::Closed),
        (|disk, _| disk.crash(0), StoreErrorKind::Closed),
        (|disk, _| drop(open(disk)), StoreErrorKind::Fenced),
    ];
    for (end, kind) in ends {
        let disk = MemoryDisk::new();
        let store = with_rows(&disk, 1);
        disk.hold_scans(SnapshotAt::Start);
        let scan = store.scan(all());
        end(&disk, &store);
        assert_eq!(block_on(scan).unwrap_err().kind(), kind);
        assert_eq!(disk.n_held_scans(), 0);
    }
}

#[test]
fn a_damaged_row_stops_reads_that_reach_it() {
    let disk = MemoryDisk::new();
    let store = with_rows(&disk, 4);
    assert!(!disk.damage_row(Table::Active, &[9]) && disk.damage_row(Table::Active, &[2]));
    let corrupt = StoreErrorKind::Corrupt;
    assert_eq!(store.try_get(Table::Active, &[2]).unwrap_err().kind(), corrupt);
    let mut rows = ScanRows::new();
    assert_eq!(store.try_scan(&all(), &mut rows).unwrap_err().kind(), corrupt);
    assert!(rows.is_empty());
    let before = ScanRequest { rows_max: 2, ..all() };
    assert_eq!(block_on(store.scan(before)).unwrap().0.len(), 2);
    assert!(put(&store, 2).is_ok());
    assert_eq!(n_keys(&store), 4, "writing it again is the cure");
    disk.poke_row(Table::Active, &[1], b"not what was written");
    let poked = store.try_get(Table::Active, &[1]).unwrap().unwrap();
    assert_eq!(poked, &b"not what was written"[..]);
}

#[test]
fn a_store_of_another_format_is_left_alone() {
    let disk = MemoryDisk::new();
    drop(with_rows(&disk, 1));
    let newer = FORMAT_VERSION + 1;
    disk.poke_row(Table::System, SystemKey::FormatVersion.encode(), &encode_u64(newer));
    let refused = MemoryStore::open(&disk, MemoryOptions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::NewerFormat { found, .. } if found == newer));
    let older = FORMAT_VERSION - 1;
    disk.poke_row(Table::System, SystemKey::FormatVersion.encode(), &encode_u64(older));
    let refused = MemoryStore::open(&disk, MemoryOptions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::OlderFormat { found, .. } if found == older));
    disk.poke_row(Table::System, SystemKey::FormatVersion.encode(), &encode_u64(FORMAT_VERSION));
    disk.poke_row(Table::System, SystemKey::Epoch.encode(), b"seven");
    let refused = MemoryStore::open(&disk, MemoryOptions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Corrupt { .. }));
    disk.poke_row(Table::System, SystemKey::Epoch.encode(), &encode_u64(1));
    assert_eq!(n_keys(&open(&disk)), 1);
}

#[test]
fn tombstones_are_in_the_way_until_they_are_compacted() {
    let disk = MemoryDisk::new();
    let options = MemoryOptions { tombstones: true, ..MemoryOptions::default() };
    let store = MemoryStore::open(&disk, options).expect("the disk is empty");
    (0..10).for_each(|key| assert!(put(&store, key).is_ok()));
    let mut batch = WriteBatch::new();
    (0..6).for_each(|key| batch.delete(Table::Active, &[key]));
    batch.delete_range(Table::Active, &[6], &[8]);
    assert!(outcome(&store, batch).is_ok());
    let mut rows = ScanRows::new();
    let mut scan = |skip_max, lower| {
        let request = ScanRequest { skip_max, lower, ..all() };
        store.try_scan(&request, &mut rows).map_err(|error| error.kind()).map(|_| rows.len())
    };
    assert_eq!(scan(7, vec![]), Err(StoreErrorKind::WouldBlock));
    assert_eq!(scan(8, vec![]), Ok(2));
    assert_eq!(scan(0, vec![8]), Ok(2), "a scan from a floor meets none");
    disk.compact();
    assert_eq!(scan(0, vec![]), Ok(2));
}

#[test]
fn the_store_keeps_its_own_rows_up_to_date() {
    let disk = MemoryDisk::new();
    let store = with_rows(&disk, 3);
    let number = |key: SystemKey| {
        let row = store.try_get(Table::System, key.encode()).unwrap().unwrap();
        millpond_types::decode_u64(&row).unwrap()
    };
    assert_eq!(number(SystemKey::LogPosition), 3);
    assert_eq!(number(SystemKey::Epoch), store.epoch().0);
    assert_eq!(number(SystemKey::FormatVersion), FORMAT_VERSION);
}
