//! Answers to "how is it going?" and "why is it not running?".

use std::cmp::Reverse;

use millpond_types::QueueId;

use super::{Core, LeaseState, Queue, Slot};
use crate::report::{PartitionReport, QueueReport, QueueState};

impl Core {
    pub(super) fn report_queue(&self, id: QueueId) -> Option<QueueReport> {
        let slot = *self.slots.get(&id)?;
        Some(self.describe(slot))
    }

    pub(super) fn report(&self, n_queues_max: usize) -> PartitionReport {
        let mut deepest: Vec<(Reverse<u64>, Slot)> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.stored.is_empty())
            .map(|(slot, queue)| (Reverse(queue.stored.n_ready), slot))
            .collect();
        let n_queues = deepest.len();
        deepest.sort_unstable();
        deepest.truncate(n_queues_max);
        PartitionReport {
            counters: self.counters.clone(),
            n_queues,
            n_entries: self.queues.iter().map(|(_, queue)| queue.stored.n_ready).sum(),
            n_leased: self.queues.iter().map(|(_, queue)| queue.n_leased()).sum(),
            deepest: deepest.into_iter().map(|(_, slot)| self.describe(slot)).collect(),
        }
    }

    fn describe(&self, slot: Slot) -> QueueReport {
        let queue = &self.queues[slot];
        QueueReport {
            id: queue.id,
            topic: queue.topic,
            names: queue.names.clone(),
            state: self.state(slot),
            n_entries: queue.stored.n_ready,
            n_leased: queue.n_leased(),
            n_cached: queue.inbox.len(),
            head_enqueued_at: queue.inbox.peek().map(|(_, head)| head.enqueued_at),
        }
    }

    fn state(&self, slot: Slot) -> QueueState {
        let queue = &self.queues[slot];
        if !queue.inbox.is_empty() {
            let ring = self.topics.get(&queue.topic).map(|topic| &topic.ring);
            let n_ahead = ring.and_then(|ring| ring.iter().position(|&other| other == slot));
            return QueueState::Ready { n_ahead: n_ahead.unwrap_or(0) };
        }
        if let Some((until, error)) = &queue.load.backing_off {
            return QueueState::BackingOff { until: *until, error: error.clone() };
        }
        if !queue.inbox.knows_whole_queue() {
            return QueueState::Loading;
        }
        let held = queue.leases.values().filter(|lease| lease.state == LeaseState::Held);
        if let Some(until) = held.map(|lease| lease.row.deadline).min() {
            return QueueState::Leased { until };
        }
        if queue.n_effects > 0 { QueueState::Committing } else { QueueState::Empty }
    }
}

impl Queue {
    pub(super) fn n_leased(&self) -> u64 {
        self.leases.values().filter(|lease| !lease.state.is_over()).count() as u64
    }
}
