//! Leases: who may have which entry, when, and as which attempt.

use std::collections::BTreeMap;

use super::entry::{Certainty, Lease, Tracked};
use super::{Call, Checked, Late, Moment, Oracle, Pending, Violation};
use crate::event::{Granted, OpId, Token, queues};
use millpond::EntryRank;

impl Oracle {
    pub(super) fn leased(&mut self, op: OpId, grants: &[Granted], at_ms: u64) -> Checked {
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
            self.granted(grant, long, began, at_ms)?;
            let token_max = &mut self.partitions[partition].token_max;
            *token_max = grant.token.max(*token_max);
        }
        self.counts.granted += grants.len() as u64;
        self.obeys(grants, began, long)
    }

    /// Within one answer no entry can be late.
    fn out_of_order(&self, grant: &Granted, before: EntryRank) -> Violation {
        let (life, mut heard) = self.attempts(grant.marker);
        heard.push(grant.attempt);
        let (marker, queue, rank) = (grant.marker, grant.queue, grant.rank());
        let after = vec![before];
        let (stored, waited_ms) = (None, None);
        let late = Late { marker, queue, rank, after, life, heard, stored, waited_ms };
        Violation::Order(Box::new(late))
    }

    fn granted(&mut self, grant: &Granted, long: bool, began: Moment, at_ms: u64) -> Checked {
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
        let due_ms = entry.waits_until_ms(self.life, Some(token));
        if at_ms < due_ms {
            return Err(Violation::Early { marker, due_ms, at_ms });
        }
        let died_by = entry.died_by(Some(token));
        if died_by.is_some_and(|died_by| !entry.may_be_replayed(died_by, Some(token))) {
            return Err(Violation::Undead { marker });
        }
        self.is_alone(entry, token, long).then_some(()).ok_or(Violation::LeasedTwice { marker })?;
        let lease = Lease {
            attempt,
            long,
            life: self.life,
            began,
            heard: self.now,
            granted_at_ms: at_ms,
            nacked: Certainty::No,
            rejected: false,
            outcome: None,
        };
        let (op, limit) = (entry.op, queues::attempts_max(entry.queue));
        let entry = self.entries.get_mut(&marker).expect("it was looked up");
        entry.leases.insert(token, lease);
        if long {
            self.rules.hold(marker);
        }
        if !entry.attempts_grow() || limit.is_some_and(|limit| attempt > limit) {
            return Err(Violation::Attempt { marker, attempt });
        }
        self.learn_sequence(marker, grant.sequence)?;
        self.accept(op);
        self.survived_purges(marker, began);
        Ok(())
    }

    /// Whether no other lease of the entry is in force beside this one.
    fn is_alone(&self, entry: &Tracked, token: Token, long: bool) -> bool {
        // Receipts of overlapping calls may stand in either order.
        let before = entry.leases.range(..token).next_back();
        let after = entry.leases.range(token..).next();
        let ended = |(_, lease): (&Token, &Lease)| lease.may_have_ended(self.released_in_life);
        before.is_none_or(ended) && (after.is_none() || !long)
    }
}
