//! How much an inbox may hold.

use thiserror::Error;

/// How much one inbox may hold, and when it asks for more (**I4**).
///
/// Six bytes, so that every inbox carries its own. The default is a window of 24, an overlay of 48 and
/// a low mark of 0.
///
/// # Choosing the low mark
///
/// A refill admits what fits beside the items still there, so a scan that ends before any of them is
/// taken admits `capacity − low_mark` rows. Refills per 1000 dequeues of a deep queue, window 24, when
/// scans end at once:
///
/// | low mark | 0 | 3 | 6 | 12 |
/// |---|---|---|---|---|
/// | refills | 41 | 47 | 55 | 83 |
///
/// A scan that takes as long as its low mark lasts costs 41 at any of them. So 0 is right where memory
/// serves most scans, and a higher mark hides the latency of a store that must be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    capacity: u16,
    overlay_max: u16,
    low_mark: u16,
}

/// Limits under which an inbox could not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A window of no items would never see its head.
    #[error("an inbox needs a capacity of at least 1")]
    NoCapacity,
    /// An overlay of no changes would turn every change during a scan into an overflow.
    #[error("an inbox needs an overlay of at least 1")]
    NoOverlay,
    /// A full window would ask for a refill that cannot admit anything.
    #[error("the low mark {low_mark} must be below the capacity {capacity}")]
    LowMarkNotBelowCapacity {
        /// The low mark asked for.
        low_mark: u16,
        /// The capacity it must stay below.
        capacity: u16,
    },
}

impl Limits {
    /// At most `capacity` items, at most `overlay_max` changes remembered during one refill, and a
    /// refill wanted while at most `low_mark` items remain.
    ///
    /// # Errors
    ///
    /// [`LimitsError`] names the limit that would stop the inbox from working.
    pub const fn new(capacity: u16, overlay_max: u16, low_mark: u16) -> Result<Self, LimitsError> {
        if capacity == 0 {
            return Err(LimitsError::NoCapacity);
        }
        if overlay_max == 0 {
            return Err(LimitsError::NoOverlay);
        }
        if low_mark >= capacity {
            return Err(LimitsError::LowMarkNotBelowCapacity { low_mark, capacity });
        }
        Ok(Self { capacity, overlay_max, low_mark })
    }

    /// The most items the window holds.
    pub const fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The most changes remembered during one refill.
    pub const fn overlay_max(&self) -> usize {
        self.overlay_max as usize
    }

    /// A refill is wanted while at most this many items remain.
    pub const fn low_mark(&self) -> usize {
        self.low_mark as usize
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { capacity: 24, overlay_max: 48, low_mark: 0 }
    }
}
