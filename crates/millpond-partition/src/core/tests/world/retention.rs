//! Entries that are older than their queue keeps them.

use millpond_types::Setting;

use super::restart::calm;
use super::*;

impl World {
    /// Whether the time of an entry is over.
    pub(super) fn is_outlived(&self, id: EntryId) -> bool {
        let kept_ms = self.rules_of(id.queue).retention_ms;
        let entry = self.model.entries.get(&id);
        let age_ms = entry.map(|entry| self.now.since(entry.enqueued_at));
        age_ms.zip(kept_ms).is_some_and(|(age_ms, kept_ms)| age_ms > kept_ms)
    }

    /// An entry goes because its time is over, and nobody has it.
    pub(super) fn judge_outlived(&mut self, id: EntryId) -> Checked<Ending> {
        let entry = self.model.entries.get(&id).filter(|entry| entry.is_free(self.handled));
        let Some(entry) = entry else { return Err(fail(format!("{id} goes and is not free"))) };
        prop_assert!(self.is_outlived(id), "{} goes too early", id);
        if entry.n_attempts() > 0 {
            note(Situation::OutlivedRetry);
        }
        if entry.has_separate_body() {
            note(Situation::OutlivedLarge);
        }
        self.removals.insert(id, self.staging());
        Ok(Ending::Forgotten)
    }

    /// No queue in memory has a head of which the time is over.
    pub(super) fn has_no_outlived_head(&self) -> bool {
        let mut queues = self.node.core.queues.iter();
        !self.looks_inside()
            || queues.all(|(_, queue)| {
                let may_go = queue.purge().is_none() && !queue.class.is_unresolved();
                let head = queue.window.peek().filter(|_| may_go);
                !head.is_some_and(|(rank, _)| {
                    self.is_outlived(EntryId { queue: queue.id, rank: *rank })
                })
            })
    }
}

fn kept(ms: u64) -> Setup {
    let mut setup = calm();
    setup.options.defaults.retention_ms = Setting::Is(ms);
    setup
}

#[test]
fn what_nobody_wants_goes_when_its_time_is_over_and_not_before() -> Checked {
    let mut world = World::new(&kept(500))?;
    // More than a window holds.
    world.accepted(0, &[When::Now; 60])?;
    world.advance(500);
    world.commit_turn()?;
    assert_eq!(world.model.entries.len(), 60);
    let started = world.now;
    for _ in 0..40 {
        if !world.model.entries.is_empty() {
            world.advance(u64::from(world.now == started));
            world.commit_turn()?;
        }
    }
    assert_eq!((world.model.entries.len(), world.now.since(started)), (0, 1));
    assert_eq!(world.node.core.counters.n_outlived, 60);
    world.drain()
}

#[test]
fn the_loop_wakes_for_the_oldest_also_behind_more_urgent_ones() -> Checked {
    let mut world = World::new(&kept(500))?;
    let old = world.accepted(0, &[When::Now])?;
    world.advance(400);
    world.enqueue(0, &[New { priority: 1, ..New::PLAIN }])?;
    world.commit_turn()?;
    // The urgent one was the head, and would have been for long.
    let lease = world.leased(0)?.expect("it is ready");
    assert_ne!(lease.id, old[0]);
    world.sleep()?;
    assert!(!world.model.entries.contains_key(&old[0]));
    assert_eq!(world.standing(lease), Ok(()));
    world.drain()
}

#[test]
fn a_lease_is_honoured_however_old_its_entry_is_and_then_it_goes() -> Checked {
    for action in [Action::Ack, Action::Nack(Retry::After(0))] {
        let mut world = World::new(&kept(500))?;
        let ids = world.accepted(0, &[When::Now])?;
        let lease = world.leased(0)?.expect("it is ready");
        world.advance(900);
        world.commit_turn()?;
        world.settle(lease, action)?;
        for _ in 0..2 {
            world.commit_turn()?;
        }
        assert!(!world.model.entries.contains_key(&ids[0]));
        let was_acked = u64::from(matches!(action, Action::Ack));
        assert_eq!(world.node.core.counters.n_outlived, 1 - was_acked);
        world.drain()?;
    }
    Ok(())
}

#[test]
fn a_delay_counts() -> Checked {
    let mut world = World::new(&kept(500))?;
    world.accepted(0, &[When::After(900), When::After(100)])?;
    world.advance(200);
    world.commit_turn()?;
    assert!(world.leased(0)?.is_some());
    world.advance(701);
    for _ in 0..2 {
        world.commit_turn()?;
    }
    assert_eq!(world.leased(0)?, None);
    assert_eq!(world.node.core.counters.n_outlived, 1);
    world.drain()
}
