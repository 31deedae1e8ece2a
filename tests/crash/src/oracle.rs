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
//! 6. Attempts of an entry grow with its tokens, but for replays, which set them back.
//! 7. Priority, queue and payload of a grant are those of the enqueue.
//! 8. Once a purge has its receipt, every entry of its queue whose enqueue had one before the purge's
//!    intent is gone, and its leases are refused; one whose enqueue began after the purge's receipt is
//!    untouched. In between, and while the purge is in doubt, both are right for each entry.
//! 9. An entry is not granted before its time: before its delay is over, before its date, or before the time
//!    that the receipt of a failed attempt named. What the reader's clock shows counts; across a restart a
//!    delay may be 1 ms shorter.
//! 10. A failed attempt makes a dead letter if it was the last one or was rejected, and otherwise not; none
//!     comes after the last. What is dead is granted again only after a replay.
//! 11. Once a replay has its receipt the entry is there and ready, and once a drop has, it is gone.
//! 12. The rows of a [stopped store](Oracle::at_rest) say the same.
//! 13. A rule that has a receipt holds in all partitions, in later lives too, until a change of it begins; of
//!     one in doubt an engine that was opened says whether it holds.
//! 14. Nothing is granted to a call that begins while a rule pauses its queue.
//! 15. Nothing is granted beyond a limit. Leases of earlier lives count, and lowering it ends none.
//! 16. Whatever is ready and not granted is [kept](Oracle::kept_by) by a rule, and by none that has room.

use std::collections::{BTreeMap, BTreeSet};

use millpond::EntryId;

use crate::event::{
    Action, DeadAction, Event, Leases, Marker, Nacked, NewEntry, OpId, Start, Token, queues,
};
use crate::rules::RuleScope;
use entry::{Certainty, Gone, Tracked};

mod at_rest;
mod dead_letters;
mod entry;
mod leases;
mod purges;
mod rules;
mod settling;
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
    /// Nacks with a receipt that made the entry wait.
    pub backed_off: u64,
    /// Nacks with a receipt that made it a dead letter.
    pub died: u64,
    /// Extensions with a receipt.
    pub extended: u64,
    /// Entries with a receipt that were to wait.
    pub delayed: u64,
    /// Replays with a receipt.
    pub replayed: u64,
    /// Drops with a receipt.
    pub dropped: u64,
    /// Purges with a receipt.
    pub purges: u64,
    /// Entries that they removed.
    pub purged: u64,
    /// Rules with a receipt.
    pub rules: u64,
    /// Calls that a death left in doubt.
    pub in_doubt: u64,
}

impl Counts {
    /// All receipts.
    pub fn receipts(&self) -> u64 {
        let settled = self.acked + self.nacked + self.extended + self.replayed + self.dropped;
        self.enqueued + self.granted + settled + self.purges + self.rules
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
    Settle { marker: Marker, token: Token, action: Action, at_ms: u64 },
    DeadLetter { marker: Marker, action: DeadAction },
    Purge { queue: u32, before: Vec<Marker> },
    Rule { scope: RuleScope },
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
    rules: rules::Rules,
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
            Event::Enqueue { op, queue, entries, at_ms } => {
                self.enqueue(*op, *queue, entries, *at_ms);
            }
            Event::Enqueued { op, sequences } => self.enqueued(*op, sequences)?,
            Event::Lease { op, n_max, long, .. } => {
                let floors = self.partitions.iter().map(|partition| partition.token_max).collect();
                self.begin(*op, Call::Lease { n_max: *n_max, long: *long, floors });
            }
            Event::Leased { op, grants, at_ms } => self.leased(*op, grants, *at_ms)?,
            Event::Settle { op, marker, token, action, at_ms } => {
                let (marker, token, action, at_ms) = (*marker, *token, *action, *at_ms);
                self.settle(*op, Call::Settle { marker, token, action, at_ms })?;
            }
            Event::Settled { op, nacked, .. } => self.settled(*op, *nacked)?,
            Event::DeadLetter { op, marker, action } => self.dead_letter(*op, *marker, *action)?,
            Event::DeadLetterDone { op } => self.dead_letter_done(*op)?,
            Event::Purge { op, queue } => self.purge(*op, *queue),
            Event::Purged { op, n_entries, n_leased } => self.purged(*op, *n_entries, *n_leased)?,
            Event::Rules { found } => self.rules_found(found)?,
            Event::Rule { op, scope, says } => self.rule(*op, *scope, *says),
            Event::RuleSet { op } => self.rule_set(*op)?,
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

    /// Where the entry stands after its newest lease, if a nack of that had a receipt.
    pub fn nacked(&self, marker: Marker) -> Option<Nacked> {
        self.entries.get(&marker).and_then(Tracked::newest_lease)?.1.outcome
    }

    /// The life, and the attempts of an entry that we heard of.
    pub fn attempts(&self, marker: Marker) -> (u32, Vec<u32>) {
        let leases = self.entries.get(&marker).map(|entry| entry.leases.values());
        (self.life, leases.into_iter().flatten().map(|lease| lease.attempt).collect())
    }

    /// Every entry was leased in a life that had released all leases, or was seen to wait or to be dead: `found`
    /// is everything there is (rules 1 and 2). What was in doubt is settled by it.
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
            entry.drops_in_doubt.clear();
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

    fn enqueue(&mut self, op: OpId, queue: u32, entries: &[NewEntry], at_ms: u64) {
        let sequence_floor = self.partitions[self.partition(queue)].sequence_max;
        let purges: BTreeSet<OpId> = self.purges_under_way(queue).collect();
        for entry in entries {
            let tracked = Tracked {
                op,
                queue,
                priority: entry.priority,
                start: entry.start,
                enqueued_at_ms: at_ms,
                life: self.life,
                sequence_floor,
                sequence: None,
                accepted: Certainty::InDoubt,
                gone: None,
                acks_in_doubt: BTreeSet::new(),
                drops_in_doubt: BTreeSet::new(),
                purges_in_doubt: purges.clone(),
                leases: BTreeMap::new(),
                replays: Vec::new(),
                replayed_after: None,
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
            self.counts.delayed += u64::from(self.entries[&marker].start != Start::Now);
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
}

#[cfg(test)]
mod tests;
