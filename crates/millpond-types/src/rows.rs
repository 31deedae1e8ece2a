//! Values of the tables.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader};
use crate::limits::REASON_BYTES_MAX;
use crate::{EntryRank, Epoch, LeaseToken, Priority, QueueKey, Sequence, TopicName, UnixMillis};

/// Where the body of an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredBody {
    /// In the row itself.
    Inline(Bytes),
    /// In the `payloads` table.
    Separate {
        /// Its length there, in bytes.
        n_bytes: u32,
    },
}

/// The fixed part of an entry's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHead {
    /// Attempts made before the row was written.
    pub attempts: u32,
    /// Length of its body, in bytes.
    pub n_bytes: u32,
    /// When the entry was accepted.
    pub enqueued_at: UnixMillis,
    /// Whether its body is in the `payloads` table.
    pub separate_body: bool,
    /// Whether its row has a retry floor.
    pub has_retry_floor: bool,
}

/// Value of `entries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// Attempts made before this row was written; later ones are counted by its lease record.
    pub attempts: u32,
    /// When it was accepted.
    pub enqueued_at: UnixMillis,
    /// No retry comes earlier than so many milliseconds after the failure, whatever the back-off says;
    /// mostly 0.
    pub retry_floor_ms: u64,
    /// The body, or where it is.
    pub body: StoredBody,
}

impl StoredBody {
    /// Length of the body, in bytes, wherever it is.
    pub fn n_bytes(&self) -> u32 {
        match self {
            Self::Inline(body) => u32::try_from(body.len()).unwrap_or(u32::MAX),
            Self::Separate { n_bytes } => *n_bytes,
        }
    }
}

const BODY_INLINE: u8 = 0;
const BODY_SEPARATE: u8 = 1;
/// Set beside where the body is when the row has a retry floor.
const HAS_FLOOR: u8 = 2;

impl EntryRow {
    /// Appends the stored form to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let EntryHead { separate_body, has_retry_floor, .. } = self.head();
        out.push(shape(separate_body, has_retry_floor));
        out.extend_from_slice(&self.attempts.to_be_bytes());
        out.extend_from_slice(&self.enqueued_at.0.to_be_bytes());
        if self.retry_floor_ms > 0 {
            out.extend_from_slice(&self.retry_floor_ms.to_be_bytes());
        }
        match &self.body {
            StoredBody::Inline(body) => out.extend_from_slice(body),
            StoredBody::Separate { n_bytes } => out.extend_from_slice(&n_bytes.to_be_bytes()),
        }
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// It is too short or of an unknown shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("entry row", bytes);
        let (separate_body, has_retry_floor) = read_shape(&mut reader)?;
        let attempts = reader.u32()?;
        let enqueued_at = UnixMillis(reader.u64()?);
        let retry_floor_ms = if has_retry_floor { reader.u64()? } else { 0 };
        let body = if separate_body {
            let n_bytes = reader.u32()?;
            reader.finish()?;
            StoredBody::Separate { n_bytes }
        } else {
            StoredBody::Inline(Bytes::copy_from_slice(reader.rest()))
        };
        Ok(Self { attempts, enqueued_at, retry_floor_ms, body })
    }

    /// What the engine keeps of it in memory.
    pub fn head(&self) -> EntryHead {
        EntryHead {
            attempts: self.attempts,
            n_bytes: self.body.n_bytes(),
            enqueued_at: self.enqueued_at,
            separate_body: matches!(self.body, StoredBody::Separate { .. }),
            has_retry_floor: self.retry_floor_ms > 0,
        }
    }

    /// What the engine keeps of a stored row in memory, without touching its body.
    ///
    /// # Errors
    ///
    /// The row is too short or of an unknown shape.
    pub fn decode_head(bytes: &[u8]) -> Result<EntryHead, DecodeError> {
        let mut reader = Reader::new("entry row", bytes);
        let (separate_body, has_retry_floor) = read_shape(&mut reader)?;
        let attempts = reader.u32()?;
        let enqueued_at = UnixMillis(reader.u64()?);
        if has_retry_floor {
            reader.u64()?;
        }
        let n_bytes = if separate_body {
            reader.u32()?
        } else {
            u32::try_from(reader.rest().len()).unwrap_or(u32::MAX)
        };
        Ok(EntryHead { attempts, n_bytes, enqueued_at, separate_body, has_retry_floor })
    }
}

/// Whether the body is separate, and whether there is a retry floor.
fn read_shape(reader: &mut Reader<'_>) -> Result<(bool, bool), DecodeError> {
    let shape = reader.u8()?;
    match shape & !HAS_FLOOR {
        BODY_INLINE => Ok((false, shape & HAS_FLOOR != 0)),
        BODY_SEPARATE => Ok((true, shape & HAS_FLOOR != 0)),
        _ => Err(reader.error("unknown body location")),
    }
}

fn shape(separate_body: bool, has_retry_floor: bool) -> u8 {
    let floor = if has_retry_floor { HAS_FLOOR } else { 0 };
    if separate_body { BODY_SEPARATE | floor } else { BODY_INLINE | floor }
}

/// Value of `entries` in [`Stage::Delayed`](crate::Stage::Delayed): what a queue wants to know of an
/// entry that is in `delayed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayedEntryRow {
    /// Attempts made so far: with any, the entry backs off.
    pub attempts: u32,
    /// Length of its body, in bytes.
    pub n_bytes: u32,
    /// Whether its body is in the `payloads` table.
    pub separate_body: bool,
}

impl DelayedEntryRow {
    /// Length of the stored form, in bytes.
    pub const BYTES: usize = 9;

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[0] = shape(self.separate_body, false);
        out[1..5].copy_from_slice(&self.attempts.to_be_bytes());
        out[5..].copy_from_slice(&self.n_bytes.to_be_bytes());
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The length or the body's location is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("delayed entry row", bytes);
        let (separate_body, _) = read_shape(&mut reader)?;
        let (attempts, n_bytes) = (reader.u32()?, reader.u32()?);
        reader.finish()?;
        Ok(Self { attempts, n_bytes, separate_body })
    }
}

/// Value of `delayed`: the entry, which has no other row meanwhile but the one that tells its queue of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayedRow {
    /// How urgent it is.
    pub priority: Priority,
    /// The row it becomes when it is due.
    pub entry: EntryRow,
}

impl DelayedRow {
    /// What its queue is told of it.
    pub fn notice(&self) -> DelayedEntryRow {
        let EntryHead { attempts, n_bytes, separate_body, .. } = self.entry.head();
        DelayedEntryRow { attempts, n_bytes, separate_body }
    }

    /// Appends the stored form to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.priority.0);
        self.entry.encode_into(out);
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// It is too short or of an unknown shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("delayed row", bytes);
        let priority = Priority(reader.u8()?);
        Ok(Self { priority, entry: EntryRow::decode(reader.rest())? })
    }
}

/// Why an entry was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum DeadCause {
    /// It had as many attempts as it may have.
    AttemptsSpent = 1,
    /// Its worker said that it can never succeed.
    Rejected = 2,
}

/// Value of `entries` in [`Stage::Dead`](crate::Stage::Dead).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRow {
    /// Why it is here.
    pub cause: DeadCause,
    /// Since when.
    pub died_at: UnixMillis,
    /// What its last worker said, if it said anything.
    pub reason: String,
    /// The row it was.
    pub entry: EntryRow,
}

impl DeadRow {
    /// Appends the stored form to `out`. Of the reason at most
    /// [`REASON_BYTES_MAX`](crate::limits::REASON_BYTES_MAX) bytes are kept.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let reason = &self.reason[..self.reason.floor_char_boundary(REASON_BYTES_MAX)];
        let n_bytes = u16::try_from(reason.len()).expect("reasons are at most 1,024 bytes");
        out.push(self.cause as u8);
        out.extend_from_slice(&self.died_at.0.to_be_bytes());
        out.extend_from_slice(&n_bytes.to_be_bytes());
        out.extend_from_slice(reason.as_bytes());
        self.entry.encode_into(out);
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// It is too short or of an unknown shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("dead row", bytes);
        let cause = match reader.u8()? {
            1 => DeadCause::AttemptsSpent,
            2 => DeadCause::Rejected,
            _ => return Err(reader.error("unknown cause")),
        };
        let died_at = UnixMillis(reader.u64()?);
        let n_bytes = reader.u16()?;
        let reason = std::str::from_utf8(reader.bytes(n_bytes.into())?)
            .map_err(|_| reader.error("the reason is no text"))?
            .to_owned();
        Ok(Self { cause, died_at, reason, entry: EntryRow::decode(reader.rest())? })
    }
}

/// Value of `leases`: a lease in force, or the attempts of an entry that was given back.
///
/// It repeats what the entry's row says about itself, so that a restart, an ack and an expiry need not
/// read that row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRow {
    /// Token of the newest lease.
    pub token: LeaseToken,
    /// When it ends by itself; 0 once the entry was given back.
    pub deadline: UnixMillis,
    /// Attempts so far, the newest lease included.
    pub attempts: u32,
    /// When the entry was accepted.
    pub enqueued_at: UnixMillis,
    /// Length of the entry's body, in bytes.
    pub n_bytes: u32,
    /// Priority of the entry.
    pub priority: Priority,
    /// Whether the entry's body is in the `payloads` table.
    pub separate_body: bool,
    /// Whether the entry's row has a retry floor.
    pub has_retry_floor: bool,
}

impl LeaseRow {
    /// Length of the stored form, in bytes.
    pub const BYTES: usize = 42;

    /// Whether the entry was given back, so that the row only keeps its attempts.
    pub fn is_released(&self) -> bool {
        self.deadline == UnixMillis(0)
    }

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.token.epoch.0.to_be_bytes());
        out[8..16].copy_from_slice(&self.token.number.to_be_bytes());
        out[16..24].copy_from_slice(&self.deadline.0.to_be_bytes());
        out[24..28].copy_from_slice(&self.attempts.to_be_bytes());
        out[28..36].copy_from_slice(&self.enqueued_at.0.to_be_bytes());
        out[36..40].copy_from_slice(&self.n_bytes.to_be_bytes());
        out[40] = self.priority.0;
        out[41] = shape(self.separate_body, self.has_retry_floor);
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The length or the body's location is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("lease row", bytes);
        let token = LeaseToken { epoch: Epoch(reader.u64()?), number: reader.u64()? };
        let deadline = UnixMillis(reader.u64()?);
        let attempts = reader.u32()?;
        let enqueued_at = UnixMillis(reader.u64()?);
        let n_bytes = reader.u32()?;
        let priority = Priority(reader.u8()?);
        let (separate_body, has_retry_floor) = read_shape(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            token,
            deadline,
            attempts,
            enqueued_at,
            n_bytes,
            priority,
            separate_body,
            has_retry_floor,
        })
    }
}

/// Value of a key that was seen, in `dedup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupRow {
    /// The entry that was accepted with it.
    pub rank: EntryRank,
    /// When the key is forgotten, by the partition's clock.
    pub expires_at: UnixMillis,
}

impl DedupRow {
    /// Length of the stored form, in bytes.
    pub const BYTES: usize = 17;

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[0] = self.rank.priority.0;
        out[1..9].copy_from_slice(&self.rank.sequence.0.to_be_bytes());
        out[9..].copy_from_slice(&self.expires_at.0.to_be_bytes());
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The length is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("dedup row", bytes);
        let rank =
            EntryRank { priority: Priority(reader.u8()?), sequence: Sequence(reader.u64()?) };
        let expires_at = UnixMillis(reader.u64()?);
        reader.finish()?;
        Ok(Self { rank, expires_at })
    }
}

/// Value of `queues`: the names from which a queue's id was derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// The topic.
    pub topic: TopicName,
    /// The key inside the topic.
    pub key: QueueKey,
}

impl QueueRow {
    /// The stored form.
    ///
    /// # Panics
    ///
    /// Never: both names were checked when they were made.
    pub fn encode(&self) -> Vec<u8> {
        let short = |n: usize| u16::try_from(n).expect("names are at most 1,024 bytes");
        let mut out = Vec::new();
        for name in [self.topic.as_str().as_bytes(), self.key.as_bytes()] {
            out.extend_from_slice(&short(name.len()).to_be_bytes());
            out.extend_from_slice(name);
        }
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// A length is wrong, or a name is not valid.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("queue row", bytes);
        let n = reader.u16()?;
        let topic = std::str::from_utf8(reader.bytes(n.into())?)
            .ok()
            .and_then(|name| TopicName::new(name).ok())
            .ok_or_else(|| reader.error("invalid topic name"))?;
        let n = reader.u16()?;
        let key = QueueKey::new(reader.bytes(n.into())?)
            .map_err(|_| reader.error("invalid queue key"))?;
        reader.finish()?;
        Ok(Self { topic, key })
    }
}

/// The stored form of a number in `system`.
pub fn encode_u64(value: u64) -> [u8; 8] {
    value.to_be_bytes()
}

/// Reads a number in `system`.
///
/// # Errors
///
/// It is not 8 bytes long.
pub fn decode_u64(bytes: &[u8]) -> Result<u64, DecodeError> {
    let mut reader = Reader::new("system row", bytes);
    let value = reader.u64()?;
    reader.finish()?;
    Ok(value)
}
