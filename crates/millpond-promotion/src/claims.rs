//! What an accepted request holds until it has ended: the lane of its key and its bytes.

use millpond_sync::atomic::{AtomicUsize, Ordering};

use crate::keys::{Keys, Mark, NoLane};
use crate::outcome::Rejection;
use crate::rules::{Mutation, Rules};

/// The keys and bytes of all requests of a pool.
#[derive(Debug)]
pub(crate) struct Claims {
    keys: Keys,
    bytes: Bytes,
}

/// One request's claim. Whatever way it goes, unwinding included, lane and bytes come back when it is dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    /// `None` once it is stored.
    held: Option<Stored>,
}

/// A claim that waits with its request in the ring, where nothing can unwind. [`Claims::resume`] makes it one
/// again that comes back by itself.
#[derive(Debug)]
pub(crate) struct Stored {
    mark: Mark,
    n_bytes: usize,
}

impl Claims {
    pub(crate) fn new(n_keys: usize, bytes_max: usize, rules: Rules) -> Self {
        Self {
            keys: Keys::new(n_keys, rules),
            bytes: Bytes { n_taken: AtomicUsize::new(0), n_max: bytes_max, rules },
        }
    }

    /// All that a request needs, or nothing.
    pub(crate) fn claim(&self, key_hash: u64, n_bytes: usize) -> Result<Claim<'_>, Rejection> {
        let mark = self.keys.insert(key_hash).map_err(|no_lane| match no_lane {
            NoLane::Taken => Rejection::Duplicate,
            NoLane::Full => Rejection::Full,
        })?;
        if self.bytes.take(n_bytes) {
            return Ok(self.resume(Stored { mark, n_bytes }));
        }
        self.keys.remove(mark);
        Err(Rejection::Bytes)
    }

    /// Answers for a stored claim again.
    pub(crate) fn resume(&self, stored: Stored) -> Claim<'_> {
        Claim { claims: self, held: Some(stored) }
    }

    /// Bytes that are taken.
    pub(crate) fn n_bytes(&self) -> usize {
        self.bytes.n_taken.load(Ordering::Relaxed)
    }
}

impl Claim<'_> {
    pub(crate) fn store(mut self) -> Stored {
        self.held.take().expect("only this takes it, once")
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(Stored { mark, n_bytes }) = self.held.take() {
            self.claims.bytes.give_back(n_bytes);
            self.claims.keys.remove(mark);
        }
    }
}

/// A bounded number of bytes.
#[derive(Debug)]
struct Bytes {
    n_taken: AtomicUsize,
    n_max: usize,
    rules: Rules,
}

impl Bytes {
    /// Takes all of them or none. Never takes more than there are for a moment, which could refuse somebody else.
    fn take(&self, n_bytes: usize) -> bool {
        if self.rules.lacks(Mutation::BytesUnsummed) {
            self.n_taken.fetch_add(n_bytes, Ordering::Acquire);
            return n_bytes <= self.n_max;
        }
        let taken = |n: usize| n.checked_add(n_bytes).filter(|sum| *sum <= self.n_max);
        // Acquire pairs with the release in `give_back`: memory that was given up is gone.
        self.n_taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, taken).is_ok()
    }

    fn give_back(&self, n_bytes: usize) {
        self.n_taken.fetch_sub(n_bytes, Ordering::Release);
    }
}
