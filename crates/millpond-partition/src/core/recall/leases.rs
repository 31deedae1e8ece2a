//! Leases of an earlier owner.

use millpond_types::{EntryRank, LeaseRow};

use crate::core::waits::Wait;
use crate::core::{Core, Lease, LeaseState, Mutation, Slot};
use crate::options::LeasesAtOpen;

impl Core {
    /// A lease that an earlier owner granted.
    pub(super) fn recover_lease(&mut self, slot: Slot, rank: EntryRank, row: LeaseRow) {
        let state = if row.is_released() {
            LeaseState::Released
        } else if self.options.leases_at_open == LeasesAtOpen::Release {
            LeaseState::Expired
        } else {
            LeaseState::Held
        };
        let permit = if state == LeaseState::Held { self.adopt(slot) } else { None };
        let lease = Lease { row, state, holder: None, permit };
        self.queues[slot].busy_mut().leases.insert(rank, lease);
        // Its owner is gone, and it was the last attempt. Also if an earlier owner wrote that down and came no
        // further.
        let is_spent = state != LeaseState::Held && self.is_spent(slot, row.attempts);
        let hides = !self.is_broken(Mutation::RecoveredLeaseShown);
        if hides && (state == LeaseState::Held || is_spent) {
            // Hidden before the first refill can see it.
            self.with_window(slot, |window| window.reserve(rank));
        }
        if state == LeaseState::Held {
            self.wait(slot, row.deadline, Wait::LeaseEnds(rank));
        }
        if is_spent {
            self.set_spent_aside(slot, rank);
        }
    }
}
