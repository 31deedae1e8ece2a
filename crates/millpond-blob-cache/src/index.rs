//! The memory tier: one state machine per key, under the lock of its shard.

mod admission;
mod budget;
mod core;
mod shard;
mod sieve;
mod slot;
mod stats;
mod ticket;
mod window;

use millpond_sync::Arc;
use millpond_types::UnixMillis;

use crate::generations::Scope;
use crate::rules::Rules;
use crate::{Blob, Key, OptionsError};

use admission::SIGHTINGS_MIN;

pub(crate) use self::core::{Arrival, Core};
pub use admission::Admission;
#[cfg(test)]
pub(crate) use slot::slot_bytes;
pub use stats::IndexStats;
pub(crate) use ticket::WriteTicket;
pub use ticket::{Committed, Ticket};

/// What an entry is counted for besides its key, its value and its metadata, in bytes: slot, links, hash table,
/// and the allocation of the key.
pub const ENTRY_OVERHEAD_BYTES: usize = 208;
/// Most shards.
pub const SHARDS_MAX: usize = 1024;
/// Most ghosts of one index.
pub const GHOSTS_MAX: usize = 1 << 28;

/// How large an [`Index`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexOptions {
    /// Bound on the bytes of all residents together, with keys and [`ENTRY_OVERHEAD_BYTES`] each.
    pub bytes_max: usize,
    /// Locks over which the keys are spread; rounded up to a power of two. The bytes are common to all.
    pub n_shards: usize,
    /// For how many keys it is remembered that they were asked for. A value becomes resident when its key is asked
    /// for again within this window; with 0, never by a miss. 9 to 27 bytes each. Twice as many keys as values fit
    /// serve best: see [`for_values`](Self::for_values).
    pub ghosts_max: usize,
    /// How often a key has to be asked for within the window.
    pub admission: Admission,
    /// Seed of the hashes. The same calls on an index with the same seed give the same history; take a random one
    /// where strangers choose the keys.
    pub hash_seed: u64,
}

impl Default for IndexOptions {
    /// 64 MiB in 16 shards, with a window of 65,536 keys.
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            n_shards: 16,
            ghosts_max: 1 << 16,
            admission: Admission::default(),
            hash_seed: 0,
        }
    }
}

impl IndexOptions {
    /// For values of which the mean length is known, in bytes: the window has twice as many keys as there is room for
    /// such values in `bytes_max`, which serves best. Everything else is the default.
    ///
    /// ```
    /// use millpond_blob_cache::IndexOptions;
    ///
    /// assert_eq!(IndexOptions::for_values(100 << 20, 10_000).ghosts_max, 20_544);
    /// ```
    pub fn for_values(bytes_max: usize, value_bytes: usize) -> Self {
        let n_fitting = bytes_max / value_bytes.saturating_add(ENTRY_OVERHEAD_BYTES);
        let ghosts_max = n_fitting.saturating_mul(2).min(GHOSTS_MAX);
        Self { bytes_max, ghosts_max, ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let positive = |what, value: usize| match value {
            0 => Err(OptionsError::Zero { what }),
            _ => Ok(()),
        };
        positive("bytes_max", self.bytes_max)?;
        positive("n_shards", self.n_shards)?;
        millpond_types::LimitExceeded::check("n_shards", self.n_shards, SHARDS_MAX, "shards")?;
        millpond_types::LimitExceeded::check("ghosts_max", self.ghosts_max, GHOSTS_MAX, "ghosts")?;
        Ok(())
    }
}

/// What a lookup found.
#[derive(Debug)]
#[must_use]
pub enum Lookup {
    /// The value.
    Hit(Blob),
    /// Nothing.
    Miss(Miss),
}

/// What to do about a miss. Read or load the value in either case.
#[derive(Debug)]
#[must_use]
pub enum Miss {
    /// And commit it with this ticket.
    Promote(Ticket),
    /// And leave it at that: the key was not asked for lately, somebody else has its ticket, or it is being written.
    NotYet,
}

/// A cache in memory, bounded by bytes, whose late commits are refused.
///
/// It reads nothing, has no clock and no thread. Clones are the same index.
///
/// ```
/// use bytes::Bytes;
/// use millpond_blob_cache::{Blob, Committed, Index, IndexOptions, Key, Lookup, Miss};
/// use millpond_types::UnixMillis;
///
/// let now = UnixMillis(0);
/// let index = Index::new(IndexOptions::default())?;
/// let key = Key::new("thumbnails", b"photo-7")?;
///
/// // Asked for the first time, it is not worth keeping. The second time it is.
/// let Lookup::Miss(Miss::NotYet) = index.lookup(key, now) else { panic!() };
/// let Lookup::Miss(Miss::Promote(ticket)) = index.lookup(key, now) else { panic!() };
///
/// // While the old value is being read, a new one is put: the old one comes too late.
/// index.put(key, Blob::new("new"), now);
/// assert_eq!(ticket.commit(Blob::new("old"), now), Committed::AlreadyResident);
/// let Lookup::Hit(blob) = index.lookup(key, now) else { panic!() };
/// assert_eq!(blob.value, "new");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Index {
    pub(crate) core: Arc<Core>,
}

impl Index {
    /// An empty index.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] if an option is zero that must not be, or exceeds its limit.
    pub fn new(options: IndexOptions) -> Result<Self, OptionsError> {
        Self::with_rules(options, Rules::SHIPPED)
    }

    pub(crate) fn with_rules(options: IndexOptions, rules: Rules) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self { core: Arc::new(Core::new(options, rules)) })
    }

    /// The value of `key`, or what to do about it.
    pub fn lookup(&self, key: Key<'_>, now: UnixMillis) -> Lookup {
        Core::lookup(&self.core, key, now)
    }

    /// Replaces the value. Every ticket for the key that is out is stale from now on.
    ///
    /// A value for which there is no room leaves the key without one: `TooLarge` or `NoRoom`.
    pub fn put(&self, key: Key<'_>, blob: Blob, now: UnixMillis) -> Committed {
        self.core.put(key, blob, now)
    }

    /// Removes the value. Every ticket for the key that is out is stale from now on.
    pub fn remove(&self, key: Key<'_>) {
        self.core.clear(key);
    }

    /// Makes everything in `scope` a miss, and every ticket for it stale. Nothing is walked: memory comes back as the
    /// values are asked for or evicted.
    ///
    /// Remembers every name that it is given, until everything is invalidated.
    pub fn invalidate(&self, scope: Scope<'_>) {
        let generations = &self.core.generations;
        generations.publish(scope, generations.allocate());
    }

    /// What was counted so far.
    pub fn stats(&self) -> IndexStats {
        self.core.stats()
    }
}
