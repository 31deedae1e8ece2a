//! The driver's clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millpond_types::UnixMillis;

/// Wall-clock time that never jumps: read once, then carried on by the monotonic clock.
///
/// Deadlines are stored as wall-clock times, so that they mean the same after a restart, while a step of
/// the wall clock moves no deadline of a running partition.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    /// With its fraction of a millisecond: what was lost of it would make a delay shorter that a restart
    /// measures by the wall clock.
    started_at: Duration,
}

impl Clock {
    /// Reads the wall clock.
    #[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
    pub fn start() -> Self {
        // In this order: if the thread is kept waiting in between, the clock is behind, and nothing comes early.
        let started_at = since_epoch();
        Self { started: Instant::now(), started_at }
    }

    /// The time now.
    pub fn now(&self) -> UnixMillis {
        UnixMillis(millis(self.started_at.saturating_add(self.started.elapsed())))
    }

    /// What the wall clock shows, steps and all.
    pub fn wall() -> UnixMillis {
        UnixMillis(millis(since_epoch()))
    }

    /// How long it has run, for measuring.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// When this clock will show `time`; `None` if that is too far away to be represented.
    pub fn instant_at(&self, time: UnixMillis) -> Option<Instant> {
        self.started.checked_add(Duration::from_millis(time.0).saturating_sub(self.started_at))
    }
}

/// A clock before 1970 counts as 1970: deadlines then only lie further ahead.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
