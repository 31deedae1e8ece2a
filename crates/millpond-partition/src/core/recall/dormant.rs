//! How much is outside of memory.

use millpond_types::ActiveRow;

/// The queues outside of memory that hold something, and none of it ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::core) struct Dormant {
    pub(in crate::core) n_queues: usize,
    pub(in crate::core) n_delayed: u64,
    pub(in crate::core) n_dead: u64,
}

impl Dormant {
    pub(super) fn add(&mut self, row: &ActiveRow) {
        self.n_queues += 1;
        self.n_delayed += row.n_delayed;
        self.n_dead += row.n_dead;
    }

    pub(super) fn remove(&mut self, row: &ActiveRow) {
        // Saturating: a damaged store may say one thing now and another later.
        self.n_queues = self.n_queues.saturating_sub(1);
        self.n_delayed = self.n_delayed.saturating_sub(row.n_delayed);
        self.n_dead = self.n_dead.saturating_sub(row.n_dead);
    }
}
