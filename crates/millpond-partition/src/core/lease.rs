//! Handing out entries.

use std::sync::Arc;

use millpond_storage_api::{Durable, LogPosition, Table};
use millpond_sync::oneshot;
use millpond_types::{
    EntryHead, EntryId, EntryRank, LeaseKey, LeaseRow, LeaseToken, QueueId, TopicId, UnixMillis,
};

use super::waiters::Waiter;
use super::{Core, Effect, Lease, LeaseState, Mutation, SWEEP_MIN, Slot, Timer, Topic};
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
                self.topics.entry(id).or_default().waiters.push(waiter);
                self.list_topic(id);
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
        self.topics.retain(|_, topic| {
            topic.waiters.sweep();
            n_seen += 1 + topic.waiters.len();
            !topic.is_unused()
        });
        self.queue_waiters.retain(|_, waiters| {
            waiters.sweep();
            n_seen += 1 + waiters.len();
            !waiters.is_empty()
        });
        self.sweep_waiters_in = n_seen.max(SWEEP_MIN);
    }

    /// Grants what can be granted. To be called once per turn, after everything else, so that an entry
    /// that became ready in this turn competes with the others.
    pub(crate) fn serve(&mut self, now: UnixMillis) {
        for id in std::mem::take(&mut self.queues_to_serve) {
            self.serve_queue(now, id);
        }
        for id in std::mem::take(&mut self.topics_to_serve) {
            if let Some(topic) = self.topics.get_mut(&id) {
                topic.listed = false;
                self.serve_topic(now, id);
            }
        }
    }

    fn serve_queue(&mut self, now: UnixMillis, id: QueueId) {
        let Some(mut waiters) = self.queue_waiters.remove(&id) else { return };
        let slot = self.slots.get(&id).copied();
        let has_head = |core: &Self| slot.is_some_and(|slot| !core.queues[slot].inbox.is_empty());
        while has_head(self)
            && let Some(waiter) = waiters.pop()
        {
            self.grant(now, &waiter, slot, None);
        }
        let may_have = slot.is_some_and(|slot| self.queues[slot].load.counted);
        if !has_head(self) && !may_have {
            waiters.answer_impatient();
        }
        if !waiters.is_empty() {
            self.queue_waiters.insert(id, waiters);
        }
    }

    fn serve_topic(&mut self, now: UnixMillis, id: TopicId) {
        loop {
            let has_queue = self.first_servable(id).is_some();
            let Some(topic) = self.topics.get_mut(&id) else { return };
            if !has_queue {
                if topic.n_loading == 0 {
                    topic.waiters.answer_impatient();
                }
                break;
            }
            let Some(waiter) = topic.waiters.pop() else { break };
            self.grant(now, &waiter, None, Some(id));
        }
        if self.topics.get(&id).is_some_and(Topic::is_unused) {
            self.topics.remove(&id);
        }
    }

    /// The queue at the front of the ring, after removing those that have no head any more.
    fn first_servable(&mut self, id: TopicId) -> Option<Slot> {
        loop {
            let topic = self.topics.get_mut(&id)?;
            let slot = *topic.ring.front()?;
            if !self.queues[slot].inbox.is_empty() {
                return Some(slot);
            }
            topic.ring.pop_front();
            self.queues[slot].in_ring = false;
            self.touch(slot);
        }
    }

    /// Takes up to the wanted number of entries for one call, from one queue or round the topic's ring.
    fn grant(
        &mut self,
        now: UnixMillis,
        waiter: &Waiter,
        only: Option<Slot>,
        topic: Option<TopicId>,
    ) {
        let Some(reply) = waiter.call.claim() else { return };
        let deadline = now.plus(waiter.call.lease_ms);
        let mut grants = Vec::new();
        while grants.len() < waiter.call.n_max {
            let next = only.or_else(|| topic.and_then(|id| self.first_servable(id)));
            let Some(slot) = next else { break };
            let Some((rank, head)) = self.queues[slot].inbox.take() else { break };
            grants.push((slot, self.stage_lease(slot, rank, head, deadline)));
            if let Some(topic) = topic.and_then(|id| self.topics.get_mut(&id)) {
                topic.ring.rotate_left(1);
            }
            self.consider_load(slot);
        }
        self.effects.push(Effect::Granted { grants, reply });
    }

    fn stage_lease(
        &mut self,
        slot: Slot,
        rank: EntryRank,
        head: EntryHead,
        deadline: UnixMillis,
    ) -> Grant {
        let token = LeaseToken { epoch: self.epoch, number: self.next_token };
        self.next_token += 1;
        let forgets_attempts = self.is_broken(Mutation::AttemptsLost);
        let queue = &mut self.queues[slot];
        let released = queue.leases.get(&rank).filter(|_| !forgets_attempts);
        let attempts_before = released.map_or(head.attempts, |released| released.row.attempts);
        let row = LeaseRow {
            token,
            deadline,
            attempts: attempts_before.saturating_add(1),
            enqueued_at: head.enqueued_at,
            priority: rank.priority,
            separate_body: head.separate_body,
        };
        queue.leases.insert(rank, Lease { row, state: LeaseState::Granting });
        queue.n_effects += 1;
        let key = LeaseKey { queue: queue.id, sequence: rank.sequence };
        self.batch.put(Table::Leases, &key.encode(), &row.encode());
        Grant {
            id: EntryId { queue: queue.id, rank },
            token,
            attempt: row.attempts,
            enqueued_at: row.enqueued_at,
            deadline,
            queue: queue.names.clone(),
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
            if let Some(lease) = queue.leases.get_mut(&grant.id.rank) {
                lease.state = LeaseState::Held;
            }
            self.timers.insert((grant.deadline, Timer::LeaseEnds(slot, grant.id.rank)));
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
            let Some(&slot) = self.slots.get(&lease.id.queue) else { continue };
            let rank = lease.id.rank;
            let Some(held) = self.queues[slot].leases.get_mut(&rank) else { continue };
            if held.row.token == lease.token && held.state == LeaseState::Held {
                held.row.attempts -= uncounted;
                self.stage_release(slot, rank, LeaseState::Settling, None);
            }
        }
    }
}
