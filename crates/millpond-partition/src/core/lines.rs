//! Entries that are not ready yet.
//!
//! A delayed entry is one row of `delayed`, ordered by due time, and a small row beside those of its queue
//! that tells the queue of it. Two lines wait, one for each [clock](DueClock). A line keeps a window over the
//! head of its part of the table, as an inbox does over a queue, entries included; what is behind it
//! costs nothing in memory. When the clock shows the due time of the first, it moves to its queue: one
//! batch removes the two rows and puts the ready one.
//!
//! * **D1** A line's window hears of a row after its commit, so it shows what is stored, and its first item
//!   is the first of the line.
//! * **D2** No row is below the line's stored floor, at every commit: where a restart begins to read.
//! * **D3** An entry leaves its line when its clock shows the due time or later, and then at once.
//! * **D4** A row that was taken is on its way to its queue, or waits for its queue to be looked up, or is
//!   being purged, or is set aside because its queue does not know it.

use std::time::Duration;

use millpond_inbox::{Finish, Frontier, Inbox, Limits, RefillEnd};
use millpond_storage_api::{ScanEnd, ScanRequest, ScanRows, StoreError, Table};
use millpond_types::{
    DelayedEntryKey, DelayedKey, DelayedRow, Due, DueClock, EntryHead, EntryKey, EntryRank,
    QueueId, Sequence, Stage, SystemKey, UnixMillis, encode_u64, prefix_successor,
};

use super::reads::{Read, ReadJob, Reading, pause_ms};
use super::{Core, Effect, Mutation, Slot};
use crate::command::{Message, Start};

/// Entries that may be on their way from a line to their queues at a time.
pub(super) const LEAVING_MAX: usize = if cfg!(test) { 3 } else { 1024 };

/// While something waits for the wall clock, the loop looks at it so often: it may have been set.
const WALL_LOOK_MS: u64 = 1000;

/// What the head of a line may keep in memory: bodies up to their inline limit included, 256 KiB.
const LIMITS: Limits = {
    let (capacity, low_mark, batch_min, batch_max) =
        if cfg!(test) { (3, 1, 1, 2) } else { (255, 128, 64, 255) };
    let Ok(limits) = Limits::new(capacity, capacity, low_mark) else {
        panic!("it is above the low mark")
    };
    let Ok(limits) = limits.with_batch(batch_min, batch_max) else { panic!("a range") };
    limits
};

/// The entries that wait for one clock.
#[derive(Debug)]
pub(super) struct Line {
    clock: DueClock,
    window: Inbox<DelayedKey, DelayedRow>,
    /// The stored floor, as of the batch being staged (D2).
    floor: UnixMillis,
    /// It may have changed.
    floor_due: bool,
    /// The first of those staged and not yet in the window, and how many they are.
    first_entering: UnixMillis,
    n_entering: usize,
    /// Taken from the window and not yet gone.
    n_leaving: usize,
    /// A read is in flight.
    reading: bool,
    may_wait: bool,
    n_failures: u32,
    /// Until when nothing is read or moved, because that failed.
    backing_off: Option<UnixMillis>,
}

impl Line {
    pub(super) fn new(clock: DueClock, floor: UnixMillis) -> Self {
        Self {
            clock,
            window: Inbox::new(false, LIMITS),
            floor,
            floor_due: false,
            first_entering: UnixMillis(0),
            n_entering: 0,
            n_leaving: 0,
            reading: false,
            may_wait: false,
            n_failures: 0,
            backing_off: None,
        }
    }

    /// No row is due before this time (D2).
    fn lowest(&self) -> UnixMillis {
        let known = self.known_lowest();
        if self.n_entering > 0 { known.min(self.first_entering) } else { known }
    }

    /// As [`lowest`](Self::lowest), without the entries on their way.
    fn known_lowest(&self) -> UnixMillis {
        match self.window.floor() {
            Frontier::Start => self.floor,
            Frontier::Before(key) | Frontier::After(key) => key.due.at,
            Frontier::End => UnixMillis(u64::MAX),
        }
    }

    pub(super) fn is_resting(&self, now: UnixMillis) -> bool {
        self.backing_off.is_some_and(|until| now < until)
    }

    /// The due time of the first entry that nobody has taken, if it may be taken.
    fn next_due(&self, leaving_max: usize) -> Option<UnixMillis> {
        let (first, _) = self.window.peek()?;
        (self.n_leaving < leaving_max).then_some(first.due.at)
    }

    fn entering(&mut self, at: UnixMillis) {
        self.first_entering = if self.n_entering == 0 { at } else { self.first_entering.min(at) };
        self.n_entering += 1;
        self.floor_due |= at < self.floor;
    }

    fn key(&self, at: UnixMillis) -> Vec<u8> {
        let due = Due { clock: self.clock, at };
        DelayedKey { due, queue: QueueId([0; 16]), sequence: Sequence(0) }.encode().to_vec()
    }
}

#[cfg(test)]
impl Line {
    pub(super) fn window(&self) -> &Inbox<DelayedKey, DelayedRow> {
        &self.window
    }

    /// How many are entering, and leaving.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.n_entering, self.n_leaving)
    }

    pub(super) fn first_entering(&self) -> UnixMillis {
        self.first_entering
    }

    /// Whether as many are leaving as may.
    pub(super) fn is_full(&self) -> bool {
        self.n_leaving >= LEAVING_MAX
    }

    pub(super) fn is_reading(&self) -> bool {
        self.reading
    }

    pub(super) fn rests_until(&self) -> Option<UnixMillis> {
        self.backing_off
    }
}

/// The two lines, by clock.
#[derive(Debug)]
pub(super) struct Lines([Line; 2]);

impl Lines {
    pub(super) fn new(floors: [UnixMillis; 2]) -> Self {
        let [steady, wall] = floors;
        Self([Line::new(DueClock::Steady, steady), Line::new(DueClock::Wall, wall)])
    }

    pub(super) fn of(&mut self, clock: DueClock) -> &mut Line {
        &mut self.0[clock as usize - 1]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }
}

impl Core {
    /// Says what the wall clock shows beside `now`. To be called at the beginning of every turn.
    pub(crate) fn set_clocks(&mut self, now: UnixMillis, wall: UnixMillis) {
        (self.looked_at, self.wall_at) = (now, wall);
    }

    /// What a clock shows when the partition's own shows `now`.
    fn time(&self, clock: DueClock, now: UnixMillis) -> UnixMillis {
        match clock {
            DueClock::Steady => now,
            DueClock::Wall if self.is_broken(Mutation::WallClockIgnored) => now,
            DueClock::Wall => self.wall_at.plus(now.since(self.looked_at)),
        }
    }

    /// When an entry accepted now is due, unless it is ready at once.
    pub(super) fn due(&self, now: UnixMillis, start: Start) -> Option<Due> {
        match start {
            Start::Now | Start::After(0) => None,
            // `now` has lost its fraction, and the delay must not.
            Start::After(ms) => {
                let rest_ms = u64::from(!self.is_broken(Mutation::DelayCutShort));
                Some(Due { clock: DueClock::Steady, at: now.plus(ms).plus(rest_ms) })
            }
            Start::At(at) => {
                let is_past = at <= self.time(DueClock::Wall, now);
                (!is_past).then_some(Due { clock: DueClock::Wall, at })
            }
        }
    }

    /// Stages the rows of an entry that is to wait, and counts it.
    pub(super) fn stage_delayed(
        &mut self,
        slot: Slot,
        due: Due,
        row: &DelayedRow,
        rank: EntryRank,
    ) -> DelayedKey {
        let queue = &mut self.queues[slot];
        let key = DelayedKey { due, queue: queue.id, sequence: rank.sequence };
        let notice = DelayedEntryKey { queue: queue.id, due, rank };
        self.recount(slot, |stored| stored.n_delayed += 1);
        self.row_buffer.clear();
        row.encode_into(&mut self.row_buffer);
        self.batch.put(Table::Delayed, &key.encode(), &self.row_buffer);
        self.batch.put(Table::Entries, &notice.encode(), &row.notice().encode());
        self.lines.of(due.clock).entering(due.at);
        self.mark_dirty(slot);
        key
    }

    /// The commit of [`stage_delayed`](Self::stage_delayed) is durable.
    pub(super) fn delayed_arrived(&mut self, key: DelayedKey, row: DelayedRow) {
        let line = self.lines.of(key.due.clock);
        line.n_entering -= 1;
        line.window.insert(key, row);
    }

    /// Stages the floors of the lines, if they have moved.
    pub(super) fn stage_line_floors(&mut self) {
        let past_entering = self.is_broken(Mutation::LineFloorPastEntering);
        for line in &mut self.lines.0 {
            if !std::mem::take(&mut line.floor_due) {
                continue;
            }
            let lowest = if past_entering { line.known_lowest() } else { line.lowest() };
            if lowest != line.floor {
                line.floor = lowest;
                let key = SystemKey::DelayedFloor(line.clock).encode();
                self.batch.put(Table::System, key, &encode_u64(lowest.0));
            }
        }
    }

    /// When a line has something to do that no event brings about.
    pub(super) fn next_line(&self) -> Option<UnixMillis> {
        let lines = self.lines.iter().filter_map(|line| {
            let due = line.next_due(LEAVING_MAX).map(|due| match line.clock {
                DueClock::Steady => due,
                DueClock::Wall => self.looked_at.plus(due.since(self.wall_at).min(WALL_LOOK_MS)),
            });
            match (due, line.backing_off) {
                (Some(due), Some(until)) => Some(due.max(until)),
                (due, until) => due.or(until),
            }
        });
        lines.min()
    }

    /// Lets go what is due in a line, at most `n_left` entries.
    pub(super) fn serve_line(&mut self, now: UnixMillis, clock: DueClock, mut n_left: usize) {
        let early = u64::from(self.is_broken(Mutation::DueEarly));
        let leaving_max =
            if self.is_broken(Mutation::LeavingUnlimited) { usize::MAX } else { LEAVING_MAX };
        let time = self.time(clock, now).plus(early);
        let line = self.lines.of(clock);
        if line.is_resting(now) {
            return;
        }
        line.backing_off = None;
        while n_left > 0
            && self.lines.of(clock).next_due(leaving_max).is_some_and(|due| due <= time)
        {
            let line = self.lines.of(clock);
            let Some((key, row)) = line.window.take() else { break };
            line.n_leaving += 1;
            n_left -= 1;
            self.counters.lateness.record(Duration::from_millis(time.since(key.due.at)));
            // As a message, because its queue may have to be looked up first.
            self.handle_message(now, Message::Due(key, row));
        }
    }

    /// An entry is due, and its queue is in memory if it is anywhere.
    pub(super) fn let_go(&mut self, key: DelayedKey, row: DelayedRow) {
        let Some(slot) = self.queues.find(&key.queue) else {
            // It stays where it is, and taken, so that it blocks nobody; `verify` tells of it.
            tracing::error!(queue = %key.queue, sequence = %key.sequence, "a queue does not know its delayed entry");
            self.counters.n_rows_corrupt += 1;
            self.lines.of(key.due.clock).n_leaving -= 1;
            return;
        };
        let queue = &mut self.queues[slot];
        let is_purged = queue.purge().is_some_and(|purge| key.sequence < purge.upto);
        if is_purged && !self.is_broken(Mutation::PurgedRises) {
            self.lines.of(key.due.clock).n_leaving -= 1;
            return;
        }
        let rank = EntryRank { priority: row.priority, sequence: key.sequence };
        self.stage_undelayed(slot, key, rank);
        self.stage_ready(slot, rank, &row.entry);
        self.counters.n_due += 1;
        self.queues[slot].n_effects += 1;
        self.effects.push(Effect::Arose { slot, key, rank, head: row.entry.head() });
    }

    /// Stages that an entry waits no more.
    fn stage_undelayed(&mut self, slot: Slot, key: DelayedKey, rank: EntryRank) {
        // Saturating: a damaged store may count fewer than there are.
        self.recount(slot, |stored| stored.n_delayed = stored.n_delayed.saturating_sub(1));
        let notice = DelayedEntryKey { queue: self.queues[slot].id, due: key.due, rank };
        if !self.is_broken(Mutation::DelayedRowKept) {
            self.batch.delete(Table::Delayed, &key.encode());
        }
        self.batch.single_delete(Table::Entries, &notice.encode());
        self.lines.of(key.due.clock).floor_due = true;
        self.mark_dirty(slot);
    }

    /// Stages the ready row of an entry that comes from another stage.
    pub(super) fn stage_ready(
        &mut self,
        slot: Slot,
        rank: EntryRank,
        row: &millpond_types::EntryRow,
    ) {
        self.row_buffer.clear();
        row.encode_into(&mut self.row_buffer);
        self.recount(slot, |stored| stored.n_ready += 1);
        let queue = &mut self.queues[slot];
        let key = EntryKey { queue: queue.id, stage: Stage::Ready, rank };
        queue.entering(rank);
        self.batch.put(Table::Entries, &key.encode(), &self.row_buffer);
        self.mark_dirty(slot);
        self.note_coming(slot);
    }

    /// An entry that had been delayed is ready now.
    pub(super) fn arose(&mut self, slot: Slot, key: DelayedKey, rank: EntryRank, head: EntryHead) {
        let unconfirmed = self.is_broken(Mutation::RisenUnconfirmed);
        let line = self.lines.of(key.due.clock);
        line.n_leaving -= 1;
        // Also if it was a look-up that had failed.
        line.n_failures = 0;
        if !unconfirmed {
            line.window.confirm(&key);
        }
        self.ready_arrived(slot, rank, head);
    }

    /// An entry that came from another stage is ready now.
    pub(super) fn ready_arrived(&mut self, slot: Slot, rank: EntryRank, head: EntryHead) {
        let queue = &mut self.queues[slot];
        queue.n_effects -= 1;
        queue.n_entering -= 1;
        if let Some(purge) = queue.busy.as_mut().and_then(|busy| busy.purge.as_mut()) {
            purge.keep(rank);
        }
        self.with_window(slot, |window| window.insert(rank, head));
        self.touch(slot);
    }

    /// The queue of an entry that is due could not be looked up: the line waits before it tries again.
    pub(super) fn let_go_failed(&mut self, key: DelayedKey, row: DelayedRow, for_good: bool) {
        let forgets = self.is_broken(Mutation::FailedLookUpForgets);
        let line = self.lines.of(key.due.clock);
        line.n_leaving -= 1;
        if !for_good && !forgets {
            line.window.restore(key, row);
            self.line_failed(self.looked_at, key.due.clock);
        }
    }

    /// Stages the removal of an entry that waits, for a purge. To be confirmed when it is durable.
    pub(super) fn stage_delayed_purged(&mut self, key: DelayedEntryKey) -> DelayedKey {
        let by_time = DelayedKey { due: key.due, queue: key.queue, sequence: key.rank.sequence };
        self.batch.delete(Table::Delayed, &by_time.encode());
        self.batch.single_delete(Table::Entries, &key.encode());
        let unreserved = self.is_broken(Mutation::DelayedPurgeUnnoticed);
        let line = self.lines.of(key.due.clock);
        if !unreserved {
            line.window.reserve(by_time);
        }
        line.floor_due = true;
        by_time
    }

    /// An entry that waited is gone.
    pub(super) fn delayed_purged(&mut self, key: &DelayedKey) {
        if !self.is_broken(Mutation::DelayedPurgeUnnoticed) {
            self.lines.of(key.due.clock).window.confirm(key);
        }
    }

    /// The next read of a line.
    pub(super) fn poll_line(&mut self) -> Option<ReadJob> {
        let now = self.looked_at;
        let line = self.lines.0.iter_mut().find(|line| {
            !line.reading && !line.is_resting(now) && line.window.refill_wanted().is_some()
        })?;
        let wanted = line.window.refill_wanted()?;
        let lower = match &wanted.from {
            Frontier::Start => line.key(line.floor),
            Frontier::Before(key) => key.encode().to_vec(),
            Frontier::After(key) => [&key.encode()[..], &[0]].concat(),
            Frontier::End => return None,
        };
        let request = ScanRequest {
            table: Table::Delayed,
            lower,
            upper: prefix_successor(&[line.clock as u8]),
            rows_max: wanted.rows_max,
            bytes_max: self.options.scan_bytes_max,
            skip_max: self.options.scan_skip_max,
        };
        line.window.refill_started(wanted);
        line.reading = true;
        let (clock, may_wait) = (line.clock, line.may_wait);
        Some(self.start_read(Reading::Line(clock), Read::Rows(request), may_wait, true))
    }

    pub(super) fn line_wants_read(&self) -> bool {
        self.lines.iter().any(|line| {
            !line.reading
                && !line.is_resting(self.looked_at)
                && line.window.refill_wanted().is_some()
        })
    }

    pub(super) fn handle_line(
        &mut self,
        now: UnixMillis,
        clock: DueClock,
        rows: &ScanRows,
        outcome: Result<ScanEnd, StoreError>,
    ) {
        let mut may_wait = self.lines.of(clock).may_wait;
        let end = self.scan_end(rows, outcome, &mut may_wait);
        let end = match end {
            Ok(Some(ScanEnd::Exhausted)) => RefillEnd::Exhausted,
            Ok(None) => RefillEnd::Nothing,
            Ok(Some(ScanEnd::Truncated { last })) => match DelayedKey::decode(&last) {
                Ok(key) => RefillEnd::Truncated { after: key },
                Err(error) => return self.line_read_failed(now, clock, &error.to_string()),
            },
            Err(error) => return self.line_read_failed(now, clock, &error.to_string()),
        };
        let mut entries = Vec::with_capacity(rows.len());
        for (key, row) in rows.iter() {
            match (DelayedKey::decode(key), DelayedRow::decode(row)) {
                (Ok(key), Ok(row)) => entries.push((key, row)),
                (decoded, row) => {
                    let error = decoded.err().or(row.err());
                    tracing::error!(key = %key.escape_ascii(), ?error, "a delayed entry is set aside");
                    self.counters.n_rows_corrupt += 1;
                }
            }
        }
        let line = self.lines.of(clock);
        (line.reading, line.may_wait, line.n_failures) = (false, may_wait, 0);
        if let Finish::Merged { overlay_overflowed: true, .. } =
            line.window.refill_finished(entries, end)
        {
            self.counters.n_overlay_overflows += 1;
        }
    }

    pub(super) fn line_read_failed(&mut self, now: UnixMillis, clock: DueClock, error: &str) {
        self.counters.n_scans_failed += 1;
        tracing::warn!(?clock, error, "reading delayed entries failed");
        let line = self.lines.of(clock);
        line.reading = false;
        line.window.refill_failed();
        self.line_failed(now, clock);
    }

    fn line_failed(&mut self, now: UnixMillis, clock: DueClock) {
        let line = self.lines.of(clock);
        let pause = pause_ms(line.n_failures, QueueId([clock as u8; 16]));
        line.n_failures += 1;
        line.backing_off = Some(now.plus(pause));
    }
}
