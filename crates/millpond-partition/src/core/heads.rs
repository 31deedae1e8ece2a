//! Bringing the head of a queue into memory.
//!
//! A queue whose head is unknown costs nothing until its turn comes: it has turns in its topic as any other,
//! and the head is read when a caller gets to it, together with the heads of those that come next. A
//! queue that was just served reads ahead.

use std::time::Duration;

use millpond_inbox::{Finish, Frontier, RefillEnd};
use millpond_storage_api::{ScanEnd, ScanRequest, ScanRows, StoreError, Table};
use millpond_types::{
    EntryHead, EntryKey, EntryRank, EntryRow, QueueId, Stage, UnixMillis, prefix_successor,
};

use super::queues::Slot;
use super::reads::{Read, ReadJob, Reading, pause_ms};
use super::waits::Wait;
use super::{Core, Load, Mutation, Queue};

/// Queues that may be read ahead of their turn at a time.
const READS_AHEAD_MAX: usize = 1024;

/// Rows of one queue that are remembered as set aside; more are only counted.
const SET_ASIDE_MAX: usize = 1024;

impl Core {
    /// The turn of a queue has come, or a caller wants it: its head is read before others.
    pub(super) fn demand_head(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        if queue.class.is_unresolved() && queue.purge().is_none() {
            return self.want_names(slot);
        }
        let may_start = matches!(queue.load, Load::Idle | Load::Ahead)
            && queue.backing_off().is_none()
            && queue.purge().is_none();
        if !may_start || queue.window.refill_wanted().is_none() {
            return;
        }
        queue.load = Load::Urgent;
        self.urgent_loads.push_back(slot);
        self.count_load(slot);
    }

    /// A queue was just served: more of it is read while there is memory for it.
    pub(super) fn read_ahead(&mut self, slot: Slot) {
        self.count_load(slot);
        let queue = &mut self.queues[slot];
        let may_start = queue.load == Load::Idle
            && queue.backing_off().is_none()
            && self.loads_ahead.len() < READS_AHEAD_MAX
            && !self.memory.is_tight(&self.options);
        if may_start && queue.window.refill_wanted().is_some() {
            queue.load = Load::Ahead;
            self.loads_ahead.push_back(slot);
        }
    }

    /// A queue that has no head and may have one soon keeps the callers of its topic waiting.
    pub(super) fn count_load(&mut self, slot: Slot) {
        if self.is_broken(Mutation::LoadUncounted) {
            return;
        }
        let queue = &mut self.queues[slot];
        let counts = queue.is_coming() && (queue.window.is_empty() || queue.class.is_unresolved());
        if counts && !std::mem::replace(&mut queue.counted, true) {
            self.topics[queue.topic].n_loading += 1;
        }
    }

    pub(super) fn poll_head(&mut self) -> Option<ReadJob> {
        loop {
            let (slot, urgent) = match self.urgent_loads.pop_front() {
                Some(slot) => (slot, true),
                None => (self.loads_ahead.pop_front()?, false),
            };
            let listed = if urgent { Load::Urgent } else { Load::Ahead };
            let n_rows_max = self.memory.rows_per_read(&self.options);
            if self.memory.is_tight(&self.options) {
                self.move_hand();
            }
            // One that became urgent still stands in the other list.
            let Some(queue) = self.queues.get_mut(slot).filter(|queue| queue.load == listed) else {
                continue;
            };
            let Some(mut wanted) = queue.window.refill_wanted() else {
                self.load_ended(slot);
                continue;
            };
            let batch = queue.window.batch();
            wanted.rows_max = wanted.rows_max - batch + batch.min(n_rows_max);
            let (id, floor, may_wait) = (queue.id, queue.stored.floor, queue.may_wait);
            queue.load = Load::Reading;
            queue.window.refill_started(wanted.clone());
            queue.busy_mut().reading = Some(self.last_read + 1);
            self.count_load(slot);
            let request = ScanRequest {
                table: Table::Entries,
                lower: scan_start(id, floor, &wanted.from),
                upper: prefix_successor(&EntryKey::stage_prefix(id, Stage::Ready)),
                rows_max: wanted.rows_max,
                bytes_max: self.options.scan_bytes_max,
                skip_max: self.options.scan_skip_max,
            };
            let reading = Reading::Head(slot);
            return Some(self.start_read(reading, Read::Rows(request), may_wait, urgent));
        }
    }

    pub(super) fn handle_head(
        &mut self,
        now: UnixMillis,
        slot: Slot,
        rows: &ScanRows,
        outcome: Result<ScanEnd, StoreError>,
        took: Duration,
    ) {
        self.counters.refill_latency.record(took);
        let (mut may_wait, turn_due) = (self.queues[slot].may_wait, self.queues[slot].turn_due);
        let end = match self.scan_end(rows, outcome, &mut may_wait) {
            Ok(end) => end,
            Err(error) => return self.head_failed(now, slot, error.to_string()),
        };
        self.queues[slot].may_wait = may_wait;
        if end.is_some() {
            let cause = &mut self.counters;
            *(if turn_due { &mut cause.n_refills_demanded } else { &mut cause.n_refills_ahead }) +=
                1;
        }
        let entries = self.decode_rows(slot, rows);
        let end = match end {
            Some(ScanEnd::Exhausted) => RefillEnd::Exhausted,
            None => RefillEnd::Nothing,
            // The key, not the last entry: a row that cannot be decoded is passed over.
            Some(ScanEnd::Truncated { last }) => match EntryKey::decode(&last) {
                Ok(key) => RefillEnd::Truncated { after: key.rank },
                Err(error) => return self.head_failed(now, slot, error.to_string()),
            },
        };
        let finish = self.with_window(slot, |window| window.refill_finished(entries, end));
        if let Finish::Merged { overlay_overflowed: true, .. } = finish {
            self.counters.n_overlay_overflows += 1;
        }
        if let Some(busy) = &mut self.queues[slot].busy {
            busy.n_failures = 0;
        }
        self.load_ended(slot);
        if self.queues.get(slot).is_some_and(Queue::head_is_unknown) {
            // Memory could not serve it, or a change was in the way: at once again, and not after a turn.
            if turn_due { self.demand_head(slot) } else { self.read_ahead(slot) }
        }
    }

    fn decode_rows(&mut self, slot: Slot, rows: &ScanRows) -> Vec<(EntryRank, EntryHead)> {
        let mut entries = Vec::with_capacity(rows.len());
        for (key, row) in rows.iter() {
            let rank = EntryKey::decode(key).map(|key| key.rank);
            let head = EntryRow::decode_head(row);
            match (rank, head) {
                (Ok(rank), Ok(head)) => entries.push((rank, head)),
                (rank, head) => {
                    if let Some(error) = rank.as_ref().err().or(head.as_ref().err()) {
                        tracing::error!(key = %key.escape_ascii(), %error, "an entry is set aside");
                    }
                    self.set_aside(slot, rank.ok());
                }
            }
        }
        entries
    }

    /// A row cannot be decoded: its neighbours flow, and the row stays where it is.
    fn set_aside(&mut self, slot: Slot, rank: Option<EntryRank>) {
        let set_aside = &mut self.queues[slot].busy_mut().set_aside;
        let is_new =
            rank.is_none_or(|rank| set_aside.len() >= SET_ASIDE_MAX || set_aside.insert(rank));
        self.counters.n_rows_corrupt += u64::from(is_new);
    }

    pub(super) fn head_failed(&mut self, now: UnixMillis, slot: Slot, error: String) {
        self.counters.n_scans_failed += 1;
        self.with_window(slot, |window| window.refill_failed());
        let queue = &mut self.queues[slot];
        tracing::warn!(queue = %queue.id, %error, "reading the head of a queue failed");
        let id = queue.id;
        let busy = queue.busy_mut();
        if busy.naming.is_some() {
            // No turn of it comes before that read has ended, and then this one is tried again.
            return self.load_ended(slot);
        }
        let until = now.plus(pause_ms(busy.n_failures, id));
        busy.n_failures += 1;
        busy.backing_off = Some((until, error));
        self.wait(slot, until, Wait::RetryLoad);
        self.load_ended(slot);
    }

    /// A load has ended, well or not: whoever waited for it can be answered.
    fn load_ended(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        queue.load = Load::Idle;
        if let Some(busy) = &mut queue.busy {
            busy.reading = None;
        }
        self.uncount_load(slot);
        if !self.is_broken(Mutation::LoadEndUnnoticed) {
            self.touch(slot);
        }
    }

    /// A queue is not being loaded any more, unless for another reason.
    pub(super) fn uncount_load(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        let (topic, id) = (queue.topic, queue.id);
        if std::mem::take(&mut queue.counted) {
            self.topics[topic].n_loading -= 1;
        }
        self.count_load(slot);
        self.list_topic(topic);
        self.list_queue(id);
    }

    /// What is read for a queue is of no use any more.
    pub(super) fn cancel_load(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        if let Some(number) = queue.busy.as_mut().and_then(|busy| busy.reading.take()) {
            self.reads.insert(number, Reading::Void);
            self.cancelled.push(number);
        }
        if self.queues[slot].load != Load::Idle {
            self.load_ended(slot);
        }
    }

    /// A failed queue may try again; to be called when its pause is over.
    pub(super) fn retry_load(&mut self, slot: Slot) {
        if let Some(busy) = &mut self.queues[slot].busy {
            busy.backing_off = None;
        }
        self.note_unresolved(slot);
        self.touch(slot);
    }
}

/// Where the scan starts: where the window says, or at the stored floor if it knows nothing.
fn scan_start(queue: QueueId, floor: EntryRank, from: &Frontier<EntryRank>) -> Vec<u8> {
    let key = |rank| EntryKey { queue, stage: Stage::Ready, rank }.encode().to_vec();
    match from {
        Frontier::Start => key(floor),
        Frontier::Before(rank) => key(*rank),
        Frontier::After(rank) => {
            let mut after = key(*rank);
            after.push(0);
            after
        }
        Frontier::End => unreachable!("a window that knows the whole queue asks for no refill"),
    }
}
