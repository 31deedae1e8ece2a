//! Picking: deficit round robin, one entry at a time.

use std::hint::black_box;

use crate::arena::NONE;
use crate::limits::{Denied, Limits, Permit, Request};
use crate::queue::{Place, Queue, Turn};
use crate::rules::Mutation;
use crate::{Band, QueueHandle, Refused, Scheduler};

/// Queues that one pick looks at.
const LOOKS_MAX: usize = 64;
/// Turns whose queues are fetched from memory together.
const TURNS_FETCHED: usize = 32;
/// Queues in a ring that a processor's cache holds anyway.
const CACHED_MAX: u32 = 1 << 14;

/// What to do with a queue whose turn has come and whose head is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Heads {
    /// The owner can read it: [`Pick::ReadHead`].
    #[default]
    Read,
    /// The owner reads as many as it can already. Queues of which the head is known go before, if there is
    /// one among the next 64 of a band; the others keep their places.
    PassOver,
}

/// What a pick came to.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was picked is charged"]
pub enum Pick {
    /// The head of this queue is to be served.
    Serve(Picked),
    /// It is the turn of this queue, and its head has to be read. It is in nobody's way until the owner
    /// [says what the head is](Scheduler::set_head); then it is served before those whose turn comes later.
    ReadHead {
        /// The queue.
        queue: QueueHandle,
        /// The owner's number of it.
        owner_slot: u32,
    },
    /// Nothing yet, after as many queues as one call may look at. To be called again, at once or after
    /// something else.
    Again,
    /// The domain waits for a resource. To be called again when [`Limits::poll_woken`] names
    /// the domain, or at [`Limits::next_deadline_ns`].
    Blocked,
    /// The domain is paused.
    Paused,
    /// No queue can be served. To be called again when a queue gets a head or is resumed, when
    /// [`Limits::poll_woken`] names the domain, or at [`Limits::next_deadline_ns`].
    Idle,
}

/// An entry that is to be served. It was charged already.
#[derive(Debug, PartialEq, Eq)]
pub struct Picked {
    /// Whose head it is. Unless the owner says otherwise, the next head costs the same.
    pub queue: QueueHandle,
    /// The owner's number of the queue.
    pub owner_slot: u32,
    /// What was charged.
    pub cost: u32,
    /// Whether the queue paid for it with credit of its turn; not if it was [taken](Scheduler::take).
    pub took_credit: bool,
    /// To be released when the work has ended. `None` if neither the queue nor the domain is subject to any
    /// resource.
    pub permit: Option<Permit>,
}

impl Scheduler {
    /// Picks the queue whose turn it is, and charges what its head costs.
    ///
    /// # Errors
    ///
    /// [`Refused::ForeignLimits`].
    pub fn pick(
        &mut self,
        now_ns: u64,
        limits: &mut Limits,
        heads: Heads,
    ) -> Result<Pick, Refused> {
        self.belongs_to(limits)?;
        limits.advance(now_ns);
        if self.is_paused {
            let is_done = self.stand_back(limits)?;
            return Ok(if is_done { Pick::Paused } else { Pick::Again });
        }
        self.hear_news(limits);
        for _ in 0..LOOKS_MAX {
            let candidate = match heads {
                Heads::Read => self.bands.front(),
                Heads::PassOver => self.bands.first_known(&self.queues, &self.links, LOOKS_MAX),
            };
            let Some(slot) = candidate else {
                if limits.has_news(self.domain) {
                    return Ok(Pick::Again);
                }
                self.end_ticket(limits);
                return Ok(Pick::Idle);
            };
            if self.is_waiting {
                // What is promised to its queues is of no use to them now.
                let is_done = self.give_up_promises(limits);
                return Ok(if is_done { Pick::Blocked } else { Pick::Again });
            }
            if let Some(pick) = self.look_at(limits, slot) {
                return Ok(pick);
            }
        }
        Ok(Pick::Again)
    }

    /// Nothing came of a pick: the entry was gone, or nobody took it. Credit, tokens and permit are as if it
    /// had not happened; a token that was replaced meanwhile is not given twice.
    ///
    /// # Errors
    ///
    /// [`Refused::StalePermit`], [`Refused::ForeignLimits`].
    pub fn give_back(
        &mut self,
        now_ns: u64,
        limits: &mut Limits,
        picked: Picked,
    ) -> Result<(), Refused> {
        self.belongs_to(limits)?;
        if let Some(permit) = picked.permit {
            limits.give_back(now_ns, permit)?;
        }
        if let Ok(slot) = self.known(picked.queue) {
            let queue = &mut self.queues[slot];
            let took_credit = picked.took_credit || self.rules.lacks(Mutation::TakeRepaid);
            // One that ran empty has ended its turn, and owns no credit.
            if queue.has_head && took_credit {
                queue.credit = queue.credit.saturating_add(u64::from(picked.cost));
            }
        }
        Ok(())
    }

    /// Serves a queue, or gives it another place.
    fn look_at(&mut self, limits: &mut Limits, slot: u32) -> Option<Pick> {
        let Queue { place, turn, .. } = self.queues[slot];
        if place == Place::Due && turn == Turn::Ahead && !self.rules.lacks(Mutation::TurnByTake) {
            // It was woken for a take that did not come, and its turn did not come either.
            self.end_turn(limits, slot);
            return None;
        }
        if self.queues[slot].head_is_unknown() {
            return Some(self.ask_for_head(limits, slot));
        }
        if self.queues[slot].n_quanta != self.n_quanta && !self.rules.lacks(Mutation::QuantumUncut)
        {
            self.cut_credit(slot);
        }
        self.begin_turn(slot);
        let queue = &self.queues[slot];
        if u64::from(queue.cost) > queue.credit {
            self.end_turn(limits, slot);
            return None;
        }
        match limits.acquire(&self.request(slot)) {
            Ok(permit) => Some(Pick::Serve(self.served(limits, slot, permit))),
            Err(denied) => {
                self.denied(limits, slot, denied);
                if matches!(denied, Denied::Queue(_)) && self.rules.lacks(Mutation::CreditForfeited)
                {
                    self.queues[slot].credit = 0;
                }
                if matches!(denied, Denied::Queue(_)) && self.rules.lacks(Mutation::QuantumTwice) {
                    self.queues[slot].turn = Turn::Come;
                }
                None
            }
        }
    }

    /// What serving the head of a queue needs.
    pub(crate) fn request(&self, slot: u32) -> Request {
        let queue = &self.queues[slot];
        Request {
            domain: self.domain,
            queue: slot,
            band: queue.band,
            cost: queue.cost,
            domain_leaf: self.leaf,
            leaf: queue.leaf,
            domain_ticket: self.ticket,
            ticket: queue.ticket,
            is_mid_turn: queue.turn == Turn::Served,
        }
    }

    /// The domain waits, or the queue does, which then leaves its place and keeps its turn.
    pub(crate) fn denied(&mut self, limits: &mut Limits, slot: u32, denied: Denied) {
        match denied {
            Denied::Domain(ticket) => {
                self.ticket = ticket;
                self.is_waiting = true;
            }
            Denied::Queue(ticket) => {
                self.queues[slot].ticket = NONE;
                self.leave(limits, slot);
                let queue = &mut self.queues[slot];
                (queue.place, queue.ticket) = (Place::Waiting, ticket);
            }
        }
    }

    fn ask_for_head(&mut self, limits: &mut Limits, slot: u32) -> Pick {
        self.leave(limits, slot);
        let generation = self.queues.generation(slot);
        let queue = &mut self.queues[slot];
        queue.place = Place::Loading;
        if queue.turn == Turn::Ahead {
            queue.turn = Turn::Come;
        }
        let owner_slot = queue.owner_slot;
        Pick::ReadHead { queue: QueueHandle { slot, generation }, owner_slot }
    }

    /// Grants the quantum, once per turn.
    fn begin_turn(&mut self, slot: u32) {
        let queue = &mut self.queues[slot];
        if matches!(queue.turn, Turn::Begun | Turn::Served) {
            return;
        }
        queue.turn = Turn::Begun;
        let weight = if self.rules.lacks(Mutation::WeightIgnored) { 1 } else { queue.weight };
        let one_quantum = u64::from(self.quantum.get()) * u64::from(weight);
        queue.credit += one_quantum;
        let missing = u64::from(queue.cost).saturating_sub(queue.credit);
        if missing > 0 && self.bands.class(queue.band).len() == 1 {
            // Nobody else is there to be served in the rounds until it has enough.
            queue.credit += missing.next_multiple_of(one_quantum);
        }
    }

    /// The next turn of a queue comes after those of all others.
    fn end_turn(&mut self, limits: &mut Limits, slot: u32) {
        let queue = &mut self.queues[slot];
        queue.turn = Turn::Ahead;
        match queue.place {
            Place::Ring => {
                let band = queue.band;
                self.bands.class_mut(band).ring.move_to_back(&mut self.links, slot);
                self.fetch_ahead(band);
            }
            _ => {
                self.leave(limits, slot);
                self.enter(slot);
            }
        }
    }

    /// Reads the queues of the next turns, once for all of them. Each may lie anywhere in memory: read one by one when
    /// their turns come, each would be waited for, and here they arrive together.
    fn fetch_ahead(&mut self, band: Band) {
        let ring = &self.bands.class(band).ring;
        if ring.len() <= CACHED_MAX {
            return;
        }
        if self.n_turns_fetched > 0 {
            self.n_turns_fetched -= 1;
            return;
        }
        for slot in ring.iter(&self.links).take(TURNS_FETCHED) {
            let queue = &self.queues[slot];
            black_box((queue.credit, queue.owner_slot));
        }
        self.n_turns_fetched = TURNS_FETCHED - 1;
    }

    fn served(&mut self, limits: &mut Limits, slot: u32, permit: Option<Permit>) -> Picked {
        // Used up.
        self.ticket = NONE;
        let generation = self.queues.generation(slot);
        let queue = &mut self.queues[slot];
        queue.ticket = NONE;
        queue.turn = Turn::Served;
        let Queue { cost, owner_slot, band, .. } = *queue;
        queue.credit -= u64::from(cost);
        let has_turn = queue.credit >= u64::from(cost);
        self.bands.picked(band);
        if self.rules.lacks(Mutation::TurnWithoutEnd) {
            self.queues[slot].credit += u64::from(cost);
        } else if !has_turn {
            self.end_turn(limits, slot);
        }
        let queue = QueueHandle { slot, generation };
        Picked { queue, owner_slot, cost, took_credit: true, permit }
    }
}
