//! The way of a value from below into memory, off the read path.

use std::fmt;

use millpond_promotion::{Ended, Request};
use millpond_types::UnixMillis;

use crate::{Blob, Committed, Ticket};

/// A value that was read and is to become resident: what an executor gets.
///
/// Dropping it gives its ticket back; the next read of the key schedules again.
pub struct Promotion {
    pub(super) ticket: Ticket,
    pub(super) blob: Blob,
    pub(super) now: UnixMillis,
}

impl Promotion {
    /// Installs the value, unless its key was replaced or invalidated since it was read. This is all that an executor
    /// has to do.
    pub fn install(self) -> Ended {
        match self.ticket.commit(self.blob, self.now) {
            Committed::Installed => Ended::Installed,
            Committed::Stale => Ended::Stale,
            Committed::AlreadyResident => Ended::AlreadyResident,
            // The last of them only if the residents are smaller than when it was scheduled.
            Committed::TooLarge | Committed::NoRoom | Committed::TooSeldom => Ended::Failed,
        }
    }
}

impl Request for Promotion {
    fn key_hash(&self) -> u64 {
        self.ticket.key_hash()
    }

    fn n_bytes(&self) -> usize {
        self.ticket.key().len() + self.blob.n_bytes()
    }
}

impl fmt::Debug for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promotion").field("key", self.ticket.key()).finish_non_exhaustive()
    }
}
