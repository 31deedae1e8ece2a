//! Removing everything a queue holds.
//!
//! A purge takes what was accepted before it, leased or not, and nothing that is accepted after it. From
//! the moment it is staged nobody is handed an entry of the queue, and the leases in force end; when its
//! last commit is durable the queue goes on.
//!
//! Where the store deletes ranges cheaply, a purge is one commit. Where it does not, and for queues so
//! short that reading their keys costs less than a range tombstone costs every reader, it goes row by row,
//! a commit per some hundreds of rows: then a crash in between leaves a part, and no receipt was given.

use std::collections::BTreeSet;

use millpond_inbox::Inbox;
use millpond_storage_api::{
    Durable, LogPosition, ScanEnd, ScanRequest, ScanRows, StoreError, Table,
};
use millpond_types::{
    ActiveRow, DeadRow, DelayedEntryKey, DelayedEntryRow, DelayedKey, EntryKey, EntryRank,
    EntryRow, LeaseKey, PayloadKey, QueueId, Sequence, Stage, UnixMillis, prefix_successor,
};

use super::queue::LAST_RANK;
use super::queues::Slot;
use super::reads::{Read, ReadJob, Reading, pause_ms};
use super::waits::Wait;
use super::{Core, Effect, Mutation};
use crate::command::Reply;
use crate::{PartitionError, Purged};

/// Up to so many entries are deleted one by one, also where ranges are cheap: RocksDB sorts all range
/// tombstones of a memtable again for the first read after each new one.
const BY_ROW_MAX: u64 = if cfg!(test) { 3 } else { 128 };
/// Rows of one commit of a purge.
const ROWS_PER_STEP: usize = if cfg!(test) { 2 } else { 512 };

/// A purge on its way.
#[derive(Debug)]
pub(super) struct Purge {
    /// First sequence that stays.
    pub(super) upto: Sequence,
    removed: Purged,
    /// Who asked, until he is answered with the last commit.
    reply: Option<Reply<Purged>>,
    /// Purges asked for meanwhile: they follow when this one is through.
    next: Vec<Reply<Purged>>,
    /// The last commit is staged.
    ends: bool,
    /// The lowest entry that stays, as far as one was seen.
    lowest_kept: Option<EntryRank>,
    /// Entries with a lease record.
    leased: BTreeSet<EntryRank>,
    /// Where the next step starts to read.
    lower: Vec<u8>,
    may_wait: bool,
    n_failures: u32,
}

impl Purge {
    /// Notes an entry that stays, if it was accepted after the purge was staged.
    pub(super) fn keep(&mut self, rank: EntryRank) {
        if rank.sequence < self.upto {
            return;
        }
        self.lowest_kept = Some(self.lowest_kept.map_or(rank, |lowest| lowest.min(rank)));
    }
}

impl Core {
    pub(super) fn purge(&mut self, id: QueueId, reply: Reply<Purged>) {
        let Some(slot) = self.queues.find(&id) else {
            return self.effects.push(Effect::NothingToPurge { reply });
        };
        let queue = &mut self.queues[slot];
        if let Some(purge) = queue.busy.as_mut().and_then(|busy| busy.purge.as_mut()) {
            return purge.next.push(reply);
        }
        if queue.stored.is_empty() {
            return self.effects.push(Effect::NothingToPurge { reply });
        }
        let n_entries = queue.stored.n_ready + queue.stored.n_delayed + queue.stored.n_dead;
        self.cancel_load(slot);
        let (leased, n_leased) = self.end_leases(slot);
        let mut purge = Purge {
            upto: Sequence(self.next_sequence),
            removed: Purged { n_entries, n_leased },
            reply: Some(reply),
            next: Vec::new(),
            ends: false,
            lowest_kept: None,
            leased,
            lower: id.0.to_vec(),
            may_wait: false,
            n_failures: 0,
        };
        let empty = Inbox::new(false, self.options.inbox);
        self.with_window(slot, |window| *window = empty);
        // What is delayed stands in two places, of which a range covers one.
        let has_delayed = self.queues[slot].stored.n_delayed > 0;
        let has_delayed = has_delayed && !self.is_broken(Mutation::PurgeKeepsDelayed);
        if self.cheap_range_delete && n_entries > BY_ROW_MAX && !has_delayed {
            self.stage_whole(slot, &mut purge);
        } else {
            purge.removed.n_entries = 0;
        }
        let reply = if purge.ends { purge.reply.take() } else { None };
        let queue = &mut self.queues[slot];
        queue.n_effects += 1;
        if !self.is_broken(Mutation::PurgeUnmarked) {
            self.queues[slot].busy_mut().purge = Some(purge);
        }
        // Also when nothing is deleted yet: what was staged before it is durable when this is.
        self.effects.push(Effect::Purged { slot, delayed: Vec::new(), reply });
        self.place(slot);
    }

    /// From here on their tokens are refused. Returns the entries with a lease record, and how many of
    /// them were leased.
    fn end_leases(&mut self, slot: Slot) -> (BTreeSet<EntryRank>, u64) {
        let busy = self.queues[slot].busy_mut();
        let leases = std::mem::take(&mut busy.leases);
        let n_leased = leases.values().filter(|lease| !lease.state.is_over()).count() as u64;
        // It waits for nothing but the purge now.
        busy.backing_off = None;
        self.forget_waits(slot);
        if !self.is_broken(Mutation::PurgeKeepsMoves) {
            self.end_moves(slot);
        }
        leases.values().for_each(|lease| self.release(lease.permit));
        (leases.into_keys().collect(), n_leased)
    }

    /// Deletes all rows of a queue by their range.
    fn stage_whole(&mut self, slot: Slot, purge: &mut Purge) {
        let queue = &mut self.queues[slot];
        let id = queue.id;
        // An id of all ones has no successor; longer than every key, this one stands behind them.
        let upper = prefix_successor(&id.0).unwrap_or_else(|| vec![0xFF; EntryKey::BYTES + 1]);
        for table in [Table::Entries, Table::Payloads] {
            self.batch.delete_range(table, &id.0, &upper);
        }
        for rank in std::mem::take(&mut purge.leased) {
            let key = LeaseKey { queue: id, sequence: rank.sequence };
            self.batch.delete(Table::Leases, &key.encode());
        }
        // The next read must not walk over what the range covers: no budget counts those rows.
        let floor = LAST_RANK;
        self.recount(slot, |stored| *stored = ActiveRow { floor, ..ActiveRow::default() });
        purge.ends = true;
        self.mark_dirty(slot);
    }

    /// A commit of a purge is durable.
    pub(super) fn purge_advanced(
        &mut self,
        slot: Slot,
        reply: Option<Reply<Purged>>,
        position: &Durable<LogPosition>,
    ) {
        let forgets = self.is_broken(Mutation::PurgeForgetsArrivals);
        let queue = &mut self.queues[slot];
        queue.n_effects -= 1;
        let Some(purge) = queue.busy.as_mut().and_then(|busy| busy.purge.as_mut()) else {
            return self.touch(slot);
        };
        if !purge.ends {
            self.purge_reads.push_back(slot);
            return;
        }
        self.counters.n_purged += purge.removed.n_entries;
        let (removed, next) = (purge.removed, std::mem::take(&mut purge.next));
        let busy = queue.busy_mut();
        busy.purge = None;
        busy.set_aside.clear();
        // Entries on their way are shown when they arrive. Those that have arrived meanwhile were not, and
        // whoever counts none has neither.
        let known_empty = forgets || queue.stored.n_ready == u64::from(queue.n_entering);
        let id = queue.id;
        let window = Inbox::new(known_empty, self.options.inbox);
        self.with_window(slot, |old| *old = window);
        if let Some(reply) = reply {
            let _ = self.outbox.send(reply, Ok(position.attach(removed)));
        }
        self.touch(slot);
        self.list_queue(id);
        for reply in next {
            self.purge(id, reply);
        }
    }

    pub(super) fn poll_purge(&mut self) -> Option<ReadJob> {
        loop {
            let slot = self.purge_reads.pop_front()?;
            let queue = self.queues.get(slot);
            let Some((id, purge)) = queue.and_then(|queue| Some((queue.id, queue.purge()?))) else {
                continue;
            };
            let request = ScanRequest {
                table: Table::Entries,
                lower: purge.lower.clone(),
                upper: prefix_successor(&id.0),
                rows_max: ROWS_PER_STEP,
                bytes_max: self.options.scan_bytes_max,
                skip_max: self.options.scan_skip_max,
            };
            let may_wait = purge.may_wait;
            let reading = Reading::Purge(slot);
            return Some(self.start_read(reading, Read::Rows(request), may_wait, false));
        }
    }

    pub(super) fn handle_purge_rows(
        &mut self,
        now: UnixMillis,
        slot: Slot,
        rows: &ScanRows,
        outcome: Result<ScanEnd, StoreError>,
    ) {
        let Some(mut purge) = self.queues[slot].busy_mut().purge.take() else { return };
        let mut may_wait = purge.may_wait;
        let end = self.scan_end(rows, outcome, &mut may_wait);
        purge.may_wait = may_wait;
        let Ok(end) = end else {
            self.queues[slot].busy_mut().purge = Some(purge);
            return self.purge_read_failed(now, slot);
        };
        purge.n_failures = 0;
        let n_before = purge.removed.n_entries;
        let mut delayed = Vec::new();
        for (key, row) in rows.iter() {
            if DelayedEntryKey::is_one(key) {
                delayed.extend(self.stage_one_delayed(slot, &mut purge, key, row));
            } else {
                self.stage_one(slot, &mut purge, key, row);
            }
        }
        match end {
            Some(ScanEnd::Exhausted) => {
                purge.ends = true;
                let queue = &mut self.queues[slot];
                // Now, because an entry that is on its way may arrive before this is staged.
                let entering = (queue.n_entering > 0).then(|| queue.lowest_entering_rank());
                let kept = purge.lowest_kept.into_iter().chain(entering).min();
                queue.stored.floor = kept.unwrap_or(LAST_RANK);
            }
            Some(ScanEnd::Truncated { last }) => purge.lower = [&last[..], &[0]].concat(),
            None => {}
        }
        let advanced = purge.ends || purge.removed.n_entries > n_before;
        let reply = if purge.ends { purge.reply.take() } else { None };
        self.queues[slot].busy_mut().purge = Some(purge);
        if advanced {
            self.queues[slot].n_effects += 1;
            self.mark_dirty(slot);
            self.effects.push(Effect::Purged { slot, delayed, reply });
        } else {
            self.purge_reads.push_back(slot);
        }
    }

    /// Deletes one row, if the purge concerns it.
    fn stage_one(&mut self, slot: Slot, purge: &mut Purge, key: &[u8], row: &[u8]) {
        let queue = &self.queues[slot];
        let Ok(EntryKey { stage, rank, .. }) = EntryKey::decode(key) else {
            // Nobody can say what it is, so it is nobody's.
            self.counters.n_rows_corrupt += 1;
            return;
        };
        if rank.sequence >= purge.upto {
            return if stage == Stage::Ready {
                purge.keep(rank)
            };
        }
        let head = match stage {
            Stage::Dead => DeadRow::decode(row).map(|dead| dead.entry.head()),
            Stage::Ready | Stage::Delayed => EntryRow::decode_head(row),
        };
        let id = queue.id;
        self.count_purged(slot, stage, head.as_ref().map_or(0, |head| head.n_bytes));
        purge.removed.n_entries += 1;
        self.batch.single_delete(Table::Entries, key);
        if head.map_or(true, |head| head.separate_body) {
            let key = PayloadKey { queue: id, sequence: rank.sequence };
            self.batch.delete(Table::Payloads, &key.encode());
        }
        if purge.leased.remove(&rank) {
            let key = LeaseKey { queue: id, sequence: rank.sequence };
            self.batch.delete(Table::Leases, &key.encode());
        }
    }

    fn count_purged(&mut self, slot: Slot, stage: Stage, n_bytes: u32) {
        let n_bytes = if self.is_broken(Mutation::PurgeKeepsBytes) { 0 } else { n_bytes };
        self.recount(slot, |stored| {
            let count = match stage {
                Stage::Ready => &mut stored.n_ready,
                Stage::Delayed => &mut stored.n_delayed,
                Stage::Dead => &mut stored.n_dead,
            };
            // Saturating: a damaged store may count fewer than there are.
            *count = count.saturating_sub(1);
            stored.n_bytes = stored.n_bytes.saturating_sub(n_bytes.into());
        });
    }

    /// Deletes one entry that waits, if the purge concerns it.
    fn stage_one_delayed(
        &mut self,
        slot: Slot,
        purge: &mut Purge,
        key: &[u8],
        row: &[u8],
    ) -> Option<DelayedKey> {
        let Ok(key) = DelayedEntryKey::decode(key) else {
            self.counters.n_rows_corrupt += 1;
            return None;
        };
        if key.rank.sequence >= purge.upto {
            return None;
        }
        let row = DelayedEntryRow::decode(row);
        self.count_purged(slot, Stage::Delayed, row.as_ref().map_or(0, |row| row.n_bytes));
        purge.removed.n_entries += 1;
        if row.map_or(true, |row| row.separate_body) {
            let key = PayloadKey { queue: key.queue, sequence: key.rank.sequence };
            self.batch.delete(Table::Payloads, &key.encode());
        }
        Some(self.stage_delayed_purged(key))
    }

    pub(super) fn purge_read_failed(&mut self, now: UnixMillis, slot: Slot) {
        self.counters.n_scans_failed += 1;
        let queue = &mut self.queues[slot];
        let id = queue.id;
        let Some(purge) = queue.busy.as_mut().and_then(|busy| busy.purge.as_mut()) else { return };
        let until = now.plus(pause_ms(purge.n_failures, id));
        purge.n_failures += 1;
        self.wait(slot, until, Wait::RetryPurge);
    }

    /// The partition ends: nobody is left waiting for a purge.
    pub(super) fn refuse_purges(&mut self, slot: Slot, error: &PartitionError) {
        let busy = self.queues[slot].busy.as_mut();
        let Some(purge) = busy.and_then(|busy| busy.purge.as_mut()) else { return };
        let next = std::mem::take(&mut purge.next);
        for reply in purge.reply.take().into_iter().chain(next) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
