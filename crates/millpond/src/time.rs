//! Durations and dates of users, in milliseconds. Whatever is shorter than that counts as a whole one, so
//! that nothing comes early.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millpond_types::limits::{DELAY_MS_MAX, LEASE_MS_MAX, LEASE_MS_MIN};
use millpond_types::{LimitExceeded, UnixMillis, ms_rounded_up};

use crate::Error;

/// Not before this time; what was before 1970 is past anyway.
pub(crate) fn unix_ms_rounded_up(time: SystemTime) -> UnixMillis {
    UnixMillis(ms_rounded_up(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
}

/// Passes what an entry may wait.
pub(crate) fn check_delay(what: &'static str, delay_ms: u64) -> Result<u64, LimitExceeded> {
    check_ms(what, delay_ms, DELAY_MS_MAX)
}

pub(crate) fn check_ms(what: &'static str, ms: u64, limit_ms: u64) -> Result<u64, LimitExceeded> {
    if ms <= limit_ms {
        return Ok(ms);
    }
    Err(LimitExceeded { what, actual: ms, limit: limit_ms, unit: "ms" })
}

/// The length of a lease.
pub(crate) fn lease_ms(lease: Duration) -> Result<u64, Error> {
    let ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&ms) {
        return Ok(ms);
    }
    Err(Error::invalid(format!("a lease lasts 1 ms to 7 days, not {lease:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_millisecond_are_rounded_up() {
        for (duration, ms) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_micros(1000), 1),
            (Duration::from_micros(1001), 2),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(ms_rounded_up(duration), ms, "{duration:?}");
            assert_eq!(unix_ms_rounded_up(UNIX_EPOCH - duration.min(Duration::from_secs(1))).0, 0);
        }
        assert_eq!(unix_ms_rounded_up(UNIX_EPOCH + Duration::from_nanos(1_000_001)).0, 2);
    }

    #[test]
    fn a_limit_itself_is_within_the_limit() {
        assert_eq!(check_delay("delay", DELAY_MS_MAX), Ok(DELAY_MS_MAX));
        let beyond = check_delay("delay", DELAY_MS_MAX + 1).unwrap_err();
        assert_eq!((beyond.limit, beyond.unit), (DELAY_MS_MAX, "ms"));
    }
}
