//! Bodies that have a row of their own, kept in memory between enqueue and lease.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use millpond_blob_cache::{Admission, Blob, Index, IndexOptions, Key, Lookup, Miss, Ticket};
use millpond_types::limits::INLINE_BODY_BYTES_MAX;
use millpond_types::{EntryId, PayloadKey, UnixMillis};

pub use millpond_blob_cache::IndexStats as PayloadStats;

use crate::command::{Accepted, NewEntry};

/// Bytes for which it is remembered that one body was asked for.
const BYTES_PER_GHOST: usize = INLINE_BODY_BYTES_MAX;

/// A body has no time of its own, so no clock is asked.
const NO_TIME: UnixMillis = UnixMillis(0);

/// The payload cache of an engine: its partitions have clones of one, and share its bytes.
///
/// What is enqueued goes through it, so that a lease soon after need not read the body again; what is acknowledged
/// leaves it. The row of an entry is read in any case and says whether the entry is still there, so nothing that
/// is gone is ever delivered. A body that is not in memory is read from storage, and kept only if that
/// happens a second time: most are read once.
///
/// A body of up to 1,024 bytes is in the row of its entry and never here.
#[derive(Clone)]
pub struct Payloads(Option<Index>);

/// What it has counted, and not what it holds.
impl fmt::Debug for Payloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Payloads").field(&self.stats()).finish()
    }
}

impl Default for Payloads {
    /// 32 MiB.
    fn default() -> Self {
        Self::new(Self::BYTES_DEFAULT)
    }
}

impl Payloads {
    /// What [`default`](Self::default) holds, in bytes.
    pub const BYTES_DEFAULT: usize = 32 << 20;

    /// One that holds at most so many bytes, with some 200 for each body. With 0 it holds nothing.
    pub fn new(bytes_max: usize) -> Self {
        let hash_seed = RandomState::new().hash_one(0);
        let ghosts_max = (bytes_max / BYTES_PER_GHOST).min(IndexOptions::default().ghosts_max);
        let options = IndexOptions {
            bytes_max,
            ghosts_max,
            // No body is popular: one that is read again was given back, and will be read soon or never.
            admission: Admission::SecondHit,
            hash_seed,
            ..IndexOptions::default()
        };
        Self((bytes_max > 0).then(|| Index::new(options).expect("bytes are all that may be zero")))
    }

    /// What was counted so far; nothing where it holds nothing.
    pub fn stats(&self) -> PayloadStats {
        self.0.as_ref().map(Index::stats).unwrap_or_default()
    }

    /// For a partition that was just opened.
    pub(crate) fn of_partition(&self) -> PartitionPayloads {
        static N_OPENED: AtomicU64 = AtomicU64::new(0);
        // Ids come again: in other engines, and after a crash those of entries that it took back. Relaxed: a number.
        let opened = N_OPENED.fetch_add(1, Ordering::Relaxed);
        PartitionPayloads { index: self.0.clone(), namespace: opened.to_string() }
    }
}

/// The part of one partition, as long as it is open.
pub(crate) struct PartitionPayloads {
    index: Option<Index>,
    namespace: String,
}

/// What was found of a body.
#[derive(Debug)]
pub(crate) enum Found {
    Body(Bytes),
    /// Nothing. What is read from storage is to be kept if there is a ticket for it.
    Nothing(Option<Ticket>),
}

/// Bodies on their way to storage, with their places among the entries of a call.
#[derive(Debug)]
pub(crate) struct OnTheirWay(Vec<(usize, Bytes)>);

impl PartitionPayloads {
    /// Those of the entries that have rows of their own.
    pub(crate) fn bodies(&self, entries: &[NewEntry]) -> OnTheirWay {
        let is_separate = |entry: &NewEntry| entry.body.len() > INLINE_BODY_BYTES_MAX;
        let entries = entries.iter().enumerate().filter(|_| self.index.is_some());
        let separate = entries.filter(|(_, entry)| is_separate(entry));
        OnTheirWay(separate.map(|(at, entry)| (at, entry.body.clone())).collect())
    }

    /// The entries were accepted.
    pub(crate) fn written(&self, bodies: OnTheirWay, accepted: &[Accepted]) {
        let Some(index) = &self.index else { return };
        for (at, body) in bodies.0 {
            if let Some(Accepted::New(id)) = accepted.get(at) {
                let _ = index.put(self.key(&place(*id)), Blob::new(body), NO_TIME);
            }
        }
    }

    /// The entry is gone.
    pub(crate) fn remove(&self, id: EntryId) {
        if let Some(index) = &self.index {
            index.remove(self.key(&place(id)));
        }
    }

    pub(crate) fn find(&self, id: EntryId) -> Found {
        let Some(index) = &self.index else { return Found::Nothing(None) };
        match index.lookup(self.key(&place(id)), NO_TIME) {
            Lookup::Hit(blob) => Found::Body(blob.value),
            Lookup::Miss(Miss::Promote(ticket)) => Found::Nothing(Some(ticket)),
            Lookup::Miss(Miss::NotYet) => Found::Nothing(None),
        }
    }

    fn key<'a>(&'a self, place: &'a [u8]) -> Key<'a> {
        Key::new(&self.namespace, place).expect("a number and 24 bytes")
    }
}

/// Keeps what was read from storage.
pub(crate) fn keep(ticket: Ticket, body: Bytes) {
    let _ = ticket.commit(Blob::new(body), NO_TIME);
}

fn place(id: EntryId) -> [u8; 24] {
    PayloadKey { queue: id.queue, sequence: id.rank.sequence }.encode()
}
