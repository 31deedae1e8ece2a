//! Keys by which a queue tells whether it has accepted an entry before.
//!
//! A key is remembered from the acceptance of its entry until the window of its queue ends, by the
//! partition's clock, whatever becomes of the entry. It has two rows: one by key, which names the entry, and
//! one by the time at which it is [forgotten](super::forget).
//!
//! * **K1** A key has both rows or none, and they agree on the time.
//! * **K2** What is on its way to storage is known in memory until its commit is durable.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use millpond_storage_api::{StoreRead, Table};
use millpond_types::{DedupExpiryKey, DedupKey, DedupRow, EntryRank, QueueId, UnixMillis};

use super::door::Seen;
use super::forget::Forget;
use super::{Core, Mutation};
use crate::PartitionError;
use crate::command::NewEntry;

/// What memory knows of keys.
#[derive(Debug)]
pub(super) struct Dedup {
    /// Of entries that are staged or on their way to storage.
    fresh: HashMap<DedupKey, Fresh>,
    /// When they are forgotten, and how many at each time.
    entering: BTreeMap<UnixMillis, usize>,
    pub(super) forget: Forget,
}

#[derive(Debug)]
struct Fresh {
    row: DedupRow,
    /// It was taken before, and that was still stored.
    again: bool,
}

/// Whether an entry is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its key, if it has one, is not remembered; what is still stored of it expired then.
    New { expired: Option<UnixMillis> },
    /// As another one was.
    Duplicate(EntryRank),
    /// As the one at this place of the same batch.
    Repeats(usize),
}

impl Dedup {
    pub(super) fn new(floor: UnixMillis) -> Self {
        Self { fresh: HashMap::new(), entering: BTreeMap::new(), forget: Forget::new(floor) }
    }

    pub(super) fn fresh(&self, key: &DedupKey) -> Option<&DedupRow> {
        self.fresh.get(key).map(|fresh| &fresh.row)
    }

    /// When the first of those on their way is forgotten.
    pub(super) fn first_entering(&self) -> Option<UnixMillis> {
        self.entering.keys().next().copied()
    }

    /// Storage knows it now.
    pub(super) fn remove_fresh(&mut self, key: &DedupKey, rank: EntryRank) {
        if self.fresh.get(key).is_some_and(|fresh| fresh.row.rank == rank) {
            self.fresh.remove(key);
        }
    }

    /// How many are known, and how many of them are on their way.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.fresh.len(), self.entering.values().sum())
    }
}

impl Core {
    /// Which entries of a command are accepted. Empty if all are, and none has a key.
    pub(super) fn judge_keys(
        &self,
        now: UnixMillis,
        queue: QueueId,
        entries: &[NewEntry],
        seen: &Seen,
    ) -> Vec<Verdict> {
        if entries.iter().all(|entry| entry.dedup.is_none()) {
            return Vec::new();
        }
        let forgets_batch = self.is_broken(Mutation::BatchRepeats);
        let mut first: HashMap<&Bytes, usize> = HashMap::new();
        let mut verdicts = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let Some(key) = &entry.dedup else {
                verdicts.push(Verdict::New { expired: None });
                continue;
            };
            if let Some(at) = first.get(key).filter(|_| !forgets_batch) {
                verdicts.push(Verdict::Repeats(*at));
                continue;
            }
            let known = self.dedup.fresh(&DedupKey { queue, key: key.clone() });
            let known = known.filter(|_| !self.is_broken(Mutation::FreshKeysForgotten));
            verdicts.push(match known.or_else(|| seen.row(key)) {
                Some(row) if row.expires_at > now || self.is_broken(Mutation::KeysForEver) => {
                    Verdict::Duplicate(row.rank)
                }
                known => {
                    first.insert(key, at);
                    Verdict::New { expired: known.map(|row| row.expires_at) }
                }
            });
        }
        verdicts
    }

    /// Stages that a key is taken by an entry, for as long as the window of its queue says.
    pub(super) fn stage_key(
        &mut self,
        now: UnixMillis,
        seen: &DedupKey,
        rank: EntryRank,
        window_ms: u64,
        expired: Option<UnixMillis>,
    ) -> DedupRow {
        // `now` has lost its fraction, and the window must not.
        let expires_at = now.plus(window_ms).plus(1);
        let row = DedupRow { rank, expires_at };
        if let Some(expires_at) = expired.filter(|_| !self.is_broken(Mutation::OldExpiryKept)) {
            let old = DedupExpiryKey { expires_at, seen: seen.clone() };
            self.batch.delete(Table::Dedup, &old.encode());
        }
        let expiry = DedupExpiryKey { expires_at, seen: seen.clone() };
        self.batch.put(Table::Dedup, &seen.encode(), &row.encode());
        self.batch.put(Table::Dedup, &expiry.encode(), &[]);
        let fresh = Fresh { row, again: expired.is_some() };
        self.dedup.fresh.insert(seen.clone(), fresh);
        *self.dedup.entering.entry(expires_at).or_default() += 1;
        self.dedup.forget.entering(expires_at);
        row
    }

    /// The commit of [`stage_key`](Self::stage_key) is durable.
    pub(super) fn key_arrived(&mut self, key: DedupKey, row: DedupRow) {
        let unkept = self.is_broken(Mutation::NotKeptForStep);
        let dedup = &mut self.dedup;
        if let Some(n) = dedup.entering.get_mut(&row.expires_at) {
            *n -= 1;
            if *n == 0 {
                dedup.entering.remove(&row.expires_at);
            }
        }
        let kept = !unkept && dedup.forget.is_reading();
        let again = dedup.fresh.get(&key).is_some_and(|fresh| fresh.again);
        if again && kept {
            // What is being read may be older than this.
            return dedup.forget.keep(key, row.rank);
        }
        dedup.remove_fresh(&key, row.rank);
    }
}

/// Asks memory about keys of one queue.
pub(crate) fn try_read_seen(
    store: &(impl StoreRead + ?Sized),
    keys: &[DedupKey],
) -> Result<Vec<Option<DedupRow>>, PartitionError> {
    keys.iter().map(|key| decode(store.try_get(Table::Dedup, &key.encode())?.as_deref())).collect()
}

/// As [`try_read_seen`], but may wait.
pub(crate) async fn read_seen(
    store: &(impl StoreRead + ?Sized),
    keys: &[DedupKey],
) -> Result<Vec<Option<DedupRow>>, PartitionError> {
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys {
        rows.push(decode(store.get(Table::Dedup, &key.encode()).await?.as_deref())?);
    }
    Ok(rows)
}

fn decode(row: Option<&[u8]>) -> Result<Option<DedupRow>, PartitionError> {
    Ok(row.map(DedupRow::decode).transpose()?)
}
