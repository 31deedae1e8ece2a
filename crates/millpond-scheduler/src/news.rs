//! Who was woken: the scheduler hears of it, and gives up what nobody uses.

use crate::arena::NONE;
use crate::limits::Limits;
use crate::queue::Place;
use crate::rules::Mutation;
use crate::{QueueHandle, Refused, Scheduler};

/// Queues that one call lets know that they were woken, or lets stand back.
const NEWS_MAX: usize = 64;

/// Who can go on: what it waited for was promised to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// This queue.
    Queue {
        /// The queue.
        queue: QueueHandle,
        /// The owner's number of it.
        owner_slot: u32,
    },
    /// The domain, and with it every queue that nothing else keeps back.
    Domain,
}

impl Scheduler {
    /// The next of this scheduler that was woken. It takes its place among the turns, with its promise.
    ///
    /// Only an owner that has somebody waiting for a particular queue, after a
    /// [take](Scheduler::take), needs to know. [`pick`](Scheduler::pick) and [`stand_back`](Self::stand_back) begin
    /// with hearing who was woken and tell nobody, so such an owner calls [`Limits::advance`] and this,
    /// until there is nothing more, before each of them.
    ///
    /// # Errors
    ///
    /// [`Refused::ForeignLimits`].
    pub fn poll_woken(&mut self, limits: &mut Limits) -> Result<Option<Woken>, Refused> {
        self.belongs_to(limits)?;
        Ok(self.hear_one(limits))
    }

    /// Nobody will pick for a while: what was promised to the domain and its queues goes to others. To
    /// be called when there is nobody to serve and [`Limits::poll_woken`] names the domain. Queues keep
    /// their turns. `true` when all is done; otherwise it is to be called again.
    ///
    /// # Errors
    ///
    /// [`Refused::ForeignLimits`].
    pub fn stand_back(&mut self, limits: &mut Limits) -> Result<bool, Refused> {
        self.belongs_to(limits)?;
        self.hear_news(limits);
        Ok(self.give_up_promises(limits))
    }

    /// Those that were woken take their turns, a bounded number of them.
    pub(crate) fn hear_news(&mut self, limits: &mut Limits) {
        for _ in 0..NEWS_MAX {
            if self.hear_one(limits).is_none() {
                break;
            }
        }
    }

    /// Whoever was told gives its promise up; whether that is all. Hears of nobody: who is woken by it must
    /// not go unnoticed.
    pub(crate) fn give_up_promises(&mut self, limits: &mut Limits) -> bool {
        for _ in 0..NEWS_MAX {
            let Some((ticket, slot)) = limits.first_told(self.domain) else {
                return !limits.has_news(self.domain);
            };
            if slot == NONE {
                self.ticket = NONE;
            } else {
                self.queues[slot].ticket = NONE;
            }
            limits.cancel(ticket);
        }
        false
    }

    fn hear_one(&mut self, limits: &mut Limits) -> Option<Woken> {
        let (_, slot) = limits.next_woken(self.domain)?;
        if slot == NONE {
            self.is_waiting = false;
            return Some(Woken::Domain);
        }
        let generation = self.queues.generation(slot);
        let queue = &mut self.queues[slot];
        let (owner_slot, band, weight) = (queue.owner_slot, queue.band, queue.weight);
        if !self.rules.lacks(Mutation::WokenUnplaced) {
            // Before the ring even if its turn did not come: a promise must not wait for a whole round.
            queue.place = Place::Due;
            self.bands.class_mut(band).due.push_back(&mut self.links, slot, weight);
        }
        Some(Woken::Queue { queue: QueueHandle { slot, generation }, owner_slot })
    }
}
