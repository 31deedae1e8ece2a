//! Why a partition refused.

use std::sync::Arc;

use millpond_storage_api::StoreError;
use millpond_types::{DecodeError, EntryId, ErrorKind};

use crate::OptionsError;

/// Why a lease no longer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StaleReason {
    /// The entry is not leased: it was settled or purged already, or never existed.
    NotLeased,
    /// The deadline has passed; the entry is, or will be, given to somebody else.
    Expired,
    /// A newer lease of the same entry is in force.
    Superseded,
    /// An ack or nack with this token is on its way to storage.
    Settling,
}

impl std::fmt::Display for StaleReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotLeased => "it was settled or purged already, or never granted",
            Self::Expired => "its deadline has passed",
            Self::Superseded => "the entry was leased again since",
            Self::Settling => "it is being settled already",
        })
    }
}

/// Why a partition refused or failed a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// The lease is not in force. The work may be done by somebody else.
    #[error("the lease of entry {id} no longer stands: {reason}")]
    StaleLease {
        /// The entry.
        id: EntryId,
        /// Why.
        reason: StaleReason,
    },
    /// There is no such dead letter: it was replayed, dropped or purged already, or never died.
    #[error("entry {id} is not a dead letter")]
    NotDead {
        /// The entry.
        id: EntryId,
    },
    /// The partition was closed on request.
    #[error("the partition is closed")]
    Closed,
    /// The partition stopped because its store failed. What was durable is safe; reopen it.
    #[error("the partition has stopped: {0}")]
    Stopped(StoreError),
    /// A read failed; the partition goes on.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// Stored bytes do not mean what they should.
    #[error("{0}")]
    Corrupt(Arc<str>),
    /// A limit makes no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

impl PartitionError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::StaleLease { .. } => ErrorKind::StaleLease,
            Self::NotDead { .. } => ErrorKind::NotFound,
            Self::Closed => ErrorKind::Closed,
            Self::Stopped(error) => match ErrorKind::from(error.kind()) {
                ErrorKind::Retry => ErrorKind::Closed,
                kind => kind,
            },
            Self::Read(error) => error.kind().into(),
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Options(_) => ErrorKind::InvalidInput,
        }
    }
}

impl From<DecodeError> for PartitionError {
    fn from(error: DecodeError) -> Self {
        Self::Corrupt(error.to_string().into())
    }
}
