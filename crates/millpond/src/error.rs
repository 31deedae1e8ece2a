//! One error type, whose kind says what to do.

use millpond_partition::{FullOf, OptionsError, PartitionError, RuleError};
use millpond_storage_api::OpenError;
use millpond_types::{DecodeError, ErrorKind, InvalidName, InvalidSettings, LimitExceeded};

/// What went wrong. [`kind`](Self::kind) says what to do about it; the text says what happened to what.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(Repr);

#[derive(Debug, Clone, thiserror::Error)]
enum Repr {
    #[error(transparent)]
    Partition(#[from] PartitionError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error("{text}")]
    Other { kind: ErrorKind, text: String },
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self(Repr::Other { kind, text: text.into() })
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, text)
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match &self.0 {
            Repr::Partition(error) => error.kind(),
            Repr::Open(error) => error.into(),
            Repr::Rule(RuleError::TooMany { .. }) => ErrorKind::Full,
            Repr::Name(_) | Repr::Limit(_) | Repr::Rule(_) => ErrorKind::InvalidInput,
            Repr::Other { kind, .. } => *kind,
        }
    }

    /// The limit that was exceeded, if that is what went wrong.
    pub fn limit(&self) -> Option<LimitExceeded> {
        match &self.0 {
            Repr::Limit(limit) | Repr::Name(InvalidName::TooLong(limit)) => Some(*limit),
            _ => None,
        }
    }

    /// What was full, and its bound in entries, bytes or callers, if that is what went wrong. Of a full queue
    /// its producers should send less; of a full partition, everybody.
    pub fn full(&self) -> Option<(FullOf, u64)> {
        match &self.0 {
            Repr::Partition(PartitionError::Full { what, limit }) => Some((*what, *limit)),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($source:ty),*) => {$(
        impl From<$source> for Error {
            fn from(error: $source) -> Self {
                Self(error.into())
            }
        }
    )*};
}
from!(PartitionError, OpenError, InvalidName, LimitExceeded, RuleError);

impl From<OptionsError> for Error {
    fn from(error: OptionsError) -> Self {
        PartitionError::from(error).into()
    }
}

impl From<InvalidSettings> for Error {
    fn from(error: InvalidSettings) -> Self {
        RuleError::from(error).into()
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        PartitionError::from(error).into()
    }
}
