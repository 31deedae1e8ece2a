//! Topic names and queue keys: validated once, at the border.

use std::sync::Arc;

use bytes::Bytes;

use crate::limits::{QUEUE_KEY_BYTES_MAX, TOPIC_BYTES_MAX};

/// Why a topic name or a queue key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// It has no bytes.
    #[error("a {what} must not be empty")]
    Empty {
        /// "topic name", "queue key" or "prefix".
        what: &'static str,
    },
    /// It has too many bytes.
    #[error(transparent)]
    TooLong(#[from] crate::LimitExceeded),
}

fn check(what: &'static str, n_bytes: usize, limit: usize) -> Result<(), InvalidName> {
    if n_bytes == 0 {
        return Err(InvalidName::Empty { what });
    }
    Ok(crate::LimitExceeded::check(what, n_bytes, limit, "bytes")?)
}

/// The name of a topic: 1 to 255 bytes of UTF-8. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks and keeps a name.
    ///
    /// # Errors
    ///
    /// The name is empty or longer than [`TOPIC_BYTES_MAX`].
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check("topic name", name.len(), TOPIC_BYTES_MAX)?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for TopicName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of a queue inside its topic: 1 to 1,024 arbitrary bytes. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueKey(Bytes);

impl QueueKey {
    /// Checks and keeps a key.
    ///
    /// # Errors
    ///
    /// The key is empty or longer than [`QUEUE_KEY_BYTES_MAX`].
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, InvalidName> {
        Self::checked("queue key", key.as_ref())
    }

    /// As [`new`](Self::new), for that with which keys begin.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), in the name of a prefix.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Result<Self, InvalidName> {
        Self::checked("prefix", prefix.as_ref())
    }

    fn checked(what: &'static str, bytes: &[u8]) -> Result<Self, InvalidName> {
        check(what, bytes.len(), QUEUE_KEY_BYTES_MAX)?;
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Keys compare as their bytes do.
impl std::borrow::Borrow<[u8]> for QueueKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Readable text where the key is UTF-8, escaped bytes where it is not.
impl std::fmt::Display for QueueKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}
