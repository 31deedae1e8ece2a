//! The structure of the core against its numbered invariants, and against the oracle.

mod lines;
mod moves;
mod retention;

use std::collections::{BTreeMap, BTreeSet};

use millpond_scheduler::{Explanation, Head};
use millpond_types::{EntryRank, TotalsRow, UnixMillis};
use proptest::prelude::*;

use super::oracle::{Checked, ModelEntry, Place, fail};
use super::world::World;
use crate::core::forward::Step;
use crate::core::moves::Target;
use crate::core::waits::Wait;
use crate::core::{Core, Effect, LeaseState, Load, Queue, Reading, Slot};

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
        let expected = expected_effects(self);
        let n_outlived = retention::n_leaving(self.node.effects());
        for (slot, queue) in core.queues.iter() {
            prop_assert_eq!(core.queues.find(&queue.id), Some(slot));
            check_lists(core, slot, queue)?;
            check_load(core, slot, queue)?;
            check_leases(queue, n_outlived.get(&slot).copied().unwrap_or_default())?;
            check_wakeup(core, queue)?;
            retention::check(core, slot, queue)?;
            moves::check(core, slot, queue)?;
            let effects = expected.get(&slot).copied().unwrap_or_default();
            prop_assert_eq!((queue.n_effects, queue.n_entering), effects, "effects of {:?}", slot);
            self.check_queue(queue)?;
        }
        self.check_topics()?;
        self.check_permits()?;
        let (n_ready, n_delayed, n_dead) = n_live(self.model.entries.values());
        let n_bytes = n_live_bytes(self.model.entries.values());
        let totals = TotalsRow { n_entries: n_ready + n_delayed + n_dead, n_bytes };
        prop_assert_eq!(core.totals.now, totals);
        prop_assert_eq!(self.node.reads.len(), core.reads.len());
        prop_assert!(core.reads.len() <= core.options.scans_in_flight_max);
        let window_bytes: usize = core.queues.iter().map(|(_, q)| q.window.heap_bytes()).sum();
        prop_assert_eq!(core.memory.window_bytes(), window_bytes);
        let is_known = |wait: &Wait| matches!(wait, Wait::LeaseEnds(_) | Wait::RetryLoad);
        let waits = waits(core).filter(|(_, _, wait)| is_known(wait));
        prop_assert_eq!(waits.collect::<BTreeSet<_>>(), expected_waits(core));
        let waiters = core.topics.iter().map(|(_, topic)| topic.waiters.len());
        let n_waiters = waiters.chain(core.queue_waiters.values().map(|w| w.len())).sum::<usize>();
        prop_assert_eq!(core.seats.n_taken(), n_waiters);
        prop_assert!(n_waiters <= core.options.lease_calls_max, "{} callers wait", n_waiters);
        prop_assert_eq!(core.counters.n_rows_corrupt, 0, "rows that nobody damaged");
        self.check_lines()?;
        self.check_keys()?;
        self.check_outside()
    }

    /// Window, counters and floor against the entries there are (P1, P3).
    fn check_queue(&self, queue: &Queue) -> Checked {
        let entries: BTreeMap<EntryRank, _> = self.model.of_queue(queue.id).collect();
        let stored = (queue.stored.n_ready, queue.stored.n_delayed, queue.stored.n_dead);
        prop_assert_eq!(stored, n_live(entries.values().copied()), "counters of {}", queue.id);
        let n_bytes = n_live_bytes(entries.values().copied());
        prop_assert_eq!(queue.stored.n_bytes, n_bytes, "bytes of {}", queue.id);
        // A purge raises the floor in the batch that removes the rows.
        let mut there = entries.iter().filter(|(_, entry)| {
            entry.place == Place::Ready && (!entry.purged || entry.removed.is_none())
        });
        if let Some((lowest, _)) = there.next() {
            prop_assert!(queue.floor() <= *lowest, "floor {:?} above {:?}", queue.floor(), lowest);
        }
        for (rank, head) in queue.window.iter() {
            let entry = entries.get(rank).filter(|entry| entry.is_free(self.handled));
            let Some(entry) = entry else {
                return Err(fail(format!("{rank:?} is shown and not ready")));
            };
            let expected =
                millpond_types::EntryHead { attempts: entry.n_attempts(), ..entry.row().head() };
            // A head that was read says what the row says; the lease record counts later attempts.
            let head = millpond_types::EntryHead { attempts: expected.attempts, ..*head };
            prop_assert_eq!(head, expected);
        }
        let shown: BTreeSet<EntryRank> = queue.window.iter().map(|(rank, _)| *rank).collect();
        for (rank, entry) in &entries {
            let is_due = entry.is_ready(self.handled)
                && queue.purge().is_none()
                && queue.window.frontier().covers(rank);
            prop_assert!(!is_due || shown.contains(rank), "{:?} is ready and not shown", rank);
        }
        Ok(())
    }

    /// What memory knows of keys is what is on its way (K2).
    fn check_keys(&self) -> Checked {
        let core = &self.node.core;
        let n_keys = self.node.effects().map(|effect| match effect {
            Effect::Enqueued { arrivals, .. } => arrivals.keys.len(),
            _ => 0,
        });
        let (n_keys, n_kept) = (n_keys.sum::<usize>(), core.dedup.forget.n_kept());
        let (n_known, n_entering) = core.dedup.counts();
        prop_assert_eq!(n_entering, n_keys);
        prop_assert!(n_known <= n_keys + n_kept, "{} keys stay in memory", n_known);
        prop_assert!(n_kept <= crate::core::forget::KEPT_MAX + 1, "{} keys are kept", n_kept);
        Ok(())
    }

    /// Whoever can be served is on a list, so that the next turn serves him.
    fn check_topics(&self) -> Checked {
        let core = &self.node.core;
        for (at, topic) in core.topics.iter() {
            let mine = || core.queues.iter().filter(|(_, queue)| queue.topic == at);
            prop_assert_eq!(topic.n_queues, mine().count());
            let n_loading = mine().filter(|(_, queue)| queue.counted).count();
            prop_assert_eq!(topic.n_loading, n_loading, "loading queues of a topic");
            let coming = mine()
                .filter(|(_, queue)| queue.n_entering > 0 && queue.shown.head() == Head::None);
            let coming: BTreeSet<_> = coming.map(|(slot, _)| slot).collect();
            prop_assert_eq!(&topic.reserve.coming, &coming, "queues about to have a head");
            let n_listed = n_of(core.topics_to_serve.iter(), &&at);
            prop_assert_eq!(n_listed, usize::from(topic.listed));
            let shown = || mine().filter(|(_, queue)| queue.shown.head() != Head::None);
            let mut open = topic.waiters.iter().filter(|waiter| waiter.call.is_open());
            // Under rules a head alone is no reason.
            let has_head = self.has_no_rules() && shown().any(|(_, queue)| queue.is_servable());
            let may_come =
                n_loading > 0 || shown().count() > 0 || core.recall.may_bring(topic.recall);
            let may_answer = has_head && !topic.waiters.is_empty()
                || !may_come && open.any(|waiter| !waiter.wait);
            prop_assert!(
                !may_answer || topic.listed,
                "a caller of a topic is overlooked: {:?}",
                topic
            );
            // What nobody has asked for is asked for by the next turn.
            let is_stuck = self.has_no_rules()
                && n_loading == 0
                && shown().count() > 0
                && !topic.waiters.is_empty();
            prop_assert!(!is_stuck || topic.listed, "a topic with callers stands still");
        }
        let coming = core.topics.iter().map(|(_, topic)| topic.reserve.coming.len());
        prop_assert_eq!(core.n_coming, coming.sum::<usize>());
        for (id, waiters) in &core.queue_waiters {
            let queue = core.queues.find(id).map(|slot| &core.queues[slot]);
            let has_head = self.has_no_rules() && queue.is_some_and(Queue::is_servable);
            let may_have = queue.is_some_and(|queue| queue.counted);
            let mut open = waiters.iter().filter(|waiter| waiter.call.is_open());
            let is_servable = queue.is_some_and(Queue::is_servable);
            let may_answer = has_head && !waiters.is_empty()
                || !may_have && !is_servable && open.any(|w| !w.wait);
            let is_listed = core.queues_to_serve.contains(id);
            prop_assert!(!may_answer || is_listed, "a caller of a queue is overlooked");
        }
        Ok(())
    }

    /// To be true after callers were served: nobody waits beside work.
    pub(super) fn check_served(&self) -> Checked {
        self.check_nobody_waits_in_vain()?;
        self.check_structure()
    }
}

/// Flags say what the lists say (P4).
fn check_lists(core: &Core, slot: Slot, queue: &Queue) -> Checked {
    let topic = &core.topics[queue.topic];
    let head = queue.head(topic.by_bytes);
    // What it costs may have to be told anew, when a change of rules comes by.
    let same_kind = std::mem::discriminant(&queue.shown.head()) == std::mem::discriminant(&head);
    let comes_by = !core.walks.is_empty() && same_kind;
    prop_assert!(queue.shown == head.into() || comes_by, "{:?} {:?}", head, queue);
    let explained =
        topic.scheduler.explain(&core.seat.lock().limits, queue.handle).map_err(fail)?;
    let is_idle = explained == Explanation::Idle;
    let is_reading = explained == Explanation::ReadingHead;
    let is_paused = matches!(explained, Explanation::Paused { .. });
    prop_assert_eq!(is_idle, head == Head::None && !is_paused, "{:?} {:?}", explained, queue);
    prop_assert!(!is_reading || queue.turn_due && head == Head::Unknown, "{:?}", queue);
    prop_assert!(!queue.turn_due || head == Head::Unknown && queue.is_coming(), "{:?}", queue);
    prop_assert_eq!(n_of(core.dirty.iter(), &&slot), usize::from(queue.dirty));
    prop_assert_eq!(n_of(core.idle.iter(), &&slot), usize::from(queue.in_idle));
    prop_assert!(!queue.is_idle() || queue.in_idle, "an idle queue would never leave");
    // The next effect looks at it.
    prop_assert!(
        queue.busy.is_none() || !is_unused(queue) || queue.n_effects > 0,
        "{:?} keeps what it does not need",
        queue
    );
    Ok(())
}

fn is_unused(queue: &Queue) -> bool {
    let none = queue.busy.as_ref().is_some_and(|busy| {
        busy.leases.is_empty()
            && busy.set_aside.is_empty()
            && busy.moves.is_empty()
            && busy.naming.is_none()
            && busy.leaving_dead.is_empty()
            && busy.outlives_at.is_none()
    });
    let calm = queue.backing_off().is_none() && queue.purge().is_none();
    let failed =
        queue.busy.as_ref().is_some_and(|busy| busy.n_failures > 0 || busy.reading.is_some());
    none && calm && !failed
}

/// A queue without a known head comes to one: in its turn, or it is being read, or backs off (P5).
fn check_load(core: &Core, slot: Slot, queue: &Queue) -> Checked {
    let has_way =
        queue.shown.head() != Head::None || queue.is_coming() || queue.backing_off().is_some();
    let is_unknown = queue.head_is_unknown() && queue.purge().is_none();
    prop_assert!(!is_unknown || has_way, "{} is stuck", queue.id);
    prop_assert!(!queue.counted || queue.is_coming(), "{} counts as loading and is not", queue.id);
    let must_count = queue.is_coming() && (queue.window.is_empty() || queue.class.is_unresolved());
    prop_assert!(queue.counted || !must_count, "a load is not counted: {:?}", queue);
    let is_reading = queue.load == Load::Reading;
    prop_assert_eq!(queue.window.refill_in_flight(), is_reading);
    let number = queue.busy.as_ref().and_then(|busy| busy.reading);
    prop_assert_eq!(number.is_some(), is_reading);
    let is_mine = number.is_none_or(|number| core.reads.get(&number) == Some(&Reading::Head(slot)));
    prop_assert!(is_mine, "the read of {} is another's", queue.id);
    prop_assert!(queue.load != Load::Urgent || core.urgent_loads.contains(&slot));
    prop_assert!(queue.load != Load::Ahead || core.loads_ahead.contains(&slot));
    prop_assert!(queue.backing_off().is_none() || !queue.is_coming());
    Ok(())
}

/// What is leased is hidden, and nothing else (P6).
fn check_leases(queue: &Queue, n_outlived: usize) -> Checked {
    let hiding: Vec<_> = queue.leases().filter(|(_, l)| !l.state.is_over()).collect();
    // And what goes because its time is over. A purge takes that along.
    let n_outlived = if queue.purge().is_none() { n_outlived } else { 0 };
    prop_assert_eq!(queue.window.taken_len(), hiding.len() + n_outlived);
    for (rank, _) in hiding {
        prop_assert!(queue.window.is_taken(rank));
    }
    Ok(())
}

/// Everything that queues wait for.
pub(super) fn waits(core: &Core) -> impl Iterator<Item = (UnixMillis, Slot, Wait)> {
    core.queues.iter().flat_map(|(slot, queue)| {
        let waits = queue.busy.iter().flat_map(|busy| busy.waits.iter());
        waits.map(move |(time, wait)| (UnixMillis(time.as_millis()), slot, *wait))
    })
}

/// Every queue that waits is woken at the first of its waits at the latest, and no other is.
fn check_wakeup(core: &Core, queue: &Queue) -> Checked {
    let first = queue.busy.as_ref().and_then(|busy| busy.waits.next_deadline());
    let woken = queue.wake.and_then(|handle| core.wakes.get(handle)).map(|timer| timer.deadline);
    prop_assert_eq!(first.is_some(), woken.is_some(), "the wakeup of {}", queue.id);
    prop_assert!(woken <= first, "{} is woken too late", queue.id);
    Ok(())
}

fn expected_waits(core: &Core) -> BTreeSet<(UnixMillis, Slot, Wait)> {
    let mut waits = BTreeSet::new();
    for (slot, queue) in core.queues.iter() {
        let held = queue.leases().filter(|(_, lease)| lease.state == LeaseState::Held);
        waits.extend(held.map(|(rank, l)| (l.row.deadline, slot, Wait::LeaseEnds(*rank))));
        let back_off = queue.backing_off();
        waits.extend(back_off.map(|(until, _)| (*until, slot, Wait::RetryLoad)));
    }
    waits
}

/// How many rows there are to be in each stage.
pub(super) fn n_live<'a>(entries: impl Iterator<Item = &'a ModelEntry>) -> (u64, u64, u64) {
    let mut n = (0, 0, 0);
    for entry in entries.filter(|entry| entry.removed.is_none()) {
        *(match entry.place {
            Place::Ready => &mut n.0,
            Place::Delayed(_) => &mut n.1,
            Place::Dead(_) => &mut n.2,
        }) += 1;
    }
    n
}

fn n_live_bytes<'a>(entries: impl Iterator<Item = &'a ModelEntry>) -> u64 {
    entries.filter(|entry| entry.removed.is_none()).map(|entry| entry.body.len() as u64).sum()
}

/// For each queue, how many effects and moves keep it in memory, and how many entries enter with them.
fn expected_effects(world: &World) -> BTreeMap<Slot, (u32, u32)> {
    let mut expected: BTreeMap<Slot, (u32, u32)> = BTreeMap::new();
    for (slot, queue) in world.node.core.queues.iter() {
        for moving in queue.busy.iter().flat_map(|busy| busy.moves.values()) {
            expected.entry(slot).or_default().0 += 1;
            if let Step::Body(_, _, target) = moving.step {
                expected.entry(target).or_default().0 += 1;
            }
        }
    }
    for effect in world.node.effects() {
        match effect {
            Effect::Enqueued { slot, arrivals, .. } => {
                let (n_effects, n_entering) = expected.entry(*slot).or_default();
                *n_effects += 1;
                *n_entering +=
                    u32::try_from(arrivals.sizes.len() - arrivals.delayed.len()).expect("few");
            }
            Effect::Granted { grants, .. } => {
                for (slot, _) in grants {
                    expected.entry(*slot).or_default().0 += 1;
                }
            }
            Effect::Arose { slot, .. } | Effect::Moved { slot, to: Target::Ready(_), .. } => {
                let (n_effects, n_entering) = expected.entry(*slot).or_default();
                (*n_effects, *n_entering) = (*n_effects + 1, *n_entering + 1);
            }
            Effect::Moved { slot, to: Target::Elsewhere(target, ..), .. } => {
                expected.entry(*slot).or_default().0 += 1;
                let (n_effects, n_entering) = expected.entry(*target).or_default();
                (*n_effects, *n_entering) = (*n_effects + 1, *n_entering + 1);
            }
            Effect::Gone { slot, .. }
            | Effect::Outlived { slot, .. }
            | Effect::Released { slot, .. }
            | Effect::Extended { slot, .. }
            | Effect::Moved { slot, .. }
            | Effect::Purged { slot, .. } => expected.entry(*slot).or_default().0 += 1,
            Effect::NothingToPurge { .. }
            | Effect::Configured { .. }
            | Effect::Duplicates { .. } => {}
        }
    }
    expected
}
