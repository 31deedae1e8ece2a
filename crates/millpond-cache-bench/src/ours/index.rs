//! The memory tier of the payload cache. What is read is installed if the miss gave a ticket for it.

use bytes::Bytes;
use millpond_blob_cache::{
    Admission, Blob, Committed, ENTRY_OVERHEAD_BYTES, Index, IndexOptions, Key as Name, Lookup,
    Miss, Ticket,
};
use millpond_types::UnixMillis;

use crate::cache::Key;
use crate::hit_ratio::{MEAN_VALUE_BYTES, Policy};

/// Nothing expires.
const NOW: UnixMillis = UnixMillis(0);
/// What it counts for an entry that no other cache does: its own share, and the length of the namespace.
const EXTRA_BYTES: usize = ENTRY_OVERHEAD_BYTES + 1;

pub(crate) struct Ours {
    index: Index,
    /// Of the last miss.
    ticket: Option<Ticket>,
}

impl Ours {
    /// As it comes, but for the bytes: it counts more for an entry than the key and the value, and gets that much
    /// more. A tenth less, in fact, lest the residents are fewer and longer than is to be expected: that would be
    /// more bytes of values than others have.
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        Self::with(capacity_bytes, IndexOptions::default())
    }

    /// Told how long values are: it remembers twice as many keys as it holds, instead of as many in a small cache as
    /// in a large one.
    pub(crate) fn with_narrow_window(capacity_bytes: usize) -> Self {
        Self::with(capacity_bytes, IndexOptions::for_values(capacity_bytes, MEAN_VALUE_BYTES))
    }

    /// The same, but a large value is installed as soon as a small one.
    pub(crate) fn with_second_hit(capacity_bytes: usize) -> Self {
        let options = IndexOptions::for_values(capacity_bytes, MEAN_VALUE_BYTES);
        Self::with(capacity_bytes, IndexOptions { admission: Admission::SecondHit, ..options })
    }

    fn with(capacity_bytes: usize, options: IndexOptions) -> Self {
        let n_expected = capacity_bytes / MEAN_VALUE_BYTES;
        let bytes_max = capacity_bytes + n_expected * EXTRA_BYTES * 9 / 10;
        let index = Index::new(IndexOptions { bytes_max, ..options });
        Self { index: index.expect("the options are not zero"), ticket: None }
    }
}

impl Policy for Ours {
    fn get(&mut self, key: Key) -> Option<Bytes> {
        let id = key.to_be_bytes();
        match self.index.lookup(name(&id), NOW) {
            Lookup::Hit(blob) => Some(blob.value),
            Lookup::Miss(Miss::Promote(ticket)) => {
                self.ticket = Some(ticket);
                None
            }
            Lookup::Miss(Miss::NotYet) => None,
        }
    }

    fn insert(&mut self, key: Key, value: Bytes) {
        let _ = self.index.put(name(&key.to_be_bytes()), Blob::new(value), NOW);
    }

    fn remove(&mut self, key: Key) {
        self.index.remove(name(&key.to_be_bytes()));
    }

    fn held_bytes(&mut self) -> usize {
        let stats = self.index.stats();
        stats.bytes - stats.n_entries * EXTRA_BYTES
    }

    fn offer(&mut self, _key: Key, value: Bytes) -> Option<bool> {
        let ticket = self.ticket.take();
        Some(
            ticket
                .is_some_and(|ticket| ticket.commit(Blob::new(value), NOW) == Committed::Installed),
        )
    }
}

fn name(id: &[u8]) -> Name<'_> {
    Name::new("", id).expect("a number is no long id")
}
