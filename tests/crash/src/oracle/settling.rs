//! What becomes of leases: acks, failed attempts, extensions.

use super::entry::{Certainty, Gone};
use super::{Call, Checked, Oracle, Pending, Violation};
use crate::event::{Action, Marker, Nacked, OpId, Token, queues};

impl Oracle {
    pub(super) fn settle(&mut self, op: OpId, call: Call) -> Checked {
        if let Call::Settle { marker, token, action, .. } = call {
            let entry = self.entries.get_mut(&marker).ok_or(Violation::Unknown { marker })?;
            let lease = entry.leases.get_mut(&token).ok_or(Violation::Token { marker, token })?;
            if action == Action::Ack {
                entry.acks_in_doubt.insert(token);
            }
            if action.is_nack() && lease.nacked == Certainty::No {
                lease.nacked = Certainty::InDoubt;
            }
            lease.rejected |= action == Action::Reject;
        }
        self.begin(op, call);
        Ok(())
    }

    pub(super) fn settled(&mut self, op: OpId, nacked: Option<Nacked>) -> Checked {
        let Some(Pending { began, call: Call::Settle { marker, token, action, at_ms } }) =
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
                    || matches!(entry.gone, Some(Gone::Ended { .. } | Gone::Missing))
                {
                    return Err(Violation::LeasedTwice { marker });
                }
                entry.gone.get_or_insert(Gone::Ended { at: self.now, token });
                self.counts.acked += 1;
            }
            Action::Nack | Action::NackAfter(_) | Action::Reject => {
                lease.nacked = Certainty::Yes;
                let nacked = nacked.ok_or(Violation::UnexpectedAnswer { op })?;
                self.failed(marker, token, (action, at_ms), nacked)?;
            }
            Action::Extend => {
                lease.long = true;
                self.rules.hold(marker);
                self.counts.extended += 1;
            }
        }
        Ok(())
    }

    /// An attempt has failed, and this became of the entry (rules 9 and 10).
    fn failed(
        &mut self,
        marker: Marker,
        token: Token,
        (action, at_ms): (Action, u64),
        nacked: Nacked,
    ) -> Checked {
        let entry = self.entries.get_mut(&marker).expect("the intent looked it up");
        let limit = queues::attempts_max(entry.queue);
        let lease = entry.leases.get_mut(&token).expect("the intent looked it up");
        let is_last = limit.is_some_and(|limit| lease.attempt >= limit);
        let is_right = match nacked {
            Nacked::Dead => is_last || action == Action::Reject,
            _ if is_last => false,
            Nacked::Ready => action == Action::Nack || action == Action::NackAfter(0),
            Nacked::BackingOff(until_ms) => match action {
                Action::Nack => limit.is_some(),
                Action::NackAfter(ms) => ms > 0 && until_ms >= at_ms + ms,
                _ => false,
            },
        };
        if !is_right {
            return Err(Violation::Fate { marker, action, nacked });
        }
        lease.outcome = Some(nacked);
        self.counts.nacked += 1;
        self.counts.died += u64::from(nacked == Nacked::Dead);
        let Nacked::BackingOff(due_ms) = nacked else { return self.stays_dead(marker, token) };
        self.counts.backed_off += 1;
        // The receipt of the next lease may stand before that of this failure.
        let mut later = self.entries[&marker].leases.range(token..).skip(1);
        match later.find(|(_, lease)| lease.granted_at_ms < due_ms) {
            Some((_, lease)) => {
                Err(Violation::Early { marker, due_ms, at_ms: lease.granted_at_ms })
            }
            None => Ok(()),
        }
    }

    /// If the entry died by a lease, no later one was granted but after a replay.
    fn stays_dead(&self, marker: Marker, token: Token) -> Checked {
        let entry = &self.entries[&marker];
        let Some((&next, _)) = entry.leases.range(token..).nth(1) else { return Ok(()) };
        if entry.died_by(Some(next)) == Some(token) && !entry.may_be_replayed(token, Some(next)) {
            return Err(Violation::Undead { marker });
        }
        Ok(())
    }

    pub(super) fn refused(&mut self, op: OpId, kind: &str, text: &str) -> Checked {
        let Some(pending) = self.pending.remove(&op) else {
            return Err(Violation::UnexpectedAnswer { op });
        };
        let refused = || Violation::Refused { kind: kind.to_owned(), text: text.to_owned() };
        match (kind, pending.call) {
            ("stale_lease", Call::Settle { marker, token, action, .. }) => {
                let released = self.released_in_life;
                let entry = self.entries.get_mut(&marker).expect("the intent looked it up");
                let lease = &entry.leases[&token];
                // The nack that is refused has not ended it.
                let nacked = !action.is_nack() && lease.nacked != Certainty::No;
                let purged = !entry.purges_in_doubt.is_empty()
                    || matches!(entry.gone, Some(Gone::Purged { .. }));
                if lease.long && lease.life >= released && !nacked && !purged {
                    return Err(refused());
                }
                entry.acks_in_doubt.remove(&token);
            }
            ("not_found", Call::DeadLetter { marker, .. }) => {
                self.not_dead(op, marker).then_some(()).ok_or_else(refused)?;
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
