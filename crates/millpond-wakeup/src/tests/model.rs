//! The oracle: an ordered map. And how a step of a history is read.

use std::collections::BTreeMap;

use crate::rules::Shape;
use crate::{Due, Nanos};

/// What a history is played on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) shape: Shape,
    pub(super) capacity: usize,
    /// Different keys, for the form that has any.
    pub(super) n_keys: u64,
    /// Everything is removed, and the scheduler shut down, once in this many draws.
    pub(super) rarely: u32,
}

/// One step, as numbers: any three of them mean something, and small ones mean something simple.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) kind: u8,
    pub(super) pick: u16,
    pub(super) when: u32,
}

/// What a step does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Set,
    SetMany,
    Replace,
    Earlier,
    Cancel,
    CancelMany,
    Look,
    Foreign,
    Advance,
    Pop,
    Drain,
    TouchBatch,
    Clear,
    Shutdown,
}

impl Step {
    pub(super) const fn op(self) -> Op {
        match self.kind {
            0..80 => Op::Set,
            80..85 => Op::SetMany,
            85..125 => Op::Replace,
            125..140 => Op::Earlier,
            140..178 => Op::Cancel,
            178..180 => Op::CancelMany,
            180..188 => Op::Look,
            188..192 => Op::Foreign,
            192..216 => Op::Advance,
            216..232 => Op::Pop,
            232..246 => Op::Drain,
            246..254 => Op::TouchBatch,
            254 => Op::Clear,
            255 => Op::Shutdown,
        }
    }

    /// A deadline: spread over 30 s, close together, tied, in the past, years away, or at the end of time.
    pub(super) fn deadline(self, now: Nanos) -> Nanos {
        const SECOND: u64 = 1_000_000_000;
        let (now, far) = (now.0, u64::from(self.when / 16));
        Nanos(match self.when % 16 {
            0 => now,
            1..=5 => now + far * 111,
            6 | 7 => now + far % 1_000_000,
            8 | 9 => (now / SECOND + far % 4) * SECOND,
            10 => now.saturating_sub(far),
            11 => 0,
            12 => now.saturating_add(far * 10_000_000_000),
            13 => u64::MAX,
            14 => u64::MAX - far % 3,
            _ => (now / 1_000_000 + far % 100) * 1_000_000,
        })
    }

    /// How much time passes: mostly less than a millisecond, sometimes a minute.
    pub(super) const fn elapsed(self) -> u64 {
        let far = (self.when / 16) as u64;
        match self.when % 16 {
            0..8 => far % 1_000_000,
            8..14 => far / 8,
            14 => far * 10,
            _ => far * 200,
        }
    }
}

/// Live timers by deadline and revision, and what was delivered so far.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) live: BTreeMap<(Nanos, u64), u64>,
    n_revisions: u64,
    digest: u64,
    digest_of_subject: u64,
}

impl Model {
    /// The revision of the next setting.
    pub(super) const fn revision(&mut self) -> u64 {
        self.n_revisions += 1;
        self.n_revisions
    }

    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.live.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Compares one delivery, and adds it to the digests.
    pub(super) fn deliver(&mut self, due: &Due<u64>) -> Result<(), String> {
        let ((deadline, revision), value) = self
            .live
            .pop_first()
            .ok_or_else(|| format!("{due:?} was delivered, and nothing is live"))?;
        self.digest = mix(self.digest, deadline.0, revision, value);
        let revision_of_due = due.revision.get();
        self.digest_of_subject =
            mix(self.digest_of_subject, due.deadline.0, revision_of_due, due.value);
        same("delivery", &(due.deadline, revision_of_due, due.value), &(deadline, revision, value))
    }

    /// After a clear or a shutdown, whose result was compared.
    pub(super) fn restart(&mut self) {
        self.n_revisions = 0;
    }

    pub(super) const fn digests(&self) -> (u64, u64) {
        (self.digest_of_subject, self.digest)
    }
}

const fn mix(digest: u64, deadline: u64, revision: u64, value: u64) -> u64 {
    let mixed = digest.rotate_left(7)
        ^ deadline.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ value.rotate_left(32);
    mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ revision
}

/// An error that tells both, if they differ.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    subject: &T,
    model: &T,
) -> Result<(), String> {
    if subject == model {
        return Ok(());
    }
    Err(format!("{what}: {subject:?}, and {model:?} in the model"))
}
