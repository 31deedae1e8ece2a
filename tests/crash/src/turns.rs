//! In which order the entries of a stopped store may come once it is open again.
//!
//! The rows of the store, read before it is opened, decide it. An entry without a lease is ready from the
//! beginning and must come before whatever stands behind it in its queue. One whose lease is in force is
//! not ready, whether or not the deadline is over by then: it becomes ready when whoever opened the store
//! has committed the end of the lease, which may be after others of its queue were served. It then
//! rightly comes late. So does one that waits for its time; one that waits for longer than any test, a dead
//! letter, and one whose last attempt ends with its lease, do not come at all.
//!
//! Nothing else excuses an entry that is late. What workers said would not do in place of the rows: a
//! worker that is killed takes with it the answers to calls that leased, so an entry of which we last
//! heard that it was ready may have a lease in its row, and that lease may be a short one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millpond::{EntryId, EntryRank, QueueId};

use crate::Violation;
use crate::actor::Held;
use crate::event::{LONG_LEASE, Leases, Marker, queues};
use crate::oracle::{Late, Oracle, StoredLease};
use crate::stored::{Standing, StoredEntries, StoredEntry};

/// A lease in force whose deadline is so far ahead is a [long](LONG_LEASE) one, which does not end by itself
/// in a test.
const FAR_AHEAD: Duration = Duration::from_secs(LONG_LEASE.as_secs() / 2);

/// What is due later than this after the opening of a store is not waited for.
const SOON: Duration = Duration::from_secs(60);

/// What a store held before it was opened, and what was granted since.
#[derive(Debug)]
pub struct Turns {
    stored: StoredEntries,
    opened_at_ms: u64,
    /// Ready from the beginning, or before the first grant.
    ready: BTreeSet<Marker>,
    /// Waits and comes soon.
    soon: BTreeSet<Marker>,
    /// Waits, and does not come.
    waiting: BTreeSet<Marker>,
    /// Is a dead letter, or becomes one.
    dead: BTreeSet<Marker>,
    found: BTreeSet<Marker>,
    served: BTreeMap<QueueId, BTreeSet<EntryRank>>,
    late: Vec<Late>,
}

impl Turns {
    /// The store was read and is opened now, with old leases kept or released.
    pub fn new(stored: StoredEntries, leases: Leases, opened_at_ms: u64) -> Self {
        let mut turns = Self {
            stored: StoredEntries::new(),
            opened_at_ms,
            ready: BTreeSet::new(),
            soon: BTreeSet::new(),
            waiting: BTreeSet::new(),
            dead: BTreeSet::new(),
            found: BTreeSet::new(),
            served: BTreeMap::new(),
            late: Vec::new(),
        };
        for (&marker, entry) in &stored {
            turns.place(leases, marker, entry);
        }
        Self { stored, ..turns }
    }

    fn place(&mut self, leases: Leases, marker: Marker, entry: &StoredEntry) {
        let is_leased = entry.lease_in_force().is_some();
        // Released, too: an owner that released it died before it had looked at its attempts.
        let was_leased = entry.lease.is_some();
        let soon_ms = self.opened_at_ms + u64::try_from(SOON.as_millis()).unwrap_or(u64::MAX);
        match entry.standing {
            Standing::Ready if is_leased && leases == Leases::Keep => false,
            Standing::Ready if was_leased && is_spent(entry) => self.dead.insert(marker),
            Standing::Ready => self.ready.insert(marker),
            Standing::Delayed(due) if due.at.0 <= soon_ms => self.soon.insert(marker),
            Standing::Delayed(_) => self.waiting.insert(marker),
            Standing::Dead(_) => self.dead.insert(marker),
        };
    }

    /// An entry was given back, or replayed, before the first grant.
    pub fn given_back(&mut self, marker: Marker) {
        self.dead.remove(&marker);
        self.ready.insert(marker);
    }

    /// An entry was made to wait before the first grant: it may come, when it pleases.
    pub fn made_to_wait(&mut self, marker: Marker) {
        self.soon.insert(marker);
    }

    /// A dead letter was dropped.
    pub fn dropped(&mut self, marker: Marker) {
        self.dead.remove(&marker);
        self.stored.remove(&marker);
    }

    /// An entry that was granted is done.
    pub fn acked(&mut self, marker: Marker) {
        self.stored.remove(&marker);
        for place in [&mut self.ready, &mut self.soon, &mut self.found] {
            place.remove(&marker);
        }
    }

    /// What was ready and has not come, with the numbers of its queues.
    pub fn missing(&self) -> impl Iterator<Item = (Marker, u32)> {
        let missing = self.ready.difference(&self.found);
        missing.map(|marker| (*marker, number_of(self.stored[marker].id.queue)))
    }

    /// The dead letters that were stored.
    pub fn dead_letters(&self) -> Vec<(Marker, u32, EntryId)> {
        let dead = self.stored.iter().filter(|(_, e)| matches!(e.standing, Standing::Dead(_)));
        dead.map(|(&marker, entry)| (marker, number_of(entry.id.queue), entry.id)).collect()
    }

    /// The queues of entries that come soon and have not come.
    pub fn awaited(&self) -> BTreeSet<u32> {
        let awaited = self.soon.difference(&self.found);
        awaited.map(|marker| number_of(self.stored[marker].id.queue)).collect()
    }

    /// Entries that are there, wait, and do not come.
    pub fn waiting(&self) -> &BTreeSet<Marker> {
        &self.waiting
    }

    /// Dead letters that are there.
    pub fn dead(&self) -> &BTreeSet<Marker> {
        &self.dead
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
        if self.dead.contains(&marker) {
            return Err(Violation::Undead { marker });
        }
        self.found.insert(marker);
        let was_ready = self.ready.contains(&marker);
        let since_opening = |at_ms: u64| i128::from(at_ms) - i128::from(self.opened_at_ms);
        let mut waited_ms = None;
        if let Standing::Delayed(due) = stored.standing {
            if now_ms < due.at.0 {
                return Err(Violation::Early { marker, due_ms: due.at.0, at_ms: now_ms });
            }
            waited_ms = Some(since_opening(due.at.0));
        }
        let lease = stored.lease_in_force().map(|row| StoredLease {
            row,
            deadline_ms: since_opening(row.deadline.0),
            granted_ms: since_opening(now_ms),
        });
        let far_ahead_ms = i128::try_from(FAR_AHEAD.as_millis()).unwrap_or(i128::MAX);
        let may_come = was_ready || self.soon.contains(&marker);
        if !may_come && lease.is_some_and(|lease| lease.deadline_ms > far_ahead_ms) {
            return Err(Violation::LeasedTwice { marker });
        }
        let served = self.served.entry(held.id.queue).or_default();
        let after: Vec<EntryRank> = served.range(held.id.rank..).copied().collect();
        served.insert(held.id.rank);
        if after.is_empty() {
            return Ok(());
        }
        let queue = number_of(held.id.queue);
        let (life, heard) = oracle.attempts(marker);
        let rank = held.id.rank;
        let late = Late { marker, queue, rank, after, life, heard, stored: lease, waited_ms };
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
        let mut stuck = self.missing();
        match stuck.next() {
            None => Ok(()),
            Some((first, _)) => Err(Violation::Stuck { n: 1 + stuck.count(), first }),
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

fn number_of(queue: QueueId) -> u32 {
    (0..queues::N_QUEUES).find(|&number| queues::id(number) == queue).unwrap_or(u32::MAX)
}

/// Whether the newest attempt of an entry is its last.
fn is_spent(entry: &StoredEntry) -> bool {
    let limit = queues::attempts_max(number_of(entry.id.queue));
    limit.is_some_and(|limit| entry.attempts >= limit)
}

#[cfg(test)]
mod tests;
