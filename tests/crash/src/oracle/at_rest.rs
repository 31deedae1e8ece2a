//! What the rows of a stopped store must say.

use millpond_types::LeaseRow;

use super::entry::{Certainty, Tracked};
use super::{Checked, Oracle, Violation};
use crate::event::{Marker, Token, queues};
use crate::stored::{StoredEntries, StoredEntry};

impl Oracle {
    /// Holds the rows of a stopped store to the rules (rule 9), before anybody opens it and changes them.
    /// What must be there is there; what is gone is not; the newest lease of an entry that we heard of, and
    /// its end if we heard of that, are written down. A newer lease is one of a call in doubt.
    ///
    /// # Errors
    ///
    /// A row breaks a rule.
    pub fn at_rest(&self, stored: &StoredEntries) -> Checked {
        let mut n_unheard = 0;
        for (&marker, found) in stored {
            let entry = self.entries.get(&marker).ok_or(Violation::Unknown { marker })?;
            if entry.gone.is_some() || entry.accepted == Certainty::No {
                return Err(Violation::Revived { marker });
            }
            self.compare(marker, entry, found)?;
            let newest = entry.newest_lease().map(|(token, _)| token);
            n_unheard += usize::from(found.lease.map(|lease| lease.token.into()) > newest);
        }
        let lost = |(marker, entry): &(&Marker, &Tracked)| {
            entry.must_be_there() && !stored.contains_key(marker)
        };
        if let Some((&marker, entry)) = self.entries.iter().find(lost) {
            return Err(Violation::Lost { marker, queue: entry.queue });
        }
        let explained = self.leases_in_doubt + self.leases_on_their_way();
        if n_unheard > explained {
            return Err(Violation::LeasesUnheard { n: n_unheard, explained });
        }
        Ok(())
    }

    fn compare(&self, marker: Marker, entry: &Tracked, found: &StoredEntry) -> Checked {
        let sequence = found.id.rank.sequence.0;
        let is_its_place = found.id.queue == queues::id(entry.queue)
            && found.id.rank.priority.0 == entry.priority
            && entry.sequence.unwrap_or(sequence) == sequence
            && sequence > entry.sequence_floor;
        if !is_its_place {
            let what = format!("entry {marker:x} is stored as {}", found.id);
            return Err(Violation::Damaged { what });
        }
        match self.fault(entry, found.lease.as_ref()) {
            None => Ok(()),
            Some(why) => {
                let heard = entry.newest_lease().map(|(token, lease)| (token, lease.attempt));
                Err(Violation::StoredLease { marker, why, stored: found.lease, heard })
            }
        }
    }

    /// What is wrong with the lease row of an entry.
    fn fault(&self, entry: &Tracked, row: Option<&LeaseRow>) -> Option<&'static str> {
        let (token, heard) = entry.newest_lease()?;
        let Some(row) = row else { return Some("it is not there") };
        let stored: Token = row.token.into();
        let must_be_in_force = !heard.may_have_ended(self.released_in_life) && !entry.may_be_gone();
        if stored < token {
            return Some("a newer lease was granted");
        }
        if stored > token {
            return (row.attempts <= heard.attempt).then_some("its attempts do not grow");
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
