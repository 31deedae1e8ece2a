//! What takes part in `coherence`.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::Outcome;

/// Names a value.
pub(crate) type Key = u64;

/// Reads a value from where it really is.
pub(crate) type Load = BoxFuture<'static, Result<Bytes, LoadFailed>>;

/// The loader gave no value.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the loader gave no value")]
pub(crate) struct LoadFailed;

/// An operation that a cache has, or lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Support {
    Done,
    NoSuchOperation,
}

/// A cache that loads what it lacks. What it does not offer it leaves to the default.
pub(crate) trait Cache: Sized {
    /// Its column in the table.
    const NAME: &'static str;

    /// Empty, with room for everything a case puts in.
    fn new() -> Self;
    /// What is kept under the key; nothing is loaded.
    async fn get(&self, key: Key) -> Option<Bytes>;
    /// Returns when the value is the one to be read from now on.
    async fn insert(&self, key: Key, value: Bytes);
    /// Returns when the key has no value any more.
    async fn remove(&self, key: Key);
    /// What is kept, or else what the loader gives, which is kept then.
    async fn get_or_load(&self, key: Key, load: Load) -> Result<Bytes, LoadFailed>;

    /// Removes everything.
    async fn clear(&self) -> Support {
        Support::NoSuchOperation
    }
    /// Removes everything in the namespace of all keys.
    async fn clear_namespace(&self) -> Support {
        Support::NoSuchOperation
    }
    /// Removes what bears the tag of this key.
    async fn remove_tag_of(&self, _key: Key) -> Support {
        Support::NoSuchOperation
    }
    /// Writes the value to the slow tier, reads it, and holds its promotion to memory from then on.
    ///
    /// # Errors
    ///
    /// There is no promotion to be held.
    async fn hold_promotion(&self, _key: Key, _value: Bytes) -> Outcome<Support> {
        Ok(Support::NoSuchOperation)
    }
    /// Lets the held promotion go on, and returns when it has ended.
    ///
    /// # Errors
    ///
    /// It has been dropped.
    async fn end_promotion(&self) -> Outcome<()> {
        Ok(())
    }
}
