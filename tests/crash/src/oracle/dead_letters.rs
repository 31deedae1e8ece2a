//! Dead letters: replayed or dropped, once each.

use super::entry::Gone;
use super::{Call, Checked, Oracle, Pending, Violation};
use crate::event::{DeadAction, Marker, OpId};

impl Oracle {
    pub(super) fn dead_letter(&mut self, op: OpId, marker: Marker, action: DeadAction) -> Checked {
        let entry = self.entries.get_mut(&marker).ok_or(Violation::Unknown { marker })?;
        match action {
            DeadAction::Replay => entry.replays.push(entry.newest_mark()),
            DeadAction::Drop => drop(entry.drops_in_doubt.insert(op)),
        }
        self.begin(op, Call::DeadLetter { marker, action });
        Ok(())
    }

    pub(super) fn dead_letter_done(&mut self, op: OpId) -> Checked {
        let Some(Pending { began, call: Call::DeadLetter { marker, action } }) =
            self.pending.remove(&op)
        else {
            return Err(Violation::UnexpectedAnswer { op });
        };
        self.survived_purges(marker, began);
        let now = self.now;
        let entry = self.entries.get_mut(&marker).expect("the intent looked it up");
        // A purge that it overlapped with may have had its receipt before.
        let was_gone = match entry.gone {
            Some(gone @ Gone::Purged { .. }) => gone.was_purged_before(began),
            gone => gone.is_some(),
        };
        if was_gone {
            return Err(Violation::Revived { marker });
        }
        match action {
            DeadAction::Replay => {
                entry.replayed_after = entry.replays.last().copied();
                self.counts.replayed += 1;
            }
            DeadAction::Drop => {
                let token = entry.newest_mark();
                entry.gone.get_or_insert(Gone::Ended { at: now, token });
                self.counts.dropped += 1;
            }
        }
        Ok(())
    }

    /// Somebody who wanted to replay or drop an entry was told that it is not dead. Returns whether that may
    /// be: nobody asks for what was not dead for certain, and so only a purge explains it.
    pub(super) fn not_dead(&mut self, op: OpId, marker: Marker) -> bool {
        let entry = self.entries.get_mut(&marker).expect("the intent looked it up");
        entry.drops_in_doubt.remove(&op);
        !entry.purges_in_doubt.is_empty() || matches!(entry.gone, Some(Gone::Purged { .. }))
    }
}
