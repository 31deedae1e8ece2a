//! What the process that runs the engine tells the process that keeps the books: a stream of small
//! records, each written before the step that it announces.
//!
//! A record is a length in two bytes, a tag, a time, and the fields of its event, all little-endian. It is
//! written in one piece that a pipe takes whole or not at all, so a process that is killed leaves no half
//! record behind.

use millpond::{EntryRank, Epoch, LeaseToken, Priority, Sequence};

use super::workload::JobIndex;
use crate::clock::Micros;

/// Longest record: what a pipe takes in one piece on every system.
const RECORD_BYTES_MAX: usize = 512;

/// A lease as a worker or the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseSeen {
    pub(crate) token: LeaseToken,
    /// Which attempt it is, from 1.
    pub(crate) attempt: u32,
}

/// Something that happened in the engine's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The engine is open; nobody uses it yet.
    Opened,
    /// The store holds the entry of this job.
    Found { job: JobIndex, rank: EntryRank, lease: Option<LeaseSeen> },
    /// The store holds no other entry of the replay.
    Scanned,
    /// A receipt came, so long after the call.
    Accepted { job: JobIndex, rank: EntryRank, call_us: u32 },
    /// A worker holds the entry. Written before it does anything with it.
    Granted { job: JobIndex, rank: EntryRank, lease: LeaseSeen },
    /// A worker is about to acknowledge the entry. Written before it does.
    Acking { job: JobIndex, token: LeaseToken },
    /// The acknowledgement's receipt came.
    Acked { job: JobIndex },
    /// The acknowledgement was refused: the lease had ended.
    Refused { job: JobIndex },
    /// The engine is closed.
    Closed,
    /// The process gives up, with this exit code.
    Failed { code: u8, text: String },
}

/// An event and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at: Micros,
    pub(crate) event: Event,
}

/// The stream is not one of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine's process wrote something that is no record")]
pub(crate) struct Malformed;

const NO_LEASE: LeaseSeen =
    LeaseSeen { token: LeaseToken { epoch: Epoch(0), number: 0 }, attempt: 0 };

impl Record {
    /// Appends the record to `out`.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 2]);
        out.push(self.event.tag());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        self.event.encode_into(out);
        let n_bytes = u16::try_from(out.len() - start - 2).expect("texts are cut off");
        out[start..start + 2].copy_from_slice(&n_bytes.to_le_bytes());
        debug_assert!(out.len() - start <= RECORD_BYTES_MAX, "a pipe takes a record whole");
    }
}

impl Event {
    fn tag(&self) -> u8 {
        match self {
            Self::Opened => 1,
            Self::Found { .. } => 2,
            Self::Scanned => 3,
            Self::Accepted { .. } => 4,
            Self::Granted { .. } => 5,
            Self::Acking { .. } => 6,
            Self::Acked { .. } => 7,
            Self::Refused { .. } => 8,
            Self::Closed => 9,
            Self::Failed { .. } => 10,
        }
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Opened | Self::Scanned | Self::Closed => {}
            Self::Found { job, rank, lease } => {
                put_entry(out, *job, *rank);
                put_lease(out, lease.unwrap_or(NO_LEASE));
            }
            Self::Accepted { job, rank, call_us } => {
                put_entry(out, *job, *rank);
                out.extend_from_slice(&call_us.to_le_bytes());
            }
            Self::Granted { job, rank, lease } => {
                put_entry(out, *job, *rank);
                put_lease(out, *lease);
            }
            Self::Acking { job, token } => {
                out.extend_from_slice(&job.0.to_le_bytes());
                put_lease(out, LeaseSeen { token: *token, attempt: 0 });
            }
            Self::Acked { job } | Self::Refused { job } => {
                out.extend_from_slice(&job.0.to_le_bytes());
            }
            Self::Failed { code, text } => {
                out.push(*code);
                let end = text.floor_char_boundary(RECORD_BYTES_MAX - 16);
                out.extend_from_slice(&text.as_bytes()[..end]);
            }
        }
    }

    fn decode(tag: u8, fields: &mut Fields<'_>) -> Option<Self> {
        let event = match tag {
            1 => Self::Opened,
            2 => {
                let (job, rank) = fields.entry()?;
                let lease = fields.lease()?;
                Self::Found { job, rank, lease: (lease != NO_LEASE).then_some(lease) }
            }
            3 => Self::Scanned,
            4 => {
                let (job, rank) = fields.entry()?;
                Self::Accepted { job, rank, call_us: fields.u32()? }
            }
            5 => {
                let (job, rank) = fields.entry()?;
                Self::Granted { job, rank, lease: fields.lease()? }
            }
            6 => Self::Acking { job: JobIndex(fields.u32()?), token: fields.lease()?.token },
            7 => Self::Acked { job: JobIndex(fields.u32()?) },
            8 => Self::Refused { job: JobIndex(fields.u32()?) },
            9 => Self::Closed,
            10 => {
                let [code] = fields.take()?;
                let text = String::from_utf8(std::mem::take(&mut fields.0).to_vec()).ok()?;
                Self::Failed { code, text }
            }
            _ => return None,
        };
        fields.0.is_empty().then_some(event)
    }
}

fn put_entry(out: &mut Vec<u8>, job: JobIndex, rank: EntryRank) {
    out.extend_from_slice(&job.0.to_le_bytes());
    out.push(rank.priority.0);
    out.extend_from_slice(&rank.sequence.0.to_le_bytes());
}

fn put_lease(out: &mut Vec<u8>, lease: LeaseSeen) {
    out.extend_from_slice(&lease.token.epoch.0.to_le_bytes());
    out.extend_from_slice(&lease.token.number.to_le_bytes());
    out.extend_from_slice(&lease.attempt.to_le_bytes());
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn entry(&mut self) -> Option<(JobIndex, EntryRank)> {
        let job = JobIndex(self.u32()?);
        let [priority] = self.take()?;
        let sequence = Sequence(self.u64()?);
        Some((job, EntryRank { priority: Priority(priority), sequence }))
    }

    fn lease(&mut self) -> Option<LeaseSeen> {
        let token = LeaseToken { epoch: Epoch(self.u64()?), number: self.u64()? };
        Some(LeaseSeen { token, attempt: self.u32()? })
    }
}

/// Takes a stream apart, in whatever pieces it comes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pub(crate) buffer: Vec<u8>,
    n_consumed: usize,
}

impl Decoder {
    /// The next whole record; `None` until more bytes are in the buffer.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, Malformed> {
        let rest = &self.buffer[self.n_consumed..];
        let Some((n_bytes, rest)) = rest.split_first_chunk() else { return Ok(self.compact()) };
        let n_bytes = usize::from(u16::from_le_bytes(*n_bytes));
        let Some(record) = rest.get(..n_bytes) else { return Ok(self.compact()) };
        let mut fields = Fields(record);
        let [tag] = fields.take().ok_or(Malformed)?;
        let at = Micros(fields.u64().ok_or(Malformed)?);
        let event = Event::decode(tag, &mut fields).ok_or(Malformed)?;
        self.n_consumed += 2 + n_bytes;
        Ok(Some(Record { at, event }))
    }

    fn compact(&mut self) -> Option<Record> {
        self.buffer.drain(..self.n_consumed);
        self.n_consumed = 0;
        None
    }
}

#[cfg(test)]
mod tests;
