//! Callers that are kept for queues that become ready next.
//!
//! A queue that floods has work for every caller there is. If each turn gave it all of them, an entry of another
//! queue would become ready just after the last had gone, and would wait until they come back: for the commit
//! that is on its way, and for their own. So a queue with more behind its head leaves some of the callers of its
//! topic alone:
//!
//! * half of them, those included who were answered with the last commit and come back meanwhile. So there are some
//!   in every turn, and commits are of like size instead of large and small in turn;
//! * as many as there are queues about to have a head, as soon as what is staged for them is durable; but each for
//!   one commit at most, so that a single caller comes to work beside any number of them.
//!
//! A queue without more behind its head is what they are kept for, so it may have any.

use std::collections::BTreeSet;

use millpond_scheduler::Head;

use super::topics::TopicSlot;
use super::{Core, Mutation, Slot};

/// What the callers of one topic are kept for.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// Queues without a head that are about to have one.
    pub(super) coming: BTreeSet<Slot>,
    /// Calls answered with the batch that is being staged, and with the one before …
    answered: [usize; 2],
    /// … as of the batch of this number.
    batch: u64,
}

impl Reserve {
    /// A call is answered with the batch of this number.
    pub(super) fn note_answered(&mut self, batch: u64) {
        self.answered = self.answered_by(batch);
        self.answered[0] += 1;
        self.batch = batch;
    }

    fn answered_by(&self, batch: u64) -> [usize; 2] {
        match batch - self.batch {
            0 => self.answered,
            1 => [0, self.answered[0]],
            _ => [0, 0],
        }
    }

    /// Whether the first of `n_waiting` callers, there since batch `since`, is kept.
    fn keeps(&self, batch: u64, n_waiting: usize, since: u64) -> bool {
        let [now, before] = self.answered_by(batch);
        let n_callers = n_waiting + now + before;
        let is_new = batch <= since;
        now >= n_callers.div_ceil(2) || is_new && self.coming.len() >= n_waiting
    }
}

impl Core {
    /// Whether a queue that is picked leaves the next caller of its topic to others.
    pub(super) fn leaves_caller(&self, at: TopicSlot, slot: Slot) -> bool {
        let (topic, queue) = (&self.topics[at], &self.queues[slot]);
        let Some(since) = topic.waiters.first_since() else { return false };
        let n_leased = queue.busy.as_ref().map_or(0, |busy| busy.leases.len());
        let has_more = queue.stored.n_ready > n_leased as u64 + 1;
        let since = if self.is_broken(Mutation::CallerKeptForever) { u64::MAX } else { since };
        has_more && topic.reserve.keeps(self.n_batches, topic.waiters.len(), since)
    }

    /// To be called when entries of a queue were staged, and when what is known of its head has changed.
    pub(super) fn note_coming(&mut self, slot: Slot) {
        let queue = &self.queues[slot];
        let comes = queue.n_entering > 0 && queue.shown.head() == Head::None;
        let coming = &mut self.topics[queue.topic].reserve.coming;
        if comes && coming.insert(slot) {
            self.n_coming += 1;
        } else if !comes && coming.remove(&slot) {
            self.n_coming -= 1;
        }
    }

    /// Whether callers were kept, or wait for their turn, for queues that are about to have a head: then the next
    /// commit had better not stand behind another.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.n_coming > 0 && self.has_callers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_callers_are_kept_and_no_more() {
        let mut reserve = Reserve::default();
        let mut n_waiting = 8;
        let mut answer = |batch, n_waiting: &mut usize, n_back: usize| {
            *n_waiting += n_back;
            let mut n = 0;
            while *n_waiting > 0 && !reserve.keeps(batch, *n_waiting, 0) {
                reserve.note_answered(batch);
                (*n_waiting, n) = (*n_waiting - 1, n + 1);
            }
            n
        };
        // Each comes back while the commit after its own is on its way.
        assert_eq!(answer(5, &mut n_waiting, 0), 4);
        assert_eq!(answer(6, &mut n_waiting, 0), 4, "those that were kept");
        assert_eq!(answer(7, &mut n_waiting, 4), 4, "those that came back");
        assert_eq!(answer(8, &mut n_waiting, 4), 4);
        assert_eq!(n_waiting, 0);
    }

    #[test]
    fn a_caller_is_kept_for_a_newcomer_for_one_commit() {
        let mut reserve = Reserve::default();
        assert!(!reserve.keeps(5, 1, 5));
        reserve.coming.insert(Slot(1));
        assert!(reserve.keeps(5, 1, 5));
        assert!(!reserve.keeps(5, 2, 5), "one more than is awaited");
        assert!(!reserve.keeps(6, 1, 5));
    }
}
