//! What a partition owes its callers, written down the simple way: a map of entries, and the commit in
//! which each thing happened to them.
//!
//! The oracle reads the batches that the core stages, change by change, and holds each against the
//! promises. A change is *handled* once the core was told that its commit is durable.

use std::collections::BTreeMap;

use bytes::Bytes;
use millpond_storage_api::{LogPosition, Op, ScanRequest, StoreRead, Table};
use millpond_sync::thread::block_on;
use millpond_types::{
    EntryId, EntryKey, EntryRank, EntryRow, LeaseKey, LeaseRow, LeaseToken, PayloadKey, QueueId,
    Stage, StoredBody, UnixMillis,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::options::LeasesAtOpen;
use crate::{LeaseRef, StaleReason};

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
}

#[derive(Debug, Clone)]
pub(super) struct ModelEntry {
    pub(super) body: Bytes,
    pub(super) enqueued_at: UnixMillis,
    pub(super) enqueued: LogPosition,
    pub(super) lease: Option<ModelLease>,
    pub(super) removed: Option<LogPosition>,
    /// A purge concerns it.
    pub(super) purged: bool,
}

/// One change of a batch, as far as it concerns entries and leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Entered(EntryId),
    Granted(EntryId, LeaseRow),
    Extended(EntryId, UnixMillis),
    Released {
        id: EntryId,
        attempts: u32,
    },
    Removed(EntryId),
    /// Everything the queue holds.
    Purged(QueueId),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) entries: BTreeMap<EntryId, ModelEntry>,
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
}

impl ModelEntry {
    /// The core must know it, and nobody holds it.
    pub(super) fn is_ready(&self, handled: LogPosition) -> bool {
        self.enqueued <= handled && self.is_free(handled)
    }

    pub(super) fn is_free(&self, handled: LogPosition) -> bool {
        let is_over = self.lease.as_ref().is_none_or(|lease| lease.is_over(handled));
        self.removed.is_none() && is_over && !self.purged
    }
}

impl Model {
    pub(super) fn of_queue(
        &self,
        queue: QueueId,
    ) -> impl Iterator<Item = (EntryRank, &ModelEntry)> {
        let mine = self.entries.iter().filter(move |(id, _)| id.queue == queue);
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
        let Some(newest) = entry.and_then(|entry| entry.lease.as_ref()) else {
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

    /// Reads one operation of a batch. Bookkeeping rows are left to the verification.
    pub(super) fn read(&self, op: Op<'_>) -> Checked<Option<Change>> {
        Ok(match op {
            Op::Put { table: Table::Entries, key, .. } => {
                let key = EntryKey::decode(key).map_err(fail)?;
                prop_assert_eq!(key.stage, Stage::Ready);
                Some(Change::Entered(EntryId { queue: key.queue, rank: key.rank }))
            }
            Op::SingleDelete { table: Table::Entries, key } => {
                let key = EntryKey::decode(key).map_err(fail)?;
                Some(Change::Removed(EntryId { queue: key.queue, rank: key.rank }))
            }
            Op::Put { table: Table::Leases, key, value } => {
                let key = LeaseKey::decode(key).map_err(fail)?;
                let row = LeaseRow::decode(value).map_err(fail)?;
                let rank = EntryRank { priority: row.priority, sequence: key.sequence };
                Some(self.read_lease(EntryId { queue: key.queue, rank }, row)?)
            }
            Op::DeleteRange { table: Table::Entries, lower, .. } => {
                let id = lower.try_into().map_err(fail)?;
                Some(Change::Purged(QueueId(id)))
            }
            Op::Delete { table: Table::Entries, .. } => {
                return Err(TestCaseError::fail("entries leave by single deletes"));
            }
            Op::DeleteRange { .. } => None,
            Op::Put { .. } | Op::Delete { .. } | Op::SingleDelete { .. } => None,
        })
    }

    fn read_lease(&self, id: EntryId, row: LeaseRow) -> Checked<Change> {
        let Some(entry) = self.entries.get(&id) else {
            return Err(TestCaseError::fail(format!("a lease row for {id}, which is not there")));
        };
        let same = entry.lease.as_ref().filter(|lease| lease.row.token == row.token);
        Ok(match same {
            None => Change::Granted(id, row),
            Some(_) if row.is_released() => Change::Released { id, attempts: row.attempts },
            Some(_) => Change::Extended(id, row.deadline),
        })
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
        prop_assert!(entry.is_free(handled), "{} was granted while leased: {:?}", id, entry);
        prop_assert!(row.token > newest, "token {} after {}", row.token, newest);
        let attempts = entry.lease.as_ref().map_or(0, |lease| lease.row.attempts);
        prop_assert_eq!(row.attempts, attempts + 1, "attempts of {}", id);
        prop_assert_eq!(row.enqueued_at, entry.enqueued_at);
        for (rank, other) in self.of_queue(id.queue) {
            let overtaken = rank < id.rank && other.is_ready(handled);
            prop_assert!(!overtaken, "{} was granted before {}", id, rank.sequence);
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, change: &Change, at: LogPosition, how: Ending) {
        match change {
            Change::Entered(_) => {}
            Change::Granted(id, row) => {
                let first_deadline = row.deadline;
                let lease = ModelLease { row: *row, first_deadline, granted: at, end: None };
                self.entry(id).lease = Some(lease);
            }
            Change::Extended(id, deadline) => self.lease(id).row.deadline = *deadline,
            Change::Released { id, attempts } => {
                let lease = self.lease(id);
                lease.row.deadline = UnixMillis(0);
                lease.row.attempts = *attempts;
                lease.end = Some((at, how));
            }
            Change::Removed(id) => {
                if let Some(lease) = &mut self.entry(id).lease {
                    lease.end = Some((at, Ending::Acked));
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
    pub(super) fn reopened(&mut self, leases: LeasesAtOpen, durable: LogPosition) {
        self.forget_removed(durable);
        self.entries.values_mut().for_each(|entry| entry.purged = false);
        for lease in self.entries.values_mut().filter_map(|entry| entry.lease.as_mut()) {
            lease.end = if lease.row.is_released() {
                Some((durable, Ending::Forgotten))
            } else {
                (leases == LeasesAtOpen::Release).then_some((durable, Ending::AtOpen))
            };
        }
    }

    /// The rows of a store are exactly these entries, these bodies and these leases.
    pub(super) fn check_store(&self, store: &dyn StoreRead, durable: LogPosition) -> Checked {
        let live = || self.entries.iter().filter(|(_, e)| e.removed.is_none_or(|at| at > durable));
        let mut entries = BTreeMap::new();
        let mut bodies = BTreeMap::new();
        let mut leases = BTreeMap::new();
        for (id, entry) in live() {
            let separate = entry.body.len() > millpond_types::limits::INLINE_BODY_BYTES_MAX;
            let body = if separate {
                let key = PayloadKey { queue: id.queue, sequence: id.rank.sequence };
                bodies.insert(key.encode().to_vec(), entry.body.to_vec());
                StoredBody::Separate { n_bytes: u32::try_from(entry.body.len()).expect("small") }
            } else {
                StoredBody::Inline(entry.body.clone())
            };
            let mut row = Vec::new();
            let enqueued_at = entry.enqueued_at;
            EntryRow { attempts: 0, enqueued_at, retry_floor_ms: 0, body }.encode_into(&mut row);
            let key = EntryKey { queue: id.queue, stage: Stage::Ready, rank: id.rank };
            entries.insert(key.encode().to_vec(), row);
            if let Some(lease) = &entry.lease {
                let key = LeaseKey { queue: id.queue, sequence: id.rank.sequence };
                leases.insert(key.encode().to_vec(), lease.row.encode().to_vec());
            }
        }
        prop_assert_eq!(rows(store, Table::Entries)?, entries, "entries");
        prop_assert_eq!(rows(store, Table::Payloads)?, bodies, "bodies");
        prop_assert_eq!(rows(store, Table::Leases)?, leases, "leases");
        Ok(())
    }
}

type StoredRows = BTreeMap<Vec<u8>, Vec<u8>>;

fn rows(store: &dyn StoreRead, table: Table) -> Checked<StoredRows> {
    let request = ScanRequest {
        table,
        lower: Vec::new(),
        upper: None,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        skip_max: u64::MAX,
    };
    let (rows, _) = block_on(store.scan(request)).map_err(fail)?;
    Ok(rows.iter().map(|(key, row)| (key.to_vec(), row.to_vec())).collect())
}

pub(super) fn fail(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}
