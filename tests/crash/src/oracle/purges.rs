//! Purges. Each removes what was accepted before it and nothing that was accepted after it. Which of the
//! two an entry was whose enqueue overlapped with the purge, nobody knows; a purge in doubt may have
//! removed any part.

use super::entry::{Certainty, Gone};
use super::{Call, Checked, Moment, Oracle, Pending, Violation};
use crate::event::{Marker, OpId};

impl Oracle {
    pub(super) fn purge(&mut self, op: OpId, queue: u32) {
        let is_on_its_way = |enqueue: &OpId| self.pending.contains_key(enqueue);
        let mut before = Vec::new();
        for (&marker, entry) in &mut self.entries {
            if entry.queue != queue || entry.gone.is_some() || entry.accepted == Certainty::No {
                continue;
            }
            entry.purges_in_doubt.insert(op);
            if entry.accepted == Certainty::Yes || !is_on_its_way(&entry.op) {
                before.push(marker);
            }
        }
        self.purges.insert(op, None);
        self.begin(op, Call::Purge { queue, before });
    }

    /// Purges of a queue without a receipt: whatever is accepted meanwhile may come before or after them.
    pub(super) fn purges_under_way(&self, queue: u32) -> impl Iterator<Item = OpId> {
        let of_queue = move |(&op, pending): (&OpId, &Pending)| match pending.call {
            Call::Purge { queue: purged, .. } if purged == queue => Some(op),
            _ => None,
        };
        self.pending.iter().filter_map(of_queue)
    }

    pub(super) fn purged(&mut self, op: OpId, n_entries: u64, n_leased: u64) -> Checked {
        let Some(Pending { call: Call::Purge { queue, before }, .. }) = self.pending.remove(&op)
        else {
            return Err(Violation::UnexpectedAnswer { op });
        };
        let n_max =
            self.entries.values().filter(|e| e.purges_in_doubt.contains(&op)).count() as u64;
        let mut n_min = 0;
        for marker in before {
            let entry = self.entries.get_mut(&marker).expect("the intent found it");
            entry.purges_in_doubt.remove(&op);
            n_min += u64::from(entry.must_be_there());
            entry.gone.get_or_insert(Gone::Purged { at: self.now });
        }
        if !(n_min..=n_max).contains(&n_entries) || n_leased > n_max {
            return Err(Violation::Purge { queue, n_entries, n_leased, n_min, n_max });
        }
        self.purges.insert(op, Some(self.now));
        self.counts.purges += 1;
        self.counts.purged += n_entries;
        Ok(())
    }

    /// Purges that died with their process.
    pub(super) fn purges_died(&mut self) {
        for over in self.purges.values_mut() {
            over.get_or_insert(self.now);
        }
    }

    /// A call that began then found the entry: purges that were over did not remove it.
    pub(super) fn survived_purges(&mut self, marker: Marker, began: Moment) {
        let purges = &self.purges;
        let may_follow = |op: &OpId| purges[op].is_none_or(|over| began < over);
        if let Some(entry) = self.entries.get_mut(&marker) {
            entry.purges_in_doubt.retain(may_follow);
        }
    }
}
