//! One test per way in which a window over a live store can lose or revive a row. Batches are fixed, so that
//! each scan reads exactly what its case is about.

use std::collections::BTreeSet;

use millpond_inbox::{Finish, Frontier, Inbox, Insertion, RefillEnd};

use crate::{Window, drain, fixed, keys, merged, merged_after_overflow, rows, scan, start};

/// Removes a row that nobody holds, as a kill does: staged, durable, confirmed.
fn kill(window: &mut Window, store: &mut BTreeSet<u32>, key: u32) {
    window.reserve(key);
    store.remove(&key);
    window.confirm(&key);
}

#[test]
fn a_far_removal_during_a_scan_hides_no_row() {
    let mut store: BTreeSet<u32> = (0..100).collect();
    let mut window = Window::new(false, fixed(24, 48, 0));
    let request = start(&mut window);
    let (rows, end) = scan(&store, &request);
    kill(&mut window, &mut store, 90);
    assert_eq!(window.refill_finished(rows, end), merged(24));
    let (drained, _) = drain(&mut window, &store);
    assert_eq!(drained.len(), 99);
    assert!(drained.iter().eq(&store), "every row that lives, once, in order");
}

#[test]
fn a_far_insert_during_a_scan_hides_none_of_the_rows_before_it() {
    let mut store: BTreeSet<u32> = (0..200).collect();
    let mut window = Window::new(false, fixed(24, 48, 0));
    let request = start(&mut window);
    let (rows, end) = scan(&store, &request);
    for key in 0..10 {
        kill(&mut window, &mut store, key);
    }
    store.insert(1_000);
    assert_eq!(window.insert(1_000, "far"), Insertion::Beyond);
    // Ten of the 24 rows died meanwhile. The free places are not filled from beyond the scan's end.
    assert_eq!(window.refill_finished(rows, end), merged(14));
    assert_eq!(window.frontier(), &Frontier::After(23));
    let (drained, _) = drain(&mut window, &store);
    assert_eq!(drained.len(), 191);
    assert!(drained.iter().eq(&store), "every row that lives, once, in order");
}

#[test]
fn a_taken_key_confirmed_during_a_scan_that_saw_it_stays_dead() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    window.reserve(5); // leased before a restart
    start(&mut window);
    assert!(window.confirm(&5));
    assert_eq!(window.refill_finished(rows([4, 5, 6]), RefillEnd::Exhausted), merged(2));
    assert_eq!(keys(&window), [4, 6]);
}

#[test]
fn a_row_killed_during_a_scan_that_saw_it_stays_dead() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    start(&mut window);
    assert_eq!(window.reserve(5), None, "not known yet");
    assert!(window.confirm(&5));
    assert_eq!(window.refill_finished(rows([4, 5, 6]), RefillEnd::Exhausted), merged(2));
    assert_eq!(keys(&window), [4, 6]);
}

#[test]
fn a_departure_that_was_never_reserved_is_as_final() {
    let mut window = Window::new(true, fixed(24, 48, 0));
    window.insert(5, "row");
    assert!(!window.confirm(&5), "it was not taken");
    assert!(window.is_known_empty());
}

#[test]
fn a_row_rekeyed_during_a_scan_appears_under_its_new_key_only() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    start(&mut window);
    window.reserve(5);
    window.confirm(&5);
    window.insert(50, "rekeyed");
    // A snapshot of before: the old key is there and the new one is not.
    assert_eq!(window.refill_finished(rows([4, 5, 6]), RefillEnd::Exhausted), merged(3));
    assert_eq!(keys(&window), [4, 6, 50]);
}

#[test]
fn a_row_rekeyed_before_the_snapshot_appears_once() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    start(&mut window);
    window.reserve(5);
    window.confirm(&5);
    window.insert(50, "rekeyed");
    assert_eq!(window.refill_finished(rows([4, 6, 50]), RefillEnd::Exhausted), merged(3));
    assert_eq!(keys(&window), [4, 6, 50]);
    assert_eq!(window.iter().next_back(), Some((&50, &"rekeyed")), "the overlay wins");
}

#[test]
fn a_taken_key_restored_during_a_scan_appears_once() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    window.reserve(5);
    start(&mut window);
    assert_eq!(window.restore(5, "restored"), Insertion::Beyond);
    assert_eq!(window.refill_finished(rows([4, 5, 6]), RefillEnd::Exhausted), merged(3));
    assert_eq!(keys(&window), [4, 5, 6]);
}

#[test]
fn a_key_still_taken_when_the_scan_ends_comes_back_only_if_restored() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    window.reserve(5);
    window.reserve(6);
    start(&mut window);
    assert_eq!(window.refill_finished(rows([4, 5, 6]), RefillEnd::Exhausted), merged(1));
    assert_eq!(keys(&window), [4]);
    window.confirm(&5);
    assert_eq!(window.restore(6, "row"), Insertion::Cached);
    assert_eq!(keys(&window), [4, 6]);
}

#[test]
fn a_row_that_a_scan_saw_before_its_notification_is_handed_out_once() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    start(&mut window);
    let _ = window.refill_finished(rows([1, 2]), RefillEnd::Exhausted);
    assert_eq!(window.take(), Some((1, "row")));
    assert_eq!(window.insert(1, "late notification"), Insertion::Taken);
    assert_eq!(window.insert(2, "late notification"), Insertion::Duplicate);
    assert_eq!(keys(&window), [2]);
}

#[test]
fn an_overlay_overflow_that_ends_in_a_tombstone_revives_nothing() {
    let mut store: BTreeSet<u32> = (0..10).collect();
    let mut window = Window::new(false, fixed(24, 2, 0));
    let request = start(&mut window);
    let (rows, end) = scan(&store, &request);
    for key in [3, 5, 7] {
        kill(&mut window, &mut store, key);
    }
    // The third tombstone does not fit, so that nothing at or above its key is trusted.
    assert_eq!(window.refill_finished(rows, end), merged_after_overflow(5));
    assert_eq!(keys(&window), [0, 1, 2, 4, 6]);
    assert_eq!(window.frontier(), &Frontier::Before(7));
    assert!(drain(&mut window, &store).0.iter().eq(&store));
}

#[test]
fn an_overlay_overflow_displaces_the_largest_tombstone_not_the_newest() {
    let mut store: BTreeSet<u32> = (0..10).collect();
    let mut window = Window::new(false, fixed(24, 2, 0));
    let request = start(&mut window);
    let (rows, end) = scan(&store, &request);
    for key in [7, 5, 3] {
        kill(&mut window, &mut store, key);
    }
    assert_eq!(window.refill_finished(rows, end), merged_after_overflow(5));
    assert_eq!(keys(&window), [0, 1, 2, 4, 6]);
    assert!(drain(&mut window, &store).0.iter().eq(&store));
}

#[test]
fn an_overlay_overflow_that_ends_in_an_add_loses_nothing() {
    let mut store: BTreeSet<u32> = (0..10).map(|key| key * 10).collect();
    let mut window = Window::new(false, fixed(24, 2, 0));
    let request = start(&mut window);
    let (rows, end) = scan(&store, &request);
    for key in [15, 25, 35] {
        store.insert(key);
        window.insert(key, "during the scan");
    }
    assert_eq!(window.refill_finished(rows, end), merged_after_overflow(6));
    assert_eq!(keys(&window), [0, 10, 15, 20, 25, 30]);
    assert_eq!(window.frontier(), &Frontier::Before(35));
    assert!(drain(&mut window, &store).0.iter().eq(&store));
}

#[test]
fn a_scan_whose_rows_all_lie_beyond_the_horizon_admits_the_overlay() {
    let mut store: BTreeSet<u32> = (10..20).collect();
    let mut window = Window::new(false, fixed(24, 1, 0));
    let request = start(&mut window);
    let (rows, end) = scan(&store, &request);
    for key in [2, 1] {
        store.insert(key);
        window.insert(key, "during the scan");
    }
    assert_eq!(window.refill_finished(rows, end), merged_after_overflow(1));
    assert_eq!(keys(&window), [1]);
    assert_eq!(window.frontier(), &Frontier::Before(2));
    assert!(drain(&mut window, &store).0.iter().eq(&store));
}

#[test]
fn a_scan_whose_rows_all_died_proves_the_queue_empty() {
    let mut store: BTreeSet<u32> = (0..5).collect();
    let mut window = Window::new(false, fixed(24, 48, 0));
    let request = start(&mut window);
    let (rows, end) = scan(&store, &request);
    for key in 0..5 {
        kill(&mut window, &mut store, key);
    }
    assert_eq!(window.refill_finished(rows, end), merged(0));
    assert!(window.is_known_empty());
    assert_eq!(window.refill_wanted(), None);
}

#[test]
fn a_window_that_shrank_during_a_scan_discards_its_result() {
    let store: BTreeSet<u32> = [5, 10, 20, 30, 40].into();
    let mut window = Window::new(false, fixed(2, 4, 1));
    start(&mut window);
    let _ = window.refill_finished(rows([10, 20]), RefillEnd::Truncated { after: 20 });
    window.take();
    let request = start(&mut window); // a prefetch from just after 20
    let (rows, end) = scan(&store, &request);
    assert_eq!(window.restore(10, "row"), Insertion::Cached);
    assert_eq!(window.insert(5, "row"), Insertion::CachedByEviction);
    assert_eq!(keys(&window), [5, 10]);
    // 20 was evicted and the scan began behind it: merging 30 would hide 20.
    assert_eq!(window.refill_finished(rows, end), Finish::Discarded);
    assert_eq!(window.frontier(), &Frontier::Before(20));
    assert!(drain(&mut window, &store).0.iter().eq(&store));
}

#[test]
fn a_partial_scan_is_used_and_a_blocking_one_continues_behind_it() {
    let store: BTreeSet<u32> = (0..40).collect();
    let mut window = Window::new(false, fixed(8, 8, 7));
    start(&mut window);
    // Memory served three rows, then the scan would have blocked.
    let partial = RefillEnd::Truncated { after: 2 };
    assert_eq!(window.refill_finished(rows(0..3), partial), merged(3));
    assert_eq!(window.peek(), Some((&0, &"row")), "usable at once");
    let request = start(&mut window);
    assert_eq!(request.from, Frontier::After(2));
    let (rows, end) = scan(&store, &request);
    assert_eq!(window.refill_finished(rows, end), merged(5));
    assert!(drain(&mut window, &store).0.iter().eq(&store));
}

#[test]
fn a_scan_that_read_nothing_changes_nothing() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    let request = start(&mut window);
    window.insert(7, "during the scan");
    assert_eq!(window.refill_finished([], RefillEnd::Nothing), merged(0));
    assert_eq!(window.refill_wanted(), Some(request));
}

#[test]
fn a_scan_that_only_skipped_dead_keys_still_gets_ahead() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    start(&mut window);
    assert_eq!(window.refill_finished([], RefillEnd::Truncated { after: 500 }), merged(0));
    let request = window.refill_wanted().expect("more may live behind them");
    assert_eq!(request.from, Frontier::After(500));
}

#[test]
fn knowing_the_whole_queue_costs_no_read() {
    let mut window = Window::new(true, fixed(24, 48, 0));
    for round in 0..100 {
        for key in 0..24 {
            assert_eq!(window.insert(round * 24 + key, "row"), Insertion::Cached);
        }
        while let Some((key, _)) = window.take() {
            assert_eq!(window.refill_wanted(), None);
            window.confirm(&key);
        }
        assert!(window.is_known_empty());
    }
}

#[test]
fn a_new_queue_without_proof_of_emptiness_reads_once() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    assert_eq!(window.insert(1, "row"), Insertion::Beyond);
    start(&mut window);
    assert_eq!(window.refill_finished(rows([1]), RefillEnd::Exhausted), merged(1));
    assert!(window.knows_whole_queue());
}

#[test]
fn a_late_completion_without_a_refill_in_flight_is_discarded() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    start(&mut window);
    assert!(window.refill_failed());
    let discarded = window.refill_finished(rows([1]), RefillEnd::Exhausted);
    assert_eq!(discarded, Finish::Discarded);
    assert!(!window.refill_failed());
    assert!(window.is_empty() && !window.knows_whole_queue());
}

#[test]
fn a_request_kept_until_it_is_stale_is_harmless() {
    let store: BTreeSet<u32> = (0..30).collect();
    let mut window = Window::new(false, fixed(8, 8, 7));
    let stale = window.refill_wanted().expect("nothing is known");
    start(&mut window);
    let _ = window.refill_finished(rows(0..4), RefillEnd::Truncated { after: 3 });
    let (rows, end) = scan(&store, &stale);
    window.refill_started(stale);
    assert_eq!(window.refill_finished(rows, end), merged(4), "0 to 3 are there already");
    assert_eq!(keys(&window), (0..8).collect::<Vec<_>>());
    assert!(drain(&mut window, &store).0.iter().eq(&store));
}

#[test]
fn leases_reserved_at_restart_are_read_on_top_of_a_full_window() {
    let store: BTreeSet<u32> = (0..100).collect();
    let mut window = Window::new(false, fixed(8, 8, 0));
    for key in 0..5 {
        window.reserve(key);
    }
    let request = start(&mut window);
    assert_eq!(request.rows_max, 13);
    let (rows, end) = scan(&store, &request);
    assert_eq!(window.refill_finished(rows, end), merged(8));
    assert_eq!(keys(&window), (5..13).collect::<Vec<_>>());
}

#[test]
fn the_floor_is_the_lowest_key_that_may_live() {
    let mut window = Window::new(true, fixed(3, 8, 0));
    assert_eq!(window.floor(), Frontier::End);
    for key in [10, 20, 30, 40] {
        window.insert(key, "row");
    }
    assert_eq!(window.floor(), Frontier::Before(10));
    window.take();
    window.take();
    assert_eq!(window.floor(), Frontier::Before(10), "taken, and not durably gone");
    window.confirm(&10);
    assert_eq!(window.floor(), Frontier::Before(20));
    window.confirm(&20);
    window.take();
    window.confirm(&30);
    assert_eq!(window.floor(), Frontier::Before(40), "evicted: nothing is known from there on");
    window.reserve(90);
    assert_eq!(window.floor(), Frontier::Before(40));
}

#[test]
fn shrinking_forgets_from_the_back_and_loses_nothing() {
    let store: BTreeSet<u32> = (0..20).collect();
    let mut window = Window::new(true, fixed(24, 48, 0));
    for key in 0..20 {
        window.insert(key, "row");
    }
    assert_eq!(window.shrink_to(5), 15);
    assert_eq!((keys(&window), window.frontier()), ((0..5).collect(), &Frontier::Before(5)));
    assert_eq!(window.shrink_to(5), 0);
    assert_eq!(window.shrink_to(0), 5);
    assert_eq!(window.frontier(), &Frontier::Before(0));
    assert!(drain(&mut window, &store).0.iter().eq(&store));
}

#[test]
#[should_panic(expected = "the rows of a refill are in strictly ascending order")]
fn rows_out_of_order_are_refused() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    start(&mut window);
    let _ = window.refill_finished(rows([2, 1]), RefillEnd::Exhausted);
}

#[test]
#[should_panic(expected = "at most one refill is in flight")]
fn a_second_refill_in_flight_is_refused() {
    let mut window = Window::new(false, fixed(24, 48, 0));
    let request = start(&mut window);
    window.refill_started(request);
}

#[test]
fn a_panic_while_rows_are_read_leaves_the_window_as_it_was() {
    let mut window = Inbox::<u32, &str>::new(false, fixed(8, 8, 7));
    start(&mut window);
    let _ = window.refill_finished(rows([1, 2]), RefillEnd::Truncated { after: 2 });
    start(&mut window);
    let broken = (3..6).map(|key| if key < 5 { (key, "row") } else { panic!("a corrupt row") });
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = window.refill_finished(broken, RefillEnd::Exhausted);
    }));
    assert!(panicked.is_err());
    assert_eq!((keys(&window), window.frontier()), (vec![1, 2], &Frontier::After(2)));
    assert!(window.refill_wanted().is_some());
}
