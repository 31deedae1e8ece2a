//! Keys of the tables. Their byte order is their logical order.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader};
use crate::{Due, DueClock, EntryRank, Priority, QueueId, Sequence, TopicId, UnixMillis};

/// Where an entry's row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Waiting for its due time.
    Delayed = 1,
    /// In the inbox: leasable, or leased.
    Ready = 2,
    /// Set aside after too many attempts.
    Dead = 3,
}

impl Stage {
    fn decode(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Delayed),
            2 => Some(Self::Ready),
            3 => Some(Self::Dead),
            _ => None,
        }
    }
}

/// Key of `entries` for what is ready or dead: queue id · stage · priority · sequence. What is delayed
/// stands there by its [due time](DelayedEntryKey).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryKey {
    /// The queue.
    pub queue: QueueId,
    /// The stage of the row.
    pub stage: Stage,
    /// The place inside queue and stage.
    pub rank: EntryRank,
}

impl EntryKey {
    /// Length of an encoded key, in bytes.
    pub const BYTES: usize = 26;

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..16].copy_from_slice(&self.queue.0);
        out[16] = self.stage as u8;
        out[17] = self.rank.priority.0;
        out[18..].copy_from_slice(&self.rank.sequence.0.to_be_bytes());
        out
    }

    /// The prefix shared by all rows of one stage of a queue.
    pub fn stage_prefix(queue: QueueId, stage: Stage) -> [u8; 17] {
        let mut out = [0; 17];
        out[..16].copy_from_slice(&queue.0);
        out[16] = stage as u8;
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The length or the stage is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("entry key", bytes);
        let queue = QueueId(reader.array()?);
        let stage = reader.u8()?;
        let stage = Stage::decode(stage).ok_or_else(|| reader.error("unknown stage"))?;
        if stage == Stage::Delayed {
            return Err(reader.error("delayed entries have keys of their own"));
        }
        let rank = read_rank(&mut reader)?;
        reader.finish()?;
        Ok(Self { queue, stage, rank })
    }
}

fn read_rank(reader: &mut Reader<'_>) -> Result<EntryRank, DecodeError> {
    Ok(EntryRank { priority: Priority(reader.u8()?), sequence: Sequence(reader.u64()?) })
}

fn read_due(reader: &mut Reader<'_>) -> Result<Due, DecodeError> {
    let clock = reader.u8()?;
    let clock = DueClock::decode(clock).ok_or_else(|| reader.error("unknown clock"))?;
    Ok(Due { clock, at: UnixMillis(reader.u64()?) })
}

/// Key of `entries` for what is delayed: queue id · stage · clock · due time · priority · sequence. It
/// tells a queue what it waits for; the entry itself is in `delayed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DelayedEntryKey {
    /// The queue.
    pub queue: QueueId,
    /// When the entry becomes ready.
    pub due: Due,
    /// Its place among the ready ones then.
    pub rank: EntryRank,
}

impl DelayedEntryKey {
    /// Length of an encoded key, in bytes.
    pub const BYTES: usize = 35;

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..17].copy_from_slice(&EntryKey::stage_prefix(self.queue, Stage::Delayed));
        out[17] = self.due.clock as u8;
        out[18..26].copy_from_slice(&self.due.at.0.to_be_bytes());
        out[26] = self.rank.priority.0;
        out[27..].copy_from_slice(&self.rank.sequence.0.to_be_bytes());
        out
    }

    /// Whether a key of `entries` is of this kind, if it is one at all.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.get(16) == Some(&(Stage::Delayed as u8))
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The length, the stage or the clock is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("delayed entry key", bytes);
        let queue = QueueId(reader.array()?);
        if reader.u8()? != Stage::Delayed as u8 {
            return Err(reader.error("not the stage of delayed entries"));
        }
        let due = read_due(&mut reader)?;
        let rank = read_rank(&mut reader)?;
        reader.finish()?;
        Ok(Self { queue, due, rank })
    }
}

/// Key of `delayed`: clock · due time · queue id · sequence, so that what becomes due next comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DelayedKey {
    /// When the entry becomes ready.
    pub due: Due,
    /// Its queue.
    pub queue: QueueId,
    /// Its sequence.
    pub sequence: Sequence,
}

impl DelayedKey {
    /// Length of an encoded key, in bytes.
    pub const BYTES: usize = 33;

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[0] = self.due.clock as u8;
        out[1..9].copy_from_slice(&self.due.at.0.to_be_bytes());
        out[9..25].copy_from_slice(&self.queue.0);
        out[25..].copy_from_slice(&self.sequence.0.to_be_bytes());
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The length or the clock is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("delayed key", bytes);
        let due = read_due(&mut reader)?;
        let queue = QueueId(reader.array()?);
        let sequence = Sequence(reader.u64()?);
        reader.finish()?;
        Ok(Self { due, queue, sequence })
    }
}

macro_rules! queue_and_sequence_key {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            /// The queue.
            pub queue: QueueId,
            /// The entry's sequence.
            pub sequence: Sequence,
        }

        impl $name {
            /// Length of an encoded key, in bytes.
            pub const BYTES: usize = 24;

            /// The stored form.
            pub fn encode(&self) -> [u8; Self::BYTES] {
                let mut out = [0; Self::BYTES];
                out[..16].copy_from_slice(&self.queue.0);
                out[16..].copy_from_slice(&self.sequence.0.to_be_bytes());
                out
            }

            /// Reads the stored form.
            ///
            /// # Errors
            ///
            /// The length is wrong.
            pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                let mut reader = Reader::new($what, bytes);
                let key = Self { queue: QueueId(reader.array()?), sequence: Sequence(reader.u64()?) };
                reader.finish()?;
                Ok(key)
            }
        }
    )*};
}
queue_and_sequence_key! {
    /// Key of `payloads`: queue id · sequence.
    PayloadKey, "payload key";
    /// Key of `leases`: queue id · sequence.
    LeaseKey, "lease key";
}

/// Key of `active`: topic id · queue id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActiveKey {
    /// The topic.
    pub topic: TopicId,
    /// The queue.
    pub queue: QueueId,
}

impl ActiveKey {
    /// Length of an encoded key, in bytes.
    pub const BYTES: usize = 32;

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..16].copy_from_slice(&self.topic.0);
        out[16..].copy_from_slice(&self.queue.0);
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The length is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("active key", bytes);
        let key = Self { topic: TopicId(reader.array()?), queue: QueueId(reader.array()?) };
        reader.finish()?;
        Ok(key)
    }
}

const DEDUP_BY_KEY: u8 = 1;
const DEDUP_BY_EXPIRY: u8 = 2;

/// Key of `dedup` for a key that was seen: 1 · queue id · the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupKey {
    /// The queue.
    pub queue: QueueId,
    /// What its entries were told apart by.
    pub key: Bytes,
}

impl DedupKey {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        [&[DEDUP_BY_KEY], &self.queue.0[..], &self.key].concat()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// It is too short or of another kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("dedup key", bytes);
        if reader.u8()? != DEDUP_BY_KEY {
            return Err(reader.error("not of the kind of keys that were seen"));
        }
        let queue = QueueId(reader.array()?);
        Ok(Self { queue, key: Bytes::copy_from_slice(reader.rest()) })
    }
}

/// Key of `dedup` for the time at which a key is forgotten: 2 · time · queue id · the key. The row has no
/// value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupExpiryKey {
    /// When it is forgotten.
    pub expires_at: UnixMillis,
    /// What is forgotten.
    pub seen: DedupKey,
}

impl DedupExpiryKey {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        [&Self::lower(self.expires_at)[..], &self.seen.queue.0, &self.seen.key].concat()
    }

    /// Where those begin that are forgotten at `time` or later.
    pub fn lower(time: UnixMillis) -> [u8; 9] {
        let mut out = [DEDUP_BY_EXPIRY; 9];
        out[1..].copy_from_slice(&time.0.to_be_bytes());
        out
    }

    /// Whether a key of `dedup` is of this kind, if it is one at all.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.first() == Some(&DEDUP_BY_EXPIRY)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// It is too short or of another kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("dedup expiry key", bytes);
        if reader.u8()? != DEDUP_BY_EXPIRY {
            return Err(reader.error("not of the kind of times"));
        }
        let expires_at = UnixMillis(reader.u64()?);
        let queue = QueueId(reader.array()?);
        let key = Bytes::copy_from_slice(reader.rest());
        Ok(Self { expires_at, seen: DedupKey { queue, key } })
    }
}

/// Keys of `system`: one named row each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SystemKey {
    /// The layout of all tables.
    FormatVersion,
    /// The newest claimed [`Epoch`](crate::Epoch).
    Epoch,
    /// The newest durable [`LogPosition`](crate::LogPosition); written by the store with every commit.
    LogPosition,
    /// Sequences below this one may have been given out.
    NextSequence,
    /// No row of `delayed` by this clock is due before this time.
    DelayedFloor(DueClock),
    /// What all queues hold together: a [`TotalsRow`](crate::TotalsRow).
    Totals,
    /// No key in `dedup` is forgotten before this time.
    DedupFloor,
}

impl SystemKey {
    /// The stored form: the name itself, so that a dump explains itself.
    pub fn encode(self) -> &'static [u8] {
        match self {
            Self::FormatVersion => b"format_version",
            Self::Epoch => b"epoch",
            Self::LogPosition => b"log_position",
            Self::NextSequence => b"next_sequence",
            Self::DelayedFloor(DueClock::Steady) => b"delayed_floor_steady",
            Self::DelayedFloor(DueClock::Wall) => b"delayed_floor_wall",
            Self::Totals => b"totals",
            Self::DedupFloor => b"dedup_floor",
        }
    }
}

/// The smallest key above every key that starts with `prefix`; `None` if there is no such key (all bytes
/// are `0xFF`).
pub fn prefix_successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(successor)
}
