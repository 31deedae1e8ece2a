//! How many rows a refill asks for, and what the window may hold because of it.

use std::collections::BTreeSet;

use millpond_inbox::{Finish, Frontier, Insertion, Limits, RefillEnd};

use crate::{Window, drain, fixed, keys, limits, merged, rows, scan, start};

fn batch(limits: Limits, batch_min: u8, batch_max: u8) -> Limits {
    limits.with_batch(batch_min, batch_max).expect("limits that an inbox can work with")
}

fn refill(window: &mut Window, store: &BTreeSet<u32>) -> Finish {
    let request = start(window);
    let (rows, end) = scan(store, &request);
    window.refill_finished(rows, end)
}

/// Takes and acknowledges whatever the window holds.
fn empty(window: &mut Window, store: &mut BTreeSet<u32>) {
    while let Some((key, _)) = window.take() {
        store.remove(&key);
        window.confirm(&key);
    }
}

#[test]
fn a_queue_that_drains_earns_larger_batches() {
    let mut store: BTreeSet<u32> = (0..1_000).collect();
    let mut window = Window::new(false, batch(Limits::default(), 3, 50));
    let asked: Vec<usize> = (0..7)
        .map(|_| {
            let rows_max = window.refill_wanted().map_or(0, |request| request.rows_max);
            assert_eq!(refill(&mut window, &store), merged(rows_max));
            empty(&mut window, &mut store);
            rows_max
        })
        .collect();
    assert_eq!(asked, [3, 6, 12, 24, 48, 50, 50]);
}

#[test]
fn a_scan_that_brought_less_than_a_batch_earns_nothing() {
    let store: BTreeSet<u32> = (0..3).collect();
    let mut window = Window::new(false, Limits::default());
    assert_eq!(refill(&mut window, &store), merged(3));
    assert_eq!(window.batch(), 4);

    let mut window = Window::new(false, Limits::default());
    start(&mut window);
    let _ = window.refill_finished(rows(0..2), RefillEnd::Truncated { after: 1 });
    assert_eq!(window.batch(), 4, "a partial scan");

    let mut window = Window::new(false, Limits::default());
    start(&mut window);
    assert!(window.refill_failed());
    assert_eq!(window.batch(), 4, "a failed scan");
}

#[test]
fn what_a_low_mark_leaves_in_the_window_does_not_keep_the_batch_small() {
    let store: BTreeSet<u32> = (0..1_000).collect();
    let mut window = Window::new(false, limits(24, 48, 12));
    for _ in 0..20 {
        let _ = refill(&mut window, &store);
        while window.refill_wanted().is_none() {
            window.take();
        }
    }
    assert_eq!(window.batch(), 64);
}

#[test]
fn memory_pressure_halves_the_batch_and_only_if_it_took_something() {
    let store: BTreeSet<u32> = (0..1_000).collect();
    let mut window = Window::new(false, batch(Limits::default(), 3, 12));
    for _ in 0..3 {
        let _ = refill(&mut window, &store);
        while window.take().is_some() {}
    }
    let _ = refill(&mut window, &store);
    assert_eq!((window.batch(), window.shrink_to(24)), (12, 0));
    assert_eq!((window.batch(), window.shrink_to(8)), (12, 4));
    assert_eq!((window.batch(), window.shrink_to(7)), (6, 1));
    assert_eq!((window.batch(), window.shrink_to(6)), (3, 1));
    assert_eq!(window.batch(), 3, "never below the smallest");
}

#[test]
fn a_refill_fills_more_than_inserts_may() {
    let store: BTreeSet<u32> = (0..100).map(|key| key * 10).collect();
    let mut window = Window::new(false, batch(limits(2, 8, 0), 8, 8));
    assert_eq!(refill(&mut window, &store), merged(8));
    assert_eq!(window.insert(35, "row"), Insertion::CachedByEviction);
    assert_eq!(keys(&window), [0, 10, 20, 30, 35, 40, 50, 60]);
    assert_eq!(window.insert(65, "row"), Insertion::Beyond, "it would be the last");
    assert_eq!((window.len(), window.frontier()), (8, &Frontier::Before(65)));
    // Once the window is down to what inserts may fill, they fill it.
    while window.len() > 1 {
        window.take();
    }
    assert_eq!(window.insert(55, "row"), Insertion::Cached);
    assert_eq!(window.insert(56, "row"), Insertion::CachedByEviction);
    assert_eq!(keys(&window), [55, 56]);
}

#[test]
fn a_whole_queue_known_from_a_large_batch_stays_right_when_inserts_evict() {
    let mut store: BTreeSet<u32> = (0..10).collect();
    let mut window = Window::new(false, batch(limits(2, 8, 0), 16, 16));
    assert_eq!(refill(&mut window, &store), merged(10));
    assert!(window.knows_whole_queue());
    store.insert(20);
    assert_eq!(window.insert(20, "row"), Insertion::Beyond);
    assert!(!window.knows_whole_queue());
    assert!(drain(&mut window, &store).0.iter().eq(&store));
}

#[test]
fn a_small_batch_leaves_the_rest_of_the_window_to_whatever_came() {
    let mut window = Window::new(false, limits(8, 8, 0));
    start(&mut window);
    // More rows than were asked for: they were read, so they are kept as far as the window holds them.
    let read = rows(0..20);
    assert_eq!(window.refill_finished(read, RefillEnd::Truncated { after: 19 }), merged(8));
    assert_eq!(window.frontier(), &Frontier::Before(8));
}

#[test]
fn a_stale_request_over_a_window_that_shrank_above_its_batch_admits_nothing() {
    let store: BTreeSet<u32> = (0..100).collect();
    let mut window = Window::new(false, batch(limits(2, 8, 0), 1, 8));
    for _ in 0..3 {
        let _ = refill(&mut window, &store);
        while window.take().is_some() {}
    }
    let stale = window.refill_wanted().expect("the window is empty");
    assert_eq!(refill(&mut window, &store), merged(8));
    assert_eq!(window.shrink_to(6), 2);
    window.refill_started(stale.clone());
    let (rows, end) = scan(&store, &stale);
    assert_eq!(window.refill_finished(rows, end), merged(0));
    assert_eq!((keys(&window), window.batch()), ((7..13).collect(), 4));
    let left: BTreeSet<u32> = (7..100).collect();
    assert!(drain(&mut window, &left).0.iter().eq(&left));
}

#[test]
fn leases_reserved_at_restart_are_read_on_top_of_a_small_batch() {
    let store: BTreeSet<u32> = (0..100).collect();
    let mut window = Window::new(false, limits(8, 8, 0));
    for key in 0..50 {
        window.reserve(key);
    }
    // Bounded by what the window holds.
    assert_eq!(window.refill_wanted().map(|request| request.rows_max), Some(4 + 8));
    let (drained, n_refills) = drain(&mut window, &store);
    assert!(drained.iter().eq(store.range(50..)));
    // Four that admit nothing, the fifth admits ten, and then come 20 and more.
    assert!(n_refills <= 8, "{n_refills}");
}

#[test]
fn heap_bytes_are_those_of_the_items_and_shrinking_returns_them() {
    let row_bytes = size_of::<(u32, &str)>();
    let store: BTreeSet<u32> = (0..1_000).collect();
    let mut window = Window::new(false, fixed(200, 48, 0));
    assert_eq!(window.heap_bytes(), 0);
    assert_eq!(refill(&mut window, &store), merged(200));
    assert_eq!(window.heap_bytes(), 200 * row_bytes);
    for _ in 0..150 {
        window.take();
    }
    assert_eq!(window.heap_bytes(), 200 * row_bytes, "room for what may come");
    assert_eq!(window.shrink_to(60), 0);
    assert_eq!(window.heap_bytes(), 50 * row_bytes, "room that nothing fills is given back too");
    window.shrink_to(1);
    assert_eq!((window.len(), window.heap_bytes()), (1, row_bytes));
    window.shrink_to(0);
    assert_eq!(window.heap_bytes(), 0);
}

#[test]
fn a_window_of_one_row_owns_room_for_one() {
    let row_bytes = size_of::<(u32, &str)>();
    let mut inserted = Window::new(true, Limits::default());
    inserted.insert(1, "row");
    assert_eq!(inserted.heap_bytes(), row_bytes);
    let mut found = Window::new(false, Limits::default());
    assert_eq!(refill(&mut found, &[1].into()), merged(1));
    assert_eq!(found.heap_bytes(), row_bytes);
}
