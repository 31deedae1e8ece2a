//! The state of one partition and every change to it, without I/O, clock or thread.
//!
//! The driver hands in what happened (a command, a durable commit, finished rows, the time) and asks
//! what to do next (a batch to submit, a scan to perform, when to call again). All replies go out
//! through the one-shot senders that came in with the commands.
//!
//! Its invariants P1 to P6 are on the [crate's page](crate).

mod effect;
mod enqueue;
mod lease;
mod mutation;
mod recover;
mod refill;
mod reporting;
mod settle;
mod waiters;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use millpond_inbox::{Frontier, Inbox};
use millpond_storage_api::{Durable, Epoch, LogPosition, Table, WriteBatch};
use millpond_types::{
    ActiveKey, ActiveRow, EntryHead, EntryRank, LeaseRow, Priority, QueueId, Sequence, SystemKey,
    TopicId, UnixMillis, encode_u64,
};
use slab::Slab;

use crate::command::Message;
use crate::mailbox::MailboxSender;
use crate::options::PartitionOptions;
use crate::report::Counters;
use crate::{PartitionError, QueueRef};

use effect::Effect;
pub(crate) use effect::Effects;
pub(crate) use mutation::Mutation;
pub(crate) use recover::Recovered;
pub use recover::scan_table;
pub(crate) use refill::ScanJob;
use waiters::Waiters;

/// Index of a queue that is in memory.
pub(crate) type Slot = usize;

/// Sequences are reserved in blocks of this size, so that most commits need not write the counter.
const SEQUENCE_BLOCK: u64 = 1 << 16;

/// Lists shorter than this are never searched for what no longer belongs there.
const SWEEP_MIN: usize = if cfg!(test) { 2 } else { 64 };

/// What ends a lease, and whether that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseState {
    /// The grant is not durable yet.
    Granting,
    /// In force.
    Held,
    /// An ack, a nack or the return of an unreceived grant is not durable yet.
    Settling,
    /// Its end by the deadline is not durable yet.
    Expiring,
    /// Given back: the record only counts attempts.
    Released,
    /// As `Released`, by the deadline or by a new owner of the partition.
    Expired,
}

impl LeaseState {
    /// Whether nothing is left of the lease but its count of attempts.
    fn is_over(self) -> bool {
        matches!(self, Self::Released | Self::Expired)
    }
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    row: LeaseRow,
    state: LeaseState,
}

/// A queue that has work, or had it recently.
#[derive(Debug)]
struct Queue {
    id: QueueId,
    topic: TopicId,
    names: Option<Arc<QueueRef>>,
    inbox: Inbox<EntryRank, EntryHead>,
    leases: BTreeMap<EntryRank, Lease>,
    /// The row in `active`, as of the batch being staged.
    stored: ActiveRow,
    /// The row changed in the batch being staged.
    dirty: bool,
    /// Entries staged and not yet in the inbox, and the lowest rank among them.
    n_entering: u32,
    lowest_entering: EntryRank,
    /// Effects that wait for their commit. The queue stays in memory meanwhile.
    n_effects: u32,
    in_ring: bool,
    in_idle: bool,
    load: Load,
}

/// How a queue without a known head comes to one.
#[derive(Debug, Default)]
struct Load {
    /// In the list of queues whose scan has not started.
    listed: bool,
    /// Counted among the topic's queues that may turn out to have a head.
    counted: bool,
    /// Memory could not serve the last scan: the next one may wait.
    may_wait: bool,
    n_failures: u32,
    backing_off: Option<(UnixMillis, String)>,
}

/// The queues of one topic that can be served, and who waits for them.
#[derive(Debug, Default)]
struct Topic {
    /// Those that had a head when they were last looked at.
    ring: VecDeque<Slot>,
    /// Length of the ring beyond which queues without a head are swept out of it.
    sweep_ring_at: usize,
    waiters: Waiters,
    /// Queues that are being loaded and may turn out to have a head.
    n_loading: usize,
    listed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    LeaseEnds(Slot, EntryRank),
    RetryLoad(Slot),
}

/// The state machine of a partition.
#[derive(Debug)]
pub(crate) struct Core {
    options: PartitionOptions,
    epoch: Epoch,
    next_token: u64,
    next_sequence: u64,
    /// Sequences below this are reserved durably (or by the batch being staged).
    reserved_sequence: u64,
    queues: Slab<Queue>,
    slots: HashMap<QueueId, Slot>,
    topics: HashMap<TopicId, Topic>,
    /// Callers that want one particular queue, whether or not it is in memory.
    queue_waiters: HashMap<QueueId, Waiters>,
    /// Registrations until abandoned calls are searched for.
    sweep_waiters_in: usize,
    /// Topics and queues whose waiters may be servable now.
    topics_to_serve: Vec<TopicId>,
    queues_to_serve: Vec<QueueId>,
    timers: BTreeSet<(UnixMillis, Timer)>,
    loads: VecDeque<Slot>,
    n_scans_in_flight: usize,
    idle: VecDeque<Slot>,
    /// The batch being staged, and what follows from it.
    batch: WriteBatch,
    effects: Vec<Effect>,
    dirty: Vec<Slot>,
    row_buffer: Vec<u8>,
    counters: Counters,
    way_back: MailboxSender<Message>,
}

impl Core {
    pub(crate) fn handle_message(&mut self, now: UnixMillis, message: Message) {
        match message {
            Message::Enqueue { queue, entries, reply } => self.enqueue(now, &queue, entries, reply),
            Message::Lease { source, call, wait } => self.lease(source, call, wait),
            Message::Settle { lease, action } => self.settle(now, lease, action),
            Message::Unreceived(leases) => self.take_back(&leases),
            Message::ReportQueue { id, reply } => drop(reply.send(Ok(self.report_queue(id)))),
            Message::Report { n_queues_max, reply } => {
                drop(reply.send(Ok(self.report(n_queues_max))));
            }
            Message::ScanWoken { .. } | Message::Close => {
                unreachable!("the driver handles its own messages")
            }
        }
    }

    /// Takes over what a durable commit changed.
    pub(crate) fn handle_durable(&mut self, effects: Effects, position: Durable<LogPosition>) {
        self.counters.n_commits += 1;
        self.counters.n_commit_bytes += effects.n_bytes as u64;
        for effect in effects.effects {
            self.apply(effect, &position);
        }
        if self.is_broken(Mutation::AnswerBeforeDurable) {
            std::mem::take(&mut self.effects).into_iter().for_each(|e| self.apply(e, &position));
        }
    }

    fn apply(&mut self, effect: Effect, position: &Durable<LogPosition>) {
        match effect {
            Effect::Enqueued { slot, head, ids, separate, reply } => {
                self.entries_arrived(slot, head, &ids, &separate);
                // A caller that went away keeps its entries.
                let _ = reply.send(Ok(position.attach(ids)));
            }
            Effect::Granted { grants, reply } => self.grants_stand(grants, reply, position),
            Effect::Gone { slot, rank, reply } => {
                self.entry_left(slot, rank);
                let _ = reply.send(Ok(position.attach(())));
            }
            Effect::Released { slot, rank, reply } => {
                self.entry_returned(slot, rank);
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(position.attach(())));
                }
            }
            Effect::Extended { slot, deadline, reply } => {
                self.queues[slot].n_effects -= 1;
                self.touch(slot);
                let _ = reply.send(Ok(position.attach(deadline)));
            }
        }
    }

    /// Whatever was staged since the last call, or nothing.
    pub(crate) fn poll_batch(&mut self) -> Option<(WriteBatch, Effects)> {
        if self.staged_is_empty() {
            return None;
        }
        if self.next_sequence > self.reserved_sequence {
            self.reserved_sequence = self.next_sequence + SEQUENCE_BLOCK;
            if self.is_broken(Mutation::SequenceUnreserved) {
                self.reserved_sequence = self.next_sequence - 1;
            }
            let key = SystemKey::NextSequence.encode();
            self.batch.put(Table::System, key, &encode_u64(self.reserved_sequence));
        }
        let past_entering = self.is_broken(Mutation::FloorPastEntering);
        for slot in std::mem::take(&mut self.dirty) {
            let queue = &mut self.queues[slot];
            queue.dirty = false;
            queue.stored.floor = if past_entering { queue.known_floor() } else { queue.floor() };
            let key = ActiveKey { topic: queue.topic, queue: queue.id }.encode();
            if queue.stored.is_empty() {
                self.batch.delete(Table::Active, &key);
            } else {
                self.batch.put(Table::Active, &key, &queue.stored.encode());
            }
        }
        let batch = std::mem::take(&mut self.batch);
        let effects = std::mem::take(&mut self.effects);
        let n_bytes = batch.n_bytes();
        Some((batch, Effects { effects, n_bytes }))
    }

    /// Whether there is nothing to submit.
    pub(crate) fn staged_is_empty(&self) -> bool {
        self.effects.is_empty() && self.batch.is_empty()
    }

    /// Size of the batch being staged, in bytes.
    pub(crate) fn staged_bytes(&self) -> usize {
        self.batch.n_bytes()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<UnixMillis> {
        self.timers.first().map(|(time, _)| *time)
    }

    /// Handles deadlines up to `now`, at most as many as one turn allows.
    pub(crate) fn handle_timeout(&mut self, now: UnixMillis) {
        for _ in 0..self.options.timers_per_turn {
            match self.timers.first() {
                Some((time, _)) if *time <= now => {}
                _ => return,
            }
            match self.timers.pop_first() {
                Some((_, Timer::LeaseEnds(slot, rank))) => self.lease_expired(slot, rank),
                Some((_, Timer::RetryLoad(slot))) => self.retry_load(slot),
                None => return,
            }
        }
    }

    /// Answers everybody who still waits: the partition ends.
    pub(crate) fn refuse_all(&mut self, error: &PartitionError) {
        for effect in std::mem::take(&mut self.effects) {
            effect.refuse(error);
        }
        let of_topics = self.topics.drain().map(|(_, topic)| topic.waiters);
        let of_queues = self.queue_waiters.drain().map(|(_, waiters)| waiters);
        of_topics.chain(of_queues).for_each(|waiters| waiters.refuse_all(error));
    }

    /// Restores P4 and P5 for a queue after any change to it, and lets it leave memory when idle.
    fn touch(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        if !queue.inbox.is_empty() {
            self.enter_ring(slot);
        }
        self.consider_load(slot);
        self.consider_idle(slot);
    }

    fn enter_ring(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        let (topic_id, id) = (queue.topic, queue.id);
        if self.queue_waiters.contains_key(&id) {
            self.queues_to_serve.push(id);
        }
        if !std::mem::replace(&mut queue.in_ring, true) {
            self.sweep_ring(topic_id);
            self.topics.entry(topic_id).or_default().ring.push_back(slot);
        }
        self.list_topic(topic_id);
    }

    /// Queues without a head leave the ring when they come to its front. Where callers want particular
    /// queues and nobody turns the ring, they are swept out here before they outnumber the others.
    fn sweep_ring(&mut self, id: TopicId) {
        let topic = self.topics.entry(id).or_default();
        if topic.ring.len() < topic.sweep_ring_at.max(SWEEP_MIN) {
            return;
        }
        let queues = &mut self.queues;
        let mut left = Vec::new();
        topic.ring.retain(|&slot| {
            let has_head = !queues[slot].inbox.is_empty();
            if !has_head {
                queues[slot].in_ring = false;
                left.push(slot);
            }
            has_head
        });
        topic.sweep_ring_at = 2 * topic.ring.len();
        for slot in left {
            // One that becomes idle may push another one out of memory.
            if self.queues.contains(slot) {
                self.consider_idle(slot);
            }
        }
    }

    fn list_topic(&mut self, id: TopicId) {
        let topic = self.topics.entry(id).or_default();
        if !topic.waiters.is_empty() && !std::mem::replace(&mut topic.listed, true) {
            self.topics_to_serve.push(id);
        }
    }

    fn consider_idle(&mut self, slot: Slot) {
        let broken = self.is_broken(Mutation::BusyQueueForgotten);
        let queue = &mut self.queues[slot];
        if !queue.is_idle() || std::mem::replace(&mut queue.in_idle, true) {
            return;
        }
        self.idle.push_back(slot);
        if self.idle.len() > self.options.idle_queues_max {
            let Some(oldest) = self.idle.pop_front() else { return };
            let queue = &mut self.queues[oldest];
            queue.in_idle = false;
            // Only what knows that it is empty may be forgotten: a queue not in memory is an empty one.
            if queue.is_idle() || broken {
                let id = queue.id;
                self.slots.remove(&id);
                self.queues.remove(oldest);
            }
        }
    }

    fn mark_dirty(&mut self, slot: Slot) {
        if !std::mem::replace(&mut self.queues[slot].dirty, true) {
            self.dirty.push(slot);
        }
    }
}

impl Topic {
    /// Nobody serves it and nobody asks for it.
    fn is_unused(&self) -> bool {
        self.ring.is_empty() && self.waiters.is_empty() && self.n_loading == 0 && !self.listed
    }
}

impl Queue {
    fn new(id: QueueId, topic: TopicId, inbox: Inbox<EntryRank, EntryHead>) -> Self {
        Self {
            id,
            topic,
            names: None,
            inbox,
            leases: BTreeMap::new(),
            stored: ActiveRow::default(),
            dirty: false,
            n_entering: 0,
            lowest_entering: EntryRank::default(),
            n_effects: 0,
            in_ring: false,
            in_idle: false,
            load: Load::default(),
        }
    }

    /// Nothing to do, nothing on its way: all that is known of it is that it is empty.
    fn is_idle(&self) -> bool {
        self.stored.is_empty()
            && self.leases.is_empty()
            && self.n_effects == 0
            && !self.dirty
            && !self.in_ring
            && !self.load.listed
            && !self.inbox.refill_in_flight()
            && self.inbox.is_known_empty()
    }

    /// The lowest rank that may be live (P3).
    fn floor(&self) -> EntryRank {
        let known = self.known_floor();
        if self.n_entering > 0 { known.min(self.lowest_entering) } else { known }
    }

    /// As [`floor`](Self::floor), without the entries on their way.
    fn known_floor(&self) -> EntryRank {
        match self.inbox.floor() {
            Frontier::Start => self.stored.floor,
            Frontier::Before(rank) => rank,
            Frontier::After(rank) => {
                EntryRank { sequence: Sequence(rank.sequence.0.saturating_add(1)), ..rank }
            }
            Frontier::End => LAST_RANK,
        }
    }
}

const LAST_RANK: EntryRank =
    EntryRank { priority: Priority(u8::MAX), sequence: Sequence(u64::MAX) };

#[cfg(test)]
mod tests;
