//! Times, rates and their like, as they are typed and shown.

use std::fmt;
use std::str::FromStr;

use millpond::{Backoff, Quantum, RateLimit};

use crate::failure::{Exit, Failure};

/// Units of time in milliseconds, longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

/// A time: `500ms`, `30s`, `15min`, `12h`, `30d`, or `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Millis(pub(crate) u64);

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "times are like 500ms, 30s, 15min, 12h or 30d".to_owned();
        if text == "0" {
            return Ok(Self(0));
        }
        let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(n_digits);
        let (_, unit_ms) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(unit_ms).map(Self).ok_or_else(|| "that is too long".to_owned())
    }
}

/// Exactly, in the longest unit of which it is a multiple.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit_ms): &(&str, u64)| self.0.is_multiple_of(*unit_ms);
        match UNITS.into_iter().find(fits) {
            Some((name, unit_ms)) if self.0 > 0 => write!(f, "{}{name}", self.0 / unit_ms),
            _ => f.write_str("0"),
        }
    }
}

/// Entries per time: `100/s`, `100/min`, `5/90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PerTime {
    pub(crate) n_entries: u32,
    pub(crate) per_ms: u64,
}

impl PerTime {
    /// With the burst that this flag says: a rate has one of its own, whatever the rule said before.
    pub(crate) fn with_burst(self, burst: Option<u32>, flag: &str) -> Result<RateLimit, Failure> {
        let Self { n_entries, per_ms } = self;
        let burst = burst.ok_or_else(|| {
            let text = format!("a rate needs a burst of at least 1 entry: say {flag} N");
            Failure::new(Exit::Usage, text)
        })?;
        Ok(RateLimit { n_entries, per_ms, burst })
    }
}

impl FromStr for PerTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "rates are like 10/s, 100/min or 5/90s".to_owned();
        let (n_entries, per) = text.split_once('/').ok_or_else(wrong)?;
        let n_entries = n_entries.parse().map_err(|_| wrong())?;
        let is_unit = !per.starts_with(|c: char| c.is_ascii_digit());
        let per = if is_unit { format!("1{per}") } else { per.to_owned() };
        let Millis(per_ms) = per.parse().map_err(|_| wrong())?;
        Ok(Self { n_entries, per_ms })
    }
}

impl fmt::Display for PerTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = Millis(self.per_ms).to_string();
        let is_one = per.starts_with('1') && !per[1..].starts_with(|c: char| c.is_ascii_digit());
        write!(f, "{}/{}", self.n_entries, if is_one { &per[1..] } else { &per })
    }
}

/// The first and the longest wait: `1s..5min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits(pub(crate) Backoff);

impl FromStr for Waits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let waits = text.split_once("..").ok_or("a back-off is like 1s..5min")?;
        let (Millis(base_ms), Millis(cap_ms)) = (waits.0.parse()?, waits.1.parse()?);
        Ok(Self(Backoff { base_ms, cap_ms }))
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", Millis(self.0.base_ms), Millis(self.0.cap_ms))
    }
}

/// What turns are counted in: `4` entries, or `4096B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn(pub(crate) Quantum);

impl FromStr for Turn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| "a quantum is like 4, in entries, or 4096B, in bytes".to_owned();
        let quantum = match text.strip_suffix('B') {
            Some(bytes) => bytes.parse().map(Quantum::Bytes),
            None => text.parse().map(Quantum::Entries),
        };
        quantum.map(Self).map_err(wrong)
    }
}

/// A value, or the word `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrOff<T> {
    Off,
    Is(T),
}

impl<T: FromStr<Err: fmt::Display>> FromStr for OrOff<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::Is).map_err(|error: T::Err| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, ms) in [
            ("0", 0),
            ("1ms", 1),
            ("1500ms", 1500),
            ("90s", 90_000),
            ("1min", 60_000),
            ("36h", 129_600_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Millis(ms)));
            assert_eq!(Millis(ms).to_string(), text);
        }
        assert_eq!("0s".parse(), Ok(Millis(0)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "1 s", "1m", "1S", "99999999999999999999s"] {
            assert!(wrong.parse::<Millis>().is_err(), "{wrong}");
        }
        assert!("18446744073709551615d".parse::<Millis>().is_err(), "it would overflow");
    }

    #[test]
    fn rates_are_read_as_they_are_written() {
        for (text, n_entries, per_ms) in [
            ("10/s", 10, 1000),
            ("100/min", 100, 60_000),
            ("5/90s", 5, 90_000),
            ("1/10h", 1, 36_000_000),
        ] {
            assert_eq!(text.parse(), Ok(PerTime { n_entries, per_ms }));
            assert_eq!(PerTime { n_entries, per_ms }.to_string(), text);
        }
        for wrong in ["", "10", "/s", "10/", "10/x", "-1/s", "1/s/s"] {
            assert!(wrong.parse::<PerTime>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_others_are_read() {
        let waits = Waits(Backoff { base_ms: 1000, cap_ms: 300_000 });
        assert_eq!("1s..5min".parse(), Ok(waits));
        assert_eq!(waits.to_string(), "1s..5min");
        assert!("1s".parse::<Waits>().is_err() && "1s..".parse::<Waits>().is_err());
        assert_eq!("4".parse(), Ok(Turn(Quantum::Entries(4))));
        assert_eq!("4096B".parse(), Ok(Turn(Quantum::Bytes(4096))));
        assert!("B".parse::<Turn>().is_err() && "-4".parse::<Turn>().is_err());
        assert_eq!("off".parse(), Ok(OrOff::<u32>::Off));
        assert_eq!("7".parse(), Ok(OrOff::Is(7)));
        assert!("Off".parse::<OrOff<u32>>().is_err());
    }
}
