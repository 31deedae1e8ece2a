//! Reads that must not wait, on real sorted files.

use millpond_storage_api::{ScanEnd, ScanRequest, ScanRows, StoreErrorKind, StoreRead, Table};
use millpond_storage_rocksdb::RocksStore;
use millpond_sync::thread::block_on;

use crate::support::{Place, all, commit, owned, rows};

fn key(queue: u8, n: u64) -> Vec<u8> {
    [&[queue; 16][..], &[2], &n.to_be_bytes()].concat()
}

/// The range of one queue's rows from row `from` on.
fn queue(table: Table, queue: u8, from: u64) -> ScanRequest {
    let upper = millpond_types::prefix_successor(&[queue; 16]);
    ScanRequest { lower: key(queue, from), upper, ..all(table) }
}

fn fill(store: &RocksStore, table: Table, n_queue: u8, n_rows: u64) {
    commit(store, |batch| {
        for n in 0..n_rows {
            batch.put(table, &key(n_queue, n), &[n_queue; 300]);
        }
    });
}

fn try_rows(store: &RocksStore, request: &ScanRequest) -> Result<usize, StoreErrorKind> {
    let mut out = ScanRows::new();
    let end = store.try_scan(request, &mut out).map_err(|error| error.kind())?;
    assert_eq!(end, ScanEnd::Exhausted);
    Ok(out.len())
}

#[test]
fn a_cold_file_would_block_until_a_scan_has_warmed_it() {
    let mut place = Place::new();
    let store = place.open();
    fill(&store, Table::Entries, 1, 500);
    assert_eq!(try_rows(&store, &queue(Table::Entries, 1, 0)), Ok(500), "the memtable has it");
    store.flush().expect("it can be flushed");
    drop(store);

    let store = place.open_cold();
    let request = queue(Table::Entries, 1, 0);
    assert_eq!(try_rows(&store, &request), Err(StoreErrorKind::WouldBlock));
    let get = store.try_get(Table::Entries, &key(1, 7)).expect_err("memory cannot tell");
    assert_eq!(get.kind(), StoreErrorKind::WouldBlock);
    assert_eq!(rows(&store, request.clone()).len(), 500);
    assert_eq!(try_rows(&store, &request), Ok(500));
    let value = store.try_get(Table::Entries, &key(1, 7)).expect("it is in the cache");
    assert_eq!(value.as_deref(), Some(&[1; 300][..]));
    assert_eq!(store.try_get(Table::Entries, &key(1, 700)).expect("the filter knows"), None);
}

#[test]
fn what_was_read_before_it_would_block_is_kept() {
    let mut place = Place::new();
    let store = place.open();
    fill(&store, Table::Entries, 1, 2000);
    store.flush().expect("it can be flushed");
    drop(store);

    let store = place.open_cold();
    // The first blocks of the file, not the rest.
    let head = ScanRequest { rows_max: 10, ..queue(Table::Entries, 1, 0) };
    let (first, _) = block_on(store.scan(head)).expect("it can be scanned");
    let mut out = ScanRows::new();
    let request = queue(Table::Entries, 1, 0);
    let error = store.try_scan(&request, &mut out).expect_err("the rest is on the disk");
    assert!(error.would_block(), "{error}");
    assert!(out.len() >= first.len() && out.len() < 2000, "{} rows", out.len());
    assert_eq!(owned(&out), rows(&store, request)[..out.len()]);
}

#[test]
fn payloads_in_blob_files_would_block_and_come_back() {
    let mut place = Place::new();
    let store = place.open();
    let body = |n: u64| vec![u8::try_from(n).expect("small"); 20_000];
    commit(&store, |batch| (0..20).for_each(|n| batch.put(Table::Payloads, &key(1, n), &body(n))));
    store.flush().expect("it can be flushed");
    drop(store);
    let blobs = std::fs::read_dir(&place.path).expect("the store").any(|entry| {
        entry.expect("an entry").path().extension().is_some_and(|extension| extension == "blob")
    });
    assert!(blobs, "payloads are in blob files");

    let store = place.open_cold();
    let cold = store.try_get(Table::Payloads, &key(1, 3)).expect_err("memory cannot tell");
    assert!(cold.would_block(), "{cold}");
    let read = block_on(store.get(Table::Payloads, &key(1, 3))).expect("it can be read");
    assert_eq!(read.as_deref(), Some(&body(3)[..]));
    let warm = store.try_get(Table::Payloads, &key(1, 3)).expect("it is in the cache");
    assert_eq!(warm.as_deref(), Some(&body(3)[..]));
    let mut out = ScanRows::new();
    let request = queue(Table::Payloads, 1, 0);
    let error = store.try_scan(&request, &mut out).expect_err("most bodies are on the disk");
    assert!(error.would_block(), "{error}");
    assert_eq!(rows(&store, request.clone()).len(), 20);
    assert_eq!(try_rows(&store, &request), Ok(20));
}

#[test]
fn flushes_and_compactions_between_scans_change_nothing() {
    let place = Place::new();
    let store = place.open();
    for n_queue in 1..=4 {
        fill(&store, Table::Entries, n_queue, 100);
    }
    let expected = rows(&store, all(Table::Entries));
    let one = rows(&store, queue(Table::Entries, 3, 50));
    for step in 0..4 {
        match step {
            0 | 2 => store.flush().expect("it can be flushed"),
            _ => store.compact().expect("it can be compacted"),
        }
        assert_eq!(rows(&store, all(Table::Entries)), expected);
        assert_eq!(rows(&store, queue(Table::Entries, 3, 50)), one);
        assert_eq!(one.len(), 50);
        // Half of the rows in files, the same half again in a memtable.
        commit(&store, |batch| (0..50).for_each(|n| batch.put(Table::Leases, &key(9, n), b"")));
    }
}

/// A scan that does not stay inside one queue must not be cut short by the filters on the prefix.
#[test]
fn ranges_across_queues_are_complete() {
    let place = Place::new();
    let store = place.open();
    for n_queue in [1, 2, 0xFE, 0xFF] {
        fill(&store, Table::Entries, n_queue, 10);
        store.flush().expect("it can be flushed");
    }
    commit(&store, |batch| batch.put(Table::Entries, b"short", b"not a queue id"));
    for round in 0..2 {
        assert_eq!(rows(&store, all(Table::Entries)).len(), 41);
        let from = |n_queue, upper| ScanRequest { upper, ..queue(Table::Entries, n_queue, 5) };
        assert_eq!(rows(&store, from(1, None)).len(), 36);
        assert_eq!(rows(&store, from(1, Some(key(2, 5)))).len(), 10);
        assert_eq!(rows(&store, from(0xFE, None)).len(), 15);
        assert_eq!(rows(&store, from(3, Some(vec![0xFF]))).len(), 11);
        // From inside an absent queue on.
        assert_eq!(rows(&store, from(0x50, Some(key(0xFE, 3)))).len(), 4);
        // The last queue there can be: its prefix has no successor.
        assert_eq!(millpond_types::prefix_successor(&[0xFF; 16]), None);
        assert_eq!(rows(&store, from(0xFF, None)).len(), 5);
        let end = Some(vec![0xFF; 30]);
        assert_eq!(rows(&store, from(0xFF, end)).len(), 5);
        assert_eq!(rows(&store, queue(Table::Entries, 2, 0)).len(), 10);
        assert_eq!(rows(&store, queue(Table::Entries, 0x50, 0)).len(), 0);
        if round == 0 {
            store.compact().expect("it can be compacted");
        }
    }
}

const DEAD: u64 = 100_000;

fn with_dead_prefix() -> (Place, RocksStore) {
    let place = Place::new();
    let store = place.open();
    fill(&store, Table::Entries, 1, DEAD + 10);
    store.flush().expect("it can be flushed");
    commit(&store, |batch| {
        (0..DEAD).for_each(|n| batch.single_delete(Table::Entries, &key(1, n)));
    });
    (place, store)
}

#[test]
fn a_scan_from_the_floor_does_not_see_the_tombstones_before_it() {
    let (_place, store) = with_dead_prefix();
    let tight = |from| ScanRequest { skip_max: 10, ..queue(Table::Entries, 1, from) };
    assert_eq!(rows(&store, tight(DEAD)).len(), 10, "warms the cache");
    assert_eq!(try_rows(&store, &tight(DEAD)), Ok(10));
    // Without the floor the budget ends it, and the waiting form still gets there.
    assert_eq!(try_rows(&store, &tight(0)), Err(StoreErrorKind::WouldBlock));
    assert_eq!(rows(&store, tight(0)).len(), 10);
}

#[test]
fn a_file_full_of_tombstones_is_compacted_without_being_asked() {
    let (_place, store) = with_dead_prefix();
    // The file that this writes is nothing but tombstones, so the collector marks it.
    store.flush().expect("it can be flushed");
    store.settle().expect("compactions can be waited for");
    let tight = ScanRequest { skip_max: 10, ..queue(Table::Entries, 1, 0) };
    assert_eq!(rows(&store, tight.clone()).len(), 10, "warms the cache");
    assert_eq!(try_rows(&store, &tight), Ok(10), "the dead prefix is gone");
}

/// The budget is for the whole scan, not for each step of it.
#[test]
fn skipped_keys_add_up_over_a_scan() {
    let place = Place::new();
    let store = place.open();
    fill(&store, Table::Entries, 1, 1000);
    commit(&store, |batch| {
        (0..1000)
            .filter(|n| n % 10 != 9)
            .for_each(|n| batch.single_delete(Table::Entries, &key(1, n)));
    });
    let mut out = ScanRows::new();
    // Each step skips 9 deletions and the 9 rows under them.
    let request = ScanRequest { skip_max: 100, ..queue(Table::Entries, 1, 0) };
    let error = store.try_scan(&request, &mut out).expect_err("1800 keys are to be skipped");
    assert!(error.would_block());
    assert!((5..12).contains(&out.len()), "{} rows", out.len());
    let request = ScanRequest { skip_max: 2000, ..request };
    assert_eq!(try_rows(&store, &request), Ok(100));
}
