//! What users put in.

use bytes::Bytes;
use millpond_partition::{NewEntry, Start};
use millpond_types::{Body, Priority};

use crate::Error;

/// One unit of work to be enqueued.
///
/// ```
/// use millpond::Entry;
///
/// let entry = Entry::new("payload").priority(3).header("content-type", "text/plain");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Entry {
    body: Body,
    priority: Priority,
}

impl Entry {
    /// An entry of middle priority (128) without headers.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        let body = Body { payload: payload.into(), ..Body::default() };
        Self { body, priority: Priority::default() }
    }

    /// How urgent it is: 0 is served first, 255 last.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Priority(priority);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.body.headers.push(name, value);
        self
    }

    /// Checks the limits and encodes.
    pub(crate) fn into_new(self) -> Result<NewEntry, Error> {
        self.body.check()?;
        Ok(NewEntry { priority: self.priority, body: self.body.encode(), start: Start::Now })
    }
}
