//! Permits of a particular queue, whatever the turns are.

use crate::arena::NONE;
use crate::limits::{Denied, Limits, Permit};
use crate::queue::{Place, Turn};
use crate::rules::Mutation;
use crate::{Picked, QueueHandle, Refused, Scheduler};

/// What a take came to.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was taken holds permits"]
pub enum Take {
    /// The head is to be served.
    Serve(Picked),
    /// The queue waits for a resource, or its domain does. To be called again when
    /// [`Scheduler::poll_woken`] names the queue or the domain.
    Waits,
    /// The queue or the domain is paused.
    Paused,
    /// The queue has no head.
    NoHead,
    /// The head has to be read first. The queue keeps its place meanwhile.
    HeadUnknown,
}

impl Scheduler {
    /// Serves the head of this queue for somebody who asks for it in particular. It needs what a pick needs,
    /// of its domain and of itself, and waits where a pick would, behind those that came before it. It
    /// is no turn: it takes no credit, and the queue keeps its turn.
    ///
    /// A queue that has to wait leaves its place as with a pick. If its turn had not come, it joins the ring
    /// again behind all others, after the take that it was woken for, or at the first pick that finds that no
    /// take came.
    ///
    /// What was promised to the domain stays with it while the queue waits: whoever does not pick
    /// next [stands back](Scheduler::stand_back).
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::ForeignLimits`].
    pub fn take(
        &mut self,
        now_ns: u64,
        limits: &mut Limits,
        queue: QueueHandle,
    ) -> Result<Take, Refused> {
        let slot = self.known_in(limits, queue)?;
        limits.advance(now_ns);
        let queue = &self.queues[slot];
        if self.is_paused || queue.is_paused {
            return Ok(Take::Paused);
        }
        if !queue.has_head {
            return Ok(Take::NoHead);
        }
        if queue.head_is_unknown() {
            return Ok(Take::HeadUnknown);
        }
        // Whoever stands in line stays where it is: asking again would put it before the others.
        let is_in_line =
            |ticket| limits.is_in_line(ticket) && !self.rules.lacks(Mutation::TakeJumps);
        if is_in_line(queue.ticket) {
            return Ok(Take::Waits);
        }
        if is_in_line(self.ticket) {
            self.give_up_promise(limits, slot);
            return Ok(Take::Waits);
        }
        match limits.acquire(&self.request(slot)) {
            Ok(permit) => Ok(Take::Serve(self.taken(limits, slot, permit))),
            Err(denied) => {
                self.denied(limits, slot, denied);
                if matches!(denied, Denied::Domain(_)) {
                    self.give_up_promise(limits, slot);
                }
                Ok(Take::Waits)
            }
        }
    }

    /// A permit for work on an entry of this queue that is under way already, such as a lease that a restart
    /// finds: it counts in all resources of the domain and the queue, whatever their limits are. It takes
    /// no tokens and waits for nothing. `None` if neither is subject to any resource.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::ForeignLimits`], [`Refused::Full`].
    pub fn adopt(
        &mut self,
        now_ns: u64,
        limits: &mut Limits,
        queue: QueueHandle,
    ) -> Result<Option<Permit>, Refused> {
        let slot = self.known_in(limits, queue)?;
        limits.adopt_in(now_ns, [self.leaf, self.queues[slot].leaf])
    }

    /// A permit counts from now on in the resources that the domain and this queue have at present: to be
    /// called after [`set_resource`](Self::set_resource) for the permits that are out, if they are to
    /// follow. See [`Limits::rebase`].
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::StalePermit`], [`Refused::ForeignLimits`].
    pub fn rebase(
        &mut self,
        now_ns: u64,
        limits: &mut Limits,
        queue: QueueHandle,
        permit: Permit,
    ) -> Result<(), Refused> {
        let slot = self.known_in(limits, queue)?;
        limits.rebase_to(now_ns, permit, [self.leaf, self.queues[slot].leaf])
    }

    /// A promise is of no use to a queue whose domain waits. One that has not heard of it yet does so first.
    fn give_up_promise(&mut self, limits: &mut Limits, slot: u32) {
        let queue = &mut self.queues[slot];
        if queue.place != Place::Waiting {
            limits.cancel(std::mem::replace(&mut queue.ticket, NONE));
        }
    }

    fn taken(&mut self, limits: &mut Limits, slot: u32, permit: Option<Permit>) -> Picked {
        // Used up, and the scheduler may not have heard yet that it was woken.
        self.ticket = NONE;
        if !self.rules.lacks(Mutation::TakeStrands) {
            self.is_waiting = false;
        }
        let generation = self.queues.generation(slot);
        let queue = &mut self.queues[slot];
        queue.ticket = NONE;
        let (owner_slot, cost) = (queue.owner_slot, queue.cost);
        if self.rules.lacks(Mutation::TakeCharged) {
            queue.credit = queue.credit.saturating_sub(u64::from(cost));
        }
        let is_out_of_turn = queue.place == Place::Due && queue.turn == Turn::Ahead;
        if queue.place == Place::Waiting || is_out_of_turn {
            self.leave(limits, slot);
            self.enter(slot);
        }
        let queue = QueueHandle { slot, generation };
        Picked { queue, owner_slot, cost, took_credit: false, permit }
    }
}
