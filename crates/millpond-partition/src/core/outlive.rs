//! Entries that are older than their queue keeps them.
//!
//! Where the rules of a queue say how long entries are kept, an older one is not delivered any more. It is
//! removed when it is at the head of its queue: by whoever looks for something to serve, or when its time is over
//! while it stands there, so that nobody has to come. For the latter a queue whose head is known waits for the
//! end of that head. An entry behind an older or more urgent one waits for its place, one of a queue that
//! nobody has read waits until it is read, one whose key has to be known for the rules until it is, and one that is
//! leased until its lease is over.
//!
//! Whoever looks for work in a topic clears a bounded number of queues in one turn. The others are left to the
//! next turn, or to the waits that end meanwhile.

use millpond_storage_api::Table;
use millpond_types::{EntryHead, EntryRank, PayloadKey, UnixMillis};

use super::waits::Wait;
use super::{Core, Effect, Mutation, Slot};

/// Queues of topics that those who look for work clear of what is over, in one turn.
pub(super) const CLEARED_PER_TURN: usize = if cfg!(test) { 2 } else { 256 };

impl Core {
    /// Whether an entry may not be delivered any more.
    pub(super) fn outlived(&self, now: UnixMillis, slot: Slot, head: &EntryHead) -> bool {
        self.outlives_at(slot, head).is_some_and(|end| end <= now)
    }

    /// When an entry's time is over, if it ever is.
    fn outlives_at(&self, slot: Slot, head: &EntryHead) -> Option<UnixMillis> {
        if self.queues[slot].class.is_unresolved() {
            return None;
        }
        let kept_ms = self.rules_of(slot).retention_ms?;
        // Both times have lost their fractions, and the entry must not lose by it.
        let rest_ms = u64::from(!self.is_broken(Mutation::OutlivedEarly));
        Some(head.enqueued_at.plus(kept_ms).plus(rest_ms))
    }

    /// Stages that an entry which was taken from its window goes, because its time is over. Its lease, if it
    /// had one, has ended.
    pub(super) fn stage_outlived(&mut self, slot: Slot, rank: EntryRank, head: &EntryHead) {
        self.counters.n_outlived += 1;
        self.stage_departure(slot, rank);
        let n_bytes = u64::from(head.n_bytes);
        self.recount(slot, |stored| stored.n_bytes = stored.n_bytes.saturating_sub(n_bytes));
        let queue = &mut self.queues[slot];
        queue.n_effects += 1;
        let key = PayloadKey { queue: queue.id, sequence: rank.sequence };
        if head.separate_body && !self.is_broken(Mutation::OutlivedKeepsBody) {
            self.batch.delete(Table::Payloads, &key.encode());
        }
        self.effects.push(Effect::Outlived { slot, rank });
    }

    /// Removes what is over at the head of a queue, at most so many entries; how many that were.
    fn remove_outlived(&mut self, now: UnixMillis, slot: Slot, n_max: usize) -> usize {
        for n in 0..n_max {
            let head = self.queues[slot].window.peek();
            if !head.is_some_and(|(_, head)| self.outlived(now, slot, head)) {
                return n;
            }
            let Some((rank, head)) = self.with_window(slot, |window| window.take()) else {
                return n;
            };
            self.stage_outlived(slot, rank, &head);
        }
        n_max
    }

    /// Whether the head of a queue may not be delivered any more.
    pub(super) fn head_is_over(&self, now: UnixMillis, slot: Slot) -> bool {
        let head = self.queues[slot].window.peek();
        let is_over = head.is_some_and(|(_, head)| self.outlived(now, slot, head));
        is_over && !self.is_broken(Mutation::OutlivedGranted)
    }

    /// Removes what is over at the head of a queue that is to be served, which is never more than its window holds.
    pub(super) fn clear_head(&mut self, now: UnixMillis, slot: Slot) {
        if self.head_is_over(now, slot) {
            self.remove_outlived(now, slot, usize::MAX);
            // As after a grant.
            self.read_ahead(slot);
            self.touch(slot);
        }
    }

    /// The time of a head is over, or that of an earlier one was; returns how many more waits may end.
    pub(super) fn head_outlived(&mut self, now: UnixMillis, slot: Slot, n_left: usize) -> usize {
        self.queues[slot].busy_mut().outlives_at = None;
        // The wait itself stood for the first of them.
        let n_removed = self.remove_outlived(now, slot, n_left + 1);
        if n_removed > 0 {
            // What comes next may be over as well, and nobody else may ever ask for it.
            self.read_ahead(slot);
            self.touch(slot);
        } else {
            self.watch_head(slot);
        }
        n_left - n_removed.saturating_sub(1)
    }

    /// Lets a queue wait for the end of its head, or of an earlier head: one that comes too early finds
    /// nothing over. To be called after any change to its window or its rules.
    pub(super) fn watch_head(&mut self, slot: Slot) {
        let queue = &self.queues[slot];
        let watched = queue.busy.as_ref().and_then(|busy| busy.outlives_at);
        let head = queue.window.peek().filter(|_| queue.purge().is_none());
        let end = head.and_then(|(_, head)| self.outlives_at(slot, head));
        let unwatched = self.is_broken(Mutation::OutlivedUnwatched);
        let end = end.filter(|_| !unwatched);
        let stays = match (watched, end) {
            (Some(at), Some(end)) => at <= end || self.is_broken(Mutation::WatchedTooLate),
            (watched, end) => watched == end,
        };
        if stays {
            return;
        }
        if let Some(at) = watched {
            self.wait_no_more(slot, at, Wait::Outlives);
        }
        if let Some(end) = end {
            self.wait(slot, end, Wait::Outlives);
        }
        if let Some(busy) = &mut self.queues[slot].busy {
            busy.outlives_at = end;
        }
    }
}
