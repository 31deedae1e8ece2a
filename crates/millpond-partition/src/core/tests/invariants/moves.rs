//! Entries whose rows are to be read because they go to another stage.

use millpond_types::{EntryId, Stage};
use proptest::prelude::*;

use super::super::coverage::{Situation, note};
use super::Checked;
use crate::command::Message;
use crate::core::forward::Step;
use crate::core::moves::Place;
use crate::core::waits::Wait;
use crate::core::{Core, LeaseState, Queue, Reading, Slot};

/// Every move goes on: its row is listed to be read, or being read, or it waits until it tries again or for a
/// look-up. And what it moves is nobody else's.
pub(super) fn check(core: &Core, slot: Slot, queue: &Queue) -> Checked {
    let Some(busy) = &queue.busy else { return Ok(()) };
    for ((from, rank), moving) in &busy.moves {
        let (from, rank) = (*from, *rank);
        let at = Place { slot, from, rank };
        let n_rows = core.move_reads.iter().filter(|listed| **listed == at).count();
        let n_bodies = core.body_reads.iter().filter(|listed| **listed == (slot, rank)).count();
        let n_of = |reading| core.reads.values().filter(|read| **read == reading).count();
        let (n_rows, n_bodies) =
            (n_rows + n_of(Reading::Move(at)), n_bodies + n_of(Reading::Body(slot, rank)));
        let retry = Wait::RetryMove(from, rank);
        let n_waits = busy.waits.iter().filter(|(_, wait)| **wait == retry).count();
        let moved = EntryId { queue: queue.id, rank };
        let is_mine =
            |message: &&Message| matches!(message, Message::Forward { id, .. } if *id == moved);
        let n_parked = core.recall.parked().filter(is_mine).count();
        let expected = match &moving.step {
            Step::Row => (1, 0, 0),
            Step::Names(..) => {
                note(Situation::ForwardNamesRead);
                (1, 0, 0)
            }
            Step::LookUp(..) => {
                note(Situation::ForwardLooksUp);
                (0, 0, 1)
            }
            Step::Body(..) => {
                note(Situation::ForwardBodyRead);
                (0, 1, 0)
            }
        };
        let found = (n_rows + n_waits, n_bodies, n_parked);
        prop_assert_eq!(found, expected, "{:?}: {:?}", at, moving.step);
        prop_assert!(from != Stage::Delayed && queue.purge().is_none());
        let lease = queue.lease(&rank).map(|lease| lease.state);
        let is_ending = matches!(lease, Some(LeaseState::Settling | LeaseState::Expiring));
        prop_assert!(from == Stage::Dead || is_ending, "{:?} moves, and is {:?}", rank, lease);
    }
    Ok(())
}
