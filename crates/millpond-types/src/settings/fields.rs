//! The stored form of a rule: for everything that it says a tag (1), a length (2) and the value.

use super::{Backoff, Quantum, RateLimit, Setting, Settings};
use crate::TopicName;
use crate::codec::{DecodeError, Reader};

/// A value of a rule.
trait Field: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(reader: Reader<'_>) -> Result<Self, DecodeError>;
}

macro_rules! numbers {
    ($($type:ty: $read:ident;)*) => {$(
        impl Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn read(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
                let value = reader.$read()?;
                reader.finish()?;
                Ok(value)
            }
        }
    )*};
}
numbers! {
    u8: u8;
    u32: u32;
    u64: u64;
}

impl Field for bool {
    fn write(&self, out: &mut Vec<u8>) {
        u8::from(*self).write(out);
    }

    fn read(reader: Reader<'_>) -> Result<Self, DecodeError> {
        Ok(u8::read(reader)? != 0)
    }
}

impl Field for TopicName {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_str().as_bytes());
    }

    fn read(reader: Reader<'_>) -> Result<Self, DecodeError> {
        let invalid = reader.error("invalid topic name");
        let name = std::str::from_utf8(reader.rest()).ok();
        name.and_then(|name| Self::new(name).ok()).ok_or(invalid)
    }
}

impl Field for RateLimit {
    fn write(&self, out: &mut Vec<u8>) {
        self.n_entries.write(out);
        self.per_ms.write(out);
        self.burst.write(out);
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let rate = Self { n_entries: reader.u32()?, per_ms: reader.u64()?, burst: reader.u32()? };
        reader.finish()?;
        Ok(rate)
    }
}

impl Field for Backoff {
    fn write(&self, out: &mut Vec<u8>) {
        self.base_ms.write(out);
        self.cap_ms.write(out);
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let backoff = Self { base_ms: reader.u64()?, cap_ms: reader.u64()? };
        reader.finish()?;
        Ok(backoff)
    }
}

const ENTRIES: u8 = 1;
const BYTES: u8 = 2;

impl Field for Quantum {
    fn write(&self, out: &mut Vec<u8>) {
        let (unit, n) = match self {
            Self::Entries(n) => (ENTRIES, n),
            Self::Bytes(n) => (BYTES, n),
        };
        unit.write(out);
        n.write(out);
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let unit = reader.u8()?;
        let unknown = reader.error("unknown unit");
        let n = u32::read(reader)?;
        match unit {
            ENTRIES => Ok(Self::Entries(n)),
            BYTES => Ok(Self::Bytes(n)),
            _ => Err(unknown),
        }
    }
}

/// Something that a rule may leave unsaid.
trait Said<T> {
    /// `None` if nothing is said, `Some(None)` for [`Setting::Off`].
    fn said(&self) -> Option<Option<&T>>;
    fn of(value: Option<T>) -> Option<Self>
    where
        Self: Sized;
}

impl<T> Said<T> for Option<T> {
    fn said(&self) -> Option<Option<&T>> {
        self.as_ref().map(Some)
    }

    fn of(value: Option<T>) -> Option<Self> {
        value.map(Some)
    }
}

impl<T> Said<T> for Setting<T> {
    fn said(&self) -> Option<Option<&T>> {
        match self {
            Self::Inherited => None,
            Self::Off => Some(None),
            Self::Is(value) => Some(Some(value)),
        }
    }

    fn of(value: Option<T>) -> Option<Self> {
        Some(value.map_or(Self::Off, Self::Is))
    }
}

/// Set in a tag that stands for [`Setting::Off`]; then the value is empty.
const OFF: u8 = 0x80;

fn write<T: Field>(out: &mut Vec<u8>, tag: u8, field: &impl Said<T>) {
    let Some(said) = field.said() else { return };
    let mut value = Vec::new();
    if let Some(said) = said {
        said.write(&mut value);
    }
    out.push(if said.is_some() { tag } else { tag | OFF });
    let n = u16::try_from(value.len()).expect("a setting has at most 255 bytes");
    out.extend_from_slice(&n.to_be_bytes());
    out.extend_from_slice(&value);
}

fn read<T: Field, S: Said<T>>(reader: Reader<'_>, is_off: bool) -> Result<S, DecodeError> {
    let misplaced = reader.error("it cannot be off");
    let value = if is_off { None } else { Some(T::read(reader)?) };
    S::of(value).ok_or(misplaced)
}

macro_rules! fields {
    ($($tag:literal $field:ident: $type:ty;)*) => {
        impl Settings {
            pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
                $(write::<$type>(out, $tag, &self.$field);)*
            }

            pub(super) fn decode(mut rest: Reader<'_>) -> Result<Self, DecodeError> {
                let mut settings = Self::default();
                while !rest.is_empty() {
                    let (tag, n) = (rest.u8()?, rest.u16()?);
                    let value = Reader::new("setting", rest.bytes(n.into())?);
                    let is_off = tag & OFF != 0;
                    match tag & !OFF {
                        $($tag => settings.$field = read::<$type, _>(value, is_off)?,)*
                        _ => return Err(rest.error("unknown setting")),
                    }
                }
                Ok(settings)
            }
        }
    };
}
fields! {
    1 paused: bool;
    2 weight: u32;
    3 band: u8;
    4 concurrency: u32;
    5 rate: RateLimit;
    6 concurrency_together: u32;
    7 rate_together: RateLimit;
    8 attempts_max: u32;
    9 backoff: Backoff;
    10 dead_letter_topic: TopicName;
    11 retention_ms: u64;
    12 entries_max: u64;
    13 bytes_max: u64;
    14 dedup_window_ms: u64;
    15 quantum: Quantum;
    16 ageing: u32;
}
