//! In which order the entries of a stopped store may come once it is open again.
//!
//! The rows of the store, read before it is opened, decide it. An entry without a lease is ready from the
//! beginning and must come before whatever stands behind it in its queue. One whose lease is in force is
//! not ready, whether or not the deadline is over by then: it becomes ready when whoever opened the store
//! has committed the end of the lease, which may be after others of its queue were served. It then
//! rightly comes late.
//!
//! Nothing else excuses an entry that is late. What workers said would not do in place of the rows: a
//! worker that is killed takes with it the answers to calls that leased, so an entry of which we last
//! heard that it was ready may have a lease in its row, and that lease may be a short one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millpond::{EntryRank, QueueId};

use crate::Violation;
use crate::actor::Held;
use crate::event::{LONG_LEASE, Leases, Marker, queues};
use crate::oracle::{Late, Oracle, StoredLease};
use crate::stored::StoredEntries;

/// A lease in force whose deadline is so far ahead is a [long](LONG_LEASE) one, which does not end by itself
/// in a test.
const FAR_AHEAD: Duration = Duration::from_secs(LONG_LEASE.as_secs() / 2);

/// What a store held before it was opened, and what was granted since.
#[derive(Debug)]
pub struct Turns {
    stored: StoredEntries,
    opened_at_ms: u64,
    /// Ready from the beginning, or before the first grant.
    ready: BTreeSet<Marker>,
    found: BTreeSet<Marker>,
    served: BTreeMap<QueueId, BTreeSet<EntryRank>>,
    late: Vec<Late>,
}

impl Turns {
    /// The store was read and is opened now, with old leases kept or released.
    pub fn new(stored: StoredEntries, leases: Leases, opened_at_ms: u64) -> Self {
        let is_ready = |marker: &&Marker| {
            leases == Leases::Release || stored[*marker].lease_in_force().is_none()
        };
        let ready = stored.keys().filter(is_ready).copied().collect();
        let (found, served) = (BTreeSet::new(), BTreeMap::new());
        Self { stored, opened_at_ms, ready, found, served, late: Vec::new() }
    }

    /// An entry was given back before the first grant.
    pub fn given_back(&mut self, marker: Marker) {
        self.ready.insert(marker);
    }

    /// An entry was granted. The oracle, which knows of it, says what else is known of the entry.
    ///
    /// # Errors
    ///
    /// It comes too late, or cannot come at all.
    pub fn granted(&mut self, held: Held, oracle: &Oracle, now_ms: u64) -> Result<(), Violation> {
        let marker = held.marker;
        let Some(stored) = self.stored.get(&marker) else {
            return Err(Violation::Revived { marker });
        };
        self.found.insert(marker);
        let was_ready = self.ready.contains(&marker);
        let since_opening = |at_ms: u64| i128::from(at_ms) - i128::from(self.opened_at_ms);
        let lease = stored.lease_in_force().map(|row| StoredLease {
            row,
            deadline_ms: since_opening(row.deadline.0),
            granted_ms: since_opening(now_ms),
        });
        let far_ahead_ms = i128::try_from(FAR_AHEAD.as_millis()).unwrap_or(i128::MAX);
        if !was_ready && lease.is_some_and(|lease| lease.deadline_ms > far_ahead_ms) {
            return Err(Violation::LeasedTwice { marker });
        }
        let served = self.served.entry(held.id.queue).or_default();
        let after: Vec<EntryRank> = served.range(held.id.rank..).copied().collect();
        served.insert(held.id.rank);
        if after.is_empty() {
            return Ok(());
        }
        let queue = (0..queues::N_QUEUES).find(|&queue| queues::id(queue) == held.id.queue);
        let queue = queue.unwrap_or(u32::MAX);
        let (life, heard) = oracle.attempts(marker);
        let late = Late { marker, queue, rank: held.id.rank, after, life, heard, stored: lease };
        if was_ready {
            return Err(Violation::Order(Box::new(late)));
        }
        self.late.push(late);
        Ok(())
    }

    /// Nothing more is granted: what was ready has come.
    ///
    /// # Errors
    ///
    /// It has not.
    pub fn ended(&self) -> Result<(), Violation> {
        let mut stuck = self.ready.difference(&self.found);
        match stuck.next() {
            None => Ok(()),
            Some(&first) => Err(Violation::Stuck { n: 1 + stuck.count(), first }),
        }
    }

    /// Everything that was granted.
    pub fn found(&self) -> &BTreeSet<Marker> {
        &self.found
    }

    /// What rightly came late.
    pub fn late(&self) -> &[Late] {
        &self.late
    }
}

#[cfg(test)]
mod tests;
