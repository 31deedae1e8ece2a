//! The state of one partition and every change to it, without I/O, clock or thread.
//!
//! The driver hands in what happened (a command, a durable commit, finished rows, the time) and asks
//! what to do next (a batch to submit, a scan to perform, when to call again). All replies go out
//! through the one-shot senders that came in with the commands.
//!
//! Its invariants P1 to P13 are on the [crate's page](crate).

mod bounds;
mod classes;
mod configure;
mod dedup;
mod door;
mod effect;
mod enqueue;
mod forget;
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
mod reserve;
mod settle;
mod topics;
mod totals;
mod turns;
mod waiters;
mod waits;

use std::collections::{BTreeSet, HashMap, VecDeque};

use millpond_storage_api::{Epoch, Table, WriteBatch};
use millpond_sync::oneshot::Outbox;
use millpond_types::{ActiveKey, EntryRank, QueueId, SystemKey, UnixMillis, encode_u64};

use crate::PartitionError;
use crate::command::{Message, Nacked};
use crate::durability::Position;
use crate::governor::{Seat, nanos};
use crate::mailbox::MailboxSender;
use crate::options::PartitionOptions;
use crate::report::Counters;

use bounds::Seats;
use classes::Classes;
use configure::Walk;
use dedup::Dedup;
pub(crate) use dedup::{read_seen, try_read_seen};
use door::Door;
pub(crate) use door::Seen;
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
use topics::{TopicSlot, Topics};
use totals::Totals;
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
    /// Commands that were carried out or refused, for the tests to tell their order.
    #[cfg(test)]
    handled: Vec<tests::Handled>,
    next_sequence: u64,
    /// Sequences below this are reserved durably (or by the batch being staged).
    reserved_sequence: u64,
    queues: QueueSet,
    topics: Topics,
    /// What it shares with the other partitions of the engine.
    seat: Seat,
    names: Names,
    /// What a restart has not brought back yet.
    recall: Recall,
    /// Callers that want one particular queue, whether or not it is in memory.
    queue_waiters: HashMap<QueueId, Waiters>,
    seats: Seats,
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
    classes: Classes,
    /// Changes of rules that have not come to all queues.
    walks: VecDeque<Walk>,
    /// Queues with leases of which the rules are not known.
    to_resolve: BTreeSet<Slot>,
    /// Queues of which the names are to be read.
    name_reads: VecDeque<Slot>,
    totals: Totals,
    door: Door,
    dedup: Dedup,
    /// Queues that those who look for work may still clear of what is over, in this turn.
    to_clear_left: usize,
    idle: VecDeque<Slot>,
    surveys: VecDeque<Survey>,
    /// The batch being staged, and what follows from it.
    batch: WriteBatch,
    effects: Vec<Effect>,
    /// Batches staged before it.
    n_batches: u64,
    /// Queues, of all topics, that are about to have a head.
    n_coming: usize,
    /// Who was answered, and is woken when the next batch is on its way.
    outbox: Outbox,
    dirty: Vec<Slot>,
    row_buffer: Vec<u8>,
    counters: Counters,
    way_back: MailboxSender,
}

impl Core {
    pub(crate) fn handle_message(&mut self, now: UnixMillis, message: Message) {
        // One that settles a lease of another queue needs that one first.
        let Some(message) = self.stand_behind_first(message) else { return };
        if let Some(message) = self.park_if_unknown(message) {
            self.dispatch(now, message, None);
        }
    }

    /// Carries out a command whose queue is known, as soon as its keys are. `found` has just been looked up.
    fn dispatch(&mut self, now: UnixMillis, message: Message, found: Option<QueueId>) {
        let message = self
            .stand_behind(message)
            .and_then(|message| self.park_for_target(message, found))
            .and_then(|message| self.wait_at_door(message));
        if let Some(message) = message {
            self.perform(now, message);
        }
    }

    fn perform(&mut self, now: UnixMillis, message: Message) {
        self.note_handled(&message);
        match message {
            Message::Enqueue { queue, entries, seen, reply } => {
                self.enqueue(now, &queue, entries, &seen, reply);
            }
            Message::AckAndEnqueue { lease, queue, entries, seen, reply } => {
                self.ack_and_enqueue(now, lease, (&queue, entries, &seen), reply);
            }
            Message::Lease { source, call, wait } => self.lease(source, call, wait),
            Message::Settle { lease, action } => self.settle(now, lease, action),
            Message::Unreceived(leases) => self.take_back(&leases),
            Message::Dead { id, action, reply } => self.dead(id, action, reply),
            Message::Purge { id, reply } => self.purge(id, reply),
            Message::Configure { row, reply } => self.configure(row, reply),
            Message::Due(key, row) => self.let_go(key, row),
            Message::Forward { id, to } => self.forward_on(now, id, &to),
            Message::ReportQueue { id, reply } => drop(reply.send(Ok(self.report_queue(id)))),
            Message::Report { n_queues_max, reply } => self.start_survey(n_queues_max, reply),
            Message::Close => unreachable!("the driver handles its own messages"),
        }
    }

    /// Takes over what a commit changed that is as durable as it was to be, in order, and as much of it as
    /// `n_left` entries allow; to be called again with what is left, before any later commit.
    pub(crate) fn handle_commit(
        &mut self,
        effects: &mut Effects,
        position: &Position,
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

    fn apply(&mut self, effect: Effect, position: &Position) {
        match effect {
            Effect::Enqueued { slot, arrivals, reply } => {
                let accepted = self.entries_arrived(slot, arrivals);
                reply.give(accepted, position, &mut self.outbox);
            }
            Effect::Duplicates { accepted, reply } => {
                reply.give(accepted, position, &mut self.outbox)
            }
            Effect::Granted { grants, reply } => {
                self.grants_stand(grants, reply, position.durable());
            }
            Effect::Gone { slot, rank, reply } => {
                self.entry_left(slot, rank);
                if let Some(reply) = reply {
                    reply.give((), position, &mut self.outbox);
                }
            }
            Effect::Outlived { slot, rank } => self.entry_left(slot, rank),
            Effect::Released { slot, rank, reply } => {
                self.entry_returned(slot, rank);
                if let Some(reply) = reply {
                    let answer = Ok(position.durable().attach(Nacked::Ready));
                    let _ = self.outbox.send(reply, answer);
                }
            }
            Effect::Arose { slot, key, rank, head } => self.arose(slot, key, rank, head),
            Effect::Moved { slot, from, to, tell } => {
                self.moved(slot, from, to);
                tell.of(position.durable(), &mut self.outbox);
            }
            Effect::Extended { slot, deadline, reply } => {
                self.queues[slot].n_effects -= 1;
                self.touch(slot);
                let _ = self.outbox.send(reply, Ok(position.durable().attach(deadline)));
            }
            Effect::Purged { slot, delayed, reply } => {
                delayed.iter().for_each(|key| self.delayed_purged(key));
                self.purge_advanced(slot, reply, position.durable());
            }
            Effect::Configured { row, reply } => {
                self.configured(&row, reply, position.durable());
            }
            Effect::NothingToPurge { reply } => {
                let nothing = crate::Purged::default();
                let _ = self.outbox.send(reply, Ok(position.durable().attach(nothing)));
            }
        }
    }

    /// Whatever was staged since the last call, or nothing.
    pub(crate) fn poll_batch(&mut self) -> Option<(WriteBatch, Effects)> {
        if self.staged_is_empty() {
            return None;
        }
        self.n_batches += 1;
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
            if self.queues[slot].stored.is_empty() {
                // Also if rows that nobody could read had been counted.
                self.recount(slot, |stored| stored.n_bytes = 0);
            }
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
        self.stage_totals();
        self.stage_dedup_floor();
        let batch = std::mem::take(&mut self.batch);
        let effects = std::mem::take(&mut self.effects);
        // Rows that nobody waits for may go with those of callers who can do without. A power cut takes
        // them together, and with them whatever came after.
        let mut needs_sync = effects.is_empty() || effects.iter().any(Effect::needs_sync);
        if self.is_broken(Mutation::UnsyncedForSome) {
            needs_sync = effects.iter().all(Effect::needs_sync);
        }
        let n_bytes = Some(batch.n_bytes());
        Some((batch, Effects { effects: effects.into_iter(), n_bytes, needs_sync }))
    }

    /// Wakes whoever was answered since the last call.
    pub(crate) fn wake_answered(&mut self) {
        self.outbox.wake_all();
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
        let others = self.next_line().into_iter().chain(self.next_forgotten());
        self.next_wake().into_iter().chain(others).chain(self.next_tokens()).min()
    }

    /// Handles deadlines up to `now`, at most as many as one turn allows. To be called once per turn.
    pub(crate) fn handle_timeout(&mut self, now: UnixMillis) {
        self.recall.may_read = true;
        // Each kind has a number of its own, so that none keeps another waiting.
        let n_max = self.options.timers_per_turn;
        self.end_waits(now, n_max);
        self.seat.lock().limits.advance(nanos(now));
        self.forget_due(now);
        millpond_types::DueClock::ALL
            .into_iter()
            .for_each(|clock| self.serve_line(now, clock, n_max));
    }

    /// Commands that wait for their queue, or their keys, to be looked up.
    pub(crate) fn n_parked(&self) -> usize {
        self.recall.n_parked() + self.door.n_waiting()
    }

    /// Notes how long a turn of the loop took.
    pub(crate) fn note_turn(&mut self, took: std::time::Duration) {
        self.counters.turns.record(took);
    }

    /// Notes how long a commit was on its way.
    pub(crate) fn note_commit(&mut self, took: std::time::Duration) {
        self.counters.commits.record(took);
    }

    /// Small steps of work that waits for no event; `true` if there is more. To be called once per turn.
    pub(crate) fn tidy(&mut self) -> bool {
        let memory_is_tight = self.shrink_windows();
        let survey_goes_on = self.advance_surveys();
        let more_leave = self.evict_idle(EVICTED_PER_TURN);
        let walk_goes_on = self.advance_walks();
        // Tells other partitions of what was made available to them, too.
        self.hear_of_limits();
        memory_is_tight || walk_goes_on || survey_goes_on || more_leave
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
        for walk in std::mem::take(&mut self.walks) {
            walk.refuse(error);
        }
        for message in self.recall.take_parked().chain(self.door.take_all()) {
            message.refuse(error);
        }
        let of_topics = self.topics.iter_mut().map(|topic| std::mem::take(&mut topic.waiters));
        let of_queues = self.queue_waiters.drain().map(|(_, waiters)| waiters);
        of_topics.chain(of_queues).for_each(|waiters| waiters.refuse_all(error));
    }

    /// Restores P4 for a queue after any change to it, and lets it leave memory when idle.
    fn touch(&mut self, slot: Slot) {
        self.watch_head(slot);
        self.queues[slot].release_unused();
        self.place(slot);
        self.consider_idle(slot);
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
        let mut n_kept = 0;
        for _ in 0..n_max {
            if self.idle.len() <= self.options.idle_queues_max {
                return false;
            }
            let Some(oldest) = self.idle.pop_front() else { return false };
            let is_idle = self.queues[oldest].is_idle();
            let must_wait = !self.is_at_rest(oldest);
            let may_leave = trusts_stale || self.recall.may_forget(&self.queues[oldest]);
            if is_idle && (must_wait || !may_leave) {
                self.idle.push_back(oldest);
                n_kept += usize::from(must_wait || self.recall.backing_off.is_some());
                continue;
            }
            self.queues[oldest].in_idle = false;
            if is_idle || broken {
                self.remove_queue(oldest);
            }
        }
        // Where nothing could leave before some time has passed, another look at once is of no use.
        n_kept < n_max && self.idle.len() > self.options.idle_queues_max
    }

    /// Notes that a command is not waiting any more.
    fn note_handled(&mut self, message: &Message) {
        #[cfg(test)]
        self.handled.extend(tests::Handled::of(message));
        #[cfg(not(test))]
        let _ = message;
    }

    fn mark_dirty(&mut self, slot: Slot) {
        if !std::mem::replace(&mut self.queues[slot].dirty, true) {
            self.dirty.push(slot);
        }
    }
}

#[cfg(test)]
mod tests;
