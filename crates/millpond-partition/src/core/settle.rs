//! The end of a lease: ack, nack, extend, expiry.

use std::sync::Arc;

use millpond_storage_api::Table;
use millpond_types::{EntryKey, EntryRank, LeaseKey, PayloadKey, Stage, UnixMillis};

use super::bounds::Amount;
use super::door::Seen;
use super::enqueue::amount_of;
use super::waits::Wait;
use super::{Core, Effect, LeaseState, Mutation, Slot};
use crate::command::{Accepted, LeaseRef, Nacked, NewEntry, Reply, Settle};
use crate::durability::Receipt;
use crate::{PartitionError, QueueRef, StaleReason};

impl Core {
    pub(super) fn settle(&mut self, now: UnixMillis, lease: LeaseRef, action: Settle) {
        let slot = match self.check_lease(now, lease) {
            Ok(slot) => slot,
            Err(reason) => {
                return action.refuse(PartitionError::StaleLease { id: lease.id, reason });
            }
        };
        match action {
            Settle::Ack(reply) => self.stage_removal(slot, lease.id.rank, Some(reply)),
            Settle::Nack { nack, reply } => self.nack(slot, lease.id.rank, nack, reply),
            Settle::Extend { lease_ms, reply } => {
                self.stage_extension(slot, lease.id.rank, now.plus(lease_ms), reply);
            }
        }
    }

    /// Stages the end of a lease and what its work has brought about, or neither.
    pub(super) fn ack_and_enqueue(
        &mut self,
        now: UnixMillis,
        LeaseRef { id, token }: LeaseRef,
        (names, entries, seen): (&Arc<QueueRef>, Vec<NewEntry>, &Seen),
        reply: Reply<Vec<Accepted>>,
    ) {
        let verdicts = self.judge_keys(now, names.id, &entries, seen);
        let checked = self.check_lease(now, LeaseRef { id, token });
        let checked = checked.map_err(|reason| PartitionError::StaleLease { id, reason });
        let checked = checked.and_then(|slot| {
            let lease = self.queues[slot].lease(&id.rank);
            let n_bytes = lease.map_or(0, |lease| lease.row.n_bytes.into());
            let less = Some((slot, Amount::of_entry(n_bytes)));
            self.check_room(names, amount_of(&entries, &verdicts), less).map(|()| slot)
        });
        let forces = self.is_broken(Mutation::AcceptedThoughStale);
        match checked {
            Ok(slot) => self.stage_removal(slot, id.rank, None),
            Err(PartitionError::StaleLease { .. }) if forces => {}
            Err(error) => return drop(reply.send(Err(error))),
        }
        self.stage_entries(now, names, entries, &verdicts, Receipt::Synced(reply));
    }

    fn check_lease(&self, now: UnixMillis, lease: LeaseRef) -> Result<Slot, StaleReason> {
        let slot = self.queues.find(&lease.id.queue).ok_or(StaleReason::NotLeased)?;
        let held = self.queues[slot].lease(&lease.id.rank).ok_or(StaleReason::NotLeased)?;
        if held.row.token != lease.token && !self.is_broken(Mutation::TokenUnchecked) {
            return Err(if held.row.token > lease.token {
                StaleReason::Superseded
            } else {
                StaleReason::NotLeased
            });
        }
        match held.state {
            LeaseState::Held if held.row.deadline <= now => Err(StaleReason::Expired),
            LeaseState::Held => Ok(slot),
            LeaseState::Settling => Err(StaleReason::Settling),
            LeaseState::Expiring | LeaseState::Expired => Err(StaleReason::Expired),
            // Nobody has been told a token that is being granted, so it was guessed.
            LeaseState::Released | LeaseState::Granting => Err(StaleReason::NotLeased),
        }
    }

    fn stage_removal(&mut self, slot: Slot, rank: EntryRank, reply: Option<Receipt<()>>) {
        self.counters.n_acked += 1;
        let queue = &mut self.queues[slot];
        let id = queue.id;
        let Some(lease) = queue.lease_mut(&rank) else { return };
        lease.state = LeaseState::Settling;
        let row = lease.row;
        queue.n_effects += 1;
        let n_bytes = if self.is_broken(Mutation::AckKeepsBytes) { 0 } else { row.n_bytes };
        self.recount(slot, |stored| {
            // Saturating: a damaged store may count fewer than there are.
            stored.n_ready = stored.n_ready.saturating_sub(1);
            stored.n_bytes = stored.n_bytes.saturating_sub(n_bytes.into());
        });
        let key = EntryKey { queue: id, stage: Stage::Ready, rank };
        // An entry's row is put once and removed once, so the two may annihilate each other.
        self.batch.single_delete(Table::Entries, &key.encode());
        if row.separate_body && !self.is_broken(Mutation::AckKeepsBody) {
            let key = PayloadKey { queue: id, sequence: rank.sequence };
            self.batch.delete(Table::Payloads, &key.encode());
        }
        if !self.is_broken(Mutation::AckKeepsLeaseRow) {
            let key = LeaseKey { queue: id, sequence: rank.sequence };
            self.batch.delete(Table::Leases, &key.encode());
        }
        self.wait_no_more(slot, row.deadline, Wait::LeaseEnds(rank));
        self.mark_dirty(slot);
        self.effects.push(Effect::Gone { slot, rank, reply });
    }

    /// Stages the end of a lease whose entry becomes ready again.
    pub(super) fn stage_release(
        &mut self,
        slot: Slot,
        rank: EntryRank,
        meanwhile: LeaseState,
        reply: Option<Reply<Nacked>>,
    ) {
        let queue = &mut self.queues[slot];
        let key = LeaseKey { queue: queue.id, sequence: rank.sequence };
        let Some(lease) = queue.lease_mut(&rank) else { return };
        let deadline = std::mem::take(&mut lease.row.deadline);
        lease.state = meanwhile;
        self.batch.put(Table::Leases, &key.encode(), &lease.row.encode());
        queue.n_effects += 1;
        self.effects.push(Effect::Released { slot, rank, reply });
        self.wait_no_more(slot, deadline, Wait::LeaseEnds(rank));
    }

    fn stage_extension(
        &mut self,
        slot: Slot,
        rank: EntryRank,
        deadline: UnixMillis,
        reply: Reply<UnixMillis>,
    ) {
        let stays = self.is_broken(Mutation::OldDeadlineStays);
        let queue = &mut self.queues[slot];
        let key = LeaseKey { queue: queue.id, sequence: rank.sequence };
        let Some(lease) = queue.lease_mut(&rank) else { return };
        // At once, not when durable: the old deadline must not end a lease that is being extended. A
        // crash before the commit brings the old deadline back, and then no receipt was given.
        let old = std::mem::replace(&mut lease.row.deadline, deadline);
        self.batch.put(Table::Leases, &key.encode(), &lease.row.encode());
        queue.n_effects += 1;
        self.effects.push(Effect::Extended { slot, deadline, reply });
        self.wait(slot, deadline, Wait::LeaseEnds(rank));
        if !stays && old != deadline {
            self.wait_no_more(slot, old, Wait::LeaseEnds(rank));
        }
    }

    /// A lease reached its deadline.
    pub(super) fn lease_expired(&mut self, slot: Slot, rank: EntryRank) {
        let lease = self.queues[slot].lease_mut(&rank);
        let Some(lease) = lease.filter(|lease| lease.state == LeaseState::Held) else { return };
        let attempts = lease.row.attempts;
        if self.is_broken(Mutation::ExpiryIgnored) {
            return;
        }
        self.counters.n_expired += 1;
        if self.is_spent(slot, attempts) {
            return self.set_spent_aside(slot, rank);
        }
        self.stage_release(slot, rank, LeaseState::Expiring, None);
    }

    /// The commit of an ack is durable.
    pub(super) fn entry_left(&mut self, slot: Slot, rank: EntryRank) {
        let unconfirmed = self.is_broken(Mutation::DepartureUnconfirmed);
        let queue = &mut self.queues[slot];
        queue.n_effects -= 1;
        let lease = queue.busy.as_mut().and_then(|busy| busy.leases.remove(&rank));
        self.release(lease.and_then(|lease| lease.permit));
        if !unconfirmed {
            self.with_window(slot, |window| window.confirm(&rank));
        }
        self.touch(slot);
    }

    /// The commit of a release is durable.
    pub(super) fn entry_returned(&mut self, slot: Slot, rank: EntryRank) {
        let hidden = self.is_broken(Mutation::ReleasedNotRestored);
        let queue = &mut self.queues[slot];
        queue.n_effects -= 1;
        // Unless a purge that was staged since has ended the lease together with the entry.
        if let Some(lease) = queue.lease_mut(&rank) {
            let expired = lease.state == LeaseState::Expiring;
            lease.state = if expired { LeaseState::Expired } else { LeaseState::Released };
            let (head, permit) = (lease.head(), lease.permit.take());
            self.release(permit);
            if !hidden {
                self.with_window(slot, |window| window.restore(rank, head));
            }
        }
        self.touch(slot);
    }
}
