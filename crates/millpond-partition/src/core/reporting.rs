//! Answers to "how is it going?" and "why is it not running?".

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use millpond_scheduler::{Explanation, PausedBy as PausedByScheduler};
use millpond_sync::oneshot;
use millpond_types::{QueueId, UnixMillis};

use super::{Core, Queue, Slot};
use crate::PartitionError;
use crate::command::Answer;
use crate::report::{PartitionReport, PausedBy, QueueReport, QueueState};

/// Slots that a survey passes in one turn of the loop.
const STEPS_PER_TURN: usize = if cfg!(test) { 2 } else { 4096 };

/// Queues that are counted to tell how many come first: for one queue, and for each of many.
const AHEAD_MAX: usize = 1_000;
const AHEAD_MAX_EACH: usize = 100;

/// A report on its way: it goes round all queues, a few in every turn.
#[derive(Debug)]
pub(super) struct Survey {
    next: usize,
    n_queues_max: usize,
    n_queues: usize,
    n_by_state: BTreeMap<&'static str, u64>,
    n_entries: u64,
    n_delayed: u64,
    n_dead: u64,
    n_leased: u64,
    deepest: BinaryHeap<Reverse<(u64, Slot)>>,
    reply: oneshot::Sender<Answer<PartitionReport>>,
}

impl Survey {
    pub(super) fn refuse(self, error: &PartitionError) {
        let _ = self.reply.send(Err(error.clone()));
    }
}

impl Core {
    pub(super) fn report_queue(&self, id: QueueId) -> Option<QueueReport> {
        let slot = self.queues.find(&id)?;
        Some(self.describe(slot, AHEAD_MAX))
    }

    pub(super) fn start_survey(
        &mut self,
        n_queues_max: usize,
        reply: oneshot::Sender<Answer<PartitionReport>>,
    ) {
        self.surveys.push_back(Survey {
            next: 0,
            n_queues_max,
            n_queues: 0,
            n_by_state: BTreeMap::new(),
            n_entries: 0,
            n_delayed: 0,
            n_dead: 0,
            n_leased: 0,
            deepest: BinaryHeap::new(),
            reply,
        });
    }

    /// Whether a survey goes on.
    pub(super) fn advance_surveys(&mut self) -> bool {
        let Some(mut survey) = self.surveys.pop_front() else { return false };
        let n_slots = self.queues.n_slots();
        let until = (survey.next + STEPS_PER_TURN).min(n_slots);
        for n in survey.next..until {
            let Some((slot, queue)) = self.queues.at(n) else { continue };
            if queue.stored.is_empty() {
                continue;
            }
            survey.n_queues += 1;
            *survey.n_by_state.entry(self.state(slot, 0).name()).or_default() += 1;
            survey.n_entries += queue.stored.n_ready;
            survey.n_delayed += queue.stored.n_delayed;
            survey.n_dead += queue.stored.n_dead;
            survey.n_leased += queue.n_leased() as u64;
            survey.deepest.push(Reverse((queue.stored.n_ready, slot)));
            if survey.deepest.len() > survey.n_queues_max {
                survey.deepest.pop();
            }
        }
        survey.next = until;
        if until < n_slots {
            self.surveys.push_front(survey);
            return true;
        }
        self.finish_survey(survey);
        !self.surveys.is_empty()
    }

    fn finish_survey(&self, survey: Survey) {
        // A queue may have left since it was seen.
        let deepest = survey.deepest.into_sorted_vec().into_iter().map(|Reverse((_, slot))| slot);
        let deepest = deepest.filter(|slot| self.queues.contains(*slot));
        let dormant = self.recall.dormant;
        let report = PartitionReport {
            counters: self.counters.clone(),
            n_queues: survey.n_queues + dormant.n_queues,
            n_entries: survey.n_entries,
            n_delayed: survey.n_delayed + dormant.n_delayed,
            n_dead: survey.n_dead + dormant.n_dead,
            n_bytes: self.totals.now.n_bytes,
            n_leased: survey.n_leased,
            n_resident: self.queues.len(),
            window_bytes: self.memory.window_bytes(),
            recalling: (!self.recall.is_done())
                .then(|| self.recall.backing_off.as_ref().map(|(_, error)| error.clone())),
            n_by_state: survey.n_by_state,
            deepest: deepest.map(|slot| self.describe(slot, AHEAD_MAX_EACH)).collect(),
        };
        let _ = survey.reply.send(Ok(report));
    }

    fn describe(&self, slot: Slot, ahead_max: usize) -> QueueReport {
        let queue = &self.queues[slot];
        QueueReport {
            id: queue.id,
            topic: self.topics[queue.topic].id,
            names: self.names.peek(&queue.id).cloned(),
            state: self.state(slot, ahead_max),
            n_entries: queue.stored.n_ready,
            n_delayed: queue.stored.n_delayed,
            n_dead: queue.stored.n_dead,
            n_bytes: queue.stored.n_bytes,
            full: self.full(slot),
            n_leased: queue.n_leased() as u64,
            n_cached: queue.window.len(),
            window_bytes: queue.window.heap_bytes(),
            n_set_aside: queue.busy.as_ref().map_or(0, |busy| busy.set_aside.len()),
            n_granted: queue.n_granted,
            weight: self.rules_of(slot).weight,
            band: self.rules_of(slot).band,
            head_enqueued_at: queue.window.peek().map(|(_, head)| head.enqueued_at),
        }
    }

    /// What the scheduler says of a queue, unless it has nothing to say.
    fn turn_of(&self, queue: &Queue, ahead_max: usize) -> Option<QueueState> {
        let topic = &self.topics[queue.topic];
        let state = self.seat.lock();
        let explained =
            topic.scheduler.explain_within(&state.limits, queue.handle, ahead_max).ok()?;
        let of = |resource| state.limit_of(topic.id, resource);
        Some(match explained {
            Explanation::Paused { by: PausedByScheduler::Limit(resource) } => {
                QueueState::Paused { by: PausedBy::LimitOfZero(of(resource)) }
            }
            Explanation::Paused { .. } => {
                let rule = self.classes[queue.class.number()].rules().paused_by.first()?;
                QueueState::Paused { by: PausedBy::Rule(rule.clone()) }
            }
            Explanation::WaitsForPermit { resource, n_held, limit } => {
                QueueState::AtLimit { of: of(resource), n_leased: n_held, limit }
            }
            Explanation::Throttled { resource, until_ns } => {
                let until = until_ns.map(|ns| UnixMillis(ns.div_ceil(1_000_000)));
                QueueState::Throttled { of: of(resource), until }
            }
            _ if queue.window.is_empty() => return None,
            Explanation::Eligible { n_before, .. } => QueueState::Ready { n_ahead: n_before },
            Explanation::BehindBand { band, n_eligible } => {
                QueueState::BehindBand { band: band.get(), n_queues: n_eligible }
            }
            _ => return None,
        })
    }

    fn state(&self, slot: Slot, ahead_max: usize) -> QueueState {
        let queue = &self.queues[slot];
        if queue.purge().is_some() {
            return QueueState::Purging;
        }
        if let Some(state) = self.turn_of(queue, ahead_max) {
            return state;
        }
        if let Some((until, error)) = queue.backing_off() {
            return QueueState::BackingOff { until: *until, error: error.clone() };
        }
        if queue.is_coming() {
            return QueueState::Loading;
        }
        if !queue.window.knows_whole_queue() {
            return QueueState::Cold;
        }
        if let Some((_, lease)) = queue.first_lease() {
            return QueueState::Leased { until: lease.row.deadline, by: lease.holder.clone() };
        }
        if queue.n_effects > 0 {
            return QueueState::Committing;
        }
        match queue.stored.n_ready {
            0 if queue.stored.n_delayed > 0 => QueueState::Delayed,
            0 => QueueState::Empty,
            n_entries => QueueState::SetAside { n_entries },
        }
    }
}
