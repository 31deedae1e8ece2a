//! What must be true of the structures themselves at every moment.

use std::collections::BTreeSet;

use crate::arena::NONE;
use crate::queue::{Place, Turn};
use crate::{Band, Scheduler};

impl Scheduler {
    /// Every queue is where it says, once, and the totals are right.
    pub(super) fn audit(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for band in Band::ALL {
            let class = self.bands.class(band);
            for (ring, place) in [(&class.ring, Place::Ring), (&class.due, Place::Due)] {
                let mut weight = 0;
                for slot in ring.iter(&self.links) {
                    let queue = &self.queues[slot];
                    weight += u64::from(queue.weight);
                    if !seen.insert(slot) {
                        return Err(format!("queue {slot} is in a ring twice"));
                    }
                    if (queue.place, queue.band) != (place, band) {
                        return Err(format!("queue {slot} is in {place:?} of {band:?}: {queue:?}"));
                    }
                    if !queue.has_head || queue.is_paused {
                        return Err(format!("queue {slot} cannot be served: {queue:?}"));
                    }
                }
                if weight != ring.weight() {
                    return Err(format!("{place:?} of {band:?} weighs {weight}"));
                }
            }
        }
        for slot in self.queues.slots() {
            let queue = &self.queues[slot];
            let is_in_ring = matches!(queue.place, Place::Ring | Place::Due);
            if is_in_ring != seen.contains(&slot) {
                return Err(format!("queue {slot} is lost: {queue:?}"));
            }
            let may_be_out = !queue.has_head || queue.is_paused;
            if queue.place == Place::Out && !may_be_out {
                return Err(format!("queue {slot} was forgotten: {queue:?}"));
            }
            if queue.place == Place::Waiting && queue.ticket == NONE {
                return Err(format!("queue {slot} waits for nothing"));
            }
            if !queue.has_head
                && queue.place == Place::Out
                && queue.turn == Turn::Ahead
                && queue.credit > 0
            {
                return Err(format!("queue {slot} owns credit and has no head"));
            }
        }
        Ok(())
    }
}
