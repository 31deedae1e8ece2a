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
fn the_defaults_pass_the_check() {
    let default = Limits::default();
    let (capacity, overlay_max, low_mark) =
        (default.capacity(), default.overlay_max(), default.low_mark());
    assert_eq!((capacity, overlay_max, low_mark), (24, 48, 0));
    assert_eq!(Limits::new(24, 48, 0), Ok(default));
}
