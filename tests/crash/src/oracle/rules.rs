//! Rules: what may be leased while they are in force, and what they say after a death.
//!
//! A call leases at a moment between its intent and its receipt. So what it was given obeys a rule if that had
//! its receipt before the call began, and no change of it has begun since. Leases count from their receipts
//! to the intent to end them. Of those that count at the same time one was granted last, when all others were
//! there: if any of them was granted under a limit, they are at most as many as it says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Checked, Moment, Oracle, Pending, Violation};
use crate::event::{Granted, Marker, OpId};
use crate::rules::{RuleScope, Says};
use crate::stored::StoredRules;

/// What is known of the rule of one scope.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    says: Says,
    /// Since when it is in force for certain.
    since: Moment,
    /// A change that was begun, and may be in force.
    wanted: Option<Says>,
}

impl Known {
    fn may_be(self, says: Says) -> bool {
        says == self.says || self.wanted == Some(says)
    }

    /// What has been in force ever since a call began.
    fn since(self, began: Moment) -> Option<Says> {
        (self.wanted.is_none() && self.since < began).then_some(self.says)
    }
}

/// All rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    known: BTreeMap<RuleScope, Known>,
    /// Entries that may have a long lease in force.
    held: BTreeSet<Marker>,
}

impl Rules {
    fn get(&self, scope: RuleScope) -> Known {
        self.known.get(&scope).copied().unwrap_or_default()
    }

    /// An entry has a long lease.
    pub(super) fn hold(&mut self, marker: Marker) {
        self.held.insert(marker);
    }
}

impl Oracle {
    pub(super) fn rule(&mut self, op: OpId, scope: RuleScope, says: Says) {
        self.rules.known.entry(scope).or_default().wanted = Some(says);
        self.begin(op, Call::Rule { scope });
    }

    pub(super) fn rule_set(&mut self, op: OpId) -> Checked {
        let Some(Pending { call: Call::Rule { scope }, .. }) = self.pending.remove(&op) else {
            return Err(Violation::UnexpectedAnswer { op });
        };
        let known = self.rules.known.get_mut(&scope).expect("the intent noted it");
        known.says = known.wanted.take().expect("one change of a scope at a time");
        known.since = self.now;
        self.counts.rules += 1;
        Ok(())
    }

    /// An engine that was just opened says which rules there are (rule 13).
    pub(super) fn rules_found(&mut self, found: &[(RuleScope, Says)]) -> Checked {
        let found: BTreeMap<RuleScope, Says> = found.iter().copied().collect();
        for scope in RuleScope::all() {
            let says = found.get(&scope).copied().unwrap_or_default();
            let known = self.rules.get(scope);
            if !known.may_be(says) {
                return Err(self.wrong_rule(scope, says, None));
            }
            if known.wanted.is_some() {
                self.rules.known.insert(scope, Known { says, since: self.now, wanted: None });
            }
        }
        Ok(())
    }

    /// Holds the stored rules to what was promised (rule 13): each partition has what had a receipt, or the
    /// change that was begun after that.
    ///
    /// # Errors
    ///
    /// One has neither.
    pub fn rules_at_rest(&self, stored: &StoredRules) -> Checked {
        let n_partitions = u16::try_from(stored.len()).expect("engines have few partitions");
        for (partition, rules) in (0..).zip(stored) {
            for scope in RuleScope::all() {
                let is_elsewhere = scope.partition(n_partitions).is_some_and(|n| n != partition);
                let says = rules.get(&scope).copied().unwrap_or_default();
                let is_right = if is_elsewhere {
                    says == Says::default()
                } else {
                    self.rules.get(scope).may_be(says)
                };
                if !is_right {
                    return Err(self.wrong_rule(scope, says, Some(partition)));
                }
            }
        }
        Ok(())
    }

    fn wrong_rule(&self, scope: RuleScope, found: Says, partition: Option<u16>) -> Violation {
        let Known { says, wanted, .. } = self.rules.get(scope);
        Violation::WrongRule { scope, found, says, wanted, partition }
    }

    /// What a call was given that began then, for long or for short, obeys the rules (rules 14 and 15).
    pub(super) fn obeys(&mut self, grants: &[Granted], began: Moment, long: bool) -> Checked {
        for scope in RuleScope::all() {
            let mut covered = grants.iter().filter(|grant| scope.covers(grant.queue));
            let Some(Granted { marker, .. }) = covered.next() else { continue };
            let known = self.rules.get(scope);
            if known.since(began).is_some_and(Says::stops) {
                return Err(Violation::Stopped { marker: *marker, scope });
            }
            // Others may have been granted under it, though this call began before.
            let (None, Some(n_max)) = (known.wanted, known.says.n_max) else { continue };
            // A short lease may have ended by now. It was there beside those that have been since before its call.
            let until = if long { self.now + 1 } else { began };
            let (n_held, newest) = self.holds(scope, until);
            let n_held = n_held + usize::from(!long);
            if newest.max(began) > known.since && n_held > n_max as usize {
                return Err(Violation::LimitExceeded { scope, n_max, n_held });
            }
        }
        Ok(())
    }

    /// How many long leases are in force that we heard of before some moment, and when the call of the newest
    /// began.
    fn holds(&mut self, scope: RuleScope, until: Moment) -> (usize, Moment) {
        let (entries, released) = (&self.entries, self.released_in_life);
        self.rules.held.retain(|marker| {
            let entry = &entries[marker];
            let lease = entry.newest_lease().map(|(_, lease)| lease);
            entry.gone.is_none() && lease.is_some_and(|lease| !lease.may_have_ended(released))
        });
        let held = self.rules.held.iter().map(|marker| &self.entries[marker]);
        let held =
            held.filter(|entry| scope.covers(entry.queue) && entry.purges_in_doubt.is_empty());
        let leases = held.filter_map(|entry| {
            let (token, lease) = entry.newest_lease()?;
            // An ack of an older lease had no effect.
            (!entry.acks_in_doubt.contains(&token)).then_some(lease)
        });
        let leases = leases.filter(|lease| lease.heard < until);
        leases.fold((0, 0), |(n, newest), lease| (n + 1, newest.max(lease.began)))
    }

    /// Leases in force of all queues that a rule concerns.
    fn n_held(&mut self, scope: RuleScope) -> usize {
        self.holds(scope, self.now + 1).0
    }

    /// Why nothing of a queue can be leased at the moment, if no lease is in force but those that we heard of.
    pub fn kept_by(&mut self, queue: u32) -> Option<RuleScope> {
        let scopes: Vec<RuleScope> = RuleScope::all().filter(|s| s.covers(queue)).collect();
        scopes.into_iter().find(|scope| {
            let says = self.rules.get(*scope).says;
            says.stops() || says.n_max.is_some_and(|n_max| self.n_held(*scope) >= n_max as usize)
        })
    }

    /// The rules that say something.
    pub fn rules(&self) -> Vec<(RuleScope, Says)> {
        let known = self.rules.known.iter().map(|(scope, known)| (*scope, known.says));
        known.filter(|(_, says)| *says != Says::default()).collect()
    }
}
