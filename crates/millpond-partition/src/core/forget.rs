//! Removing keys whose time has passed, a bounded step per commit.
//!
//! The rows by time are read from a floor, so that no read walks over those that were removed. A key that
//! was taken again has another row by time, and the old one went with the same commit; a step that was read
//! before that must not remove what belongs to the new one, so such keys stay in memory until it is through.
//!
//! * **F1** No row by time is below the stored floor, at every commit.

use millpond_storage_api::{ScanEnd, ScanRequest, ScanRows, StoreError, Table};
use millpond_types::{
    DedupExpiryKey, DedupKey, EntryRank, QueueId, SystemKey, UnixMillis, encode_u64,
    prefix_successor,
};

use super::reads::{Read, ReadJob, Reading, pause_ms};
use super::{Core, Mutation};

/// Rows that one step removes.
const ROWS_PER_STEP: usize = if cfg!(test) { 2 } else { 512 };
/// Keys taken again that may be kept for a step that is being read; with more, it is read anew.
pub(super) const KEPT_MAX: usize = if cfg!(test) { 2 } else { 4096 };

/// There is nothing to forget.
const NEVER: UnixMillis = UnixMillis(u64::MAX);

/// How far everything is forgotten.
#[derive(Debug)]
pub(super) struct Forget {
    /// As stored, by the batch being staged.
    floor: UnixMillis,
    floor_due: bool,
    /// No row by time is before this one.
    due: UnixMillis,
    /// Where the next step begins to read.
    lower: Vec<u8>,
    step: Step,
    /// The lowest time among rows that the step being read may not show.
    unseen: Option<UnixMillis>,
    kept: Vec<(DedupKey, EntryRank)>,
    may_wait: bool,
    n_failures: u32,
    backing_off: Option<UnixMillis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Until the first is due.
    Rests,
    Wanted,
    Reading,
    /// As `Reading`, but too much has changed since it began.
    Void,
    /// Its removals are in the batch being staged.
    Staged,
}

impl Forget {
    pub(super) fn new(floor: UnixMillis) -> Self {
        Self {
            floor,
            floor_due: false,
            due: floor,
            lower: DedupExpiryKey::lower(floor).to_vec(),
            step: Step::Rests,
            unseen: None,
            kept: Vec::new(),
            may_wait: false,
            n_failures: 0,
            backing_off: None,
        }
    }

    pub(super) fn is_reading(&self) -> bool {
        self.step == Step::Reading
    }

    pub(super) fn wants_read(&self) -> bool {
        self.step == Step::Wanted
    }

    /// A key is staged that is forgotten then.
    pub(super) fn entering(&mut self, at: UnixMillis) {
        self.begin_at(at);
        self.floor_due |= at < self.floor;
        if self.is_reading() {
            self.unseen = Some(self.unseen.map_or(at, |unseen| unseen.min(at)));
        }
    }

    /// A key that was taken again stays in memory until the step being read is through.
    pub(super) fn keep(&mut self, key: DedupKey, rank: EntryRank) {
        self.kept.push((key, rank));
        if self.kept.len() > KEPT_MAX {
            self.step = Step::Void;
        }
    }

    fn begin_at(&mut self, at: UnixMillis) {
        self.due = self.due.min(at);
        let lower = DedupExpiryKey::lower(at);
        if lower[..] < self.lower[..] {
            self.lower = lower.to_vec();
        }
    }

    /// When something is to be forgotten.
    fn next(&self) -> Option<UnixMillis> {
        let is_due = self.step == Step::Rests && self.due != NEVER;
        is_due.then(|| self.backing_off.map_or(self.due, |until| until.max(self.due)))
    }

    #[cfg(test)]
    pub(super) fn n_kept(&self) -> usize {
        self.kept.len()
    }
}

impl Core {
    /// When keys are to be forgotten.
    pub(super) fn next_forgotten(&self) -> Option<UnixMillis> {
        self.dedup.forget.next()
    }

    pub(super) fn forget_due(&mut self, now: UnixMillis) {
        let never = self.is_broken(Mutation::NothingForgotten);
        let forget = &mut self.dedup.forget;
        if forget.next().is_some_and(|at| at <= now) && !never {
            (forget.step, forget.backing_off) = (Step::Wanted, None);
        }
    }

    pub(super) fn poll_forget(&mut self) -> Option<ReadJob> {
        if !self.dedup.forget.wants_read() {
            return None;
        }
        self.dedup.forget.unseen = self.dedup.first_entering();
        let forget = &mut self.dedup.forget;
        forget.step = Step::Reading;
        let request = ScanRequest {
            table: Table::Dedup,
            upper: prefix_successor(&forget.lower[..1]),
            lower: forget.lower.clone(),
            rows_max: ROWS_PER_STEP,
            bytes_max: self.options.scan_bytes_max,
            skip_max: self.options.scan_skip_max,
        };
        let may_wait = forget.may_wait;
        Some(self.start_read(Reading::Forget, Read::Rows(request), may_wait, false))
    }

    pub(super) fn handle_forgotten(
        &mut self,
        now: UnixMillis,
        rows: &ScanRows,
        outcome: Result<ScanEnd, StoreError>,
    ) {
        let is_void = self.dedup.forget.step == Step::Void;
        let mut may_wait = self.dedup.forget.may_wait;
        let end = match self.scan_end(rows, outcome, &mut may_wait) {
            Ok(end) => end,
            Err(error) => return self.forgetting_failed(now, &error.to_string()),
        };
        let forget = &mut self.dedup.forget;
        (forget.may_wait, forget.n_failures) = (may_wait, 0);
        let Some(end) = end.filter(|_| !is_void) else {
            // It is tried again at once.
            return self.step_is_over(Step::Wanted);
        };
        let (n_removed, first) = self.stage_forgotten(now, rows);
        let past_entering = self.is_broken(Mutation::DedupFloorPastEntering);
        let forget = &mut self.dedup.forget;
        match (first, end) {
            (Some(first), _) => {
                (forget.due, forget.lower) = (first.expires_at, first.encode());
            }
            (None, ScanEnd::Truncated { last }) => {
                forget.due = DedupExpiryKey::decode(&last).map_or(forget.due, |key| key.expires_at);
                forget.lower = [&last[..], &[0]].concat();
            }
            (None, ScanEnd::Exhausted) => {
                forget.due = NEVER;
                forget.lower = DedupExpiryKey::lower(NEVER).to_vec();
            }
        }
        if let Some(unseen) = forget.unseen.take().filter(|_| !past_entering) {
            forget.begin_at(unseen);
        }
        forget.floor_due |= n_removed > 0;
        self.step_is_over(if n_removed > 0 { Step::Staged } else { Step::Rests });
    }

    /// Stages the removal of what is to be forgotten; returns how much, and the first that is not.
    fn stage_forgotten(
        &mut self,
        now: UnixMillis,
        rows: &ScanRows,
    ) -> (usize, Option<DedupExpiryKey>) {
        let takes_new = self.is_broken(Mutation::TakenAgainForgotten);
        let mut n_removed = 0;
        for (row, _) in rows.iter() {
            let key = match DedupExpiryKey::decode(row) {
                Ok(key) => key,
                Err(error) => {
                    tracing::error!(key = %row.escape_ascii(), %error, "a key is set aside");
                    self.counters.n_rows_corrupt += 1;
                    continue;
                }
            };
            if key.expires_at > now {
                return (n_removed, Some(key));
            }
            let fresh = self.dedup.fresh(&key.seen);
            if fresh.is_some_and(|fresh| fresh.expires_at != key.expires_at) && !takes_new {
                // It was taken again, and this row went with that.
                continue;
            }
            self.batch.delete(Table::Dedup, &key.seen.encode());
            self.batch.delete(Table::Dedup, row);
            n_removed += 1;
        }
        self.counters.n_keys_forgotten += n_removed as u64;
        (n_removed, None)
    }

    /// What was kept for the step is not needed any more.
    fn step_is_over(&mut self, next: Step) {
        self.dedup.forget.step = next;
        for (key, rank) in std::mem::take(&mut self.dedup.forget.kept) {
            self.dedup.remove_fresh(&key, rank);
        }
    }

    pub(super) fn forgetting_failed(&mut self, now: UnixMillis, error: &str) {
        self.counters.n_scans_failed += 1;
        tracing::warn!(error, "reading which keys are to be forgotten failed");
        let forget = &mut self.dedup.forget;
        let pause = pause_ms(forget.n_failures, QueueId([0; 16]));
        forget.n_failures += 1;
        forget.backing_off = Some(now.plus(pause));
        self.step_is_over(Step::Rests);
    }

    /// Stages the floor, if it has moved.
    pub(super) fn stage_dedup_floor(&mut self) {
        let forget = &mut self.dedup.forget;
        if forget.step == Step::Staged {
            forget.step = Step::Rests;
        }
        if std::mem::take(&mut forget.floor_due) && forget.floor != forget.due {
            forget.floor = forget.due;
            let floor = encode_u64(forget.floor.0);
            self.batch.put(Table::System, SystemKey::DedupFloor.encode(), &floor);
        }
    }
}
