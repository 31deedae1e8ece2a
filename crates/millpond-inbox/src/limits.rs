//! How much an inbox may hold, and how much it reads at a time.

use thiserror::Error;

/// How much one inbox may hold, when it asks for more, and for how much (**I4**).
///
/// Small, so that every inbox carries its own. The default is a window of 24, an overlay of 48, a low
/// mark of 0 and refills of 4 to 64 rows.
///
/// # Choosing the batch range
///
/// The capacity is what *inserts* may fill, the batch is what a *refill* may. A refill asks for
/// [`batch_min`](Self::batch_min) rows at first, for twice as many after each one that brought a whole
/// batch, up to [`batch_max`](Self::batch_max), and for half as many after
/// [`shrink_to`](crate::Inbox::shrink_to) forgot something. A queue that is only looked at costs a short
/// scan; one that is drained earns long ones; one whose memory is wanted elsewhere gets short ones again.
/// [`items_max`](Self::items_max) is the memory to plan with. Refills per 1000 FIFO dequeues of a
/// queue whose depth every enqueue restores, capacity 24:
///
/// | depth | 2 | 8 | 24 | 48 | 500 |
/// |---|---|---|---|---|---|
/// | batches of 4 to 64 | 0 | 0 | 0 | 24 | 19 |
/// | batches of 24 | 0 | 0 | 0 | 41 | 41 |
///
/// # Choosing the low mark
///
/// A refill admits what fits beside the items still there. Once the batch has grown beyond the capacity,
/// a scan that ends before any of them is taken admits `batch − low_mark` rows. Refills per 1000
/// dequeues of a queue of 500, capacity 24, when scans end at once:
///
/// | low mark | 0 | 3 | 6 | 12 |
/// |---|---|---|---|---|
/// | batches of 4 to 64 | 19 | 20 | 20 | 23 |
/// | batches of 24 | 41 | 47 | 55 | 83 |
///
/// A scan that takes as long as its low mark lasts costs what a low mark of 0 does. So 0 is right
/// where memory serves most scans, and a higher mark hides the latency of a store that must be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub(crate) capacity: u16,
    pub(crate) overlay_max: u16,
    pub(crate) low_mark: u8,
    pub(crate) batch_min: u8,
    pub(crate) batch_max: u8,
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
    /// A full window would ask for a refill.
    #[error("the low mark {low_mark} must be below the capacity {capacity}")]
    LowMarkNotBelowCapacity {
        /// The low mark asked for.
        low_mark: u8,
        /// The capacity it must stay below.
        capacity: u16,
    },
    /// Refills of no rows would never bring one.
    #[error("a refill needs a batch of at least 1")]
    NoBatch,
    /// No batch would lie within the range.
    #[error("the smallest batch {batch_min} must not exceed the largest {batch_max}")]
    BatchRangeEmpty {
        /// The smallest batch asked for.
        batch_min: u8,
        /// The largest, which is smaller.
        batch_max: u8,
    },
}

impl Limits {
    const BATCH_MIN: u8 = 4;
    const BATCH_MAX: u8 = 64;

    /// Inserts fill the window up to `capacity` items, at most `overlay_max` changes are remembered during
    /// one refill, and a refill is wanted while at most `low_mark` items remain. Its batch is of 4 to 64
    /// rows; [`with_batch`](Self::with_batch) sets another range.
    ///
    /// # Errors
    ///
    /// [`LimitsError`] names the limit that would stop the inbox from working.
    pub const fn new(capacity: u16, overlay_max: u16, low_mark: u8) -> Result<Self, LimitsError> {
        if capacity == 0 {
            return Err(LimitsError::NoCapacity);
        }
        if overlay_max == 0 {
            return Err(LimitsError::NoOverlay);
        }
        if low_mark as u16 >= capacity {
            return Err(LimitsError::LowMarkNotBelowCapacity { low_mark, capacity });
        }
        let (batch_min, batch_max) = (Self::BATCH_MIN, Self::BATCH_MAX);
        Ok(Self { capacity, overlay_max, low_mark, batch_min, batch_max })
    }

    /// The same limits with refills of `batch_min` to `batch_max` rows. Both alike fix the batch.
    ///
    /// # Errors
    ///
    /// [`LimitsError::NoBatch`] if `batch_min` is 0, [`LimitsError::BatchRangeEmpty`] if it exceeds
    /// `batch_max`.
    pub const fn with_batch(self, batch_min: u8, batch_max: u8) -> Result<Self, LimitsError> {
        if batch_min == 0 {
            return Err(LimitsError::NoBatch);
        }
        if batch_min > batch_max {
            return Err(LimitsError::BatchRangeEmpty { batch_min, batch_max });
        }
        Ok(Self { batch_min, batch_max, ..self })
    }

    /// The most items that inserts fill the window with.
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

    /// How many rows the first refill asks for, and the least that memory pressure leaves of a batch.
    pub const fn batch_min(&self) -> usize {
        self.batch_min as usize
    }

    /// The most rows that a refill asks for, taken ones aside.
    pub const fn batch_max(&self) -> usize {
        self.batch_max as usize
    }

    /// The most items that the window ever holds: the capacity, or a refill's largest batch.
    pub const fn items_max(&self) -> usize {
        let (capacity, batch_max) = (self.capacity(), self.batch_max());
        if capacity > batch_max { capacity } else { batch_max }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            capacity: 24,
            overlay_max: 48,
            low_mark: 0,
            batch_min: Self::BATCH_MIN,
            batch_max: Self::BATCH_MAX,
        }
    }
}
