//! The inbox through its public API: each case that once went wrong somewhere, as a plain test.

mod batches;
mod fifo;
mod footprint;
mod frontier;
#[cfg(not(millpond_loom))]
mod in_flight;
mod limits;
mod scenarios;

use std::collections::BTreeSet;
use std::ops::Bound;

use millpond_inbox::{Finish, Inbox, Limits, RefillEnd, RefillRequest};

type Window = Inbox<u32, &'static str>;

fn limits(capacity: u16, overlay_max: u16, low_mark: u8) -> Limits {
    Limits::new(capacity, overlay_max, low_mark).expect("limits that an inbox can work with")
}

/// Limits under which every refill asks for as much as inserts may fill.
fn fixed(capacity: u8, overlay_max: u16, low_mark: u8) -> Limits {
    limits(u16::from(capacity), overlay_max, low_mark)
        .with_batch(capacity, capacity)
        .expect("limits that an inbox can work with")
}

fn keys(window: &Window) -> Vec<u32> {
    window.iter().map(|(key, _)| *key).collect()
}

fn rows(keys: impl IntoIterator<Item = u32>) -> Vec<(u32, &'static str)> {
    keys.into_iter().map(|key| (key, "row")).collect()
}

fn start(window: &mut Window) -> RefillRequest<u32> {
    let request = window.refill_wanted().expect("a refill is wanted");
    window.refill_started(request.clone());
    request
}

fn merged(n_admitted: usize) -> Finish {
    Finish::Merged { n_admitted, overlay_overflowed: false }
}

fn merged_after_overflow(n_admitted: usize) -> Finish {
    Finish::Merged { n_admitted, overlay_overflowed: true }
}

/// What a scan for `request` reads of `store` right now.
fn scan(
    store: &BTreeSet<u32>,
    request: &RefillRequest<u32>,
) -> (Vec<(u32, &'static str)>, RefillEnd<u32>) {
    let from = request.from.lower_bound().expect("no request starts at the end").cloned();
    let mut left = store.range((from, Bound::Unbounded)).copied();
    let read = rows(left.by_ref().take(request.rows_max));
    let end = match (left.next(), read.last()) {
        (Some(_), Some((after, _))) => RefillEnd::Truncated { after: *after },
        _ => RefillEnd::Exhausted,
    };
    (read, end)
}

/// Takes everything, with the refills it needs. Returns the keys in the order they came, and the number of
/// refills.
fn drain(window: &mut Window, store: &BTreeSet<u32>) -> (Vec<u32>, usize) {
    let (mut drained, mut n_refills) = (Vec::new(), 0);
    while !window.is_known_empty() {
        match window.take() {
            Some((key, _)) => drained.push(key),
            None => {
                let request = start(window);
                let (rows, end) = scan(store, &request);
                let _ = window.refill_finished(rows, end);
                n_refills += 1;
            }
        }
    }
    (drained, n_refills)
}
