//! A frontier is a position: order and coverage must tell the same story.

use millpond_inbox::Frontier::{self, After, Before, End, Start};

const ASCENDING: [Frontier<u32>; 8] =
    [Start, Before(1), After(1), Before(2), After(2), Before(3), After(3), End];

#[test]
fn the_order_of_frontiers_is_total_and_as_listed() {
    for (i, a) in ASCENDING.iter().enumerate() {
        for (j, b) in ASCENDING.iter().enumerate() {
            assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} against {b:?}");
        }
    }
}

#[test]
fn a_frontier_covers_exactly_the_keys_that_a_scan_from_it_skips() {
    for frontier in ASCENDING {
        for key in 1..=3 {
            let scanned = frontier.lower_bound().is_some_and(|from| {
                std::ops::RangeBounds::contains(&(from, std::ops::Bound::Unbounded), &key)
            });
            assert_eq!(frontier.covers(&key), !scanned, "{frontier:?} and {key}");
            assert_eq!(frontier.covers(&key), frontier > Before(key), "{frontier:?} and {key}");
        }
    }
}
