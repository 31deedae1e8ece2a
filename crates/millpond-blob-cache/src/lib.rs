//! A payload cache of two tiers, memory over a store, whose promotions never bring back what was overwritten, removed
//! or invalidated. It has no runtime, no clock and no threads but those of its pool, and it shares its rows with
//! nobody.
//!
//! ```
//! use std::sync::Arc;
//!
//! use millpond_blob_cache::{Blob, BlobCache, CacheOptions, Key};
//! use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
//! use millpond_sync::thread::block_on;
//! use millpond_types::UnixMillis;
//!
//! let store = Arc::new(MemoryStore::open(&MemoryDisk::new(), MemoryOptions::default())?);
//! let cache = block_on(BlobCache::open(store, CacheOptions::default()))?;
//! let (key, now) = (Key::new("mails", b"42")?, UnixMillis(0));
//! block_on(cache.put(key, Blob::new("Dear sir"), now))?;
//! assert_eq!(block_on(cache.get(key, now))?.expect("it was put").value, "Dear sir");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Two layers
//!
//! [`Index`] is the memory tier: lookups, tickets, puts, removals, invalidations. It does no I/O and can be used alone.
//! [`BlobCache`] puts it over a table of a store.
//!
//! # How a key lives
//!
//! ```text
//! vacant ─ miss ─▶ seen ─ miss ─▶ pending(ticket) ─ commit ─▶ resident
//!                   ▲                │ dropped, too seldom       │ evicted, expired, invalidated
//!                   └────────────────┘                           ▼
//! any ── put, removal ─▶ writing ── all commits have ended ─▶ resident, or vacant
//! ```
//!
//! What is *seen* is a hash in a bounded window, with the number of its sightings; the other states have a slot, whose
//! version changes with its state. A ticket is good for one version. All of it is under the lock of the key's shard.
//!
//! 1. **Tickets.** A key has at most one. A commit succeeds only while its ticket is in the slot; so single flight, no
//!    double work and no late installs are one rule. A dropped ticket leaves the key seen: the next miss schedules. So does
//!    one whose value was asked for too seldom for its size, and what was counted is kept: see [`Admission`].
//! 2. **Stamps.** Each invalidation has a number. A ticket and a row know the last number that was in force before they
//!    were made; what was invalidated by a higher one is a miss wherever it lies. Nothing is walked.
//! 3. **Bytes.** They are reserved before something is installed and released when it has left, for all shards
//!    together; their sum never exceeds the bound, with keys and overhead.
//! 4. **Writes.** From the start of a put or removal to the end of its commit, its key is not in memory, gives no
//!    ticket and shares no read: each reader asks the store, which never goes back. Writers of a key are submitted
//!    in the order in which the index knows them; the last to begin is installed if it is the last to end, and none
//!    has failed or was given up. So memory and store have the same winner, or memory has none.
//! 5. **Flights.** Those who miss a key share one read. It is in the slot: who finds it there knows that the key was not
//!    replaced since it began. What is loaded, and the deletion of a row that is out of date, are written only if the
//!    ticket is still there.
//! 6. **Locks.** No lock is held across an `await`, and no waker is called under one but by the store in `submit`,
//!    which therefore must not run other calls of the cache.
//!
//! # Limits
//!
//! * While a key is written its readers go to the store.
//! * A value larger than the memory tier is never resident; one that is nearly as large displaces everybody once it is
//!   asked for often enough.
//! * What was invalidated leaves memory as it is asked for or evicted, and the store as it is read.
//! * Every namespace and tag that was invalidated is remembered in memory until everything is; see
//!   [`CacheOptions::names_max`].
//! * A row that was damaged is an error until its key is put or removed.

mod blob;
mod cache;
mod error;
mod generations;
mod index;
mod key;
mod row;
mod rules;

pub use blob::{Blob, METADATA_BYTES_MAX, Meta, TAGS_MAX, VALUE_BYTES_MAX};
pub use cache::{BlobCache, CacheOptions, CacheStats, InlineStats, Promotion};
pub use error::{CacheError, OpenError, OptionsError};
pub use generations::Scope;
pub use index::{
    Admission, Committed, ENTRY_OVERHEAD_BYTES, GHOSTS_MAX, Index, IndexOptions, IndexStats,
    Lookup, Miss, SHARDS_MAX, Ticket,
};
pub use key::{ID_BYTES_MAX, Key, NAME_BYTES_MAX};
pub use row::PREFIX_BYTES_MAX;

#[cfg(test)]
mod models;
#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
