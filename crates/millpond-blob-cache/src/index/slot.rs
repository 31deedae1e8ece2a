//! What a shard knows about one key.

use std::sync::Arc;

use bytes::Bytes;

use crate::cache::Flight;
use crate::generations::Stamp;
use crate::{Blob, Key};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// A key that is not vacant. Keys that were merely asked for are in the window and have no slot.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: Bytes,
    pub(super) hash: u64,
    /// Changes whenever the slot is replaced; a ticket is good for one version.
    pub(super) version: u64,
    pub(super) state: State,
    /// Neighbours among the residents.
    pub(super) newer: u32,
    pub(super) older: u32,
}

#[derive(Debug)]
pub(super) enum State {
    /// A ticket is out.
    Pending {
        /// Who reads the value for all that miss it.
        flight: Option<Arc<Flight>>,
        /// How often the key was asked for within the window.
        n_sightings: u8,
    },
    /// Writes are under way.
    Writing {
        n_writers: u32,
        /// One of them has failed, or was given up.
        failed: bool,
        /// If the writer stores what a flight has loaded.
        flight: Option<Arc<Flight>>,
    },
    Resident(Resident),
}

#[derive(Debug)]
pub(super) struct Resident {
    pub(super) blob: Blob,
    pub(super) stamp: Stamp,
    /// The version of the generations under which it was found to hold.
    pub(super) checked: u64,
    pub(super) visited: bool,
    pub(super) charge_bytes: usize,
}

/// What left, to be dropped after the lock.
pub(super) type Trash = Vec<State>;

/// A key with its hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hashed<'a> {
    pub(super) key: Key<'a>,
    pub(super) hash: u64,
}

/// Where a key's slot is, and which of its lives is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) at: u32,
    pub(super) version: u64,
}

/// Something to install, for which room is reserved.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) blob: Blob,
    pub(super) stamp: Stamp,
    pub(super) charge_bytes: usize,
}

/// How a writer ends.
#[derive(Debug)]
pub(super) enum Written {
    Value(Offer),
    Nothing,
    Failed,
}

/// What a reader does who shares what is read.
#[derive(Debug)]
pub(super) enum Shared {
    Lead(Place, Arc<Flight>),
    Join(Place, Arc<Flight>),
    Alone,
}

pub(super) fn pending(flight: Option<Arc<Flight>>, n_sightings: u8) -> State {
    State::Pending { flight, n_sightings }
}

pub(super) fn writing(flight: Option<Arc<Flight>>) -> State {
    State::Writing { n_writers: 1, failed: false, flight }
}

/// What a slot takes in its slab.
#[cfg(test)]
pub(crate) const fn slot_bytes() -> usize {
    size_of::<Slot>() + size_of::<usize>()
}
