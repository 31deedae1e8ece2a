//! Everything that waits for a point in time: one wakeup per queue, whatever the queue waits for.

use millpond_types::{EntryRank, Stage, UnixMillis};
use millpond_wakeup::{Handle, Nanos, Timers};

use super::moves::Place;
use super::{Core, Slot};

/// Who is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// The queue, because the first of its waits is over.
    Queue(Slot),
    /// The sweep after a restart tries again.
    Recall,
}

/// What a queue waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// The end of a lease.
    LeaseEnds(EntryRank),
    /// The next try to read its head.
    RetryLoad,
    /// The next try to read what a purge removes.
    RetryPurge,
    /// The time of its head is over, after which it is not delivered any more.
    Outlives,
    /// The next try to read an entry that moves.
    RetryMove(Stage, EntryRank),
}

/// The wakeups of a partition.
pub(super) type Wakes = Timers<Wake>;

fn nanos(time: UnixMillis) -> Nanos {
    Nanos::from_millis(time.0)
}

impl Core {
    /// A queue waits until `time`.
    pub(super) fn wait(&mut self, slot: Slot, time: UnixMillis, wait: Wait) {
        self.queues[slot].busy_mut().waits.insert(nanos(time), wait);
        self.arm(slot);
    }

    /// A queue no longer waits. Its wakeup stays: one that comes too early finds nothing due.
    pub(super) fn wait_no_more(&mut self, slot: Slot, time: UnixMillis, wait: Wait) {
        let Some(busy) = &mut self.queues[slot].busy else { return };
        busy.waits.remove(nanos(time), &wait);
        if busy.waits.is_empty() {
            self.disarm(slot);
        }
    }

    /// A queue waits for nothing any more.
    pub(super) fn forget_waits(&mut self, slot: Slot) {
        if let Some(busy) = &mut self.queues[slot].busy {
            busy.waits = Default::default();
            busy.outlives_at = None;
        }
        self.disarm(slot);
    }

    fn arm(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        let first = queue.busy.as_ref().and_then(|busy| busy.waits.next_deadline());
        let Some(deadline) = first else { return };
        match queue.wake {
            Some(handle) => drop(self.wakes.reset_if_earlier(handle, deadline)),
            None => queue.wake = Some(wake_at(&mut self.wakes, deadline, Wake::Queue(slot))),
        }
    }

    fn disarm(&mut self, slot: Slot) {
        if let Some(handle) = self.queues[slot].wake.take() {
            self.wakes.cancel(handle);
        }
    }

    pub(super) fn wake_recall(&mut self, time: UnixMillis) {
        wake_at(&mut self.wakes, nanos(time), Wake::Recall);
    }

    /// When the first wakeup is due.
    pub(super) fn next_wake(&self) -> Option<UnixMillis> {
        // Rounded up: woken at the millisecond before, the loop would find nothing due.
        self.wakes.next_deadline().map(|deadline| UnixMillis(deadline.0.div_ceil(1_000_000)))
    }

    /// Ends the waits that are over, at most `n_left` of them.
    pub(super) fn end_waits(&mut self, now: UnixMillis, mut n_left: usize) {
        while n_left > 0 {
            let Some(due) = self.wakes.pop_due(nanos(now)) else { break };
            match due.value {
                Wake::Recall => self.recall.backing_off = None,
                Wake::Queue(slot) => {
                    self.queues[slot].wake = None;
                    n_left = self.end_waits_of(now, slot, n_left);
                    // What it waited for may have been all that kept it in memory.
                    if self.queues.get(slot).is_some() {
                        self.arm(slot);
                    }
                }
            }
            // The wakeup itself, so that many of them that come too early have an end, too.
            n_left = n_left.saturating_sub(1);
        }
    }

    /// Ends those of one queue; returns how many more may end.
    fn end_waits_of(&mut self, now: UnixMillis, slot: Slot, mut n_left: usize) -> usize {
        while n_left > 0 {
            let busy = self.queues.get_mut(slot).and_then(|queue| queue.busy.as_mut());
            let Some((_, wait)) = busy.and_then(|busy| busy.waits.pop_due(nanos(now))) else {
                break;
            };
            n_left -= 1;
            match wait {
                Wait::LeaseEnds(rank) => self.lease_expired(slot, rank),
                Wait::Outlives => n_left = self.head_outlived(now, slot, n_left),
                Wait::RetryLoad => self.retry_load(slot),
                Wait::RetryPurge => self.purge_reads.push_back(slot),
                Wait::RetryMove(from, rank) => {
                    self.move_reads.push_back(Place { slot, from, rank });
                }
            }
        }
        n_left
    }
}

fn wake_at(wakes: &mut Wakes, deadline: Nanos, wake: Wake) -> Handle {
    wakes.insert(deadline, wake).expect("fewer queues are in memory than timers may live")
}
