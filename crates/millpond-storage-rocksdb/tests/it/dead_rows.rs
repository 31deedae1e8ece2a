//! Rows that are gone must not make reads of the others slow: what is stepped over is counted here, and
//! each guard is compared with its absence.

use millpond_storage_api::{
    ScanEnd, ScanRequest, ScanRows, StoreErrorKind, StoreRead, Table, WriteBatch,
};
use millpond_storage_rocksdb::{Guards, RocksStore};
use millpond_sync::thread::block_on;
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};

use crate::support::{Place, all, commit, fill, key, queue, rows, try_rows};

const DEAD: u64 = 100_000;
/// What a read that only sees live rows gets by with.
const SKIP_FEW: u64 = 10;

/// A queue with `n_before` live rows, `DEAD` deleted ones, and ten live ones. The rows are in a file, the
/// deletions in a memtable.
fn with_dead_rows(n_before: u64, guards: Guards) -> (Place, RocksStore) {
    let place = Place::with_guards(guards);
    let store = place.open();
    // Short rows, so that all of them fit into the cache: then only the budget can end a scan of it.
    commit(&store, |batch| {
        (0..n_before + DEAD + 10).for_each(|n| batch.put(Table::Entries, &key(1, n), b"row"));
    });
    store.flush().expect("it can be flushed");
    commit(&store, |batch| {
        let dead = n_before..n_before + DEAD;
        dead.for_each(|n| batch.single_delete(Table::Entries, &key(1, n)));
    });
    (place, store)
}

fn tight(from: u64) -> ScanRequest {
    ScanRequest { skip_max: SKIP_FEW, ..queue(Table::Entries, 1, from) }
}

/// Brings into the cache what the request reads, and asks again without waiting.
fn try_warm(store: &RocksStore, request: &ScanRequest) -> Result<usize, StoreErrorKind> {
    block_on(store.scan(request.clone())).expect("a healthy store can be scanned");
    try_rows(store, request)
}

#[test]
fn a_scan_from_the_floor_does_not_see_the_tombstones_before_it() {
    let (_place, store) = with_dead_rows(0, Guards::ALL);
    assert_eq!(try_warm(&store, &tight(DEAD)), Ok(10));
    // Without the floor the budget ends it, and the waiting form still gets there.
    assert_eq!(try_rows(&store, &tight(0)), Err(StoreErrorKind::WouldBlock));
    assert_eq!(rows(&store, tight(0)).len(), 10);
}

/// Keys that `try_scan` steps over, as RocksDB counts them: those that are dead and those that it returns.
fn n_stepped_over(store: &RocksStore, request: &ScanRequest, out: &mut ScanRows) -> u64 {
    let counters = PerfContext::default();
    let total = || {
        counters.metric(PerfMetric::InternalKeySkippedCount)
            + counters.metric(PerfMetric::InternalDeleteSkippedCount)
    };
    set_perf_stats(PerfStatsLevel::EnableCount);
    let before = total();
    let error = store.try_scan(request, out).expect_err("the budget is too small");
    assert!(error.would_block(), "{error}");
    total() - before
}

#[test]
fn the_budget_ends_a_scan_before_it_walks_over_the_dead() {
    let uncompacted = Guards { compact_on_deletion: false, ..Guards::ALL };
    let (_place, store) = with_dead_rows(5, uncompacted);
    for place in ["in the memtable", "in files"] {
        let request = ScanRequest { skip_max: 1000, ..queue(Table::Entries, 1, 0) };
        let expected = rows(&store, request.clone());
        assert_eq!(expected.len(), 15, "warms the cache");
        let mut out = ScanRows::new();
        let n_stepped = n_stepped_over(&store, &request, &mut out);
        assert!((1000..1010).contains(&n_stepped), "{n_stepped} keys {place}");
        let read = out.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>();
        assert_eq!(read, (0..5).map(|n| key(1, n)).collect::<Vec<_>>(), "what was read is kept");

        // From there, the waiting form finds the next head.
        let rest = ScanRequest { rows_max: 1, ..queue(Table::Entries, 1, 5) };
        let (head, end) = block_on(store.scan(rest)).expect("it can be scanned");
        assert_eq!(head.last_key(), Some(&key(1, 5 + DEAD)[..]));
        assert_eq!(end, ScanEnd::Truncated { last: key(1, 5 + DEAD) });
        store.flush().expect("it can be flushed");
        store.settle().expect("compactions can be waited for");
    }
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

/// What a read of the queue's start finds once a file full of tombstones was written.
fn after_a_file_of_tombstones(compact_on_deletion: bool) -> Result<usize, StoreErrorKind> {
    let guards = Guards { compact_on_deletion, ..Guards::ALL };
    let (_place, store) = with_dead_rows(0, guards);
    store.flush().expect("it can be flushed");
    store.settle().expect("compactions can be waited for");
    try_warm(&store, &tight(0))
}

#[test]
fn a_file_full_of_tombstones_is_compacted_without_being_asked() {
    assert_eq!(after_a_file_of_tombstones(true), Ok(10), "the dead prefix is gone");
    assert_eq!(after_a_file_of_tombstones(false), Err(StoreErrorKind::WouldBlock));
}

/// What a read of a queue's last rows finds when deleted dead letters of the queue stand behind them.
fn before_a_dead_suffix(upper_bounds: bool) -> Result<usize, StoreErrorKind> {
    let place = Place::with_guards(Guards { upper_bounds, ..Guards::ALL });
    let store = place.open();
    fill(&store, Table::Entries, 1, 10);
    let letter = |n: u64| [&[1; 16][..], &[3], &n.to_be_bytes()].concat();
    commit(&store, |batch| (0..1000).for_each(|n| batch.put(Table::Entries, &letter(n), b"")));
    store.flush().expect("it can be flushed");
    commit(&store, |batch| {
        (0..1000).for_each(|n| batch.single_delete(Table::Entries, &letter(n)));
    });
    try_warm(&store, &ScanRequest { upper: Some(letter(0)), ..tight(0) })
}

#[test]
fn a_scan_does_not_look_behind_its_upper_bound() {
    assert_eq!(before_a_dead_suffix(true), Ok(10));
    assert_eq!(before_a_dead_suffix(false), Err(StoreErrorKind::WouldBlock));
}

/// What a read of a queue without rows says when the rows of its neighbours are in a file on the disk.
fn of_an_absent_queue(prefix_filters: bool) -> Result<usize, StoreErrorKind> {
    let guards = Guards { prefix_filters, ..Guards::ALL };
    let mut place = Place::with_guards(guards);
    let store = place.open();
    fill(&store, Table::Entries, 1, 500);
    fill(&store, Table::Entries, 3, 500);
    store.flush().expect("it can be flushed");
    drop(store);
    let store = place.open_cold();
    try_rows(&store, &queue(Table::Entries, 2, 0))
}

#[test]
fn a_queue_without_rows_is_known_without_reading_its_neighbours() {
    assert_eq!(of_an_absent_queue(true), Ok(0));
    assert_eq!(of_an_absent_queue(false), Err(StoreErrorKind::WouldBlock));
}

fn delete_queue(batch: &mut WriteBatch, n_queue: u8) {
    let end = millpond_types::prefix_successor(&[n_queue; 16]).expect("not the last queue");
    batch.delete_range(Table::Entries, &[n_queue; 16], &end);
}

#[test]
fn a_purged_queue_shows_its_new_rows_within_the_budget() {
    for rows_in_files in [false, true] {
        let place = Place::new();
        let store = place.open();
        (1..=3).for_each(|n_queue| fill(&store, Table::Entries, n_queue, 10_000));
        if rows_in_files {
            store.flush().expect("it can be flushed");
        }
        commit(&store, |batch| delete_queue(batch, 1));
        assert_eq!(try_warm(&store, &tight(0)), Ok(0));
        let new = [7, 9_999, 10_000];
        commit(&store, |batch| {
            new.iter().for_each(|&n| batch.put(Table::Entries, &key(1, n), b"new"));
        });
        for step in 0..3 {
            let found = rows(&store, tight(0));
            assert_eq!(found, new.map(|n| (key(1, n), b"new".to_vec())), "step {step}");
            assert_eq!(try_rows(&store, &tight(0)), Ok(3), "step {step}");
            assert_eq!(rows(&store, all(Table::Entries)).len(), 20_003);
            match step {
                0 => store.flush().expect("it can be flushed"),
                _ => store.compact().expect("it can be compacted"),
            }
        }
    }
}

#[test]
fn many_purged_queues_are_not_stepped_over_by_a_read_of_another() {
    let place = Place::new();
    let store = place.open();
    let row = |queue: u32| [&queue.to_be_bytes()[..], &[0; 12], &[2], &[0; 8]].concat();
    commit(&store, |batch| (0..20_001).for_each(|q| batch.put(Table::Entries, &row(q), b"row")));
    commit(&store, |batch| {
        (0..20_001)
            .step_by(2)
            .for_each(|q| batch.delete_range(Table::Entries, &row(q), &row(q + 1)));
    });
    for in_files in [false, true] {
        for q in [1, 9_999, 19_999] {
            let request =
                ScanRequest { lower: row(q), upper: Some(row(q + 2)), rows_max: 1, ..tight(0) };
            let (head, _) = block_on(store.scan(request.clone())).expect("it can be scanned");
            assert_eq!(head.last_key(), Some(&row(q)[..]));
            let mut out = ScanRows::new();
            let end = store.try_scan(&request, &mut out).expect("nothing is skipped");
            assert_eq!((out, end), (head, ScanEnd::Truncated { last: row(q) }));
        }
        assert_eq!(rows(&store, all(Table::Entries)).len(), 10_000);
        if !in_files {
            store.flush().expect("it can be flushed");
        }
    }
}

/// Whether RocksDB flushed a memtable by itself after so many range deletes.
fn flushed_after_range_deletes(n: u32, range_delete_limit: bool) -> bool {
    let place = Place::with_guards(Guards { range_delete_limit, ..Guards::ALL });
    let store = place.open();
    commit(&store, |batch| {
        (0..n).for_each(|n| {
            let (lower, upper) = ((2 * n).to_be_bytes(), (2 * n + 1).to_be_bytes());
            batch.delete_range(Table::Entries, &lower, &upper);
        });
    });
    // It is the next write that finds the memtable full.
    commit(&store, |batch| batch.put(Table::Entries, &key(1, 0), b""));
    store.settle().expect("flushes can be waited for");
    std::fs::read_dir(&place.path).expect("the store").any(|entry| {
        entry.expect("an entry").path().extension().is_some_and(|extension| extension == "sst")
    })
}

#[test]
fn a_memtable_with_many_range_deletes_is_flushed() {
    assert!(!flushed_after_range_deletes(900, true));
    assert!(flushed_after_range_deletes(1_100, true));
    assert!(!flushed_after_range_deletes(1_100, false));
}
