//! The right to install one value, and the duty of a writer.

use std::fmt;

use bytes::Bytes;
use millpond_sync::Arc;
use millpond_types::UnixMillis;

use super::Core;
use super::slot::{Place, Written};
use crate::Blob;
use crate::generations::Stamp;
use crate::rules::{Mutation, Rules};

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Committed {
    /// The value is resident.
    Installed,
    /// The key was put, removed or invalidated since the ticket was given.
    Stale,
    /// It was, and a newer value is resident.
    AlreadyResident,
    /// The value is larger than the whole cache.
    TooLarge,
    /// What is being installed at this moment takes all the room.
    NoRoom,
    /// The key was not asked for often enough for a value of that size; see
    /// [`Admission::BySize`](crate::Admission::BySize). The next miss of the key gets another ticket.
    TooSeldom,
}

/// The right to install the value of one key, read or loaded after the ticket was given.
///
/// There is at most one per key. Whatever changes the key ends it, and its commit is refused. Dropping it gives it
/// back: the next miss of the key gets another one.
#[must_use = "the key waits for its value until the ticket is committed or dropped"]
pub struct Ticket {
    pub(super) core: Arc<Core>,
    pub(super) place: Place,
    pub(super) key: Bytes,
    pub(super) hash: u64,
    pub(super) stamp: Stamp,
    pub(super) is_spent: bool,
}

impl Ticket {
    /// Installs `blob`, if the ticket is still good. Works on any thread.
    pub fn commit(mut self, blob: Blob, now: UnixMillis) -> Committed {
        self.is_spent = true;
        let core = self.core.clone();
        core.commit(&self, blob, now)
    }

    /// As [`commit`](Self::commit), but only if the shard's lock is free and room is made by evicting a few; in
    /// other cases both come back.
    ///
    /// # Errors
    ///
    /// The ticket and the value, for somebody with more time.
    pub fn try_commit(mut self, blob: Blob, now: UnixMillis) -> Result<Committed, (Self, Blob)> {
        let core = self.core.clone();
        match core.try_commit(&self, blob, now) {
            Ok(committed) => {
                self.is_spent = true;
                Ok(committed)
            }
            Err(blob) => Err((self, blob)),
        }
    }

    /// Whether nothing has ended the ticket yet. What is true now need not be a moment later.
    pub fn is_current(&self) -> bool {
        self.core.shard(self.hash).lock().is_current(self.place)
    }

    /// A hash of the key, the same for every ticket of this index.
    pub fn key_hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn rules(&self) -> Rules {
        self.core.rules
    }

    pub(crate) fn key(&self) -> &Bytes {
        &self.key
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What is to be committed was written under `stamp`, which can be lower than that of the ticket. A number that was
    /// given out between the two and comes into force late has to reach it.
    pub(crate) fn read_under(&mut self, stamp: Stamp) {
        if !self.core.rules.lacks(Mutation::RowStampForgotten) {
            self.stamp = self.stamp.min(stamp);
        }
    }

    /// Whether a commit of `blob` would not be `TooSeldom` now. Otherwise that is counted, and the sightings of the key
    /// are remembered, whatever becomes of the ticket.
    pub(crate) fn admits(&self, blob: &Blob) -> bool {
        self.core.admits(self, blob)
    }

    /// Whether the key was asked for again.
    pub(crate) fn is_admitted(&self) -> bool {
        self.core.shard(self.hash).lock().is_admitted(self.place)
    }

    /// The holder becomes a writer of the key, if nothing has ended the ticket.
    pub(crate) fn into_write(mut self, keeps_flight: bool) -> Option<WriteTicket> {
        self.is_spent = true;
        let core = self.core.clone();
        let place = core.shard(self.hash).lock().begin_write_for(self.place, keeps_flight);
        // A broken twin writes nevertheless.
        let is_unasked = core.rules.lacks(Mutation::WriteUnasked);
        (place.is_some() || is_unasked).then(|| WriteTicket {
            core,
            place,
            hash: self.hash,
            is_ended: false,
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_spent {
            self.core.give_up(self.hash, self.place, true);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A write of a key that is under way. Until it ends the key has no value here, and gives no tickets. Dropping it
/// says that the write has failed.
#[must_use = "the key has no value here until the write ends"]
pub(crate) struct WriteTicket {
    pub(super) core: Arc<Core>,
    /// A broken twin has none.
    pub(super) place: Option<Place>,
    pub(super) hash: u64,
    pub(super) is_ended: bool,
}

impl WriteTicket {
    /// The value is durable below. Whether it is resident now.
    pub(crate) fn end_with(
        mut self,
        blob: Blob,
        stamp: Stamp,
        key_bytes: usize,
        now: UnixMillis,
    ) -> bool {
        self.is_ended = true;
        let core = self.core.clone();
        core.end_write_with(self.place, self.hash, blob, stamp, key_bytes, now)
    }

    /// The removal is durable below.
    pub(crate) fn end_removed(mut self) {
        self.is_ended = true;
        let core = self.core.clone();
        core.end_write(self.place, self.hash, Written::Nothing);
    }
}

impl Drop for WriteTicket {
    fn drop(&mut self) {
        if !self.is_ended {
            self.core.end_write(self.place, self.hash, Written::Failed);
        }
    }
}

impl fmt::Debug for WriteTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTicket").field("hash", &self.hash).finish_non_exhaustive()
    }
}
