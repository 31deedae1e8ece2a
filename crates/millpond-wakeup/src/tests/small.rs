//! Sizes, memory, and time.

use std::time::Duration;

use super::Source;
use crate::{Handle, Nanos, RejectedKind, Timers, Wakeups};

#[test]
fn a_handle_is_eight_bytes() {
    assert_eq!(size_of::<Handle>(), 8);
}

#[test]
fn a_scheduler_that_is_not_used_owns_no_memory() {
    assert_eq!(Timers::<u64>::new(1_000_000).heap_bytes(), 0);
    assert_eq!(Wakeups::<u64>::new(1_000_000).heap_bytes(), 0);
}

#[test]
fn memory_follows_the_timers_and_a_clear_gives_it_back() {
    const N_TIMERS: usize = 100_000;
    let mut source = Source(5);
    let mut timers = Timers::new(N_TIMERS);
    let mut wakeups = Wakeups::new(N_TIMERS);
    for timer in 0..N_TIMERS {
        let deadline = Nanos(source.next() % 30_000_000_000);
        timers.insert(deadline, timer as u64).expect("there is room");
        wakeups.set(timer as u64, deadline).expect("there is room");
    }
    let (per_timer, per_key) = (timers.heap_bytes() / N_TIMERS, wakeups.heap_bytes() / N_TIMERS);
    println!("{per_timer} bytes per timer, {per_key} bytes per key");
    assert!(per_timer <= 48 && per_key <= 78, "{per_timer} bytes per timer, {per_key} per key");
    assert_eq!((timers.clear().len(), wakeups.clear().len()), (N_TIMERS, N_TIMERS));
    assert_eq!((timers.heap_bytes(), wakeups.heap_bytes()), (0, 0));
}

#[test]
fn a_handle_from_before_a_clear_is_stale() {
    let mut timers = Timers::new(1);
    let before = timers.insert(Nanos(1), 'a').expect("there is room");
    let cleared: Vec<char> = timers.clear().map(|due| due.value).collect();
    assert_eq!(cleared, ['a']);
    let after = timers.insert(Nanos(1), 'b').expect("there is room");
    assert_eq!((timers.cancel(before), timers.get(before)), (None, None));
    assert_eq!(timers.cancel(after), Some('b'));
}

#[test]
fn a_capacity_of_nothing_refuses_and_too_much_is_cut() {
    let refused = Timers::new(0).insert(Nanos(1), 7).expect_err("there is no room");
    assert_eq!((refused.value, refused.kind), (7, RejectedKind::Capacity { live: 0 }));
    assert_eq!(Timers::<u8>::new(usize::MAX).capacity(), Timers::<u8>::CAPACITY_MAX);
}

#[test]
fn time_saturates_and_says_when_it_does_not_fit() {
    let late = Nanos(u64::MAX - 5);
    assert_eq!(late.checked_add(Duration::from_nanos(5)), Some(Nanos::MAX));
    assert_eq!(late.checked_add(Duration::from_nanos(6)), None);
    assert_eq!(late.saturating_add(Duration::MAX), Nanos::MAX);
    assert_eq!(Nanos::from(Duration::MAX), Nanos::MAX);
    assert_eq!(Nanos::from(Duration::from_millis(3)), Nanos::from_millis(3));
    assert_eq!(Nanos::from_millis(u64::MAX), Nanos::MAX);
    assert_eq!(Nanos(1_999_999).as_millis(), 1);
    assert_eq!(Nanos(7).saturating_since(Nanos(9)), Duration::ZERO);
    assert_eq!(Nanos(7).checked_since(Nanos(9)), None);
    assert_eq!(Nanos(9).checked_since(Nanos(7)), Some(Duration::from_nanos(2)));
}

#[test]
fn a_delay_out_of_range_ends_at_the_end_of_time() {
    let mut wakeups = Wakeups::new(1);
    wakeups.set_after(Nanos(5), 'k', Duration::MAX).expect("there is room");
    assert_eq!(wakeups.next_deadline(), Some(Nanos::MAX));
    assert!(wakeups.pop_due(Nanos(u64::MAX - 1)).is_none());
    assert_eq!(wakeups.pop_due(Nanos::MAX).map(|due| due.value), Some('k'));
}
