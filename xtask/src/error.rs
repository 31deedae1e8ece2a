//! Why a command stopped, and the exit code that says so.

use std::fmt;

/// Result of anything that can stop a command.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a command stopped.
#[derive(Debug)]
pub(crate) enum Error {
    /// The arguments make no sense. Exit code 2.
    Usage(String),
    /// The machine lacks a tool or library. Exit code 3.
    Missing(String),
    /// Something that was asked for ran and failed. Exit code 1.
    Failed(String),
}

impl Error {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::Missing(message.into())
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Missing(_) => 3,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(message) | Self::Missing(message) | Self::Failed(message)) = self;
        f.write_str(message)
    }
}

impl std::error::Error for Error {}

/// Turns an I/O error into a failure that names what was being done to what.
pub(crate) trait Context<T> {
    /// `doing` completes the sentence "cannot …".
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::failed(format!("cannot {doing}: {error}")))
    }
}
