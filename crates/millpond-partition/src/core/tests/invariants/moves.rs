//! Entries whose rows are to be read because they go to another stage.

use millpond_types::Stage;
use proptest::prelude::*;

use super::Checked;
use crate::core::waits::Wait;
use crate::core::{Core, LeaseState, Queue, Reading, Slot};

/// Every move goes on: its row is listed to be read, or being read, or it waits until it tries again. And
/// what it moves is nobody else's.
pub(super) fn check(core: &Core, slot: Slot, queue: &Queue) -> Checked {
    let Some(busy) = &queue.busy else { return Ok(()) };
    for (from, rank) in busy.moves.keys() {
        let at = (slot, *from, *rank);
        let n_listed = core.move_reads.iter().filter(|listed| **listed == at).count();
        let reading = Reading::Move(slot, *from, *rank);
        let n_read = core.reads.values().filter(|read| **read == reading).count();
        let retry = Wait::RetryMove(*from, *rank);
        let n_waits = busy.waits.iter().filter(|(_, wait)| **wait == retry).count();
        prop_assert_eq!(n_listed + n_read + n_waits, 1, "{:?} from {:?}", rank, from);
        prop_assert!(*from != Stage::Delayed && queue.purge().is_none());
        let lease = queue.lease(rank).map(|lease| lease.state);
        let is_ending = matches!(lease, Some(LeaseState::Settling | LeaseState::Expiring));
        prop_assert!(*from == Stage::Dead || is_ending, "{:?} moves, and is {:?}", rank, lease);
    }
    Ok(())
}
