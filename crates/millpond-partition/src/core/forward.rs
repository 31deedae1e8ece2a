//! Dead letters that go to another topic.
//!
//! Where the rules of a queue name a topic for its dead letters, an entry that dies leaves its queue and is
//! ready in the queue of the same key there, in one batch: both queues are in the same partition. It is a new
//! entry there, accepted at that moment, and its body [tells of its death](crate::dead_headers).
//!
//! On the way there is more to find out than the row of the entry: the key of its queue, if it is not
//! remembered; whether the other queue exists, if it is not in memory; and the body, if it has a row of its
//! own. Each takes its time and may fail, and then the move fails as any other: the entry is where it was. The
//! body comes last, and few are read at a time, because it may be long.

use std::sync::Arc;

use bytes::Bytes;
use millpond_storage_api::{ScanRequest, Table};
use millpond_types::{
    DeadRow, EntryId, EntryKey, EntryRank, PayloadKey, QueueId, QueueRow, Sequence, Stage,
    StoredBody, TopicId, TopicName, UnixMillis,
};

use super::moves::{Goal, Move, Place, Target, damaged};
use super::reads::{Read, ReadJob, Reading};
use super::{Core, Effect, Mutation, Slot};
use crate::command::Message;
use crate::dead_headers::Death;
use crate::{PartitionError, QueueRef};

/// Bodies that are read at a time: each may have 16 MiB.
const BODIES_AT_ONCE: usize = if cfg!(test) { 1 } else { 4 };

/// How far a move has come.
#[derive(Debug, Default)]
pub(super) enum Step {
    /// The row of its entry is to be read.
    #[default]
    Row,
    /// It goes to this topic, and the key of its queue is to be read.
    Names(Box<DeadRow>, TopicName),
    /// It goes from this topic, and the queue it goes to is being looked up.
    LookUp(Box<DeadRow>, TopicName),
    /// As before, and its body is to be read. The queue it goes to stays in memory meanwhile.
    Body(Box<DeadRow>, TopicName, Slot),
}

impl Step {
    /// What is to be read of an entry of this queue.
    pub(super) fn request(
        &self,
        queue: QueueId,
        (from, rank): (Stage, EntryRank),
        skip_max: u64,
    ) -> ScanRequest {
        let (table, lower) = match self {
            Self::Row | Self::LookUp(..) => {
                (Table::Entries, EntryKey { queue, stage: from, rank }.encode().to_vec())
            }
            Self::Names(..) => (Table::Queues, queue.0.to_vec()),
            Self::Body(..) => {
                let key = PayloadKey { queue, sequence: rank.sequence };
                (Table::Payloads, key.encode().to_vec())
            }
        };
        let upper = Some([&lower[..], &[0]].concat());
        // One row comes whatever its length.
        ScanRequest { table, lower, upper, rows_max: 1, bytes_max: 1, skip_max }
    }
}

impl Core {
    /// Where the dead letters of a queue go, if they do not stay with it.
    pub(super) fn dead_letter_topic(&self, slot: Slot) -> Option<TopicName> {
        let topic = self.rules_of(slot).dead_letter_topic.as_ref()?;
        // What holds for all topics holds for that one, too.
        let is_own = TopicId::derive(topic) == self.topics[self.queues[slot].topic].id;
        (!is_own).then(|| topic.clone())
    }

    /// An entry has died and goes to another topic.
    pub(super) fn forward(
        &mut self,
        now: UnixMillis,
        at: Place,
        mut moving: Move,
        (dead, to): (DeadRow, TopicName),
    ) {
        let id = self.queues[at.slot].id;
        let dead = Box::new(dead);
        if let Some(names) = self.names.get(&id).cloned() {
            return self.look_up_target(now, at, moving, (dead, &names, &to));
        }
        moving.step = Step::Names(dead, to);
        self.list_move(at, moving);
    }

    /// The key of its queue was read, or the row is not there.
    pub(super) fn names_read(
        &mut self,
        now: UnixMillis,
        at: Place,
        moving: Move,
        (dead, to): (Box<DeadRow>, TopicName),
        row: Option<&[u8]>,
    ) {
        let names = match row.map(QueueRow::decode) {
            Some(Ok(QueueRow { topic, key })) => QueueRef::new(topic, key),
            Some(Err(error)) => return self.move_failed(now, at, moving, error.into()),
            None => {
                return self.move_failed(now, at, moving, damaged("is of a queue without a name"));
            }
        };
        self.names.insert(names.id, names.clone());
        self.look_up_target(now, at, moving, (dead, &names, &to));
    }

    /// The queue it goes to must be in memory, or known to be empty.
    fn look_up_target(
        &mut self,
        now: UnixMillis,
        at: Place,
        mut moving: Move,
        (dead, names, to): (Box<DeadRow>, &QueueRef, &TopicName),
    ) {
        moving.step = Step::LookUp(dead, names.topic.clone());
        let target = QueueRef::new(to.clone(), names.key.clone());
        let queue = &mut self.queues[at.slot];
        let id = EntryId { queue: queue.id, rank: at.rank };
        queue.busy_mut().moves.insert((at.from, at.rank), moving);
        if self.is_broken(Mutation::ForwardUnasked) {
            return self.forward_on(now, id, &target);
        }
        // As a message, because it waits as every command for a queue that has to be looked up.
        self.handle_message(now, Message::Forward { id, to: target });
    }

    /// The queue an entry goes to was looked up.
    pub(super) fn forward_on(&mut self, now: UnixMillis, id: EntryId, to: &Arc<QueueRef>) {
        // A purge may have ended the move.
        let Some((at, mut moving)) = self.take_looked_up(id) else { return };
        let Step::LookUp(dead, from) = std::mem::take(&mut moving.step) else { return };
        let target = self.queue_for_entry(to);
        if !self.is_broken(Mutation::ForwardUnpinned) {
            self.queues[target].n_effects += 1;
        }
        if let StoredBody::Inline(body) = &dead.entry.body {
            let body = body.clone();
            return self.stage_forward(now, at, moving.goal, (dead, from, target), &body);
        }
        moving.step = Step::Body(dead, from, target);
        self.list_move(at, moving);
    }

    /// The queue an entry goes to could not be looked up.
    pub(super) fn forward_refused(&mut self, id: EntryId, error: PartitionError) {
        if self.is_broken(Mutation::ForwardRefusalForgets) {
            return;
        }
        if let Some((at, moving)) = self.take_looked_up(id) {
            self.move_failed(self.looked_at, at, moving, error);
        }
    }

    fn take_looked_up(&mut self, id: EntryId) -> Option<(Place, Move)> {
        let slot = self.queues.find(&id.queue)?;
        let at = Place { slot, from: Stage::Ready, rank: id.rank };
        let moves = &self.queues[slot].busy.as_ref()?.moves;
        matches!(moves.get(&(at.from, at.rank))?.step, Step::LookUp(..)).then_some(())?;
        Some((at, self.take_move(at)?))
    }

    /// Whether one more body may be read.
    pub(super) fn may_read_body(&self) -> bool {
        let is_body = |reading: &&Reading| matches!(reading, Reading::Body(..));
        !self.body_reads.is_empty()
            && self.staged_bytes() < self.options.batch_bytes_max
            && self.reads.values().filter(is_body).count() < BODIES_AT_ONCE
    }

    pub(super) fn poll_body(&mut self) -> Option<ReadJob> {
        while self.may_read_body() {
            let (slot, rank) = self.body_reads.pop_front()?;
            let at = Place { slot, from: Stage::Ready, rank };
            // A purge may have ended it.
            let Some((request, may_wait)) = self.move_request(at) else { continue };
            let reading = Reading::Body(slot, rank);
            return Some(self.start_read(reading, Read::Rows(request), may_wait, true));
        }
        None
    }

    /// Its body was read, or the row is not there.
    pub(super) fn body_read(
        &mut self,
        now: UnixMillis,
        at: Place,
        mut moving: Move,
        passage: (Box<DeadRow>, TopicName, Slot),
        row: Option<&[u8]>,
    ) {
        let Some(body) = row else {
            let (dead, from, target) = passage;
            // It holds on to the queue until the failure is dealt with.
            moving.step = Step::Body(dead, from, target);
            return self.move_failed(now, at, moving, damaged("has no body"));
        };
        self.stage_forward(now, at, moving.goal, passage, &Bytes::copy_from_slice(body));
    }

    fn stage_forward(
        &mut self,
        now: UnixMillis,
        at: Place,
        goal: Goal,
        (dead, from, target): (Box<DeadRow>, TopicName, Slot),
        body: &Bytes,
    ) {
        let Place { slot, from: stage, rank } = at;
        let (cause, reason, attempts) = (dead.cause, dead.reason.as_str(), dead.entry.attempts);
        let sequence = rank.sequence;
        let body = Death { cause, reason, topic: &from, attempts, sequence }.write_into(body);
        self.stage_departure(slot, rank);
        let (n_left, n_arrived) = (u64::from(dead.entry.body.n_bytes()), body.len() as u64);
        self.recount(slot, |stored| stored.n_bytes = stored.n_bytes.saturating_sub(n_left));
        // A bound of the queue it goes to does not refuse it.
        self.recount(target, |stored| stored.n_bytes = stored.n_bytes.saturating_add(n_arrived));
        if matches!(dead.entry.body, StoredBody::Separate { .. })
            && !self.is_broken(Mutation::ForwardKeepsBody)
        {
            let key = PayloadKey { queue: self.queues[slot].id, sequence };
            self.batch.delete(Table::Payloads, &key.encode());
        }
        let arrived = EntryRank { sequence: Sequence(self.next_sequence), ..rank };
        self.next_sequence += 1;
        let id = EntryId { queue: self.queues[target].id, rank: arrived };
        let row = self.stage_body(now, id, body);
        self.stage_ready(target, arrived, &row);
        if self.is_broken(Mutation::ForwardUnpinned) {
            self.queues[target].n_effects += 1;
        }
        self.counters.n_died += 1;
        self.counters.n_forwarded += 1;
        let to = Target::Elsewhere(target, arrived, row.head());
        self.effects.push(Effect::Moved { slot, from: (stage, rank), to, tell: goal.died() });
    }

    /// A move that ends here holds on to no other queue any more.
    pub(super) fn let_target_go(&mut self, step: &Step) {
        let Step::Body(_, _, target) = *step else { return };
        if !self.is_broken(Mutation::ForwardUnpinned) && !self.is_broken(Mutation::ForwardHoldsOn) {
            self.queues[target].n_effects -= 1;
            self.touch(target);
        }
    }
}
