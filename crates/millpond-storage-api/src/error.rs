//! Storage errors, by what the caller must do about them.

use std::sync::Arc;

use millpond_types::{ErrorKind, LogPosition};

/// What the caller must do about a storage error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Memory cannot serve the read within its budgets; what was read so far is valid. Use the
    /// blocking form.
    WouldBlock,
    /// A passing failure; try again after a pause.
    Retry,
    /// Another owner has claimed the partition. Terminal: drop caches, stop leases, close. Never retry.
    Fenced,
    /// Stored bytes are damaged. Report and leave them alone.
    Corrupt,
    /// The store is closed, or has stopped after a failed commit. Reopen it.
    Closed,
    /// The log no longer reaches back that far. Start again from a checkpoint.
    Gap {
        /// The oldest position that can still be read.
        oldest: LogPosition,
    },
    /// The device has no space left. Terminal for commits until space is made and the store reopened.
    NoSpace,
    /// The operating system refused. Terminal for commits.
    Io,
}

impl From<StoreErrorKind> for ErrorKind {
    fn from(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::WouldBlock | StoreErrorKind::Retry => Self::Retry,
            StoreErrorKind::Fenced => Self::Fenced,
            StoreErrorKind::Corrupt => Self::Corrupt,
            StoreErrorKind::Closed => Self::Closed,
            StoreErrorKind::Gap { .. } => Self::NotFound,
            StoreErrorKind::NoSpace => Self::NoSpace,
            StoreErrorKind::Io => Self::Io,
        }
    }
}

/// A storage error: a [kind](StoreErrorKind) to act on and a text to read. Cheap to clone, because one
/// failed commit fails many callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    kind: StoreErrorKind,
    detail: Arc<str>,
}

impl StoreError {
    /// An error with a text that says what happened to what.
    pub fn new(kind: StoreErrorKind, detail: impl Into<Arc<str>>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What to do about it.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether this is [`StoreErrorKind::WouldBlock`].
    pub fn would_block(&self) -> bool {
        self.kind == StoreErrorKind::WouldBlock
    }
}

/// Why a store could not be opened. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another handle in this one, has it open.
    #[error("{path} is already open elsewhere")]
    AlreadyOpen {
        /// The store.
        path: String,
    },
    /// There is no store, and creating one was not asked for.
    #[error("there is no store at {path}")]
    NotFound {
        /// Where it was looked for.
        path: String,
    },
    /// The layout was written by a newer version.
    #[error("{path} has format {found}; this build reads up to {supported}")]
    NewerFormat {
        /// The store.
        path: String,
        /// Its format version.
        found: u64,
        /// The newest version this build knows.
        supported: u64,
    },
    /// The layout was written by an older version, which this build does not read.
    #[error("{path} has format {found}; this build reads format {supported}")]
    OlderFormat {
        /// The store.
        path: String,
        /// Its format version.
        found: u64,
        /// The oldest version this build knows.
        supported: u64,
    },
    /// It is not a store of ours, or not one this build understands.
    #[error("{path} is not a Millpond store this build understands: {why}")]
    UnknownFormat {
        /// The store.
        path: String,
        /// What does not fit.
        why: String,
    },
    /// The store is damaged.
    #[error("{path} is damaged: {why}")]
    Corrupt {
        /// The store.
        path: String,
        /// What was found.
        why: String,
    },
    /// The device is full.
    #[error("no space left for {path}: {why}")]
    NoSpace {
        /// The store.
        path: String,
        /// What was being written.
        why: String,
    },
    /// The operating system refused: permissions, a read-only file system, a failing disk.
    #[error("cannot open {path}: {why}")]
    Io {
        /// The store.
        path: String,
        /// What the system said.
        why: String,
    },
}

impl From<&OpenError> for ErrorKind {
    fn from(error: &OpenError) -> Self {
        match error {
            OpenError::AlreadyOpen { .. } => Self::AlreadyOpen,
            OpenError::NotFound { .. } => Self::NotFound,
            OpenError::NewerFormat { .. }
            | OpenError::OlderFormat { .. }
            | OpenError::UnknownFormat { .. } => Self::Format,
            OpenError::Corrupt { .. } => Self::Corrupt,
            OpenError::NoSpace { .. } => Self::NoSpace,
            OpenError::Io { .. } => Self::Io,
        }
    }
}
