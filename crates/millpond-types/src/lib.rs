//! Ids, keys, byte-ordered codecs, limits and common error kinds of Millpond. It knows no store, no
//! clock and no queue logic: only what a row looks like and what may be put in it.
//!
//! Integers in keys are big-endian, so that the byte order of a key is its logical order. The layout is
//! written down byte by byte in `docs/format.md`; [`FORMAT_VERSION`] changes whenever it does.
//!
//! ```
//! use millpond_types::{EntryKey, EntryRank, Priority, QueueId, QueueKey, Sequence, Stage, TopicName};
//!
//! let topic = TopicName::new("emails")?;
//! let queue = QueueId::derive(&topic, &QueueKey::new("tenant-42")?);
//! let rank = EntryRank { priority: Priority(3), sequence: Sequence(17) };
//! let key = EntryKey { queue, stage: Stage::Ready, rank }.encode();
//! assert_eq!(EntryKey::decode(&key)?.rank, rank);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod codec;
mod counts;
mod error;
mod ids;
mod keys;
pub mod limits;
mod names;
mod rows;
mod settings;

pub use body::{Body, Header, Headers};
pub use codec::DecodeError;
pub use counts::{ActiveRow, TotalsRow};
pub use error::{ErrorKind, LimitExceeded};
pub use ids::{
    Due, DueClock, EntryId, EntryRank, Epoch, LeaseToken, LogPosition, Priority, QueueId, Sequence,
    TopicId, UnixMillis, ms_rounded_up,
};
pub use keys::{
    ActiveKey, DedupExpiryKey, DedupKey, DelayedEntryKey, DelayedKey, EntryKey, LeaseKey,
    PayloadKey, Stage, SystemKey, prefix_successor,
};
pub use names::{InvalidName, QueueKey, TopicName};
pub use rows::{
    DeadCause, DeadRow, DedupRow, DelayedEntryRow, DelayedRow, EntryHead, EntryRow, LeaseRow,
    QueueRow, StoredBody, decode_u64, encode_u64,
};
pub use settings::{
    Backoff, InvalidSettings, Quantum, RateLimit, Scope, Setting, Settings, SettingsRow,
};

/// The version of the on-disk layout this build reads and writes.
pub const FORMAT_VERSION: u64 = 3;

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
