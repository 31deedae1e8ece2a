//! What an error means for the caller, in one small list that every layer shares.

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong in itself; sending it again changes nothing.
    InvalidInput,
    /// What was named does not exist.
    NotFound,
    /// The lease has ended: expired, settled, or taken over. The work may be done by somebody else.
    StaleLease,
    /// A bound was reached; try again later.
    Full,
    /// A passing failure; the same call may succeed.
    Retry,
    /// Somebody else owns the data now. Terminal: drop every cache and handle.
    Fenced,
    /// Stored bytes do not mean what they should.
    Corrupt,
    /// The engine, or the partition concerned, has stopped; reopen it.
    Closed,
    /// The data directory belongs to another process.
    AlreadyOpen,
    /// The on-disk format is unknown, or newer than this build.
    Format,
    /// No space is left for the data.
    NoSpace,
    /// The operating system refused (permissions, read-only file system, a failing disk).
    Io,
}

impl ErrorKind {
    /// A stable lower-case name for labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::StaleLease => "stale_lease",
            Self::Full => "full",
            Self::Retry => "retry",
            Self::Fenced => "fenced",
            Self::Corrupt => "corrupt",
            Self::Closed => "closed",
            Self::AlreadyOpen => "already_open",
            Self::Format => "format",
            Self::NoSpace => "no_space",
            Self::Io => "io",
        }
    }
}

/// Something was larger than its documented limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {actual} {unit}, the limit is {limit} {unit}")]
pub struct LimitExceeded {
    /// What was too large.
    pub what: &'static str,
    /// How large it was.
    pub actual: u64,
    /// The limit.
    pub limit: u64,
    /// The unit of both numbers.
    pub unit: &'static str,
}

impl LimitExceeded {
    /// Passes when `actual` is within `limit`.
    ///
    /// # Errors
    ///
    /// The error names the limit.
    pub fn check(
        what: &'static str,
        actual: usize,
        limit: usize,
        unit: &'static str,
    ) -> Result<(), Self> {
        if actual <= limit {
            return Ok(());
        }
        Err(Self { what, actual: actual as u64, limit: limit as u64, unit })
    }
}
