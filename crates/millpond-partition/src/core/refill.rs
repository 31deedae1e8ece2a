//! Bringing the head of a queue into memory.

use millpond_inbox::{Finish, Frontier, RefillEnd};
use millpond_storage_api::{ScanEnd, ScanRequest, ScanRows, StoreError, Table};
use millpond_types::{
    EntryHead, EntryKey, EntryRank, EntryRow, QueueId, Stage, UnixMillis, prefix_successor,
};

use super::{Core, Lease, Mutation, Queue, Slot, Timer};

/// First pause after a failed read, in milliseconds; doubles with every failure in a row.
const BACK_OFF_MS_MIN: u64 = 10;
const BACK_OFF_MS_MAX: u64 = 5_000;

/// A read the driver should perform.
#[derive(Debug)]
pub(crate) struct ScanJob {
    pub(crate) slot: Slot,
    pub(crate) request: ScanRequest,
    /// Memory could not serve it: use the form that waits.
    pub(crate) may_wait: bool,
}

impl Core {
    /// The next read to perform, if one is due and not too many are in flight.
    pub(crate) fn poll_scan(&mut self) -> Option<ScanJob> {
        while self.n_scans_in_flight < self.options.scans_in_flight_max {
            let slot = self.loads.pop_front()?;
            let queue = &mut self.queues[slot];
            queue.load.listed = false;
            let Some(request) = queue.inbox.refill_wanted() else {
                self.load_ended(slot);
                continue;
            };
            queue.inbox.refill_started(request.clone());
            self.n_scans_in_flight += 1;
            let request = ScanRequest {
                table: Table::Entries,
                lower: scan_start(queue, &request.from),
                upper: prefix_successor(&EntryKey::stage_prefix(queue.id, Stage::Ready)),
                rows_max: request.rows_max,
                bytes_max: self.options.scan_bytes_max,
                skip_max: self.options.scan_skip_max,
            };
            return Some(ScanJob { slot, request, may_wait: queue.load.may_wait });
        }
        None
    }

    /// Takes the result of a [`ScanJob`]. What was read before an error is used.
    pub(crate) fn handle_scan(
        &mut self,
        now: UnixMillis,
        slot: Slot,
        rows: &ScanRows,
        outcome: Result<ScanEnd, StoreError>,
    ) {
        self.n_scans_in_flight -= 1;
        let end = match outcome {
            Ok(end) => {
                let waited = std::mem::take(&mut self.queues[slot].load.may_wait);
                if waited {
                    self.counters.n_scans_waited += 1;
                } else {
                    self.counters.n_scans_in_memory += 1;
                }
                Some(end)
            }
            Err(error) if error.would_block() => {
                self.queues[slot].load.may_wait = true;
                let whole = self.is_broken(Mutation::PartialScanTrusted);
                let part = rows.last_key().map(|last| ScanEnd::Truncated { last: last.to_vec() });
                if whole { Some(ScanEnd::Exhausted) } else { part }
            }
            Err(error) => return self.load_failed(now, slot, error.to_string()),
        };
        let entries = self.decode_rows(rows);
        let end = match end {
            Some(ScanEnd::Exhausted) => RefillEnd::Exhausted,
            None => RefillEnd::Nothing,
            // The key, not the last entry: a row that cannot be decoded is passed over.
            Some(ScanEnd::Truncated { last }) => match EntryKey::decode(&last) {
                Ok(key) => RefillEnd::Truncated { after: key.rank },
                Err(error) => return self.load_failed(now, slot, error.to_string()),
            },
        };
        let finish = self.queues[slot].inbox.refill_finished(entries, end);
        if let Finish::Merged { overlay_overflowed: true, .. } = finish {
            self.counters.n_overlay_overflows += 1;
        }
        self.queues[slot].load.n_failures = 0;
        self.load_ended(slot);
    }

    fn decode_rows(&mut self, rows: &ScanRows) -> Vec<(EntryRank, EntryHead)> {
        let mut entries = Vec::with_capacity(rows.len());
        for (key, row) in rows.iter() {
            let decoded = EntryKey::decode(key)
                .and_then(|key| EntryRow::decode_head(row).map(|head| (key.rank, head)));
            match decoded {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    self.counters.n_rows_corrupt += 1;
                    tracing::error!(key = %key.escape_ascii(), %error, "an entry is set aside");
                }
            }
        }
        entries
    }

    fn load_failed(&mut self, now: UnixMillis, slot: Slot, error: String) {
        self.counters.n_scans_failed += 1;
        let queue = &mut self.queues[slot];
        tracing::warn!(queue = %queue.id, %error, "reading the head of a queue failed");
        queue.inbox.refill_failed();
        let pause = BACK_OFF_MS_MIN << queue.load.n_failures.min(9);
        queue.load.n_failures += 1;
        let until = now.plus(pause.min(BACK_OFF_MS_MAX));
        queue.load.backing_off = Some((until, error));
        self.timers.insert((until, Timer::RetryLoad(slot)));
        self.load_ended(slot);
    }

    /// A load has ended, well or not: whoever waited for it can be answered.
    fn load_ended(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        let (topic, id) = (queue.topic, queue.id);
        if std::mem::take(&mut queue.load.counted) {
            self.topics.entry(topic).or_default().n_loading -= 1;
        }
        if !self.is_broken(Mutation::LoadEndUnnoticed) {
            self.touch(slot);
        }
        self.list_topic(topic);
        if self.queue_waiters.contains_key(&id) {
            self.queues_to_serve.push(id);
        }
    }

    /// Restores P5.
    pub(super) fn consider_load(&mut self, slot: Slot) {
        let uncounted = self.is_broken(Mutation::LoadUncounted);
        let queue = &mut self.queues[slot];
        let mut coming = queue.load.listed || queue.inbox.refill_in_flight();
        let may_start = !coming && queue.load.backing_off.is_none();
        if may_start && queue.inbox.refill_wanted().is_some() {
            queue.load.listed = true;
            self.loads.push_back(slot);
            coming = true;
        }
        if uncounted {
            return;
        }
        if coming && queue.inbox.is_empty() && !std::mem::replace(&mut queue.load.counted, true) {
            self.topics.entry(queue.topic).or_default().n_loading += 1;
        }
    }

    /// A failed queue may try again; to be called when its pause is over.
    pub(super) fn retry_load(&mut self, slot: Slot) {
        self.queues[slot].load.backing_off = None;
        self.touch(slot);
    }
}

/// Where the scan starts: where the inbox says, or at the stored floor if it knows nothing.
fn scan_start(queue: &Queue, from: &Frontier<EntryRank>) -> Vec<u8> {
    let key =
        |queue: QueueId, rank| EntryKey { queue, stage: Stage::Ready, rank }.encode().to_vec();
    match from {
        Frontier::Start => key(queue.id, queue.stored.floor),
        Frontier::Before(rank) => key(queue.id, *rank),
        Frontier::After(rank) => {
            let mut after = key(queue.id, *rank);
            after.push(0);
            after
        }
        Frontier::End => unreachable!("an inbox that knows the whole queue asks for no refill"),
    }
}

impl Lease {
    /// What the window keeps of the entry while nobody leases it.
    pub(super) fn head(&self) -> EntryHead {
        EntryHead {
            attempts: self.row.attempts,
            enqueued_at: self.row.enqueued_at,
            separate_body: self.row.separate_body,
        }
    }
}
