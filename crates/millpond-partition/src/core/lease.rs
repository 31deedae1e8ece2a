//! Handing out entries.

use std::sync::Arc;

use millpond_scheduler::{Permit, Picked};
use millpond_storage_api::{Durable, LogPosition, Table};
use millpond_sync::oneshot;
use millpond_types::{
    EntryHead, EntryId, EntryRank, LeaseKey, LeaseRow, LeaseToken, QueueId, UnixMillis,
};

use super::outlive::CLEARED_PER_TURN;
use super::turns::Turn;
use super::waiters::{Waiter, Waiters};
use super::waits::Wait;
use super::{Core, Effect, Lease, LeaseState, Mutation, SWEEP_MIN, Slot, TopicSlot};
use crate::command::{Answer, Grant, Grants, LeaseCall, LeaseRef, LeaseSource};

impl Core {
    /// Registers a call. [`serve`](Self::serve) answers it, at the end of the turn at the earliest.
    pub(super) fn lease(&mut self, source: LeaseSource, call: Arc<LeaseCall>, wait: bool) {
        self.sweep_waiters_in = self.sweep_waiters_in.saturating_sub(1);
        if self.sweep_waiters_in == 0 {
            self.sweep_waiters();
        }
        let seat = match self.take_seat() {
            Ok(seat) => seat,
            Err(full) => {
                if let Some(reply) = call.claim() {
                    let _ = reply.send(Err(full));
                }
                return;
            }
        };
        let waiter = Waiter { call, wait, since: self.n_batches, _seat: seat };
        match source {
            LeaseSource::Topic(id) => {
                let topic = self.topic_for(id);
                self.topics[topic].waiters.push(waiter);
                self.list_topic(topic);
            }
            LeaseSource::Queue(id) => {
                self.queue_waiters.entry(id).or_default().push(waiter);
                self.queues_to_serve.push(id);
            }
        }
    }

    /// Calls that were abandoned, or claimed by another partition, are dropped when they come to the
    /// front. Where nothing ever comes to the front they are swept out here, once after as many
    /// registrations as there is to look at, so that a registration stays O(1).
    pub(super) fn sweep_waiters(&mut self) {
        let mut n_seen = 0;
        let topics: Vec<TopicSlot> = self.topics.iter().map(|(slot, _)| slot).collect();
        for slot in topics {
            let waiters = &mut self.topics[slot].waiters;
            waiters.sweep();
            n_seen += 1 + waiters.len();
            self.tidy_topic(slot);
        }
        self.queue_waiters.retain(|_, waiters| {
            waiters.sweep();
            n_seen += 1 + waiters.len();
            !waiters.is_empty()
        });
        self.sweep_waiters_in = n_seen.max(SWEEP_MIN);
    }

    /// Grants what can be granted. To be called after everything else of a turn, so that an entry that
    /// became ready in this turn competes with the others.
    pub(crate) fn serve(&mut self, now: UnixMillis) {
        self.hear_of_limits();
        self.to_clear_left = CLEARED_PER_TURN;
        for id in std::mem::take(&mut self.queues_to_serve) {
            self.serve_queue(now, id);
        }
        for slot in std::mem::take(&mut self.topics_to_serve) {
            self.topics[slot].listed = false;
            self.serve_topic(now, slot);
            self.stand_back(slot);
            self.publish(slot);
            self.tidy_topic(slot);
        }
    }

    /// Whether somebody may be served.
    pub(crate) fn has_callers(&self) -> bool {
        !self.topics_to_serve.is_empty() || !self.queues_to_serve.is_empty()
    }

    fn serve_queue(&mut self, now: UnixMillis, id: QueueId) {
        let Some(mut waiters) = self.queue_waiters.remove(&id) else { return };
        let Some(slot) = self.queues.find(&id) else {
            waiters.answer_impatient();
            return self.keep_waiting(id, waiters);
        };
        let mut next = Turn::Nothing;
        while !waiters.is_empty() && self.queues[slot].is_servable() {
            next = self.take_of(now, slot);
            let Turn::Serve(picked) = next else { break };
            next = Turn::Unknown;
            let topic = self.queues[slot].topic;
            let Some((call, reply)) = waiters.claim() else {
                self.give_turn_back(now, topic, picked);
                break;
            };
            self.grant(now, &call, reply, picked, |core, _| core.take_of(now, slot));
        }
        if !waiters.is_empty() && !self.queues[slot].is_servable() {
            self.demand_head(slot);
        }
        let queue = &self.queues[slot];
        let is_refused = queue.is_servable() && matches!(next, Turn::Nothing);
        if !queue.is_servable() && !queue.counted || is_refused {
            waiters.answer_impatient();
        }
        self.keep_waiting(id, waiters);
    }

    fn keep_waiting(&mut self, id: QueueId, waiters: Waiters) {
        if !waiters.is_empty() {
            self.queue_waiters.insert(id, waiters);
        }
    }

    fn serve_topic(&mut self, now: UnixMillis, slot: TopicSlot) {
        while let Some(n_wanted) = self.topics[slot].waiters.first_wants() {
            self.recall_topic(slot);
            match self.next_turn(now, slot, n_wanted) {
                Turn::Serve(picked) if self.leaves_caller(slot, Slot(picked.owner_slot)) => {
                    self.give_turn_back(now, slot, picked);
                    return self.list_topic(slot);
                }
                Turn::Serve(picked) => match self.topics[slot].waiters.claim() {
                    Some((call, reply)) => {
                        self.topics[slot].reserve.note_answered(self.n_batches);
                        self.grant(now, &call, reply, picked, |core, n| {
                            core.next_turn(now, slot, n)
                        });
                    }
                    None => self.give_turn_back(now, slot, picked),
                },
                Turn::Nothing => {
                    let topic = &mut self.topics[slot];
                    if topic.n_loading == 0 && !self.recall.may_bring(topic.recall) {
                        topic.waiters.answer_impatient();
                    }
                    break;
                }
                Turn::Unknown => return self.list_topic(slot),
            }
        }
    }

    /// Takes up to the wanted number of entries for one call, beginning with one that was picked.
    fn grant(
        &mut self,
        now: UnixMillis,
        call: &LeaseCall,
        reply: oneshot::Sender<Answer<Grants>>,
        first: Picked,
        next: impl Fn(&mut Self, usize) -> Turn,
    ) {
        let deadline = now.plus(call.lease_ms);
        let mut grants = Vec::new();
        let mut picked = first;
        loop {
            let slot = Slot(picked.owner_slot);
            let taken = self.with_window(slot, |window| window.take());
            let (rank, head) = taken.expect("only a queue with a head is picked");
            let grant = self.stage_lease(slot, (rank, head), deadline, call, picked.permit);
            grants.push((slot, grant));
            self.read_ahead(slot);
            self.place(slot);
            let n_left = call.n_max.saturating_sub(grants.len());
            if n_left == 0 {
                break;
            }
            let Turn::Serve(another) = next(self, n_left) else { break };
            picked = another;
        }
        self.effects.push(Effect::Granted { grants, reply });
    }

    fn stage_lease(
        &mut self,
        slot: Slot,
        (rank, head): (EntryRank, EntryHead),
        deadline: UnixMillis,
        call: &LeaseCall,
        permit: Option<Permit>,
    ) -> Grant {
        let token = LeaseToken { epoch: self.epoch, number: self.next_token };
        self.next_token += 1;
        let forgets_attempts = self.is_broken(Mutation::AttemptsLost);
        let queue = &mut self.queues[slot];
        let released = queue.lease(&rank).filter(|_| !forgets_attempts);
        let attempts_before = released.map_or(head.attempts, |released| released.row.attempts);
        let row = LeaseRow {
            token,
            deadline,
            attempts: attempts_before.saturating_add(1),
            enqueued_at: head.enqueued_at,
            n_bytes: head.n_bytes,
            priority: rank.priority,
            separate_body: head.separate_body,
            has_retry_floor: head.has_retry_floor,
        };
        let holder = call.holder.clone();
        let lease = Lease { row, state: LeaseState::Granting, holder, permit };
        queue.busy_mut().leases.insert(rank, lease);
        queue.n_effects += 1;
        queue.n_granted = queue.n_granted.wrapping_add(1);
        let id = EntryId { queue: queue.id, rank };
        let key = LeaseKey { queue: id.queue, sequence: rank.sequence };
        self.batch.put(Table::Leases, &key.encode(), &row.encode());
        self.watch_head(slot);
        let names = self.names.get(&id.queue).cloned();
        Grant {
            id,
            token,
            attempt: row.attempts,
            enqueued_at: row.enqueued_at,
            deadline,
            queue: names,
        }
    }

    /// The commit of a grant is durable: the leases are in force, and their holder hears of them.
    pub(super) fn grants_stand(
        &mut self,
        grants: Vec<(Slot, Grant)>,
        reply: oneshot::Sender<Answer<Grants>>,
        position: &Durable<LogPosition>,
    ) {
        self.counters.n_granted += grants.len() as u64;
        let mut standing = Vec::with_capacity(grants.len());
        for (slot, grant) in grants {
            let queue = &mut self.queues[slot];
            queue.n_effects -= 1;
            // A purge that was staged since has ended the lease: its holder is told when it settles.
            match queue.lease_mut(&grant.id.rank) {
                Some(lease) if lease.row.token == grant.token => {
                    lease.state = LeaseState::Held;
                    self.wait(slot, grant.deadline, Wait::LeaseEnds(grant.id.rank));
                }
                _ => self.touch(slot),
            }
            standing.push(position.attach(grant));
        }
        let grants = Grants { grants: standing, way_back: Some(self.way_back.clone()) };
        // Refused, they are dropped here and come back through the mailbox as unreceived.
        let _ = self.outbox.send(reply, Ok(grants));
    }

    /// Grants that nobody received are given back, and their attempt does not count.
    pub(super) fn take_back(&mut self, leases: &[LeaseRef]) {
        let uncounted = u32::from(!self.is_broken(Mutation::UnreceivedCounted));
        for lease in leases {
            let Some(slot) = self.queues.find(&lease.id.queue) else { continue };
            let rank = lease.id.rank;
            let Some(held) = self.queues[slot].lease_mut(&rank) else { continue };
            if held.row.token == lease.token && held.state == LeaseState::Held {
                held.row.attempts -= uncounted;
                self.stage_release(slot, rank, LeaseState::Settling, None);
            }
        }
    }
}
