//! A position between keys: how far something is known.

use std::cmp::Ordering;
use std::ops::Bound;

/// A position between the keys of an ordered store, with −∞ and +∞ at its ends.
///
/// It serves as an *exclusive upper bound* ("everything below is known") and as the *inclusive lower
/// bound* of the scan that continues there: the two are the same position. The successor of a key
/// cannot be computed for every `K`, so the position after a key has a form of its own.
///
/// ```
/// use millpond_inbox::Frontier;
///
/// assert!(Frontier::Start < Frontier::Before(1) && Frontier::Before(1) < Frontier::After(1));
/// assert!(Frontier::After(1) < Frontier::Before(2) && Frontier::After(2) < Frontier::End);
/// assert!(Frontier::After(1).covers(&1) && !Frontier::Before(1).covers(&1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frontier<K> {
    /// −∞: below every key.
    Start,
    /// Just below this key.
    Before(K),
    /// Just above this key.
    After(K),
    /// +∞: above every key.
    End,
}

impl<K: Ord> Frontier<K> {
    /// Whether `key` lies below this position.
    pub fn covers(&self, key: &K) -> bool {
        match self {
            Self::Start => false,
            Self::Before(bound) => key < bound,
            Self::After(bound) => key <= bound,
            Self::End => true,
        }
    }
}

impl<K> Frontier<K> {
    /// The lower bound of a scan that starts here; `None` at +∞, where there is nothing to scan.
    pub fn lower_bound(&self) -> Option<Bound<&K>> {
        match self {
            Self::Start => Some(Bound::Unbounded),
            Self::Before(key) => Some(Bound::Included(key)),
            Self::After(key) => Some(Bound::Excluded(key)),
            Self::End => None,
        }
    }
}

impl<K: Ord> Ord for Frontier<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        use Frontier::{After, Before, End, Start};
        match (self, other) {
            (Start, Start) | (End, End) => Ordering::Equal,
            (Start, _) | (_, End) => Ordering::Less,
            (_, Start) | (End, _) => Ordering::Greater,
            (Before(a), Before(b)) | (After(a), After(b)) => a.cmp(b),
            (Before(a), After(b)) => a.cmp(b).then(Ordering::Less),
            (After(a), Before(b)) => a.cmp(b).then(Ordering::Greater),
        }
    }
}

impl<K: Ord> PartialOrd for Frontier<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
