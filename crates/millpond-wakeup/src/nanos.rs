//! Time as the scheduler sees it.

use std::time::Duration;

/// Monotonic nanoseconds since an origin that the owner chose, for instance its start.
///
/// The scheduler reads no clock: it compares these numbers and nothing else. Deadlines of a wall clock are
/// converted by the owner, so that a step of that clock moves none that is already set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// 584 years after the origin: later than anything, and a deadline like any other.
    pub const MAX: Self = Self(u64::MAX);

    /// `ms` milliseconds after the origin; [`MAX`](Self::MAX) if that is out of range.
    #[must_use]
    #[inline]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Whole milliseconds since the origin, rounded down.
    #[must_use]
    #[inline]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This much later; [`MAX`](Self::MAX) if that is out of range.
    #[must_use]
    #[inline]
    pub fn saturating_add(self, delay: Duration) -> Self {
        self.checked_add(delay).unwrap_or(Self::MAX)
    }

    /// This much later, or `None` if that is out of range.
    #[must_use]
    #[inline]
    pub fn checked_add(self, delay: Duration) -> Option<Self> {
        let nanos = u64::try_from(delay.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }

    /// The time from `earlier` to here; zero if `earlier` is the later one.
    #[must_use]
    #[inline]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time from `earlier` to here, or `None` if `earlier` is the later one.
    #[must_use]
    pub const fn checked_since(self, earlier: Self) -> Option<Duration> {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => Some(Duration::from_nanos(nanos)),
            None => None,
        }
    }
}

impl From<Duration> for Nanos {
    /// `since_origin` after the origin; [`MAX`](Self::MAX) if that is out of range.
    fn from(since_origin: Duration) -> Self {
        Self::ZERO.saturating_add(since_origin)
    }
}
