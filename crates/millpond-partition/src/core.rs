//! The state of one partition and every change to it, without I/O, clock or thread.
//!
//! The driver hands in what happened (a command, a durable commit, finished rows, the time) and asks
//! what to do next (a batch to submit, a scan to perform, when to call again). All replies go out
//! through the one-shot senders that came in with the commands.
//!
//! Its invariants P1 to P10 are on the [crate's page](crate).

mod effect;
mod enqueue;
mod forward;
mod heads;
mod lease;
mod lines;
mod memory;
mod moves;
mod mutation;
mod outlive;
mod purge;
mod queue;
mod queues;
mod reads;
mod recall;
mod recover;
mod reporting;
mod rules;
mod settle;
mod topics;
mod waiters;
mod waits;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use millpond_storage_api::{Durable, Epoch, LogPosition, Table, WriteBatch};
use millpond_types::{ActiveKey, EntryRank, QueueId, SystemKey, UnixMillis, encode_u64};

use crate::PartitionError;
use crate::command::{Message, Nacked};
use crate::mailbox::MailboxSender;
use crate::options::PartitionOptions;
use crate::report::Counters;

use effect::Effect;
pub(crate) use effect::Effects;
use lines::Lines;
use memory::Memory;
use moves::Place;
pub(crate) use mutation::Mutation;
use queue::{Lease, LeaseState, Load, Names, Queue, Window};
use queues::{QueueSet, Slot};
use reads::Reading;
pub(crate) use reads::{Read, ReadJob, ReadOutcome, StoredActive, read_active, try_read_active};
use recall::Recall;
pub(crate) use recover::Recovered;
pub use recover::scan_table;
use reporting::Survey;
use rules::Effective;
use topics::{TopicSlot, Topics};
use waiters::Waiters;
use waits::Wakes;

/// Sequences are reserved in blocks of this size, so that most commits need not write the counter.
const SEQUENCE_BLOCK: u64 = 1 << 16;

/// Lists shorter than this are never searched for what no longer belongs there.
const SWEEP_MIN: usize = if cfg!(test) { 2 } else { 64 };

/// Idle queues that leave memory in one turn, besides those that make room for another.
const EVICTED_PER_TURN: usize = if cfg!(test) { 1 } else { 512 };

/// The state machine of a partition.
#[derive(Debug)]
pub(crate) struct Core {
    options: PartitionOptions,
    cheap_range_delete: bool,
    epoch: Epoch,
    next_token: u64,
    next_sequence: u64,
    /// Sequences below this are reserved durably (or by the batch being staged).
    reserved_sequence: u64,
    queues: QueueSet,
    topics: Topics,
    names: Names,
    /// What a restart has not brought back yet.
    recall: Recall,
    /// Callers that want one particular queue, whether or not it is in memory.
    queue_waiters: HashMap<QueueId, Waiters>,
    /// Registrations until abandoned calls are searched for.
    sweep_waiters_in: usize,
    /// Topics and queues whose waiters may be servable now.
    topics_to_serve: Vec<TopicSlot>,
    queues_to_serve: Vec<QueueId>,
    wakes: Wakes,
    /// What is not ready yet.
    lines: Lines,
    /// When the driver last said what the clocks show, and what the wall clock showed then.
    looked_at: UnixMillis,
    wall_at: UnixMillis,
    /// Queues whose head is to be read: because their turn has come, or soon.
    urgent_loads: VecDeque<Slot>,
    loads_ahead: VecDeque<Slot>,
    purge_reads: VecDeque<Slot>,
    /// Entries that move: their row is to be read, or the names of their queue; or the body.
    move_reads: VecDeque<Place>,
    body_reads: VecDeque<(Slot, EntryRank)>,
    /// Reads in flight, by number.
    reads: HashMap<u64, Reading>,
    last_read: u64,
    /// Which kind of read was asked for first, last time.
    read_kind: usize,
    /// Those of them that nobody wants any more.
    cancelled: Vec<u64>,
    memory: Memory,
    /// Queues that the round may still clear of what is over, in this turn.
    to_clear_left: usize,
    /// What holds where no rule says anything.
    defaults: Arc<Effective>,
    idle: VecDeque<Slot>,
    surveys: VecDeque<Survey>,
    /// The batch being staged, and what follows from it.
    batch: WriteBatch,
    effects: Vec<Effect>,
    dirty: Vec<Slot>,
    row_buffer: Vec<u8>,
    counters: Counters,
    way_back: MailboxSender,
}

impl Core {
    pub(crate) fn handle_message(&mut self, now: UnixMillis, message: Message) {
        if let Some(message) = self.park_if_unknown(message) {
            self.dispatch(now, message);
        }
    }

    fn dispatch(&mut self, now: UnixMillis, message: Message) {
        match message {
            Message::Enqueue { queue, entries, reply } => self.enqueue(now, &queue, entries, reply),
            Message::Lease { source, call, wait } => self.lease(source, call, wait),
            Message::Settle { lease, action } => self.settle(now, lease, action),
            Message::Unreceived(leases) => self.take_back(&leases),
            Message::Dead { id, action, reply } => self.dead(id, action, reply),
            Message::Purge { id, reply } => self.purge(id, reply),
            Message::Due(key, row) => self.let_go(key, row),
            Message::Forward { id, to } => self.forward_on(now, id, &to),
            Message::ReportQueue { id, reply } => drop(reply.send(Ok(self.report_queue(id)))),
            Message::Report { n_queues_max, reply } => self.start_survey(n_queues_max, reply),
            Message::Close => unreachable!("the driver handles its own messages"),
        }
    }

    /// Takes over what a durable commit changed, in order, and as much of it as `n_left` entries allow; to
    /// be called again with what is left, before any later commit.
    pub(crate) fn handle_durable(
        &mut self,
        effects: &mut Effects,
        position: &Durable<LogPosition>,
        n_left: &mut usize,
    ) {
        self.counters.n_commits += u64::from(effects.n_bytes.is_some());
        self.counters.n_commit_bytes += effects.n_bytes.take().unwrap_or_default() as u64;
        while *n_left > 0 {
            let Some(effect) = effects.effects.next() else { break };
            *n_left = n_left.saturating_sub(effect.n_entries());
            self.apply(effect, position);
        }
        if self.is_broken(Mutation::AnswerBeforeDurable) {
            std::mem::take(&mut self.effects).into_iter().for_each(|e| self.apply(e, position));
        }
    }

    fn apply(&mut self, effect: Effect, position: &Durable<LogPosition>) {
        match effect {
            Effect::Enqueued { slot, accepted_at, ids, sizes, delayed, reply } => {
                self.entries_arrived(slot, accepted_at, &ids, &sizes, delayed);
                // A caller that went away keeps its entries.
                let _ = reply.send(Ok(position.attach(ids)));
            }
            Effect::Granted { grants, reply } => self.grants_stand(grants, reply, position),
            Effect::Gone { slot, rank, reply } => {
                self.entry_left(slot, rank);
                let _ = reply.send(Ok(position.attach(())));
            }
            Effect::Outlived { slot, rank } => self.entry_left(slot, rank),
            Effect::Released { slot, rank, reply } => {
                self.entry_returned(slot, rank);
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(position.attach(Nacked::Ready)));
                }
            }
            Effect::Arose { slot, key, rank, head } => self.arose(slot, key, rank, head),
            Effect::Moved { slot, from, to, tell } => {
                self.moved(slot, from, to);
                tell.of(position);
            }
            Effect::Extended { slot, deadline, reply } => {
                self.queues[slot].n_effects -= 1;
                self.touch(slot);
                let _ = reply.send(Ok(position.attach(deadline)));
            }
            Effect::Purged { slot, delayed, reply } => {
                delayed.iter().for_each(|key| self.delayed_purged(key));
                self.purge_advanced(slot, reply, position);
            }
            Effect::NothingToPurge { reply } => {
                let _ = reply.send(Ok(position.attach(crate::Purged::default())));
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
            let key = ActiveKey { topic: self.topics[queue.topic].id, queue: queue.id }.encode();
            if queue.stored.is_empty() {
                self.batch.delete(Table::Active, &key);
            } else {
                self.batch.put(Table::Active, &key, &queue.stored.encode());
            }
        }
        self.stage_line_floors();
        let batch = std::mem::take(&mut self.batch);
        let effects = std::mem::take(&mut self.effects).into_iter();
        let n_bytes = Some(batch.n_bytes());
        Some((batch, Effects { effects, n_bytes }))
    }

    /// Whether there is nothing to submit.
    pub(crate) fn staged_is_empty(&self) -> bool {
        self.effects.is_empty() && self.batch.is_empty()
    }

    /// How much follows from the batch being staged.
    pub(crate) fn n_staged_effects(&self) -> usize {
        self.effects.len()
    }

    /// Size of the batch being staged, in bytes.
    pub(crate) fn staged_bytes(&self) -> usize {
        self.batch.n_bytes()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<UnixMillis> {
        self.next_wake().into_iter().chain(self.next_line()).min()
    }

    /// Handles deadlines up to `now`, at most as many as one turn allows. To be called once per turn.
    pub(crate) fn handle_timeout(&mut self, now: UnixMillis) {
        self.recall.may_read = true;
        // Each kind has a number of its own, so that none keeps another waiting.
        let n_max = self.options.timers_per_turn;
        self.end_waits(now, n_max);
        millpond_types::DueClock::ALL
            .into_iter()
            .for_each(|clock| self.serve_line(now, clock, n_max));
    }

    /// Commands that wait for their queue to be looked up.
    pub(crate) fn n_parked(&self) -> usize {
        self.recall.n_parked()
    }

    /// Notes how long a turn of the loop took.
    pub(crate) fn note_turn(&mut self, took: std::time::Duration) {
        self.counters.turns.record(took);
    }

    /// Small steps of work that waits for no event; `true` if there is more. To be called once per turn.
    pub(crate) fn tidy(&mut self) -> bool {
        let memory_is_tight = self.shrink_windows();
        let survey_goes_on = self.advance_surveys();
        let more_leave = self.evict_idle(EVICTED_PER_TURN);
        memory_is_tight || survey_goes_on || more_leave
    }

    /// Answers everybody who still waits: the partition ends.
    pub(crate) fn refuse_all(&mut self, error: &PartitionError) {
        for effect in std::mem::take(&mut self.effects) {
            effect.refuse(error);
        }
        for queue in 0..self.queues.n_slots() {
            if let Some((slot, _)) = self.queues.at(queue) {
                self.refuse_purges(slot, error);
                self.refuse_moves(slot, error);
            }
        }
        for survey in std::mem::take(&mut self.surveys) {
            survey.refuse(error);
        }
        for message in self.recall.take_parked() {
            message.refuse(error);
        }
        let of_topics = self.topics.drain().map(|topic| topic.waiters);
        let of_queues = self.queue_waiters.drain().map(|(_, waiters)| waiters);
        of_topics.chain(of_queues).for_each(|waiters| waiters.refuse_all(error));
    }

    /// Takes a queue into memory. It must not be there.
    fn add_queue(&mut self, topic: TopicSlot, queue: Queue) -> Slot {
        self.topics[topic].n_queues += 1;
        self.queues.insert(queue)
    }

    /// Restores P4 for a queue after any change to it, and lets it leave memory when idle.
    fn touch(&mut self, slot: Slot) {
        self.watch_head(slot);
        self.queues[slot].release_unused();
        self.place(slot);
        self.consider_idle(slot);
    }

    /// Lets a queue take part in the round of its topic, or not.
    fn place(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        let (topic, id) = (queue.topic, queue.id);
        let wants_turn = queue.wants_turn();
        let was_in_ring = std::mem::replace(&mut queue.in_ring, wants_turn);
        let turn_due = !queue.window.is_empty() && std::mem::take(&mut queue.turn_due);
        match (was_in_ring, wants_turn) {
            (false, true) => {
                let ring = &mut self.topics[topic].ring;
                if turn_due {
                    ring.push_front(&mut self.queues, slot);
                } else {
                    ring.push_back(&mut self.queues, slot);
                }
            }
            (true, false) => self.topics[topic].ring.remove(&mut self.queues, slot),
            _ => {}
        }
        if wants_turn {
            self.list_queue(id);
        }
        // Also when it left: it may have been the last that a caller could hope for.
        if wants_turn || was_in_ring {
            self.list_topic(topic);
        }
    }

    /// The callers of a topic are to be looked at.
    fn list_topic(&mut self, slot: TopicSlot) {
        let topic = &mut self.topics[slot];
        if !topic.waiters.is_empty() && !std::mem::replace(&mut topic.listed, true) {
            self.topics_to_serve.push(slot);
        }
    }

    /// The callers of a queue are to be looked at.
    fn list_queue(&mut self, id: QueueId) {
        if self.queue_waiters.contains_key(&id) {
            self.queues_to_serve.push(id);
        }
    }

    fn consider_idle(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        if !queue.is_idle() || std::mem::replace(&mut queue.in_idle, true) {
            return;
        }
        self.idle.push_back(slot);
        // Two for one, so that what had to stay while reads were in flight leaves by and by.
        self.evict_idle(2);
    }

    /// Only what knows that it has nothing ready may be forgotten: a queue not in memory has nothing that could
    /// be served. Whether more should leave.
    fn evict_idle(&mut self, n_max: usize) -> bool {
        let broken = self.is_broken(Mutation::BusyQueueForgotten);
        let trusts_stale = self.is_broken(Mutation::StaleRowRecalled);
        // What a read in flight says of a queue may be older than what became of the queue since.
        if self.recall.is_sweeping() && !trusts_stale {
            return false;
        }
        for _ in 0..n_max {
            if self.idle.len() <= self.options.idle_queues_max {
                return false;
            }
            let Some(oldest) = self.idle.pop_front() else { return false };
            let queue = &mut self.queues[oldest];
            if queue.is_idle() && !self.recall.may_forget(queue) && !trusts_stale {
                self.idle.push_back(oldest);
                continue;
            }
            queue.in_idle = false;
            if queue.is_idle() || broken {
                let topic = queue.topic;
                let uncounted = self.is_broken(Mutation::DormantUncounted);
                if let Some(queue) = self.queues.remove(oldest).filter(|_| !uncounted) {
                    self.recall.left_memory(&queue.stored);
                }
                self.topics[topic].n_queues -= 1;
                self.topics.tidy(topic);
            }
        }
        self.idle.len() > self.options.idle_queues_max
    }

    fn mark_dirty(&mut self, slot: Slot) {
        if !std::mem::replace(&mut self.queues[slot].dirty, true) {
            self.dirty.push(slot);
        }
    }
}

#[cfg(test)]
mod tests;
