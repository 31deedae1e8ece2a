//! A refill: what is asked for, what came back, and what happened meanwhile.

use std::collections::BTreeMap;

use crate::Frontier;

/// A scan the inbox asks its owner to perform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefillRequest<K> {
    /// Where the scan starts; see [`Frontier::lower_bound`].
    pub from: Frontier<K>,
    /// How many rows are useful. A scan may return fewer, or more, of which what does not fit is ignored.
    pub rows_max: usize,
}

/// How far a scan reached. It is explicit because a short batch proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefillEnd<K> {
    /// The scan reached the end of the queue: nothing lives beyond its rows.
    Exhausted,
    /// The scan stopped: everything up to and including `after` was read.
    Truncated {
        /// The last key the scan looked at: its last row, or a skipped one behind it.
        after: K,
    },
    /// The scan stopped before it looked at a single key.
    Nothing,
}

/// What became of a finished refill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a discarded refill has to be asked for again"]
pub enum Finish {
    /// Its rows are in the window, as far as they fit.
    Merged {
        /// How many items the window gained.
        n_admitted: usize,
        /// More changed during the refill than the overlay holds, which cut short what was admitted.
        /// Counted by the owner, it says whether the overlay is too small.
        overlay_overflowed: bool,
    },
    /// It was of no use: the window shrank below its start meanwhile, or no refill was in flight.
    Discarded,
}

/// What happened to a key since the refill started; it wins over what the scan saw.
#[derive(Debug)]
pub(crate) enum Change<V> {
    Add(V),
    Tombstone,
}

impl<V> Change<V> {
    /// What the change leaves to admit.
    pub(crate) fn into_value(self) -> Option<V> {
        match self {
            Self::Add(value) => Some(value),
            Self::Tombstone => None,
        }
    }
}

/// The refill in flight.
#[derive(Debug)]
pub(crate) struct Refill<K, V> {
    pub(crate) from: Frontier<K>,
    /// Changes at or above it were not all remembered, so nothing above it can be merged.
    pub(crate) horizon: Frontier<K>,
    pub(crate) overlay: BTreeMap<K, Change<V>>,
}

impl<K: Ord + Clone, V> Refill<K, V> {
    pub(crate) fn new(from: Frontier<K>) -> Self {
        Self { from, horizon: Frontier::End, overlay: BTreeMap::new() }
    }

    /// Whether the scan may have seen `key`, so that a change to it has to be remembered.
    pub(crate) fn concerns(&self, key: &K) -> bool {
        !self.from.covers(key)
    }

    /// Remembers a change. When the overlay is full the largest key is forgotten and the horizon falls
    /// to it: to forget it silently would lose a tombstone and re-admit a dead row.
    pub(crate) fn record(&mut self, key: K, change: Change<V>, overlay_max: usize) {
        if !self.concerns(&key) || !self.horizon.covers(&key) {
            return;
        }
        if self.overlay.len() >= overlay_max && !self.overlay.contains_key(&key) {
            // Every remembered key is below the horizon, so the largest of them lowers it.
            match self.overlay.last_entry() {
                Some(last) if *last.key() > key => {
                    self.horizon = Frontier::Before(last.remove_entry().0);
                }
                _ => {
                    self.horizon = Frontier::Before(key);
                    return;
                }
            }
        }
        self.overlay.insert(key, change);
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.horizon != Frontier::End
    }
}
