//! What the events so far allow and demand of a store.
//!
//! The oracle reads one stream of events and knows nothing of the engine. Because a call is in doubt from
//! its intent on, it never asks which order two overlapping calls had; because a receipt before an intent
//! means an order, it demands that one. The rules:
//!
//! 1. An entry whose enqueue has a receipt is there until an ack of it has one; while an ack is in doubt
//!    both are right. Once acked it is never granted again.
//! 2. A batch in doubt is there as a whole or not at all, unless a purge in doubt may have removed a part
//!    of it; and what was found missing stays missing.
//! 3. An entry has one lease in force at most: it is granted again only after a nack, after a
//!    [short](crate::event::SHORT_LEASE) lease, or in a life that released all leases.
//! 4. A [long](crate::event::LONG_LEASE) lease that nobody ended is in force, in later lives too, and its
//!    token is accepted.
//! 5. Sequences and tokens of a call are above those of every call in the same partition that had its
//!    receipt before; the epoch of a life is above those of earlier lives.
//! 6. Attempts of an entry grow with its tokens.
//! 7. Priority, queue and payload of a grant are those of the enqueue.
//! 8. Once a purge has its receipt, every entry of its queue whose enqueue had one before the purge's
//!    intent is gone, and its leases are refused; one whose enqueue began after the purge's receipt is
//!    untouched. In between, and while the purge is in doubt, both are right for each entry.
//! 9. The rows of a [stopped store](Oracle::at_rest) say the same.

use std::collections::{BTreeMap, BTreeSet};

use millpond::{EntryId, EntryRank};

use crate::event::{Action, Event, Granted, Leases, Marker, NewEntry, OpId, Token, queues};
use entry::{Certainty, Gone, Lease, Tracked};

mod at_rest;
mod entry;
mod purges;
mod violation;

pub use violation::{Late, StoredLease, Violation};

/// How many promises were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries with a receipt.
    pub enqueued: u64,
    /// Leases granted.
    pub granted: u64,
    /// Acks with a receipt.
    pub acked: u64,
    /// Nacks with a receipt.
    pub nacked: u64,
    /// Extensions with a receipt.
    pub extended: u64,
    /// Purges with a receipt.
    pub purges: u64,
    /// Entries that they removed.
    pub purged: u64,
    /// Calls that a death left in doubt.
    pub in_doubt: u64,
}

impl Counts {
    /// All receipts.
    pub fn receipts(&self) -> u64 {
        self.enqueued + self.granted + self.acked + self.nacked + self.extended + self.purges
    }
}

/// Counts what was said.
type Moment = u64;

/// A call without an answer.
#[derive(Debug, Clone)]
struct Pending {
    began: Moment,
    call: Call,
}

#[derive(Debug, Clone)]
enum Call {
    Enqueue { markers: Vec<Marker> },
    Lease { n_max: usize, long: bool, floors: Vec<Token> },
    Settle { marker: Marker, token: Token, action: Action },
    Purge { queue: u32, before: Vec<Marker> },
}

#[derive(Debug, Clone)]
struct Partition {
    sequence_max: u64,
    token_max: Token,
    /// Epochs of this life are above this one.
    epoch_floor: u64,
    sequences: BTreeMap<u64, Marker>,
}

/// A lease that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLease {
    /// The entry, by its payload.
    pub marker: Marker,
    /// The entry.
    pub id: EntryId,
    /// The lease.
    pub token: Token,
}

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    now: Moment,
    life: u32,
    /// The newest life that released all leases.
    released_in_life: u32,
    partitions: Vec<Partition>,
    entries: BTreeMap<Marker, Tracked>,
    batches: BTreeMap<OpId, Vec<Marker>>,
    pending: BTreeMap<OpId, Pending>,
    /// When each purge was over, by its receipt or with its process.
    purges: BTreeMap<OpId, Option<Moment>>,
    /// Entries that calls in doubt may have leased.
    leases_in_doubt: usize,
    counts: Counts,
}

type Checked = Result<(), Violation>;

impl Oracle {
    /// Knows of no store yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event into account.
    ///
    /// # Errors
    ///
    /// The event breaks a rule.
    pub fn apply(&mut self, event: &Event) -> Checked {
        self.now += 1;
        match event {
            Event::Opening { leases } => self.opening(*leases),
            Event::Opened { n_partitions } => self.opened(*n_partitions)?,
            // Whether it should have been opened is for the test to say.
            Event::NotOpened { .. } => {}
            Event::Enqueue { op, queue, entries } => self.enqueue(*op, *queue, entries),
            Event::Enqueued { op, sequences } => self.enqueued(*op, sequences)?,
            Event::Lease { op, n_max, long, .. } => {
                let floors = self.partitions.iter().map(|partition| partition.token_max).collect();
                self.begin(*op, Call::Lease { n_max: *n_max, long: *long, floors });
            }
            Event::Leased { op, grants } => self.leased(*op, grants)?,
            Event::Settle { op, marker, token, action } => {
                self.settle(*op, *marker, *token, *action)?;
            }
            Event::Settled { op, .. } => self.settled(*op)?,
            Event::Purge { op, queue } => self.purge(*op, *queue),
            Event::Purged { op, n_entries, n_leased } => self.purged(*op, *n_entries, *n_leased)?,
            Event::Refused { op, kind, text } => self.refused(*op, kind, text)?,
            Event::Damaged { what } => return Err(Violation::Damaged { what: what.clone() }),
            Event::Closed => {
                if !self.pending.is_empty() {
                    return Err(Violation::Unanswered { n_calls: self.pending.len() });
                }
            }
        }
        Ok(())
    }

    /// What was promised so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether the engine was ever open: then it must be found again.
    pub fn knows_a_store(&self) -> bool {
        !self.partitions.is_empty()
    }

    /// Leases that must be in force (rule 4).
    pub fn held(&self) -> Vec<HeldLease> {
        let held = self.entries.iter().filter_map(|(&marker, entry)| {
            let (token, lease) = entry.newest_lease()?;
            (entry.must_be_there() && !lease.may_have_ended(self.released_in_life))
                .then_some(HeldLease { marker, id: entry.id()?, token })
        });
        held.collect()
    }

    /// Whether the newest lease of an entry was ended by a nack with a receipt.
    pub fn was_given_back(&self, marker: Marker) -> bool {
        let newest = self.entries.get(&marker).and_then(Tracked::newest_lease);
        newest.is_some_and(|(_, lease)| lease.nacked == Certainty::Yes)
    }

    /// The life, and the attempts of an entry that we heard of.
    pub fn attempts(&self, marker: Marker) -> (u32, Vec<u32>) {
        let leases = self.entries.get(&marker).map(|entry| entry.leases.values());
        (self.life, leases.into_iter().flatten().map(|lease| lease.attempt).collect())
    }

    /// Every entry was leased in a life that had released all leases: `found` is everything there is
    /// (rules 1 and 2). What was in doubt is settled by it.
    ///
    /// # Errors
    ///
    /// Something is missing, or a batch is there in part.
    pub fn settle_doubts(&mut self, found: &BTreeSet<Marker>) -> Checked {
        for markers in self.batches.values() {
            let first = &self.entries[&markers[0]];
            // A purge concerns a queue, and so a batch as a whole.
            let in_doubt = first.accepted == Certainty::InDoubt && first.purges_in_doubt.is_empty();
            let n_found = markers.iter().filter(|marker| found.contains(marker)).count();
            if in_doubt && n_found != 0 && n_found != markers.len() {
                return Err(Violation::TornBatch { marker: markers[0], n_found, n: markers.len() });
            }
        }
        for (&marker, entry) in &mut self.entries {
            let found = found.contains(&marker);
            if !found && entry.must_be_there() {
                return Err(Violation::Lost { marker, queue: entry.queue });
            }
            match entry.accepted {
                Certainty::InDoubt if !found => entry.accepted = Certainty::No,
                Certainty::Yes if !found => drop(entry.gone.get_or_insert(Gone::Missing)),
                _ => {}
            }
            entry.acks_in_doubt.clear();
            entry.purges_in_doubt.clear();
        }
        self.leases_in_doubt = 0;
        Ok(())
    }

    fn opening(&mut self, leases: Leases) {
        self.life += 1;
        self.counts.in_doubt += self.pending.len() as u64;
        self.leases_in_doubt += self.leases_on_their_way();
        self.pending.clear();
        self.purges_died();
        if leases == Leases::Release {
            self.released_in_life = self.life;
        }
        for partition in &mut self.partitions {
            partition.epoch_floor = partition.token_max.epoch;
        }
    }

    /// How many entries may be leased by calls without an answer.
    fn leases_on_their_way(&self) -> usize {
        let n_max = |pending: &Pending| match pending.call {
            Call::Lease { n_max, .. } => n_max,
            _ => 0,
        };
        self.pending.values().map(n_max).sum()
    }

    fn begin(&mut self, op: OpId, call: Call) {
        self.pending.insert(op, Pending { began: self.now, call });
    }

    fn opened(&mut self, n_partitions: u16) -> Checked {
        let n = usize::from(n_partitions);
        if self.partitions.is_empty() {
            let partition = Partition {
                sequence_max: 0,
                token_max: Token { epoch: 0, number: 0 },
                epoch_floor: 0,
                sequences: BTreeMap::new(),
            };
            self.partitions = vec![partition; n];
        }
        if self.partitions.len() != n {
            let found = n_partitions;
            return Err(Violation::Repartitioned { found, created: self.partitions.len() });
        }
        Ok(())
    }

    fn partition(&self, queue: u32) -> usize {
        let n = u16::try_from(self.partitions.len()).expect("it came as a u16");
        queues::id(queue).partition(n).into()
    }

    fn enqueue(&mut self, op: OpId, queue: u32, entries: &[NewEntry]) {
        let sequence_floor = self.partitions[self.partition(queue)].sequence_max;
        let purges: BTreeSet<OpId> = self.purges_under_way(queue).collect();
        for entry in entries {
            let tracked = Tracked {
                op,
                queue,
                priority: entry.priority,
                sequence_floor,
                sequence: None,
                accepted: Certainty::InDoubt,
                gone: None,
                acks_in_doubt: BTreeSet::new(),
                purges_in_doubt: purges.clone(),
                leases: BTreeMap::new(),
            };
            self.entries.insert(entry.marker, tracked);
        }
        let markers: Vec<_> = entries.iter().map(|entry| entry.marker).collect();
        self.batches.insert(op, markers.clone());
        self.begin(op, Call::Enqueue { markers });
    }

    fn enqueued(&mut self, op: OpId, sequences: &[u64]) -> Checked {
        let Some(Pending { call: Call::Enqueue { markers }, .. }) = self.pending.remove(&op) else {
            return Err(Violation::UnexpectedAnswer { op });
        };
        if sequences.len() != markers.len() || !sequences.is_sorted_by(|a, b| a < b) {
            return Err(Violation::Sequence { marker: markers[0], found: sequences.to_vec() });
        }
        for (&marker, &sequence) in markers.iter().zip(sequences) {
            self.learn_sequence(marker, sequence)?;
        }
        self.accept(op);
        self.counts.enqueued += markers.len() as u64;
        Ok(())
    }

    fn accept(&mut self, op: OpId) {
        for marker in &self.batches[&op] {
            let entry = self.entries.get_mut(marker).expect("batches consist of known entries");
            entry.accepted = Certainty::Yes;
        }
    }

    fn learn_sequence(&mut self, marker: Marker, sequence: u64) -> Checked {
        let partition = self.partition(self.entries[&marker].queue);
        let entry = self.entries.get_mut(&marker).expect("the caller looked it up");
        let partition = &mut self.partitions[partition];
        let owner = *partition.sequences.entry(sequence).or_insert(marker);
        let known = *entry.sequence.get_or_insert(sequence);
        if owner != marker || known != sequence || sequence <= entry.sequence_floor {
            return Err(Violation::Sequence { marker, found: vec![sequence] });
        }
        partition.sequence_max = partition.sequence_max.max(sequence);
        Ok(())
    }

    fn leased(&mut self, op: OpId, grants: &[Granted]) -> Checked {
        let Some(Pending { began, call: Call::Lease { n_max, long, floors } }) =
            self.pending.remove(&op)
        else {
            return Err(Violation::UnexpectedAnswer { op });
        };
        if grants.len() > n_max {
            return Err(Violation::TooMany { wanted: n_max, granted: grants.len() });
        }
        let mut newest = BTreeMap::new();
        for grant in grants {
            let partition = self.partition(grant.queue);
            if grant.token <= floors[partition]
                || grant.token.epoch <= self.partitions[partition].epoch_floor
            {
                return Err(Violation::Token { marker: grant.marker, token: grant.token });
            }
            let before = newest.insert(grant.queue, grant.rank());
            if let Some(before) = before.filter(|before| *before >= grant.rank()) {
                return Err(self.out_of_order(grant, before));
            }
            self.granted(grant, long, began)?;
            let token_max = &mut self.partitions[partition].token_max;
            *token_max = grant.token.max(*token_max);
        }
        self.counts.granted += grants.len() as u64;
        Ok(())
    }

    /// Within one answer no entry can be late.
    fn out_of_order(&self, grant: &Granted, before: EntryRank) -> Violation {
        let (life, mut heard) = self.attempts(grant.marker);
        heard.push(grant.attempt);
        let (marker, queue, rank) = (grant.marker, grant.queue, grant.rank());
        let late = Late { marker, queue, rank, after: vec![before], life, heard, stored: None };
        Violation::Order(Box::new(late))
    }

    fn granted(&mut self, grant: &Granted, long: bool, began: Moment) -> Checked {
        let &Granted { marker, token, attempt, .. } = grant;
        let Some(entry) = self.entries.get(&marker) else {
            return Err(Violation::Unknown { marker });
        };
        if (entry.queue, entry.priority) != (grant.queue, grant.priority) {
            let what = format!("entry {marker:x} has another queue or priority");
            return Err(Violation::Damaged { what });
        }
        let is_gone = entry.gone.is_some_and(|gone| !gone.may_follow_lease(began, token));
        if is_gone || entry.accepted == Certainty::No {
            return Err(Violation::Revived { marker });
        }
        // Receipts of overlapping calls may stand in either order.
        let before = entry.leases.range(..token).next_back();
        let after = entry.leases.range(token..).next();
        let ended = |lease: &Lease| lease.may_have_ended(self.released_in_life);
        if before.is_some_and(|(_, lease)| !ended(lease)) || (after.is_some() && long) {
            return Err(Violation::LeasedTwice { marker });
        }
        if before.is_some_and(|(_, lease)| lease.attempt >= attempt)
            || after.is_some_and(|(_, lease)| lease.attempt <= attempt)
        {
            return Err(Violation::Attempt { marker, attempt });
        }
        let op = entry.op;
        self.learn_sequence(marker, grant.sequence)?;
        self.accept(op);
        let lease = Lease { attempt, long, life: self.life, nacked: Certainty::No };
        let entry = self.entries.get_mut(&marker).expect("it was looked up");
        entry.leases.insert(token, lease);
        self.survived_purges(marker, began);
        Ok(())
    }

    fn settle(&mut self, op: OpId, marker: Marker, token: Token, action: Action) -> Checked {
        let entry = self.entries.get_mut(&marker).ok_or(Violation::Unknown { marker })?;
        let lease = entry.leases.get_mut(&token).ok_or(Violation::Token { marker, token })?;
        match action {
            Action::Ack => drop(entry.acks_in_doubt.insert(token)),
            Action::Nack if lease.nacked == Certainty::No => lease.nacked = Certainty::InDoubt,
            Action::Nack | Action::Extend => {}
        }
        self.begin(op, Call::Settle { marker, token, action });
        Ok(())
    }

    fn settled(&mut self, op: OpId) -> Checked {
        let Some(Pending { began, call: Call::Settle { marker, token, action } }) =
            self.pending.remove(&op)
        else {
            return Err(Violation::UnexpectedAnswer { op });
        };
        self.survived_purges(marker, began);
        let entry = self.entries.get_mut(&marker).expect("the intent looked it up");
        if entry.gone.is_some_and(|gone| gone.was_purged_before(began)) {
            return Err(Violation::Purged { marker, token });
        }
        let newest = entry.newest_lease().map(|(token, _)| token);
        let lease = entry.leases.get_mut(&token).expect("the intent looked it up");
        match action {
            Action::Ack => {
                // A purge that it overlapped with may have had its receipt before.
                if newest != Some(token)
                    || matches!(entry.gone, Some(Gone::Acked { .. } | Gone::Missing))
                {
                    return Err(Violation::LeasedTwice { marker });
                }
                entry.gone.get_or_insert(Gone::Acked { at: self.now, token });
                self.counts.acked += 1;
            }
            Action::Nack => {
                lease.nacked = Certainty::Yes;
                self.counts.nacked += 1;
            }
            Action::Extend => {
                lease.long = true;
                self.counts.extended += 1;
            }
        }
        Ok(())
    }

    fn refused(&mut self, op: OpId, kind: &str, text: &str) -> Checked {
        let Some(pending) = self.pending.remove(&op) else {
            return Err(Violation::UnexpectedAnswer { op });
        };
        let refused = || Violation::Refused { kind: kind.to_owned(), text: text.to_owned() };
        match (kind, pending.call) {
            ("stale_lease", Call::Settle { marker, token, action }) => {
                let released = self.released_in_life;
                let entry = self.entries.get_mut(&marker).expect("the intent looked it up");
                let lease = &entry.leases[&token];
                // The nack that is refused has not ended it.
                let nacked = action != Action::Nack && lease.nacked != Certainty::No;
                let purged = !entry.purges_in_doubt.is_empty()
                    || matches!(entry.gone, Some(Gone::Purged { .. }));
                if lease.long && lease.life >= released && !nacked && !purged {
                    return Err(refused());
                }
                entry.acks_in_doubt.remove(&token);
            }
            // The engine stopped: nobody knows what became of the call.
            ("closed" | "no_space" | "io", call) => {
                self.counts.in_doubt += 1;
                if let Call::Lease { n_max, .. } = call {
                    self.leases_in_doubt += n_max;
                }
            }
            _ => return Err(refused()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
