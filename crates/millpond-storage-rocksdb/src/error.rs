//! RocksDB's errors, by what the caller must do about them.

use millpond_storage_api::{OpenError, StoreError, StoreErrorKind};
use rocksdb::ErrorKind;

/// What a failed read means.
pub(crate) fn read_error(error: &rocksdb::Error) -> StoreError {
    StoreError::new(kind_of(error), error.to_string())
}

/// What a failed commit means. Nothing that RocksDB says about a write may be tried again in place: part
/// of the group may be in its log, so only a reopen can tell.
pub(crate) fn commit_error(error: &rocksdb::Error) -> StoreError {
    let kind = match kind_of(error) {
        StoreErrorKind::WouldBlock | StoreErrorKind::Retry => StoreErrorKind::Io,
        kind => kind,
    };
    StoreError::new(kind, error.to_string())
}

/// The error of everything that comes after a close.
pub(crate) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "the store is closed")
}

pub(crate) fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, what.to_string())
}

/// What a failed open means.
pub(crate) fn open_error(path: &str, error: &rocksdb::Error) -> OpenError {
    let path = path.to_owned();
    let why = error.to_string();
    if lock_is_held(&why) {
        return OpenError::AlreadyOpen { path };
    }
    match error.kind() {
        ErrorKind::Corruption => OpenError::Corrupt { path, why },
        ErrorKind::InvalidArgument if why.contains("create_if_missing is false") => {
            OpenError::NotFound { path }
        }
        ErrorKind::InvalidArgument | ErrorKind::NotSupported => {
            OpenError::UnknownFormat { path, why }
        }
        _ if is_no_space(&why) => OpenError::NoSpace { path, why },
        _ => OpenError::Io { path, why },
    }
}

/// What an error of the file system means while opening.
pub(crate) fn open_io_error(path: &str, error: &std::io::Error) -> OpenError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error.kind() {
        std::io::ErrorKind::NotFound => OpenError::NotFound { path },
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            OpenError::NoSpace { path, why }
        }
        _ => OpenError::Io { path, why },
    }
}

/// An open that failed while reading or writing the first rows.
pub(crate) fn open_store_error(path: &str, error: &StoreError) -> OpenError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error.kind() {
        StoreErrorKind::Corrupt => OpenError::Corrupt { path, why },
        StoreErrorKind::NoSpace => OpenError::NoSpace { path, why },
        _ => OpenError::Io { path, why },
    }
}

fn kind_of(error: &rocksdb::Error) -> StoreErrorKind {
    match error.kind() {
        // Both "not in the cache" and "too many keys skipped".
        ErrorKind::Incomplete => StoreErrorKind::WouldBlock,
        ErrorKind::Corruption => StoreErrorKind::Corrupt,
        ErrorKind::Busy | ErrorKind::TryAgain | ErrorKind::TimedOut => StoreErrorKind::Retry,
        ErrorKind::ShutdownInProgress => StoreErrorKind::Closed,
        _ if is_no_space(error.as_ref()) => StoreErrorKind::NoSpace,
        _ => StoreErrorKind::Io,
    }
}

/// The C interface passes on a text only, so the text decides.
fn is_no_space(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "File too large"]
        .iter()
        .any(|sign| text.contains(sign))
}

fn lock_is_held(text: &str) -> bool {
    text.contains("LOCK")
        && (text.contains("lock hold by current process")
            || text.contains("Resource temporarily unavailable"))
}
