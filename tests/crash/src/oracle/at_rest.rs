//! What the rows of a stopped store must say.

use millpond_types::{DeadCause, DueClock, LeaseRow};

use super::entry::{Certainty, Lease, Tracked};
use super::{Checked, Oracle, Violation};
use crate::event::{Marker, Nacked, Start, Token, queues};
use crate::stored::{Standing, StoredEntries, StoredEntry};

impl Oracle {
    /// Holds the rows of a stopped store to the rules (rule 12), before anybody opens it and changes them.
    /// What must be there is there; what is gone is not; each entry stands where it can; the newest lease of
    /// an entry that we heard of, and its end if we heard of that, are written down. A newer lease is one of a
    /// call in doubt. The clock shows `now_ms`.
    ///
    /// # Errors
    ///
    /// A row breaks a rule.
    pub fn at_rest(&self, stored: &StoredEntries, now_ms: u64) -> Checked {
        // First, because nothing is worse.
        let lost = |(marker, entry): &(&Marker, &Tracked)| {
            entry.must_be_there() && !stored.contains_key(marker)
        };
        if let Some((&marker, entry)) = self.entries.iter().find(lost) {
            return Err(Violation::Lost { marker, queue: entry.queue });
        }
        let mut n_unheard = 0;
        for (&marker, found) in stored {
            let entry = self.entries.get(&marker).ok_or(Violation::Unknown { marker })?;
            if entry.gone.is_some() || entry.accepted == Certainty::No {
                return Err(Violation::Revived { marker });
            }
            self.compare(marker, entry, found, now_ms)?;
            n_unheard += usize::from(has_unheard(entry, found));
        }
        let explained = self.leases_in_doubt + self.leases_on_their_way();
        if n_unheard > explained {
            return Err(Violation::LeasesUnheard { n: n_unheard, explained });
        }
        Ok(())
    }

    fn compare(
        &self,
        marker: Marker,
        entry: &Tracked,
        found: &StoredEntry,
        now_ms: u64,
    ) -> Checked {
        let sequence = found.id.rank.sequence.0;
        let is_its_place = found.id.queue == queues::id(entry.queue)
            && found.id.rank.priority.0 == entry.priority
            && entry.sequence.unwrap_or(sequence) == sequence
            && sequence > entry.sequence_floor;
        if !is_its_place {
            let what = format!("entry {marker:x} is stored as {}", found.id);
            return Err(Violation::Damaged { what });
        }
        let due_ms = entry.waits_until_ms(self.life, None);
        if found.standing == Standing::Ready && now_ms < due_ms {
            return Err(Violation::Early { marker, due_ms, at_ms: now_ms });
        }
        if let Some(why) = self.misplaced(entry, found) {
            return Err(Violation::StoredStage { marker, why, stored: found.standing });
        }
        match self.fault(entry, found) {
            None => Ok(()),
            Some(why) => {
                let heard = entry.newest_lease().map(|(token, lease)| (token, lease.attempt));
                Err(Violation::StoredLease { marker, why, stored: found.lease, heard })
            }
        }
    }

    /// Why the entry cannot stand where it does.
    fn misplaced(&self, entry: &Tracked, found: &StoredEntry) -> Option<&'static str> {
        if found.standing != Standing::Ready && found.lease.is_some() {
            return Some("it is leased and not ready");
        }
        let mark = entry.newest_mark();
        let died = entry.died_by(None) == Some(mark) && !entry.may_be_replayed(mark, None);
        if died && !matches!(found.standing, Standing::Dead(_)) {
            return Some("it is dead");
        }
        let newest = entry.newest_lease().map(|(_, lease)| lease);
        let must_be_in_force =
            newest.is_some_and(|lease| !lease.may_have_ended(self.released_in_life));
        let heard = newest.map_or(0, |lease| lease.attempt);
        if found.standing != Standing::Ready && must_be_in_force && !entry.may_be_gone() {
            return Some("it is leased");
        }
        if found.lease.is_none() && found.attempts < heard && !entry.may_be_replayed(mark, None) {
            return Some("its attempts have fallen");
        }
        match found.standing {
            Standing::Ready => None,
            Standing::Delayed(due) => {
                let due = (due.clock, due.at.0);
                if newest.is_some_and(|lease| waits_after(lease, due, found.attempts))
                    || newest.is_none() && found.attempts == 0 && waits_at_first(entry, due)
                {
                    None
                } else {
                    Some("nobody made it wait until then")
                }
            }
            Standing::Dead(cause) => self.not_dead_by(entry, cause, found.attempts),
        }
    }

    /// Why this cannot have made it a dead letter.
    fn not_dead_by(
        &self,
        entry: &Tracked,
        cause: DeadCause,
        attempts: u32,
    ) -> Option<&'static str> {
        let mark = entry.newest_mark();
        let is_spent = queues::attempts_max(entry.queue).is_some_and(|limit| attempts >= limit);
        match (cause, entry.newest_lease()) {
            (DeadCause::AttemptsSpent, _) if !is_spent => Some("it has attempts left"),
            (DeadCause::AttemptsSpent, Some((_, newest)))
                if entry.replayed_after == Some(mark) && newest.attempt == attempts =>
            {
                Some("it was replayed")
            }
            (DeadCause::Rejected, Some((_, newest))) => {
                let is_rejected = newest.rejected && newest.attempt == attempts;
                if entry.replayed_after == Some(mark) {
                    return Some("it was replayed");
                }
                (!is_rejected).then_some("nobody rejected it")
            }
            (DeadCause::Rejected, None) => Some("nobody rejected it"),
            _ => None,
        }
    }

    /// What is wrong with the lease row of an entry.
    fn fault(&self, entry: &Tracked, found: &StoredEntry) -> Option<&'static str> {
        let (token, heard) = entry.newest_lease()?;
        let Some(row) = &found.lease else {
            let may_have_left = found.standing != Standing::Ready
                || self.may_have_left(entry, token, heard)
                || found.attempts > heard.attempt;
            return (!may_have_left).then_some("it is not there");
        };
        self.fault_of_row(entry, (token, heard), row)
    }

    /// Whether the entry may have lost its lease row because it was elsewhere since.
    fn may_have_left(&self, entry: &Tracked, token: Token, heard: &Lease) -> bool {
        let backed_off = match heard.outcome {
            None => heard.nacked != Certainty::No,
            Some(Nacked::BackingOff(_)) => true,
            Some(Nacked::Ready | Nacked::Dead) => false,
        };
        backed_off || entry.may_be_replayed(token, None)
    }

    fn fault_of_row(
        &self,
        entry: &Tracked,
        (token, heard): (Token, &Lease),
        row: &LeaseRow,
    ) -> Option<&'static str> {
        let stored: Token = row.token.into();
        let must_be_in_force = !heard.may_have_ended(self.released_in_life) && !entry.may_be_gone();
        if stored < token {
            return Some("a newer lease was granted");
        }
        if stored > token {
            // A grant that nobody received was given back, and does not count.
            let is_uncounted = row.is_released() && row.attempts == heard.attempt;
            let grows = row.attempts > heard.attempt || is_uncounted;
            let grows = grows || entry.may_be_replayed(token, None);
            return (!grows).then_some("its attempts do not grow");
        }
        if row.attempts != heard.attempt {
            return Some("it was granted as another attempt");
        }
        if row.is_released() && must_be_in_force {
            return Some("nobody ended it");
        }
        (!row.is_released() && heard.nacked == Certainty::Yes).then_some("it was given back")
    }
}

/// Whether the row of a lease is newer than all that we heard of.
fn has_unheard(entry: &Tracked, found: &StoredEntry) -> bool {
    let newest = entry.newest_lease().map(|(token, _)| token);
    found.lease.map(|lease| lease.token.into()) > newest
}

/// Whether an entry may wait until then because an attempt failed.
fn waits_after(lease: &Lease, due: (DueClock, u64), attempts: u32) -> bool {
    let is_right = match lease.outcome {
        Some(Nacked::BackingOff(until_ms)) => due.1 == until_ms,
        Some(Nacked::Ready | Nacked::Dead) => false,
        None => lease.nacked == Certainty::InDoubt,
    };
    is_right && due.0 == DueClock::Steady && attempts == lease.attempt
}

/// Whether an entry that was never leased may wait until then.
fn waits_at_first(entry: &Tracked, due: (DueClock, u64)) -> bool {
    match entry.start {
        Start::Now => false,
        Start::After(_) => due.0 == DueClock::Steady && due.1 >= entry.starts_at_ms(entry.life),
        Start::At(at_ms) => due == (DueClock::Wall, at_ms),
    }
}
