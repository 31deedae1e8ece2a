//! Reads that must not wait, on real sorted files.

use millpond_storage_api::{
    ScanEnd, ScanRequest, ScanRows, StoreErrorKind, StoreRead, Table, WriteBatch,
};
use millpond_storage_rocksdb::{Guards, RocksStore};
use millpond_sync::thread::block_on;

use crate::support::{Place, all, commit, fill, key, owned, queue, rows, try_rows};

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

/// Pages of one queue, each read by a call of its own, with `between` called in between.
fn pages(store: &RocksStore, mut between: impl FnMut(&RocksStore, usize)) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut request = ScanRequest { rows_max: 7, ..queue(Table::Entries, 2, 0) };
    for page in 0.. {
        let mut out = ScanRows::new();
        let end = match store.try_scan(&request, &mut out) {
            Err(error) if error.would_block() => {
                let (read, end) = block_on(store.scan(request.clone())).expect("it can be scanned");
                assert_eq!(owned(&read)[..out.len()], owned(&out));
                out = read;
                end
            }
            end => end.expect("a healthy store can be scanned"),
        };
        keys.extend(out.iter().map(|(key, _)| key.to_vec()));
        match end {
            ScanEnd::Exhausted => break,
            ScanEnd::Truncated { last } => request.lower = [&last[..], &[0]].concat(),
        }
        between(store, page);
    }
    keys
}

/// Three queues of which half of the rows are gone, in several ways.
fn with_gaps(guards: Guards) -> (Place, RocksStore) {
    let place = Place::with_guards(guards);
    let store = place.open();
    (1..=3).for_each(|n_queue| fill(&store, Table::Entries, n_queue, 200));
    commit(&store, |batch: &mut WriteBatch| {
        (0..200).filter(|n| n % 3 == 0).for_each(|n| batch.delete(Table::Entries, &key(2, n)));
        batch.delete_range(Table::Entries, &key(2, 90), &key(2, 110));
        batch.put(Table::Entries, &key(2, 100), b"put again");
    });
    (place, store)
}

#[test]
fn a_flush_or_a_compaction_inside_a_continued_scan_changes_nothing() {
    let (_place, untouched) = with_gaps(Guards::ALL);
    let expected = pages(&untouched, |_, _| {});
    assert_eq!(expected.len(), 120 + 1);
    let (_place, store) = with_gaps(Guards::ALL);
    let moved = pages(&store, |store, page| {
        match page % 3 {
            0 => store.flush().expect("it can be flushed"),
            1 => store.compact().expect("it can be compacted"),
            _ => {}
        }
        // Rows in a memtable again, of other queues and behind the scan.
        commit(store, |batch| {
            [key(1, 500), key(2, 0), key(3, 500)]
                .iter()
                .for_each(|key| batch.put(Table::Entries, key, &page.to_be_bytes()));
        });
    });
    assert_eq!(moved, expected);
}

#[test]
fn guards_change_nothing_of_what_is_read() {
    let (_place, guarded) = with_gaps(Guards::ALL);
    let expected = rows(&guarded, all(Table::Entries));
    let pages_expected = pages(&guarded, |_, _| {});
    for switches in 0..16 {
        let guards = Guards {
            compact_on_deletion: switches & 1 == 0,
            prefix_filters: switches & 2 == 0,
            upper_bounds: switches & 4 == 0,
            range_delete_limit: switches & 8 == 0,
        };
        let (mut place, store) = with_gaps(guards);
        assert_eq!(rows(&store, all(Table::Entries)), expected, "{guards:?}");
        assert_eq!(pages(&store, |_, _| {}), pages_expected, "{guards:?}");
        store.flush().expect("it can be flushed");
        assert_eq!(rows(&store, all(Table::Entries)), expected, "{guards:?}");
        assert_eq!(pages(&store, |_, _| {}), pages_expected, "{guards:?}");
        drop(store);
        // With all guards, on files that were written with others.
        let store = place.open_cold();
        assert_eq!(rows(&store, all(Table::Entries)), expected, "{guards:?}");
        assert_eq!(pages(&store, |_, _| {}), pages_expected, "{guards:?}");
    }
}
