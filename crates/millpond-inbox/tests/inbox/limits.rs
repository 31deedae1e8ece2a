//! Limits under which an inbox could not work are refused by name.

use millpond_inbox::{Limits, LimitsError};

#[test]
fn absurd_limits_are_refused() {
    assert_eq!(Limits::new(0, 48, 0), Err(LimitsError::NoCapacity));
    assert_eq!(Limits::new(24, 0, 0), Err(LimitsError::NoOverlay));
    let refused = Limits::new(24, 48, 24).expect_err("a full window has no use for a refill");
    assert_eq!(refused, LimitsError::LowMarkNotBelowCapacity { low_mark: 24, capacity: 24 });
    assert_eq!(refused.to_string(), "the low mark 24 must be below the capacity 24");
}

#[test]
fn a_batch_range_that_holds_no_batch_is_refused() {
    let limits = Limits::default();
    assert_eq!(limits.with_batch(0, 64), Err(LimitsError::NoBatch));
    assert_eq!(limits.with_batch(0, 0), Err(LimitsError::NoBatch));
    let refused = limits.with_batch(5, 4).expect_err("nothing lies between five and four");
    assert_eq!(refused, LimitsError::BatchRangeEmpty { batch_min: 5, batch_max: 4 });
    assert_eq!(refused.to_string(), "the smallest batch 5 must not exceed the largest 4");
}

#[test]
fn a_batch_range_changes_nothing_else() {
    let limits = Limits::new(24, 40, 7).and_then(|limits| limits.with_batch(1, 255));
    let limits = limits.expect("limits that an inbox can work with");
    assert_eq!((limits.capacity(), limits.overlay_max(), limits.low_mark()), (24, 40, 7));
    assert_eq!((limits.batch_min(), limits.batch_max(), limits.items_max()), (1, 255, 255));
    let narrow = limits.with_batch(1, 1).expect("limits that an inbox can work with");
    assert_eq!(narrow.items_max(), 24);
}

#[test]
fn the_defaults_pass_the_check() {
    let default = Limits::default();
    let (capacity, overlay_max, low_mark) =
        (default.capacity(), default.overlay_max(), default.low_mark());
    assert_eq!((capacity, overlay_max, low_mark), (24, 48, 0));
    assert_eq!((default.batch_min(), default.batch_max(), default.items_max()), (4, 64, 64));
    assert_eq!(Limits::new(24, 48, 0), Ok(default));
}
