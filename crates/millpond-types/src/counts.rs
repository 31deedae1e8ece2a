//! Rows that count: what a queue holds, and what all queues of a partition hold.

use crate::codec::{DecodeError, Reader};
use crate::{EntryRank, Priority, Sequence};

/// Value of `active`: what restart needs to know of a queue that has work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActiveRow {
    /// Rows in [`Stage::Ready`](crate::Stage::Ready), leased ones included.
    pub n_ready: u64,
    /// Rows in [`Stage::Delayed`](crate::Stage::Delayed).
    pub n_delayed: u64,
    /// Rows in [`Stage::Dead`](crate::Stage::Dead).
    pub n_dead: u64,
    /// Bytes of the bodies of all of them.
    pub n_bytes: u64,
    /// No `Ready` row stands before this rank, so a scan may start here.
    pub floor: EntryRank,
}

impl ActiveRow {
    /// Length of the stored form, in bytes.
    pub const BYTES: usize = 41;

    /// Rows in all stages.
    pub fn n_entries(&self) -> u64 {
        self.n_ready.saturating_add(self.n_delayed).saturating_add(self.n_dead)
    }

    /// Whether nothing is left, so that the row is to be deleted.
    pub fn is_empty(&self) -> bool {
        self.n_ready == 0 && self.n_delayed == 0 && self.n_dead == 0
    }

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.n_ready.to_be_bytes());
        out[8..16].copy_from_slice(&self.n_delayed.to_be_bytes());
        out[16..24].copy_from_slice(&self.n_dead.to_be_bytes());
        out[24..32].copy_from_slice(&self.n_bytes.to_be_bytes());
        out[32] = self.floor.priority.0;
        out[33..].copy_from_slice(&self.floor.sequence.0.to_be_bytes());
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The length is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("active row", bytes);
        let (n_ready, n_delayed, n_dead) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let n_bytes = reader.u64()?;
        let floor =
            EntryRank { priority: Priority(reader.u8()?), sequence: Sequence(reader.u64()?) };
        reader.finish()?;
        Ok(Self { n_ready, n_delayed, n_dead, n_bytes, floor })
    }
}

/// What all queues of a partition hold together: a row of `system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TotalsRow {
    /// Entries in all stages.
    pub n_entries: u64,
    /// Bytes of their bodies.
    pub n_bytes: u64,
}

impl TotalsRow {
    /// Length of the stored form, in bytes.
    pub const BYTES: usize = 16;

    /// The stored form.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.n_entries.to_be_bytes());
        out[8..].copy_from_slice(&self.n_bytes.to_be_bytes());
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// The length is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("totals row", bytes);
        let row = Self { n_entries: reader.u64()?, n_bytes: reader.u64()? };
        reader.finish()?;
        Ok(row)
    }
}
