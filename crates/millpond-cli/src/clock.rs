//! The only place that knows what time it is.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Microseconds on the machine's monotonic clock. All processes of a machine share it, so times of a
/// replay and of its engine can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Micros(pub(crate) u64);

impl Micros {
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        Self(seconds * 1_000_000 + nanos / 1000)
    }

    /// Microseconds from `earlier` to this time; 0 if it is later.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn plus(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }
}

/// Returns at this time or later; at once if it is past.
#[expect(clippy::disallowed_methods, reason = "jobs are submitted and run in real time")]
pub(crate) async fn sleep_until(time: Micros) {
    loop {
        let left = time.since(Micros::now());
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_micros(left)).await;
    }
}

/// Milliseconds since 1970, to tell one replay from another, and how long ago something was.
#[expect(clippy::disallowed_methods, reason = "nothing is measured by it")]
pub(crate) fn unix_ms() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis())
}
