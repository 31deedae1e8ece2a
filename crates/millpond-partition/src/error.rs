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

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FullOf {
    /// The queue, by its number of entries in all stages.
    QueueEntries,
    /// The queue, by the bytes of their bodies.
    QueueBytes,
    /// The partition, by its number of entries in all stages.
    PartitionEntries,
    /// The partition, by the bytes of their bodies.
    PartitionBytes,
    /// The partition, by the number of callers that wait for work.
    LeaseCalls,
}

impl FullOf {
    /// A stable lower-case name for labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueEntries => "queue_entries",
            Self::QueueBytes => "queue_bytes",
            Self::PartitionEntries => "partition_entries",
            Self::PartitionBytes => "partition_bytes",
            Self::LeaseCalls => "lease_calls",
        }
    }
}

impl std::fmt::Display for FullOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::QueueEntries => "the queue is full, by its entries",
            Self::QueueBytes => "the queue is full, by the bytes of its bodies",
            Self::PartitionEntries => "the partition is full, by its entries",
            Self::PartitionBytes => "the partition is full, by the bytes of its bodies",
            Self::LeaseCalls => "too many callers wait for work",
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
    /// A bound would be exceeded. Nothing was changed; there may be room later.
    #[error("{what}: the limit is {limit}")]
    Full {
        /// What is full.
        what: FullOf,
        /// Its bound: entries, bytes or callers.
        limit: u64,
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
            Self::Full { .. } => ErrorKind::Full,
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
