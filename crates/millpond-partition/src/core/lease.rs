//! Handing out entries.

use std::sync::Arc;

use millpond_storage_api::{Durable, LogPosition, Table};
use millpond_sync::oneshot;
use millpond_types::{
    EntryHead, EntryId, EntryRank, LeaseKey, LeaseRow, LeaseToken, QueueId, UnixMillis,
};

use super::outlive::CLEARED_PER_TURN;
use super::waiters::Waiter;
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
        let waiter = Waiter { call, wait };
        match source {
            LeaseSource::Topic(id) => {
                let topic = self.topics.find_or_add(id);
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
    fn sweep_waiters(&mut self) {
        let mut n_seen = 0;
        let topics: Vec<TopicSlot> = self.topics.iter().map(|(slot, _)| slot).collect();
        for slot in topics {
            let waiters = &mut self.topics[slot].waiters;
            waiters.sweep();
            n_seen += 1 + waiters.len();
            self.topics.tidy(slot);
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
        self.to_clear_left = CLEARED_PER_TURN;
        for id in std::mem::take(&mut self.queues_to_serve) {
            self.serve_queue(now, id);
        }
        for slot in std::mem::take(&mut self.topics_to_serve) {
            self.serve_topic(now, slot);
            self.topics[slot].listed = false;
            self.topics.tidy(slot);
        }
    }

    fn serve_queue(&mut self, now: UnixMillis, id: QueueId) {
        let Some(mut waiters) = self.queue_waiters.remove(&id) else { return };
        let slot = self.queues.find(&id);
        let has_head = |core: &mut Self| slot.is_some_and(|slot| core.has_head(now, slot));
        while has_head(self)
            && let Some(waiter) = waiters.pop()
        {
            self.grant(now, &waiter, slot, None);
        }
        if let Some(slot) = slot.filter(|_| !waiters.is_empty()) {
            self.demand_head(slot);
        }
        let may_have = slot.is_some_and(|slot| self.queues[slot].counted);
        if !has_head(self) && !may_have {
            waiters.answer_impatient();
        }
        if !waiters.is_empty() {
            self.queue_waiters.insert(id, waiters);
        }
    }

    fn serve_topic(&mut self, now: UnixMillis, slot: TopicSlot) {
        while let Some(n_wanted) = self.topics[slot].waiters.first_wants() {
            self.recall_topic(slot);
            let has_queue = self.first_servable(now, slot, n_wanted).is_some();
            let topic = &mut self.topics[slot];
            if !has_queue {
                let may_have = topic.n_loading > 0 || !topic.ring.is_empty();
                if !may_have && !self.recall.may_bring(topic.recall) {
                    topic.waiters.answer_impatient();
                }
                break;
            }
            let Some(waiter) = topic.waiters.pop() else { break };
            self.grant(now, &waiter, None, Some(slot));
        }
    }

    /// Takes up to the wanted number of entries for one call, from one queue or round the topic's ring.
    fn grant(
        &mut self,
        now: UnixMillis,
        waiter: &Waiter,
        only: Option<Slot>,
        topic: Option<TopicSlot>,
    ) {
        let Some(reply) = waiter.call.claim() else { return };
        let deadline = now.plus(waiter.call.lease_ms);
        let mut grants = Vec::new();
        while grants.len() < waiter.call.n_max {
            let n_left = waiter.call.n_max - grants.len();
            let next = match topic {
                Some(topic) => self.first_servable(now, topic, n_left),
                None => only.filter(|slot| self.has_head(now, *slot)),
            };
            let Some(slot) = next else { break };
            let Some((rank, head)) = self.with_window(slot, |window| window.take()) else { break };
            grants.push((slot, self.stage_lease(slot, rank, head, deadline, &waiter.call)));
            self.read_ahead(slot);
            self.turn_taken(slot);
        }
        self.effects.push(Effect::Granted { grants, reply });
    }

    /// The next turn of a queue that was served comes after those of all others.
    fn turn_taken(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        let (topic, wants_turn) = (queue.topic, queue.wants_turn());
        let was_in_ring = std::mem::replace(&mut queue.in_ring, wants_turn);
        let ring = &mut self.topics[topic].ring;
        if was_in_ring {
            ring.remove(&mut self.queues, slot);
        }
        if wants_turn {
            ring.push_back(&mut self.queues, slot);
        }
    }

    fn stage_lease(
        &mut self,
        slot: Slot,
        rank: EntryRank,
        head: EntryHead,
        deadline: UnixMillis,
        call: &LeaseCall,
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
        let lease = Lease { row, state: LeaseState::Granting, holder: call.holder.clone() };
        queue.busy_mut().leases.insert(rank, lease);
        queue.n_effects += 1;
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
        let _ = reply.send(Ok(grants));
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
