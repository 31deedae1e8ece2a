//! How a command ends: a stable exit code and one sentence.

use millpond::ErrorKind;

/// Why a command did not succeed. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It did what it should, and found that something is wrong.
    Problem = 1,
    /// The arguments, or what they name, cannot be right.
    Usage = 2,
    NotFound = 3,
    AlreadyOpen = 4,
    Format = 5,
    NoSpace = 6,
    Io = 7,
    Corrupt = 8,
    /// The engine stopped or did not answer; the same command may succeed later.
    Stopped = 9,
    /// A job log is not one.
    BadLog = 10,
    /// The user was asked whether to go on, and did not want to.
    Declined = 11,
    /// There is as much as there may be.
    Full = 12,
    Interrupted = 130,
    Terminated = 143,
}

/// The table of exit codes, for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done, and nothing is wrong
  1    done, and something is wrong: a broken promise, a failed check
  2    arguments that cannot be right
  3    there is no engine, no file, or no dead letter at that place
  4    another process has the engine open
  5    the data has an unknown or newer format
  6    no space is left
  7    the operating system refused (permissions, read-only file system, failing disk)
  8    stored bytes do not mean what they should
  9    the engine stopped or does not answer; try again
  10   the job log is damaged
  11   you were asked and said no; nothing was changed
  12   there are as many rules as there may be
  130  interrupted by Ctrl-C, after closing cleanly
  143  terminated, after closing cleanly";

impl Exit {
    const ALL: [Self; 14] = [
        Self::Problem,
        Self::Usage,
        Self::NotFound,
        Self::AlreadyOpen,
        Self::Format,
        Self::NoSpace,
        Self::Io,
        Self::Corrupt,
        Self::Stopped,
        Self::BadLog,
        Self::Declined,
        Self::Full,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The exit with this code, of a process of ours.
    pub(crate) fn from_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Self::Stopped)
    }

    fn from_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidInput => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::AlreadyOpen => Self::AlreadyOpen,
            ErrorKind::Format => Self::Format,
            ErrorKind::NoSpace => Self::NoSpace,
            ErrorKind::Io => Self::Io,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::Full => Self::Full,
            _ => Self::Stopped,
        }
    }
}

/// A command that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One sentence. Empty if everything was said already.
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    /// An exit code whose reason the output has shown.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// Says what could not be done with a file or pipe.
    pub(crate) fn io(doing: &str, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Exit::NoSpace,
            _ => Exit::Io,
        };
        Self::new(exit, format!("cannot {doing}: {error}"))
    }
}

impl From<millpond::Error> for Failure {
    fn from(error: millpond::Error) -> Self {
        Self::new(Exit::from_kind(error.kind()), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_documented_once() {
        for exit in Exit::ALL {
            let code = format!("\n  {:<5}", exit as u8);
            assert_eq!(EXIT_CODES.matches(&code).count(), 1, "{exit:?}");
            assert_eq!(Exit::from_code(exit as u8), exit);
        }
    }

    #[test]
    fn the_kind_of_an_io_error_decides_its_code() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Failure::io("write", &full).exit, Exit::NoSpace);
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!(Failure::io("read", &missing).exit, Exit::NotFound);
    }
}
