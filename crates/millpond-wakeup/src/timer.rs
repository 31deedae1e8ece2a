//! What a scheduler gives out: names of timers, views of them, and what became of them.

use std::num::NonZeroU32;

use std::num::NonZeroU64;

use crate::Nanos;

/// Says which of two settings came later. Every deadline that is set gets the next number of its scheduler.
///
/// Ties fire in this order, and a consumer of a batch tells by it whether a deadline was set anew meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub(crate) NonZeroU64);

impl Revision {
    pub(crate) const FIRST: Self = Self(NonZeroU64::MIN);

    /// The number; the first one of a scheduler is 1.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// No scheduler lives long enough to set 2^64 deadlines; one that did would stay at the last number.
    #[inline]
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Names one timer, in 8 bytes and without hashing.
///
/// A handle is *stale* once its timer fired or was cancelled, and then it finds nothing: the place in memory
/// may have a new timer, but that has another generation. What this rests on: a generation comes again after
/// 2^32 timers in the same place. A handle that is given to another scheduler, or to the same one
/// after it was cleared, is stale there because their generations start far apart; with N schedulers in a process
/// a place has to be used more than 2^32 / 3N times before it could be mistaken for one of another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    /// One more than the place, so that an absent handle takes no room of its own.
    place: NonZeroU32,
    pub(crate) generation: u32,
}

impl Handle {
    pub(crate) fn new(slot: u32, generation: u32) -> Self {
        Self { place: NonZeroU32::MIN.saturating_add(slot), generation }
    }

    pub(crate) fn slot(self) -> u32 {
        self.place.get() - 1
    }
}

/// A timer that has not fired.
#[derive(Debug, PartialEq, Eq)]
pub struct Timer<'a, T> {
    /// When it is due.
    pub deadline: Nanos,
    /// Which setting of a deadline this is.
    pub revision: Revision,
    /// Its name, as given out when it was inserted.
    pub handle: Handle,
    /// What it carries: the key, in the keyed form.
    pub value: &'a T,
}

impl<T> Clone for Timer<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Timer<'_, T> {}

/// A timer that fired, or that a shutdown gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due<T> {
    /// When it was due.
    pub deadline: Nanos,
    /// Which setting of a deadline fired.
    pub revision: Revision,
    /// Its name, which is stale now.
    pub handle: Handle,
    /// What it carried: the key, in the keyed form.
    pub value: T,
}

/// What one call of `drain_due` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "`more` says whether to call again at once"]
pub struct Drained {
    /// Timers that were moved to the batch.
    pub n_due: usize,
    /// Whether the budget ended the call and more timers are due.
    pub more: bool,
}

/// A deadline that took the place of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// The deadline that is in force no longer.
    pub previous: Nanos,
    /// The revision of the new one.
    pub revision: Revision,
}

/// What became of a wish to fire earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// The timer has the new deadline.
    Moved(Replaced),
    /// The timer was due at that time or before it, and nothing was touched.
    Kept {
        /// The deadline that stays in force.
        deadline: Nanos,
        /// Its revision.
        revision: Revision,
    },
}

/// What became of a deadline that was set for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// The name of the key's timer; it stays the same until the timer fires or is cancelled.
    pub handle: Handle,
    /// The revision of the deadline that is in force now.
    pub revision: Revision,
    /// What happened to the key.
    pub outcome: SetOutcome,
}

/// What happened to a key for which a deadline was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOutcome {
    /// It had no deadline before.
    Inserted,
    /// It had one, which is in force no longer.
    Replaced {
        /// The earlier setting, which may have been sooner or later.
        previous: Nanos,
    },
    /// It had one that is not later, and only something earlier was wanted.
    Kept {
        /// The deadline that stays in force.
        deadline: Nanos,
    },
}
