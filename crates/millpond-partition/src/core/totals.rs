//! What a queue holds, and what all of them hold together.

use millpond_storage_api::Table;
use millpond_types::{ActiveRow, SystemKey, TotalsRow};

use super::{Core, Mutation, Slot};

/// The sum of what all queues hold.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// As of the batch being staged.
    pub(super) now: TotalsRow,
    /// As of the batch before.
    written: TotalsRow,
}

impl Totals {
    pub(super) fn stored(row: TotalsRow) -> Self {
        Self { now: row, written: row }
    }
}

impl Core {
    /// Changes the counters of a queue, and those of the partition by as much. Nothing else changes them, so
    /// that one is always the sum of the others, also if a damaged store counts fewer than there are.
    pub(super) fn recount(&mut self, slot: Slot, change: impl FnOnce(&mut ActiveRow)) {
        let stored = &mut self.queues[slot].stored;
        let (n_entries, n_bytes) = (stored.n_entries(), stored.n_bytes);
        change(stored);
        let totals = &mut self.totals.now;
        let sum = |sum: u64, more: u64, less: u64| sum.saturating_add(more).saturating_sub(less);
        totals.n_entries = sum(totals.n_entries, stored.n_entries(), n_entries);
        totals.n_bytes = sum(totals.n_bytes, stored.n_bytes, n_bytes);
    }

    /// Stages the totals, if they have changed.
    pub(super) fn stage_totals(&mut self) {
        let unwritten = self.is_broken(Mutation::TotalsOnlyGrow)
            && self.totals.now.n_entries < self.totals.written.n_entries;
        if self.totals.now == self.totals.written || unwritten {
            return;
        }
        self.totals.written = self.totals.now;
        self.batch.put(Table::System, SystemKey::Totals.encode(), &self.totals.now.encode());
    }
}
