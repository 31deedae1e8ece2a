//! Contract 6: scans. Every scan is compared with the oracle in both of its forms by the fixture.

use millpond_storage_api::{ScanEnd, ScanRequest, Table};

use crate::Harness;
use crate::fixture::{Fixture, batch, just_after, range, scan_to_end};

fn with_keys<H: Harness>(harness: H, keys: &[&[u8]]) -> Fixture<H> {
    let mut fixture = Fixture::new(harness);
    fixture.commit(|batch| keys.iter().for_each(|key| batch.put(Table::Queues, key, b"value")));
    fixture
}

fn with_numbers<H: Harness>(harness: H, n_rows: u32) -> Fixture<H> {
    let mut fixture = Fixture::new(harness);
    fixture.commit(|batch| {
        for n in 0..n_rows {
            batch.put(Table::Queues, &n.to_be_bytes(), &[1; 10]);
        }
    });
    fixture
}

/// Follows a scan over its range in steps, each compared with the oracle, and returns the number of
/// rows.
fn walk<H: Harness>(fixture: &mut Fixture<H>, mut request: ScanRequest) -> usize {
    let mut n_rows = 0;
    loop {
        let (rows, end) = fixture.scan(&request);
        n_rows += rows.len();
        match end {
            ScanEnd::Exhausted => return n_rows,
            ScanEnd::Truncated { last } => request.lower = just_after(&last),
        }
    }
}

pub(crate) fn the_lower_bound_is_inclusive_and_the_upper_is_not<H: Harness>(harness: H) {
    let mut fixture = with_keys(harness, &[b"a", b"b", b"c", b"d"]);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"b", Some(b"d"))), 2);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"a", Some(b"b"))), 1);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"d", None)), 1);
}

pub(crate) fn bounds_need_not_be_keys<H: Harness>(harness: H) {
    let mut fixture = with_keys(harness, &[b"b", b"d", b"f"]);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"a", Some(b"e"))), 2);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"b\0", Some(b"d"))), 0);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"b\0", Some(b"d\0"))), 1);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"", Some(b"zzz"))), 3);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"g", None)), 0);
}

/// Where tables are prefixes of one keyspace, the next table lies right behind.
pub(crate) fn without_an_upper_bound_it_ends_with_the_table<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.commit(|batch| {
        for table in crate::fixture::TABLES {
            batch.put(table, b"key", table.name().as_bytes());
            batch.put(table, &[0], b"low");
            batch.put(table, &[0xFF; 4], b"high");
        }
    });
    for table in crate::fixture::TABLES {
        assert_eq!(walk(&mut fixture, range(table, b"", None)), 3);
        assert_eq!(walk(&mut fixture, range(table, &[0xFF], None)), 1);
    }
}

pub(crate) fn empty_and_inverted_ranges_are_exhausted<H: Harness>(harness: H) {
    let mut fixture = with_keys(harness, &[b"a", b"b", b"c"]);
    for (lower, upper) in [(b"b", b"b"), (b"c", b"a"), (b"a", b"a")] {
        let (rows, end) = fixture.scan(&range(Table::Queues, lower, Some(upper)));
        assert_eq!((rows.len(), end), (0, ScanEnd::Exhausted));
    }
    let (rows, end) = fixture.scan(&range(Table::Queues, b"", Some(b"")));
    assert_eq!((rows.len(), end), (0, ScanEnd::Exhausted));
}

pub(crate) fn an_empty_table_is_exhausted<H: Harness>(harness: H) {
    let mut fixture = with_keys(harness, &[b"key"]);
    for upper in [None, Some(&b"z"[..])] {
        let (rows, end) = fixture.scan(&range(Table::Leases, b"", upper));
        assert_eq!((rows.len(), end), (0, ScanEnd::Exhausted));
    }
}

/// Keys of `0xFF` have no successor of their own length: bounds computed by adding one fail here.
pub(crate) fn keys_of_ones_are_reached<H: Harness>(harness: H) {
    let ones = [0xFF; 20];
    let keys: [&[u8]; 5] = [&[0xFE], &[0xFE, 0xFF], &ones[..1], &ones[..2], &ones];
    let mut fixture = with_keys(harness, &keys);
    assert_eq!(walk(&mut fixture, range(Table::Queues, &[0xFE], Some(&[0xFF]))), 2);
    assert_eq!(walk(&mut fixture, range(Table::Queues, &[0xFF], None)), 3);
    assert_eq!(walk(&mut fixture, range(Table::Queues, &[0xFF], Some(&ones))), 2);
    assert_eq!(walk(&mut fixture, range(Table::Queues, &ones, None)), 1);
    let one_by_one = ScanRequest { rows_max: 1, ..range(Table::Queues, &[0xFE, 0xFF], None) };
    assert_eq!(walk(&mut fixture, one_by_one), 4);
}

pub(crate) fn keys_are_ordered_as_unsigned_bytes<H: Harness>(harness: H) {
    let keys: [&[u8]; 8] =
        [&[0x80], b"a", &[0], b"ab", b"a\0", &[0x7F, 0xFF], &[0, 0], &[0x80, 0x00]];
    let mut fixture = with_keys(harness, &keys);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"", None)), 8);
    assert_eq!(walk(&mut fixture, range(Table::Queues, &[0x7F], Some(&[0x80]))), 1);
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"a", Some(b"b"))), 3);
}

pub(crate) fn rows_max_is_kept<H: Harness>(harness: H) {
    let mut fixture = with_numbers(harness, 30);
    for rows_max in [1, 2, 7, 29, 30, 31] {
        let request = ScanRequest { rows_max, ..range(Table::Queues, b"", None) };
        let (rows, _) = fixture.scan(&request);
        assert!(!rows.is_empty() && rows.len() <= rows_max);
        assert_eq!(walk(&mut fixture, request), 30);
    }
}

pub(crate) fn bytes_max_is_kept<H: Harness>(harness: H) {
    let mut fixture = with_numbers(harness, 30);
    for bytes_max in [1, 13, 14, 15, 100, 30 * 14, usize::MAX] {
        let request = ScanRequest { bytes_max, ..range(Table::Queues, b"", None) };
        let (rows, _) = fixture.scan(&request);
        assert!(!rows.is_empty());
        assert_eq!(walk(&mut fixture, request), 30);
    }
}

pub(crate) fn an_oversized_row_is_still_returned<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.commit(|batch| {
        batch.put(Table::Queues, b"a", b"small");
        batch.put(Table::Queues, b"b", &[2; 100_000]);
        batch.put(Table::Queues, b"c", b"small");
    });
    let request = ScanRequest { bytes_max: 10, ..range(Table::Queues, b"b", None) };
    let (rows, end) = fixture.scan(&request);
    assert_eq!(rows.len(), 1);
    assert_eq!(end, ScanEnd::Truncated { last: b"b".to_vec() });
    assert_eq!(walk(&mut fixture, ScanRequest { lower: vec![], ..request }), 3);
}

pub(crate) fn continuing_after_last_gives_every_row_once<H: Harness>(harness: H) {
    let mut fixture = with_numbers(harness, 200);
    for rows_max in [1, 3, 64] {
        let request = ScanRequest { rows_max, ..range(Table::Queues, b"", Some(&[0, 0, 0, 150])) };
        assert_eq!(walk(&mut fixture, request), 150);
    }
}

/// Both ends are right when the limit is reached with the last row, but a truncated scan must be
/// followed by an exhausted one.
pub(crate) fn a_range_of_exactly_rows_max_ends<H: Harness>(harness: H) {
    let mut fixture = with_numbers(harness, 5);
    let request = ScanRequest { rows_max: 5, ..range(Table::Queues, b"", Some(&[1])) };
    assert_eq!(walk(&mut fixture, request.clone()), 5);
    let behind = ScanRequest { lower: just_after(&4_u32.to_be_bytes()), ..request };
    let (rows, end) = fixture.scan(&behind);
    assert_eq!((rows.len(), end), (0, ScanEnd::Exhausted));
}

pub(crate) fn overwritten_and_removed_rows_are_gone<H: Harness>(harness: H) {
    let mut fixture = with_numbers(harness, 20);
    fixture.commit(|batch| {
        for n in (0..20_u32).step_by(2) {
            batch.put(Table::Queues, &n.to_be_bytes(), b"overwritten");
        }
        for n in (0..20_u32).step_by(5) {
            batch.delete(Table::Queues, &n.to_be_bytes());
        }
        batch.delete_range(Table::Queues, &12_u32.to_be_bytes(), &14_u32.to_be_bytes());
    });
    for _ in 0..2 {
        assert_eq!(walk(&mut fixture, range(Table::Queues, b"", None)), 14);
        fixture.reopen_clean();
    }
}

/// Keys of the shape that queues have: a long id, and something after it. Filters over that id must not
/// hide what a range over several ids holds, nor a bound that is shorter than an id.
pub(crate) fn ranges_reach_over_long_prefixes<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let key = |id: u8, n: u8| [&[id; 16][..], &[2, 128, n]].concat();
    for id in [3, 5, 9] {
        fixture.commit(|batch| {
            (0..5).for_each(|n| batch.put(Table::Entries, &key(id, n), b"entry"));
        });
    }
    for _ in 0..2 {
        for (lower, upper, n_rows) in [
            (key(3, 2), Some(key(9, 3)), 11),
            (key(4, 0), Some(key(8, 0)), 5),
            (key(5, 9), Some(key(9, 1)), 1),
            (key(9, 9), None, 0),
            (vec![3], Some(vec![5, 5]), 5),
            (vec![5; 15], None, 10),
            (vec![], Some(vec![9; 16]), 10),
            (vec![6; 16], Some(vec![8; 16]), 0),
        ] {
            let request = range(Table::Entries, &lower, upper.as_deref());
            assert_eq!(walk(&mut fixture, ScanRequest { rows_max: 4, ..request }), n_rows);
        }
        // Once from where writes arrive, once from where they rest.
        fixture.reopen_clean();
    }
}

fn with_dead_prefix<H: Harness>(harness: H) -> Fixture<H> {
    let mut fixture = Fixture::new(harness);
    let key = |n: u32| n.to_be_bytes();
    fixture.commit(|batch| (0..600).for_each(|n| batch.put(Table::Entries, &key(n), b"entry")));
    fixture.commit(|batch| (0..500).for_each(|n| batch.single_delete(Table::Entries, &key(n))));
    fixture
}

pub(crate) fn tombstones_do_not_stop_it<H: Harness>(harness: H) {
    let mut fixture = with_dead_prefix(harness);
    for skip_max in [0, 1, u64::MAX] {
        let all = ScanRequest { skip_max, rows_max: 10, ..range(Table::Entries, b"", None) };
        assert_eq!(walk(&mut fixture, all), 100);
        let dead =
            ScanRequest { skip_max, ..range(Table::Entries, b"", Some(&500_u32.to_be_bytes())) };
        let (rows, end) = fixture.scan(&dead);
        assert_eq!((rows.len(), end), (0, ScanEnd::Exhausted));
    }
}

/// Live rows between tombstones: whatever `try_scan` gives up on, what it has read is right. The
/// fixture compares it.
pub(crate) fn skip_max_keeps_a_valid_prefix<H: Harness>(harness: H) {
    let mut fixture = with_dead_prefix(harness);
    fixture.commit(|batch| {
        for n in (0..500_u32).step_by(7) {
            batch.put(Table::Entries, &n.to_be_bytes(), b"again");
        }
    });
    for skip_max in [0, 1, 5, 6, 50, 1000] {
        let request = ScanRequest { skip_max, rows_max: 40, ..range(Table::Entries, b"", None) };
        assert_eq!(walk(&mut fixture, request), 172);
    }
}

/// Every batch moves the one row to another place, so a scan of one moment finds exactly one.
pub(crate) fn it_sees_one_moment<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Queues, &[0], b"here");
    let mover = {
        let store = fixture.store.clone();
        std::thread::spawn(move || {
            let hop = |n: u8| {
                batch(|batch| {
                    batch.delete(Table::Queues, &[n.wrapping_mul(37)]);
                    batch.put(Table::Queues, &[n.wrapping_add(1).wrapping_mul(37)], b"here");
                })
            };
            (0..=255).map(|n| store.submit(hop(n))).collect::<Vec<_>>()
        })
    };
    let mut moved = false;
    while !moved {
        moved = mover.is_finished();
        let store = fixture.store.clone();
        let scan = store.scan(range(Table::Queues, b"", None));
        let (rows, end) = fixture.harness.block_on(scan).expect("a healthy store can be scanned");
        if end == ScanEnd::Exhausted {
            assert_eq!(rows.len(), 1, "the row was seen {} times", rows.len());
        }
    }
    for ticket in mover.join().expect("submitting does not panic") {
        fixture.wait(ticket).expect("a healthy store commits");
    }
    let store = fixture.store.clone();
    let rows = scan_to_end(&mut fixture.harness, &*store, range(Table::Queues, b"", None));
    assert_eq!(rows, vec![(vec![0], b"here".to_vec())]);
}

pub(crate) fn a_dropped_scan_harms_nothing<H: Harness>(harness: H) {
    let mut fixture = with_numbers(harness, 50);
    for _ in 0..20 {
        drop(fixture.store.scan(range(Table::Queues, b"", None)));
        drop(fixture.store.get(Table::Queues, &[0, 0, 0, 1]));
    }
    assert_eq!(walk(&mut fixture, range(Table::Queues, b"", None)), 50);
    fixture.reopen_clean();
    fixture.check();
}
