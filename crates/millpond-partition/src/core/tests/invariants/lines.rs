//! The two lines against the entries that wait (D1, D4), and the queues that are not in memory.

use std::collections::{BTreeMap, BTreeSet};

use millpond_types::{DelayedKey, Due, DueClock, EntryId, QueueId, UnixMillis};
use proptest::prelude::*;

use super::super::oracle::{Checked, ModelEntry, Place, fail};
use super::super::world::World;
use super::n_live;
use crate::command::Message;
use crate::core::Effect;
use crate::core::lines::Line;
use crate::core::moves::Target;
use crate::core::recall::Dormant;

/// What effects and parked messages say of one line.
#[derive(Default)]
struct OnTheWay {
    n_entering: usize,
    first_entering: Option<UnixMillis>,
    leaving: BTreeSet<DelayedKey>,
    purged: BTreeSet<DelayedKey>,
}

fn key(id: EntryId, due: Due) -> DelayedKey {
    DelayedKey { due, queue: id.queue, sequence: id.rank.sequence }
}

impl World {
    pub(super) fn check_lines(&self) -> Checked {
        for (line, clock) in self.node.core.lines.iter().zip(DueClock::ALL) {
            let waiting = self.model.entries.iter();
            let waiting: BTreeMap<DelayedKey, (EntryId, &ModelEntry)> = waiting
                .filter_map(|(id, entry)| Some((key(*id, entry.due()?), (*id, entry))))
                .filter(|(key, _)| key.due.clock == clock)
                .collect();
            self.check_window(line, &waiting)?;
            self.check_line(line, &waiting, &self.on_the_way(clock))?;
            self.check_line_wakeup(line)?;
        }
        Ok(())
    }

    /// A window shows what is stored and not taken, and nothing else (D1).
    fn check_window(
        &self,
        line: &Line,
        waiting: &BTreeMap<DelayedKey, (EntryId, &ModelEntry)>,
    ) -> Checked {
        let window = line.window();
        for (key, row) in window.iter() {
            let Some((id, entry)) = waiting.get(key) else {
                return Err(fail(format!("{key:?} is in a line and does not wait")));
            };
            prop_assert_eq!((row.priority, &row.entry), (id.rank.priority, &entry.row()));
        }
        let shown: BTreeSet<&DelayedKey> = window.iter().map(|(key, _)| key).collect();
        for (key, (_, entry)) in waiting {
            let must_show = entry.since <= self.handled
                && window.frontier().covers(key)
                && !window.is_taken(key);
            prop_assert!(!must_show || shown.contains(key), "{:?} waits and is not shown", key);
        }
        Ok(())
    }

    /// What was taken is on its way, or being purged (D4), and the counts are right.
    fn check_line(
        &self,
        line: &Line,
        waiting: &BTreeMap<DelayedKey, (EntryId, &ModelEntry)>,
        way: &OnTheWay,
    ) -> Checked {
        prop_assert_eq!(line.counts(), (way.n_entering, way.leaving.len()), "entering, leaving");
        prop_assert!(line.counts().1 <= crate::core::lines::LEAVING_MAX);
        if let Some(first) = way.first_entering {
            prop_assert!(line.first_entering() <= first);
        }
        let window = line.window();
        for key in &way.leaving {
            prop_assert!(window.is_taken(key), "{:?} leaves and may be taken again", key);
        }
        let dies = |(_, (_, entry)): &(&DelayedKey, &(EntryId, &ModelEntry))| entry.purged;
        let to_be_purged = waiting.iter().filter(dies).map(|(key, _)| key);
        let gone = to_be_purged.chain(&way.purged).filter(|key| window.is_taken(key));
        let taken: BTreeSet<&DelayedKey> = gone.chain(&way.leaving).collect();
        prop_assert_eq!(window.taken_len(), taken.len(), "rows that are taken for good");
        prop_assert_eq!(window.refill_in_flight(), line.is_reading());
        Ok(())
    }

    fn on_the_way(&self, clock: DueClock) -> OnTheWay {
        let mut way = OnTheWay::default();
        let enters = |way: &mut OnTheWay, due: Due| {
            if due.clock == clock {
                way.n_entering += 1;
                way.first_entering = Some(way.first_entering.map_or(due.at, |at| at.min(due.at)));
            }
        };
        for effect in self.node.effects() {
            match effect {
                Effect::Enqueued { arrivals, .. } => {
                    arrivals.delayed.iter().for_each(|(key, _)| enters(&mut way, key.due));
                }
                Effect::Moved { to: Target::Delayed(key, _), .. } => enters(&mut way, key.due),
                Effect::Arose { key, .. } => way.leaving.extend([*key]),
                Effect::Purged { delayed, .. } => way.purged.extend(delayed),
                _ => {}
            }
        }
        for message in self.node.core.recall.parked() {
            if let Message::Due(key, _) = message {
                way.leaving.insert(*key);
            }
        }
        way.leaving.retain(|key| key.due.clock == clock);
        way.purged.retain(|key| key.due.clock == clock);
        way
    }

    /// The loop looks at a line when its first is due; by the wall clock every second, for it may be set.
    fn check_line_wakeup(&self, line: &Line) -> Checked {
        let Some((first, _)) = line.window().peek().filter(|_| !line.is_full()) else {
            return Ok(());
        };
        let latest = match first.due.clock {
            DueClock::Steady => first.due.at,
            DueClock::Wall => self.now().plus(first.due.at.since(self.wall()).min(1000)),
        };
        let latest = line.rests_until().map_or(latest, |until| latest.max(until));
        let wakes = self.node.core.poll_timeout();
        prop_assert!(wakes.is_some_and(|at| at <= latest), "{:?} for {:?}", wakes, first);
        Ok(())
    }

    /// A queue that is not in memory has nothing ready and nothing on its way, and is counted.
    pub(super) fn check_outside(&self) -> Checked {
        let core = &self.node.core;
        if !core.recall.is_done() {
            return Ok(());
        }
        let mut outside: BTreeMap<QueueId, Vec<&ModelEntry>> = BTreeMap::new();
        for (id, entry) in &self.model.entries {
            if core.queues.find(&id.queue).is_none() {
                let may_be_outside = entry.place != Place::Ready
                    && entry.removed.is_none()
                    && entry.since <= self.handled;
                prop_assert!(may_be_outside, "{} is not in memory: {:?}", id.queue, entry);
                outside.entry(id.queue).or_default().push(entry);
            }
        }
        let (_, n_delayed, n_dead) = n_live(outside.values().flatten().copied());
        let expected = Dormant { n_queues: outside.len(), n_delayed, n_dead };
        prop_assert_eq!(core.recall.dormant, expected);
        Ok(())
    }
}
