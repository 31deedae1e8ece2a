//! Bringing queues into memory: after a restart, without making anybody wait for the last of them; and when
//! somebody wants one that left.
//!
//! A sweep goes through the `active` table in small steps, one per turn of the loop, and brings back what has
//! something ready. A topic that somebody wants work of goes first. A queue of which everything is delayed
//! or dead is *dormant*: it is counted and stays where it is. A command for a queue that may be outside waits
//! while that one queue is looked up. So at any moment a queue is in memory, or not swept yet, or dormant, or
//! empty; and while nothing is unswept or dormant, a queue that is not in memory is empty without a look.
//!
//! What a read says of a queue is only used if the queue is not in memory, and while such a read is in
//! flight the queue does not leave memory: a row that is older than what happened since is never taken for
//! new.

mod dormant;
mod leases;

use std::collections::{HashMap, HashSet, VecDeque};

use millpond_inbox::Inbox;
use millpond_storage_api::{ScanEnd, ScanRequest, ScanRows, StoreError, Table};
use millpond_types::{
    ActiveKey, ActiveRow, EntryRank, LeaseRow, QueueId, TopicId, UnixMillis, prefix_successor,
};

use super::reads::{Read, ReadJob, Reading, StoredActive, pause_ms};
use super::topics::{Recall as RecallOfTopic, TopicSlot};
use super::{Core, Mutation, Queue};
use crate::PartitionError;
use crate::command::{LeaseRef, LeaseSource, Message};

pub(super) use dormant::Dormant;

/// Rows of `active` that one turn takes.
const ROWS_PER_STEP: usize = if cfg!(test) { 2 } else { 512 };

/// A part of `active` that has not been read.
#[derive(Debug)]
struct Range {
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    /// The one topic it is about; otherwise it is about all.
    topic: Option<TopicId>,
}

/// What has not been brought back, and who waits for it.
#[derive(Debug)]
pub(super) struct Recall {
    pub(super) dormant: Dormant,
    /// How far the sweep has come: rows of `active` before this one were seen.
    swept_to: Vec<u8>,
    ranges: VecDeque<Range>,
    /// The range of which a step is being read.
    current: Option<Range>,
    /// Memory could not serve the last step.
    may_wait: bool,
    /// This turn has not taken its step.
    pub(super) may_read: bool,
    n_failures: u32,
    pub(super) backing_off: Option<(UnixMillis, String)>,
    /// Lease records of queues that are not back.
    leases: HashMap<QueueId, Vec<(EntryRank, LeaseRow)>>,
    /// Commands that wait for their queue.
    parked: HashMap<QueueId, Vec<Message>>,
    n_parked: usize,
    /// Queues to look up, and whether that may wait.
    wanted: VecDeque<(QueueId, bool)>,
    /// Queues of which the row is being read.
    looking: HashSet<QueueId>,
    /// Queues whose row cannot be decoded. Nobody may write to them, for their entries would be lost.
    damaged: HashSet<QueueId>,
}

impl Recall {
    /// Everything is still to be brought back, with these leases.
    pub(super) fn everything(leases: HashMap<QueueId, Vec<(EntryRank, LeaseRow)>>) -> Self {
        let all = Range { lower: Vec::new(), upper: None, topic: None };
        Self {
            dormant: Dormant::default(),
            swept_to: Vec::new(),
            ranges: [all].into(),
            current: None,
            may_wait: false,
            may_read: true,
            n_failures: 0,
            backing_off: None,
            leases,
            parked: HashMap::new(),
            n_parked: 0,
            wanted: VecDeque::new(),
            looking: HashSet::new(),
            damaged: HashSet::new(),
        }
    }

    /// Whether everything that has something ready is back.
    pub(super) fn is_done(&self) -> bool {
        self.ranges.is_empty() && self.current.is_none()
    }

    /// Whether queues of a topic may come back soon.
    pub(super) fn may_bring(&self, topic: RecallOfTopic) -> bool {
        !self.is_done() && topic != RecallOfTopic::Done && self.backing_off.is_none()
    }

    /// Whether a read is in flight that may bring any queue back.
    pub(super) fn is_sweeping(&self) -> bool {
        self.current.is_some()
    }

    /// Whether a queue that is not in memory is known to be empty.
    pub(super) fn knows_all(&self) -> bool {
        self.is_done() && self.dormant.n_queues == 0
    }

    /// Whether a queue with nothing ready may leave memory.
    pub(super) fn may_forget(&self, queue: &Queue) -> bool {
        // Until the sweep is through, nobody could say whether it has been counted.
        (queue.stored.is_empty() || self.is_done()) && !self.looking.contains(&queue.id)
    }

    /// A queue with nothing ready has left memory.
    pub(super) fn left_memory(&mut self, row: &ActiveRow) {
        if !row.is_empty() {
            self.dormant.add(row);
        }
    }

    /// Whether the sweep has passed a queue.
    fn was_swept(&self, topic: TopicId, queue: QueueId) -> bool {
        self.is_done() || ActiveKey { topic, queue }.encode()[..] < self.swept_to[..]
    }

    pub(super) fn wants_read(&self) -> bool {
        let step = self.current.is_none() && self.backing_off.is_none() && !self.ranges.is_empty();
        step || !self.wanted.is_empty()
    }

    #[cfg(test)]
    pub(super) fn is_parked(&self, id: &QueueId) -> bool {
        self.parked.contains_key(id)
    }

    #[cfg(test)]
    pub(super) fn parked(&self) -> impl Iterator<Item = &Message> {
        self.parked.values().flatten()
    }

    pub(super) fn n_parked(&self) -> usize {
        self.n_parked
    }

    /// Queues that are not back and had leases in force.
    pub(super) fn leased(&self) -> impl Iterator<Item = QueueId> + use<> {
        let in_force =
            |leases: &[(EntryRank, LeaseRow)]| leases.iter().any(|(_, row)| !row.is_released());
        let leased = self.leases.iter().filter(|(_, leases)| in_force(leases));
        leased.map(|(id, _)| *id).collect::<Vec<_>>().into_iter()
    }

    /// Whether there are any.
    pub(super) fn has_leased(&self) -> bool {
        self.leases.values().flatten().any(|(_, row)| !row.is_released())
    }

    pub(super) fn take_parked(&mut self) -> impl Iterator<Item = Message> + use<> {
        self.n_parked = 0;
        std::mem::take(&mut self.parked).into_values().flatten()
    }
}

impl Core {
    /// Sets a command aside whose queue has to be looked up first, and refuses one for a queue that cannot
    /// be read.
    pub(super) fn park_if_unknown(&mut self, message: Message) -> Option<Message> {
        let forgets = self.is_broken(Mutation::DormantTakenForEmpty);
        let recall = &mut self.recall;
        if (recall.knows_all() || forgets && recall.is_done())
            && recall.parked.is_empty()
            && recall.damaged.is_empty()
        {
            return Some(message);
        }
        let message = match message {
            Message::Unreceived(leases) => return Some(self.park_unreceived(leases)),
            message => message,
        };
        let Some(id) = queue_of(&message) else { return Some(message) };
        self.park_unless_known(id, message)
    }

    /// The same for a command that needs a certain queue.
    pub(super) fn park_unless_known(&mut self, id: QueueId, message: Message) -> Option<Message> {
        let is_parked = self.recall.parked.contains_key(&id);
        let is_there = self.queues.find(&id).is_some();
        if is_there && !is_parked || self.is_broken(Mutation::UnrecalledTakenForEmpty) {
            return Some(message);
        }
        if self.recall.damaged.contains(&id) {
            self.refuse_one(message, &damaged(id));
            return None;
        }
        if self.recall.knows_all() && !is_parked {
            return Some(message);
        }
        self.park(id, message);
        None
    }

    /// Leases of an earlier owner may be of queues that are not back yet; dormant queues have none.
    fn park_unreceived(&mut self, leases: Vec<LeaseRef>) -> Message {
        let is_known = |core: &Self, lease: &LeaseRef| {
            core.recall.is_done() || core.queues.find(&lease.id.queue).is_some()
        };
        let (known, unknown): (Vec<LeaseRef>, Vec<LeaseRef>) =
            leases.into_iter().partition(|lease| is_known(self, lease));
        for lease in unknown {
            self.park(lease.id.queue, Message::Unreceived(vec![lease]));
        }
        Message::Unreceived(known)
    }

    /// Sets a command aside until its queue is looked up.
    pub(super) fn park(&mut self, id: QueueId, message: Message) {
        let parked = self.recall.parked.entry(id).or_default();
        if parked.is_empty() {
            self.recall.wanted.push_back((id, false));
        }
        parked.push(message);
        self.recall.n_parked += 1;
    }

    /// Somebody wants work of a topic: its queues come back before those of others.
    pub(super) fn recall_topic(&mut self, slot: TopicSlot) {
        let topic = &mut self.topics[slot];
        if self.recall.is_done() || topic.recall != RecallOfTopic::Unasked {
            return;
        }
        topic.recall = RecallOfTopic::Asked;
        self.recall.ranges.push_front(Range {
            lower: topic.id.0.to_vec(),
            upper: prefix_successor(&topic.id.0),
            topic: Some(topic.id),
        });
    }

    /// The next step of the sweep, once per turn.
    pub(super) fn poll_recall(&mut self) -> Option<ReadJob> {
        let recall = &mut self.recall;
        if !recall.may_read || recall.current.is_some() || recall.backing_off.is_some() {
            return None;
        }
        let range = recall.ranges.pop_front()?;
        recall.may_read = false;
        let request = ScanRequest {
            table: Table::Active,
            lower: range.lower.clone(),
            upper: range.upper.clone(),
            rows_max: ROWS_PER_STEP,
            bytes_max: self.options.scan_bytes_max,
            skip_max: self.options.scan_skip_max,
        };
        let may_wait = recall.may_wait;
        recall.current = Some(range);
        Some(self.start_read(Reading::Recall, Read::Rows(request), may_wait, true))
    }

    /// The next look-up of a queue that a command waits for.
    pub(super) fn poll_parked(&mut self) -> Option<ReadJob> {
        loop {
            let (id, may_wait) = self.recall.wanted.pop_front()?;
            // The sweep may have brought it back meanwhile.
            if self.recall.parked.contains_key(&id) {
                if !self.is_broken(Mutation::LookedUpForgotten) {
                    self.recall.looking.insert(id);
                }
                return Some(self.start_read(
                    Reading::Active(id),
                    Read::Active(id),
                    may_wait,
                    true,
                ));
            }
        }
    }

    /// Takes the result of a step.
    pub(super) fn handle_recalled(
        &mut self,
        now: UnixMillis,
        rows: &ScanRows,
        outcome: Result<ScanEnd, StoreError>,
    ) {
        let mut may_wait = self.recall.may_wait;
        let end = match self.scan_end(rows, outcome, &mut may_wait) {
            Ok(end) => end,
            Err(error) => return self.recall_failed(now, error.to_string()),
        };
        self.recall.may_wait = may_wait;
        self.recall.n_failures = 0;
        for (key, row) in rows.iter() {
            match (ActiveKey::decode(key), ActiveRow::decode(row)) {
                (Ok(key), Ok(row)) => self.swept(now, key, row),
                (key, row) => self.row_is_damaged(key.ok().map(|key| key.queue), row.err()),
            }
        }
        let Some(mut range) = self.recall.current.take() else { return };
        match end {
            Some(ScanEnd::Exhausted) => self.range_ended(&range),
            Some(ScanEnd::Truncated { last }) => {
                range.lower = [&last[..], &[0]].concat();
                if range.topic.is_none() {
                    self.recall.swept_to.clone_from(&range.lower);
                }
                self.recall.ranges.push_front(range);
            }
            None => self.recall.ranges.push_front(range),
        }
    }

    /// The sweep has come to a queue.
    fn swept(&mut self, now: UnixMillis, key: ActiveKey, row: ActiveRow) {
        let sweeps_all = self.recall.current.as_ref().is_some_and(|range| range.topic.is_none());
        if row.n_ready > 0 || self.recall.parked.contains_key(&key.queue) {
            self.bring_back(now, key.topic, key.queue, row);
        } else if sweeps_all && self.queues.find(&key.queue).is_none() {
            // A row that cannot be used is not worth a queue in memory.
            self.recall.dormant.add(&row);
        }
    }

    fn range_ended(&mut self, range: &Range) {
        if let Some(id) = range.topic {
            if let Some(slot) = self.topics.find(id) {
                self.topics[slot].recall = RecallOfTopic::Done;
                self.list_topic(slot);
            }
            return;
        }
        self.recall.ranges.clear();
        let topics: Vec<TopicSlot> = self.topics.iter().map(|(slot, _)| slot).collect();
        topics.into_iter().for_each(|slot| self.list_topic(slot));
        for (queue, leases) in std::mem::take(&mut self.recall.leases) {
            if !self.recall.damaged.contains(&queue) {
                let n = leases.len();
                tracing::error!(%queue, "{n} leases of a queue that holds nothing are ignored");
            }
        }
    }

    fn row_is_damaged(
        &mut self,
        queue: Option<QueueId>,
        error: Option<millpond_types::DecodeError>,
    ) {
        self.counters.n_rows_corrupt += 1;
        let why =
            error.map_or_else(|| "its key is malformed".to_owned(), |error| error.to_string());
        tracing::error!(?queue, why, "a row of `active` is set aside");
        if let Some(id) = queue {
            self.recall.damaged.insert(id);
            self.refuse_parked(id, &damaged(id));
        }
    }

    fn refuse_parked(&mut self, id: QueueId, error: &PartitionError) {
        for message in self.unpark(id) {
            self.refuse_one(message, error);
        }
    }

    fn refuse_one(&mut self, message: Message, error: &PartitionError) {
        self.note_handled(&message);
        match message {
            Message::Due(key, row) => {
                let for_good = matches!(error, PartitionError::Corrupt(_));
                self.let_go_failed(key, row, for_good);
            }
            Message::Forward { id, .. } => self.forward_refused(id, error.clone()),
            message => message.refuse(error),
        }
    }

    fn unpark(&mut self, id: QueueId) -> Vec<Message> {
        let messages = self.recall.parked.remove(&id).unwrap_or_default();
        self.recall.n_parked -= messages.len();
        messages
    }

    pub(super) fn recall_failed(&mut self, now: UnixMillis, error: String) {
        self.counters.n_scans_failed += 1;
        tracing::warn!(error, "reading which queues have work failed");
        let until = now.plus(pause_ms(self.recall.n_failures, QueueId([0; 16])));
        self.recall.n_failures += 1;
        self.recall.backing_off = Some((until, error));
        self.wake_recall(until);
        let range = self.recall.current.take();
        self.recall.ranges.extend(range);
        // Until then, nobody who does not wait can be told more than that nothing is known.
        let asked: Vec<TopicSlot> = self.topics.iter().map(|(slot, _)| slot).collect();
        asked.into_iter().for_each(|slot| self.list_topic(slot));
    }

    /// Takes the result of a look-up.
    pub(super) fn handle_active(
        &mut self,
        now: UnixMillis,
        id: QueueId,
        outcome: Result<StoredActive, PartitionError>,
    ) {
        self.recall.looking.remove(&id);
        match outcome {
            Ok(Some((topic, row))) => self.bring_back(now, topic, id, row),
            Ok(None) => {}
            Err(PartitionError::Read(error)) if error.would_block() => {
                self.counters.n_would_block += 1;
                return self.recall.wanted.push_back((id, true));
            }
            Err(error) => {
                self.counters.n_scans_failed += 1;
                if matches!(error, PartitionError::Corrupt(_)) {
                    self.recall.damaged.insert(id);
                }
                self.refuse_parked(id, &error);
            }
        }
        for message in self.unpark(id) {
            self.dispatch(now, message, Some(id));
        }
    }

    /// Takes a queue into memory as its row describes it, unless it is there.
    pub(super) fn bring_back(
        &mut self,
        now: UnixMillis,
        topic: TopicId,
        id: QueueId,
        row: ActiveRow,
    ) {
        if self.queues.find(&id).is_some() {
            return;
        }
        self.counters.n_queues_recalled += 1;
        // Whoever asks for its topic may pass it after the sweep did.
        let is_dormant = row.n_ready == 0 && self.recall.was_swept(topic, id);
        if is_dormant && !self.is_broken(Mutation::DormantStaysCounted) {
            self.recall.dormant.remove(&row);
        }
        self.recall.damaged.remove(&id);
        let window = Inbox::new(row.n_ready == 0, self.options.inbox);
        let names = self.names.peek(&id).cloned();
        let slot = self.add_queue(topic, id, names.as_deref(), (row, window));
        for (rank, row) in self.recall.leases.remove(&id).unwrap_or_default() {
            self.recover_lease(slot, rank, row);
        }
        self.note_unresolved(slot);
        let in_vain = self.is_broken(Mutation::BroughtBackInVain);
        if in_vain {
            self.touch(slot);
        }
        for message in self.unpark(id) {
            self.dispatch(now, message, Some(id));
        }
        // Only now, because it may leave memory at once, and those that waited for it would find it empty.
        if !in_vain {
            self.touch(slot);
        }
    }
}

fn damaged(id: QueueId) -> PartitionError {
    PartitionError::Corrupt(format!("the `active` row of queue {id} cannot be decoded").into())
}

/// The queue that a command is about.
pub(super) fn queue_of(message: &Message) -> Option<QueueId> {
    match message {
        Message::Enqueue { queue, .. } => Some(queue.id),
        Message::Lease { source: LeaseSource::Queue(id), .. } => Some(*id),
        Message::Settle { lease, .. } | Message::AckAndEnqueue { lease, .. } => {
            Some(lease.id.queue)
        }
        Message::Purge { id, .. } | Message::ReportQueue { id, .. } => Some(*id),
        Message::Dead { id, .. } => Some(id.queue),
        Message::Due(key, _) => Some(key.queue),
        Message::Forward { to, .. } => Some(to.id),
        Message::Lease { source: LeaseSource::Topic(_), .. }
        | Message::Unreceived(_)
        | Message::Report { .. }
        | Message::Configure { .. }
        | Message::Close => None,
    }
}
