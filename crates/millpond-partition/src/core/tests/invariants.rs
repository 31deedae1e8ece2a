//! The structure of the core against its numbered invariants, and against the oracle.

use std::collections::{BTreeMap, BTreeSet};

use millpond_types::{EntryRank, UnixMillis};
use proptest::prelude::*;

use super::oracle::Checked;
use super::world::World;
use crate::core::{Core, Effect, LeaseState, Queue, Slot, Timer};

fn n_of<T: PartialEq>(all: impl Iterator<Item = T>, one: &T) -> usize {
    all.filter(|other| other == one).count()
}

impl World {
    /// To be true after every call of the core.
    pub(super) fn check_structure(&self) -> Checked {
        let core = &self.node.core;
        if !self.looks_inside() {
            return Ok(());
        }
        prop_assert_eq!(core.slots.len(), core.queues.len());
        let expected = expected_effects(self);
        for (slot, queue) in &core.queues {
            prop_assert_eq!(core.slots.get(&queue.id), Some(&slot));
            check_lists(core, slot, queue)?;
            check_load(queue)?;
            check_leases(queue)?;
            let effects = expected.get(&slot).copied().unwrap_or_default();
            prop_assert_eq!((queue.n_effects, queue.n_entering), effects, "effects of {}", slot);
            self.check_queue(queue)?;
        }
        self.check_topics()?;
        let n_in_flight = core.queues.iter().filter(|(_, q)| q.inbox.refill_in_flight()).count();
        prop_assert_eq!(core.n_scans_in_flight, n_in_flight);
        prop_assert_eq!(self.node.scans.len(), n_in_flight);
        prop_assert!(n_in_flight <= core.options.scans_in_flight_max);
        prop_assert!(core.idle.len() <= core.options.idle_queues_max);
        let timers: BTreeSet<(UnixMillis, Timer)> = expected_timers(core);
        prop_assert_eq!(&core.timers, &timers);
        for id in self.model.entries.keys() {
            prop_assert!(core.slots.contains_key(&id.queue), "{} is not in memory", id.queue);
        }
        Ok(())
    }

    /// Window, counters and floor against the entries there are (P1, P3).
    fn check_queue(&self, queue: &Queue) -> Checked {
        let entries: BTreeMap<EntryRank, _> = self.model.of_queue(queue.id).collect();
        let n_live = entries.values().filter(|entry| entry.removed.is_none()).count();
        prop_assert_eq!(queue.stored.n_ready, n_live as u64, "counter of {}", queue.id);
        if let Some(lowest) = entries.keys().next() {
            prop_assert!(queue.floor() <= *lowest, "floor {:?} above {:?}", queue.floor(), lowest);
        }
        for (rank, head) in queue.inbox.iter() {
            let entry = entries.get(rank).filter(|entry| entry.is_free(self.handled));
            let Some(entry) = entry else {
                return Err(super::oracle::fail(format!("{rank:?} is shown and not ready")));
            };
            let separate = entry.body.len() > millpond_types::limits::INLINE_BODY_BYTES_MAX;
            prop_assert_eq!(head.enqueued_at, entry.enqueued_at);
            prop_assert_eq!(head.separate_body, separate);
        }
        let shown: BTreeSet<EntryRank> = queue.inbox.iter().map(|(rank, _)| *rank).collect();
        for (rank, entry) in &entries {
            let is_due = entry.is_ready(self.handled) && queue.inbox.frontier().covers(rank);
            prop_assert!(!is_due || shown.contains(rank), "{:?} is ready and not shown", rank);
        }
        Ok(())
    }

    /// Whoever can be served is on a list, so that the next turn serves him.
    fn check_topics(&self) -> Checked {
        let core = &self.node.core;
        for (id, topic) in &core.topics {
            let mine = || core.queues.iter().filter(|(_, queue)| queue.topic == *id);
            let n_loading = mine().filter(|(_, queue)| queue.load.counted).count();
            prop_assert_eq!(topic.n_loading, n_loading, "loading queues of a topic");
            let n_listed = n_of(core.topics_to_serve.iter(), &id);
            prop_assert_eq!(n_listed, usize::from(topic.listed));
            for slot in &topic.ring {
                prop_assert!(core.queues.get(*slot).is_some_and(|queue| queue.topic == *id));
            }
            let mut open = topic.waiters.iter().filter(|waiter| waiter.call.is_open());
            let has_head = mine().any(|(_, queue)| !queue.inbox.is_empty());
            let may_answer = has_head && !topic.waiters.is_empty()
                || n_loading == 0 && open.any(|waiter| !waiter.wait);
            prop_assert!(!may_answer || topic.listed, "a caller of a topic is overlooked");
        }
        for (id, waiters) in &core.queue_waiters {
            let queue = core.slots.get(id).map(|&slot| &core.queues[slot]);
            let has_head = queue.is_some_and(|queue| !queue.inbox.is_empty());
            let may_have = queue.is_some_and(|queue| queue.load.counted);
            let mut open = waiters.iter().filter(|waiter| waiter.call.is_open());
            let may_answer = has_head && !waiters.is_empty() || !may_have && open.any(|w| !w.wait);
            let is_listed = core.queues_to_serve.contains(id);
            prop_assert!(!may_answer || is_listed, "a caller of a queue is overlooked");
        }
        Ok(())
    }

    /// To be true after callers were served: nobody waits beside work.
    pub(super) fn check_served(&self) -> Checked {
        let core = &self.node.core;
        prop_assert!(core.topics_to_serve.is_empty() && core.queues_to_serve.is_empty());
        self.check_structure()
    }
}

/// Flags say what the lists say (P4).
fn check_lists(core: &Core, slot: Slot, queue: &Queue) -> Checked {
    let ring = core.topics.get(&queue.topic).map(|topic| &topic.ring);
    let n_in_ring = ring.map_or(0, |ring| n_of(ring.iter(), &&slot));
    prop_assert_eq!(n_in_ring, usize::from(queue.in_ring));
    prop_assert!(queue.inbox.is_empty() || queue.in_ring, "a queue with a head is not in the ring");
    prop_assert_eq!(n_of(core.loads.iter(), &&slot), usize::from(queue.load.listed));
    prop_assert_eq!(n_of(core.dirty.iter(), &&slot), usize::from(queue.dirty));
    prop_assert_eq!(n_of(core.idle.iter(), &&slot), usize::from(queue.in_idle));
    prop_assert!(!queue.is_idle() || queue.in_idle, "an idle queue would never leave");
    Ok(())
}

/// A queue without a known head comes to one (P5).
fn check_load(queue: &Queue) -> Checked {
    let load = &queue.load;
    let is_coming = load.listed || queue.inbox.refill_in_flight();
    let is_known = !queue.inbox.is_empty() || queue.inbox.knows_whole_queue();
    prop_assert!(is_known || is_coming || load.backing_off.is_some(), "{} is stuck", queue.id);
    prop_assert!(!load.counted || is_coming, "{} counts as loading and is not", queue.id);
    prop_assert!(load.counted || !is_coming || !queue.inbox.is_empty(), "a load is not counted");
    prop_assert!(!(load.listed && queue.inbox.refill_in_flight()));
    prop_assert!(load.backing_off.is_none() || !is_coming);
    Ok(())
}

/// What is leased is hidden, and nothing else (P6).
fn check_leases(queue: &Queue) -> Checked {
    let hiding: Vec<_> = queue.leases.iter().filter(|(_, l)| !l.state.is_over()).collect();
    prop_assert_eq!(queue.inbox.taken_len(), hiding.len());
    for (rank, _) in hiding {
        prop_assert!(queue.inbox.is_taken(rank));
    }
    Ok(())
}

fn expected_timers(core: &Core) -> BTreeSet<(UnixMillis, Timer)> {
    let mut timers = BTreeSet::new();
    for (slot, queue) in &core.queues {
        let held = queue.leases.iter().filter(|(_, lease)| lease.state == LeaseState::Held);
        timers.extend(held.map(|(rank, l)| (l.row.deadline, Timer::LeaseEnds(slot, *rank))));
        let back_off = queue.load.backing_off.as_ref();
        timers.extend(back_off.map(|(until, _)| (*until, Timer::RetryLoad(slot))));
    }
    timers
}

/// For each queue, how many effects wait for their commit, and how many entries enter with them.
fn expected_effects(world: &World) -> BTreeMap<Slot, (u32, u32)> {
    let mut expected: BTreeMap<Slot, (u32, u32)> = BTreeMap::new();
    for effect in world.node.effects() {
        match effect {
            Effect::Enqueued { slot, ids, .. } => {
                let (n_effects, n_entering) = expected.entry(*slot).or_default();
                *n_effects += 1;
                *n_entering += u32::try_from(ids.len()).expect("few");
            }
            Effect::Granted { grants, .. } => {
                for (slot, _) in grants {
                    expected.entry(*slot).or_default().0 += 1;
                }
            }
            Effect::Gone { slot, .. }
            | Effect::Released { slot, .. }
            | Effect::Extended { slot, .. } => expected.entry(*slot).or_default().0 += 1,
        }
    }
    expected
}
