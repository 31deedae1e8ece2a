//! A value and what is known about it.

use std::sync::Arc;

use bytes::Bytes;
use millpond_types::{LimitExceeded, UnixMillis, limits};

use crate::key::NAME_BYTES_MAX;

/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = limits::PAYLOAD_BYTES_MAX;
/// Most tags of one value.
pub const TAGS_MAX: usize = 16;
/// Largest metadata of one value, in bytes.
pub const METADATA_BYTES_MAX: usize = limits::HEADER_BYTES_MAX;

/// A value with its [`Meta`]. A clone costs two reference counts and copies no bytes.
///
/// A value that is a slice of a larger buffer keeps all of that buffer in memory, which the cache cannot
/// see and does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob {
    /// The bytes.
    pub value: Bytes,
    /// What is known about them.
    pub meta: Meta,
}

impl Blob {
    /// A value without metadata.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: value.into(), meta: Meta::default() }
    }

    /// A value with metadata.
    pub fn with_meta(value: impl Into<Bytes>, meta: Meta) -> Self {
        Self { value: value.into(), meta }
    }

    /// Bytes of the value and of its metadata.
    pub fn n_bytes(&self) -> usize {
        self.value.len() + self.meta.n_bytes()
    }

    pub(crate) fn check(&self) -> Result<(), LimitExceeded> {
        LimitExceeded::check("a value", self.value.len(), VALUE_BYTES_MAX, "bytes")
    }
}

/// When a value expires, its tags, and bytes of the caller's about it. Most values have none of it and pay
/// nothing.
///
/// ```
/// use millpond_blob_cache::Meta;
/// use millpond_types::UnixMillis;
///
/// let meta = Meta::new().expiring_at(UnixMillis(60_000)).tagged("user-7")?.described("image/png")?;
/// assert!(meta.is_expired(UnixMillis(60_000)));
/// assert_eq!(&*meta.tags()[0], "user-7");
/// # Ok::<(), millpond_types::LimitExceeded>(())
/// ```
// std's Arc: nothing in it changes, so there is nothing for a model to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta(Option<Arc<Inner>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Inner {
    expires_at: Option<UnixMillis>,
    tags: Vec<Box<str>>,
    metadata: Bytes,
}

impl Meta {
    /// Never expires, no tags, no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// The value is a miss from this time on.
    #[must_use]
    pub fn expiring_at(mut self, at: UnixMillis) -> Self {
        self.inner().expires_at = Some(at);
        self
    }

    /// Adds a tag; once is enough.
    ///
    /// # Errors
    ///
    /// A tag of more than [`NAME_BYTES_MAX`] bytes, or more than [`TAGS_MAX`] of them.
    pub fn tagged(mut self, tag: &str) -> Result<Self, LimitExceeded> {
        LimitExceeded::check("a tag", tag.len(), NAME_BYTES_MAX, "bytes")?;
        if !self.tags().iter().any(|known| **known == *tag) {
            LimitExceeded::check("the tags", self.tags().len() + 1, TAGS_MAX, "tags")?;
            self.inner().tags.push(tag.into());
        }
        Ok(self)
    }

    /// Sets the caller's bytes.
    ///
    /// # Errors
    ///
    /// More than [`METADATA_BYTES_MAX`].
    pub fn described(mut self, metadata: impl Into<Bytes>) -> Result<Self, LimitExceeded> {
        let metadata = metadata.into();
        LimitExceeded::check("the metadata", metadata.len(), METADATA_BYTES_MAX, "bytes")?;
        self.inner().metadata = metadata;
        Ok(self)
    }

    /// From when on the value is a miss.
    pub fn expires_at(&self) -> Option<UnixMillis> {
        self.0.as_ref()?.expires_at
    }

    /// Whether the value is a miss at `now`.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.expires_at().is_some_and(|at| at.0 <= now.0)
    }

    /// The tags, in the order in which they were added.
    pub fn tags(&self) -> &[Box<str>] {
        self.0.as_ref().map_or(&[], |inner| &inner.tags)
    }

    /// The caller's bytes; empty where none were given.
    pub fn metadata(&self) -> Bytes {
        self.0.as_ref().map(|inner| inner.metadata.clone()).unwrap_or_default()
    }

    /// What it takes in memory, in bytes.
    fn n_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| {
            let tags = inner.tags.iter().map(|tag| tag.len() + size_of::<Box<str>>());
            size_of::<Inner>() + tags.sum::<usize>() + inner.metadata.len()
        })
    }
}
