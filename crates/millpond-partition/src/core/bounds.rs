//! How much may be in a queue, in the partition, and in wait for work.
//!
//! What would exceed a bound is refused at the door, whole. What is inside already is never refused: an
//! entry that comes back, moves or is replayed may exceed a bound that was lowered since.

use std::sync::Arc;

use millpond_types::{ActiveRow, TotalsRow};

use super::{Core, Mutation, Slot};
use crate::QueueRef;
use crate::error::{FullOf, PartitionError};
use crate::rules::Effective;

/// While lease calls are refused, those that nobody waits for any more are looked for once in so many.
const REFUSALS_PER_SWEEP: usize = if cfg!(test) { 1 } else { 64 };

/// Entries, and the bytes of their bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amount {
    pub(super) n_entries: u64,
    pub(super) n_bytes: u64,
}

/// The places of those who wait for work.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Arc<()>,
    n_refused: usize,
}

/// The place of one of them. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Seat {
    _taken: Arc<()>,
}

/// A bound, and how much it is about.
type Bound = (FullOf, u64, Option<u64>);

impl Amount {
    pub(super) fn of_entry(n_bytes: u64) -> Self {
        Self { n_entries: 1, n_bytes }
    }

    pub(super) fn plus(self, more: Self) -> Self {
        Self {
            n_entries: self.n_entries.saturating_add(more.n_entries),
            n_bytes: self.n_bytes.saturating_add(more.n_bytes),
        }
    }

    fn minus(self, less: Self) -> Self {
        Self {
            n_entries: self.n_entries.saturating_sub(less.n_entries),
            n_bytes: self.n_bytes.saturating_sub(less.n_bytes),
        }
    }
}

impl From<&ActiveRow> for Amount {
    fn from(row: &ActiveRow) -> Self {
        Self { n_entries: row.n_entries(), n_bytes: row.n_bytes }
    }
}

impl From<TotalsRow> for Amount {
    fn from(row: TotalsRow) -> Self {
        Self { n_entries: row.n_entries, n_bytes: row.n_bytes }
    }
}

impl Seats {
    pub(super) fn n_taken(&self) -> usize {
        Arc::strong_count(&self.taken) - 1
    }
}

impl Core {
    /// Whether so much may come into a queue, while `less` leaves another, or the same, with the same batch.
    pub(super) fn check_room(
        &mut self,
        names: &QueueRef,
        more: Amount,
        less: Option<(Slot, Amount)>,
    ) -> Result<(), PartitionError> {
        if more.n_entries == 0 || self.is_broken(Mutation::BoundsIgnored) {
            return Ok(());
        }
        let slot = self.queues.find(&names.id);
        let mut held = slot.map(|slot| self.queues[slot].stored).unwrap_or_default();
        if self.is_broken(Mutation::OnlyReadyBound) {
            (held.n_delayed, held.n_dead) = (0, 0);
        }
        let (mut in_queue, mut in_all) = (Amount::from(&held), Amount::from(self.totals.now));
        if let Some((from, less)) = less {
            in_all = in_all.minus(less);
            if slot == Some(from) {
                in_queue = in_queue.minus(less);
            }
        }
        let bounds = self.bounds(&self.rules_for(names), in_queue.plus(more), in_all.plus(more));
        let exceeded = bounds.into_iter().find_map(|(what, n, max)| {
            max.filter(|max| n > *max).map(|limit| PartitionError::Full { what, limit })
        });
        self.counters.n_refused_full += u64::from(exceeded.is_some());
        exceeded.map_or(Ok(()), Err)
    }

    /// The bound that keeps a queue from accepting anything more, if one does.
    pub(super) fn full(&self, slot: Slot) -> Option<FullOf> {
        let in_queue = Amount::from(&self.queues[slot].stored);
        let bounds = self.bounds(self.rules_of(slot), in_queue, self.totals.now.into());
        let reached = |(_, n, max): &Bound| max.is_some_and(|max| *n >= max);
        bounds.into_iter().find(reached).map(|(what, ..)| what)
    }

    fn bounds(&self, rules: &Effective, in_queue: Amount, in_all: Amount) -> [Bound; 4] {
        let options = &self.options;
        [
            (FullOf::QueueEntries, in_queue.n_entries, rules.entries_max),
            (FullOf::QueueBytes, in_queue.n_bytes, rules.bytes_max),
            (FullOf::PartitionEntries, in_all.n_entries, options.entries_max),
            (FullOf::PartitionBytes, in_all.n_bytes, options.bytes_max),
        ]
    }

    /// A place for one more caller that waits for work.
    pub(super) fn take_seat(&mut self) -> Result<Seat, PartitionError> {
        let max = self.options.lease_calls_max;
        if self.seats.n_taken() >= max {
            self.seats.n_refused += 1;
            if self.seats.n_refused >= REFUSALS_PER_SWEEP {
                self.seats.n_refused = 0;
                self.sweep_waiters();
            }
        }
        if self.seats.n_taken() >= max && !self.is_broken(Mutation::CallsUnbounded) {
            self.counters.n_refused_full += 1;
            return Err(PartitionError::Full { what: FullOf::LeaseCalls, limit: max as u64 });
        }
        Ok(Seat { _taken: self.seats.taken.clone() })
    }
}
