//! What users put in.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use millpond_partition::{Clock, NewEntry, Start};
use millpond_types::limits::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, DEDUP_KEY_BYTES_MAX};
use millpond_types::{Body, LimitExceeded, Priority, ms_rounded_up};

use crate::Error;
use crate::time::{check_delay, unix_ms_rounded_up};

/// One unit of work to be enqueued.
///
/// ```
/// use std::time::Duration;
///
/// use millpond::Entry;
///
/// let entry = Entry::new("payload").priority(3).header("content-type", "text/plain");
/// let reminder = Entry::new("call back").delay(Duration::from_secs(600));
/// let retried = Entry::new("invoice 17").once("invoice-17");
/// # let _ = (entry, reminder, retried);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Entry {
    body: Body,
    priority: Priority,
    start: Start,
    once: Option<Bytes>,
}

impl Entry {
    /// An entry of middle priority (128) without headers, ready as soon as it is accepted.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        let body = Body { payload: payload.into(), ..Body::default() };
        Self { body, ..Self::default() }
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

    /// Makes it ready only so long after it was accepted, never earlier; until then it is in nobody's way.
    /// Zero is at once; parts of a millisecond count as a whole one; 3,650 days is the most. Replaces what
    /// [`run_at`](Self::run_at) said.
    ///
    /// The engine measures delays by a clock of its own, which no step of the wall clock moves and which stands
    /// still while the machine is suspended. What a restart finds of a delay is measured by the wall clock.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.start = Start::After(ms_rounded_up(delay));
        self
    }

    /// Makes it ready only when the wall clock shows this time, never earlier; until then it is in nobody's
    /// way. A time that is past, before 1970 even, is at once; 3,650 days ahead is the most. Replaces what
    /// [`delay`](Self::delay) said.
    ///
    /// If the wall clock is set meanwhile, the entry follows it, a second later at most.
    #[must_use]
    pub fn run_at(mut self, time: SystemTime) -> Self {
        self.start = Start::At(unix_ms_rounded_up(time));
        self
    }

    /// Makes its queue accept it once: while the queue remembers the key, another entry with the same key is not
    /// accepted, and its receipt names the one that was. So a producer that lost a receipt sends the entry
    /// again and changes nothing.
    ///
    /// A key has 1 to 1,024 bytes. It is remembered for the queue's
    /// window, five minutes where no rule says otherwise: from the
    /// acceptance, by the partition's clock, over restarts, and whether or not the entry is still there.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), millpond::Error> {
    /// use millpond::{Accepted, Engine, Entry, Options};
    ///
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let engine = Engine::open(Options::new(directory.path())).await?;
    /// let queue = engine.topic("emails").queue("tenant-42");
    /// let first = queue.enqueue(Entry::new("hello").once("message-7")).await?.into_inner();
    /// let again = queue.enqueue(Entry::new("hello").once("message-7")).await?.into_inner();
    /// assert_eq!(again, Accepted::Duplicate { of: first.id() });
    /// # engine.close().await
    /// # }
    /// ```
    #[must_use]
    pub fn once(mut self, key: impl Into<Bytes>) -> Self {
        self.once = Some(key.into());
        self
    }

    /// Checks the limits of a batch and encodes its entries.
    pub(crate) fn into_batch(entries: Vec<Self>) -> Result<Vec<NewEntry>, Error> {
        if entries.is_empty() {
            return Err(Error::invalid("a batch needs at least one entry"));
        }
        LimitExceeded::check("batch", entries.len(), BATCH_ENTRIES_MAX, "entries")?;
        let entries: Vec<_> = entries.into_iter().map(Self::into_new).collect::<Result<_, _>>()?;
        let n_bytes = entries.iter().map(|entry| entry.body.len()).sum();
        LimitExceeded::check("batch", n_bytes, BATCH_BYTES_MAX, "bytes")?;
        Ok(entries)
    }

    /// Checks the limits and encodes.
    pub(crate) fn into_new(self) -> Result<NewEntry, Error> {
        self.body.check()?;
        let wait_ms = match self.start {
            Start::Now => 0,
            Start::After(ms) => ms,
            Start::At(time) => time.since(Clock::wall()),
        };
        check_delay("delay", wait_ms)?;
        let dedup = self.once;
        if let Some(key) = &dedup {
            if key.is_empty() {
                return Err(Error::invalid(
                    "a key by which an entry is accepted once needs at least 1 byte",
                ));
            }
            LimitExceeded::check("key of an entry", key.len(), DEDUP_KEY_BYTES_MAX, "bytes")?;
        }
        let body = self.body.encode();
        Ok(NewEntry { priority: self.priority, body, start: self.start, dedup })
    }
}
