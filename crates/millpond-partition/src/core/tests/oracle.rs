//! What a partition owes its callers, written down the simple way: a map of entries, and the commit in
//! which each thing happened to them.
//!
//! The oracle reads the batches that the core stages, change by change, and holds each against the
//! promises. A change is *handled* once the core was told that its commit is durable.

mod change;
mod retry;
mod stored;

use std::collections::BTreeMap;

use bytes::Bytes;
use millpond_storage_api::LogPosition;
use millpond_types::{
    DeadRow, DedupKey, Due, EntryId, EntryRank, EntryRow, LeaseRow, LeaseToken, Priority, QueueId,
    Sequence, Stage, StoredBody, UnixMillis,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::core::queue::LAST_RANK;
use crate::options::LeasesAtOpen;
use crate::{LeaseRef, StaleReason};

pub(super) use change::{Change, read_changes};
pub(super) use retry::{Outcome, outcome};

pub(super) type Checked<T = ()> = Result<T, TestCaseError>;

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Acked,
    Nacked,
    Unreceived,
    Expired,
    /// Its owner is gone, by the options of the next one. The stored row does not say so.
    AtOpen,
    /// Before a restart that kept no reason.
    Forgotten,
}

#[derive(Debug, Clone)]
pub(super) struct ModelLease {
    pub(super) row: LeaseRow,
    pub(super) first_deadline: UnixMillis,
    pub(super) granted: LogPosition,
    pub(super) end: Option<(LogPosition, Ending)>,
    /// The commit in which its record went, because its entry left the ready ones.
    pub(super) gone: Option<LogPosition>,
}

/// Where an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Ready,
    Delayed(Due),
    /// As its row said when it died.
    Dead(DeadRow),
}

#[derive(Debug, Clone)]
pub(super) struct ModelEntry {
    pub(super) body: Bytes,
    pub(super) enqueued_at: UnixMillis,
    pub(super) place: Place,
    /// The commit that brought it there.
    pub(super) since: LogPosition,
    /// As its row says: attempts before it came to its place, and its retry floor.
    pub(super) attempts: u32,
    pub(super) floor_ms: u64,
    pub(super) lease: Option<ModelLease>,
    pub(super) removed: Option<LogPosition>,
    /// A purge concerns it.
    pub(super) purged: bool,
    /// Its last attempt ended with the earlier owner: it is going to be set aside.
    pub(super) doomed: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) entries: BTreeMap<EntryId, ModelEntry>,
    /// The entry that took each key last, and when the key is forgotten.
    pub(super) keys: BTreeMap<DedupKey, (EntryId, UnixMillis)>,
}

impl ModelLease {
    /// In force, and its holder can know of it.
    pub(super) fn is_held(&self, handled: LogPosition) -> bool {
        self.end.is_none() && self.granted <= handled
    }

    /// Its entry may be granted again.
    pub(super) fn is_over(&self, handled: LogPosition) -> bool {
        self.end.is_some_and(|(at, _)| at <= handled)
    }

    fn is_known(&self, handled: LogPosition) -> bool {
        self.gone.is_none_or(|at| at > handled)
    }
}

impl Place {
    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::Ready => Stage::Ready,
            Self::Delayed(_) => Stage::Delayed,
            Self::Dead(_) => Stage::Dead,
        }
    }
}

impl ModelEntry {
    /// One that was just accepted.
    pub(super) fn new(
        body: Bytes,
        enqueued_at: UnixMillis,
        place: Place,
        since: LogPosition,
    ) -> Self {
        Self {
            body,
            enqueued_at,
            place,
            since,
            attempts: 0,
            floor_ms: 0,
            lease: None,
            removed: None,
            purged: false,
            doomed: false,
        }
    }

    /// The core must know it, and nobody holds it.
    pub(super) fn is_ready(&self, handled: LogPosition) -> bool {
        self.since <= handled && self.is_free(handled)
    }

    pub(super) fn is_free(&self, handled: LogPosition) -> bool {
        let is_over = self.lease.as_ref().is_none_or(|lease| lease.is_over(handled));
        self.is_there() && self.place == Place::Ready && is_over && !self.doomed
    }

    /// Neither on its way out nor to be purged.
    pub(super) fn is_there(&self) -> bool {
        self.removed.is_none() && !self.purged
    }

    /// When it is due, if it waits.
    pub(super) fn due(&self) -> Option<Due> {
        match self.place {
            Place::Delayed(due) if self.removed.is_none() => Some(due),
            _ => None,
        }
    }

    pub(super) fn has_separate_body(&self) -> bool {
        self.body.len() > millpond_types::limits::INLINE_BODY_BYTES_MAX
    }

    /// The row that it is, or becomes when it is due, or was when it died.
    pub(super) fn row(&self) -> EntryRow {
        let body = if self.has_separate_body() {
            StoredBody::Separate { n_bytes: u32::try_from(self.body.len()).expect("small") }
        } else {
            StoredBody::Inline(self.body.clone())
        };
        EntryRow {
            attempts: self.attempts,
            enqueued_at: self.enqueued_at,
            retry_floor_ms: self.floor_ms,
            body,
        }
    }

    /// Attempts that count so far.
    pub(super) fn n_attempts(&self) -> u32 {
        let lease = self.lease.as_ref().filter(|lease| lease.gone.is_none());
        lease.map_or(self.attempts, |lease| lease.row.attempts)
    }

    fn goes_to(&mut self, place: Place, row: &EntryRow, at: LogPosition) {
        (self.place, self.since) = (place, at);
        (self.attempts, self.floor_ms) = (row.attempts, row.retry_floor_ms);
        self.doomed = false;
    }

    /// The record of its lease goes.
    fn lease_goes(&mut self, at: LogPosition, how: Ending) {
        if let Some(lease) = &mut self.lease {
            lease.end.get_or_insert((at, how));
            lease.gone.get_or_insert(at);
        }
    }
}

impl Model {
    pub(super) fn of_queue(
        &self,
        queue: QueueId,
    ) -> impl Iterator<Item = (EntryRank, &ModelEntry)> {
        let first = EntryRank { priority: Priority(0), sequence: Sequence(0) };
        let (first, last) = (EntryId { queue, rank: first }, EntryId { queue, rank: LAST_RANK });
        let mine = self.entries.range(first..=last);
        mine.map(|(id, entry)| (id.rank, entry))
    }

    /// Forgets what is gone for good.
    pub(super) fn forget_removed(&mut self, handled: LogPosition) {
        self.entries.retain(|_, entry| entry.removed.is_none_or(|at| at > handled));
    }

    /// What a settlement by this caller must be told.
    pub(super) fn standing(
        &self,
        lease: LeaseRef,
        now: UnixMillis,
        handled: LogPosition,
    ) -> Result<(), StaleReason> {
        let entry = self.entries.get(&lease.id).filter(|entry| !entry.purged);
        let newest = entry.and_then(|entry| entry.lease.as_ref());
        let Some(newest) = newest.filter(|lease| lease.is_known(handled)) else {
            return Err(StaleReason::NotLeased);
        };
        if newest.row.token != lease.token {
            let superseded = newest.row.token > lease.token;
            return Err(if superseded { StaleReason::Superseded } else { StaleReason::NotLeased });
        }
        match newest.end {
            _ if newest.granted > handled => Err(StaleReason::NotLeased),
            None if newest.row.deadline <= now => Err(StaleReason::Expired),
            None => Ok(()),
            Some((_, Ending::Expired | Ending::AtOpen)) => Err(StaleReason::Expired),
            Some((at, _)) if at > handled => Err(StaleReason::Settling),
            Some(_) => Err(StaleReason::NotLeased),
        }
    }

    /// Checks a grant against the promises: an entry that is there, under nobody's lease, first in its
    /// queue, with a greater token than any before and the right count of attempts.
    pub(super) fn check_grant(
        &self,
        id: EntryId,
        row: &LeaseRow,
        newest: LeaseToken,
        handled: LogPosition,
    ) -> Checked {
        let Some(entry) = self.entries.get(&id) else {
            return Err(TestCaseError::fail(format!("{id} was granted and is not there")));
        };
        prop_assert!(entry.is_free(handled), "{} was granted while not free: {:?}", id, entry);
        prop_assert!(row.token > newest, "token {} after {}", row.token, newest);
        prop_assert_eq!(row.attempts, entry.n_attempts() + 1, "attempts of {}", id);
        prop_assert_eq!(row.enqueued_at, entry.enqueued_at);
        prop_assert_eq!(row.has_retry_floor, entry.floor_ms > 0, "the floor of {}", id);
        for (rank, other) in self.of_queue(id.queue) {
            let overtaken = rank < id.rank && other.is_ready(handled);
            prop_assert!(!overtaken, "{} was granted before {}", id, rank.sequence);
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, change: &Change, at: LogPosition, how: Ending) {
        match change {
            Change::Entered(..) | Change::Delayed(..) | Change::LeaseWritten(..) => {}
            Change::Arose(id, row) => self.entry(id).goes_to(Place::Ready, row, at),
            Change::Replayed(id, row) => self.entry(id).goes_to(Place::Ready, row, at),
            Change::BackedOff(id, due, row) => {
                let entry = self.entry(id);
                entry.goes_to(Place::Delayed(*due), row, at);
                entry.lease_goes(at, how);
            }
            Change::Died(id, row) => {
                let entry = self.entry(id);
                entry.goes_to(Place::Dead(row.clone()), &row.entry, at);
                entry.lease_goes(at, how);
            }
            Change::Forwarded { from, to, row, body } => {
                let entry = self.entry(from);
                entry.lease_goes(at, how);
                entry.removed = Some(at);
                let new = ModelEntry::new(body.clone(), row.enqueued_at, Place::Ready, at);
                self.entries.insert(*to, new);
            }
            Change::Granted(id, row) => {
                let first_deadline = row.deadline;
                let lease =
                    ModelLease { row: *row, first_deadline, granted: at, end: None, gone: None };
                self.entry(id).lease = Some(lease);
            }
            Change::Extended(id, deadline) => self.lease(id).row.deadline = *deadline,
            Change::Released { id, attempts } => {
                let lease = self.lease(id);
                lease.row.deadline = UnixMillis(0);
                lease.row.attempts = *attempts;
                lease.end = Some((at, how));
            }
            Change::Removed(id, _) => {
                if let Some(lease) = &mut self.entry(id).lease {
                    // One that was given back is not acked.
                    lease.end.get_or_insert((at, Ending::Acked));
                }
                self.entry(id).removed = Some(at);
            }
            Change::Purged(queue) => {
                for (_, entry) in self.entries.iter_mut().filter(|(id, _)| id.queue == *queue) {
                    entry.removed.get_or_insert(at);
                    entry.purged = true;
                }
            }
        }
    }

    fn entry(&mut self, id: &EntryId) -> &mut ModelEntry {
        self.entries.get_mut(id).expect("the change was expected")
    }

    fn lease(&mut self, id: &EntryId) -> &mut ModelLease {
        self.entry(id).lease.as_mut().expect("the change was expected")
    }

    /// What a new owner makes of the stored leases.
    pub(super) fn reopened(
        &mut self,
        leases: LeasesAtOpen,
        durable: LogPosition,
        is_spent: impl Fn(QueueId, u32) -> bool,
    ) {
        self.forget_removed(durable);
        for (id, entry) in &mut self.entries {
            entry.purged = false;
            entry.lease = entry.lease.take().filter(|lease| lease.gone.is_none());
            let Some(lease) = &mut entry.lease else { continue };
            lease.end = if lease.row.is_released() {
                Some((durable, Ending::Forgotten))
            } else {
                (leases == LeasesAtOpen::Release).then_some((durable, Ending::AtOpen))
            };
            entry.doomed = lease.end.is_some() && is_spent(id.queue, lease.row.attempts);
        }
    }
}

pub(super) fn fail(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}
