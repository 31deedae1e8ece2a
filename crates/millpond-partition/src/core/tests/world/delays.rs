//! Delays, back-off and dead letters, as readable examples.

use std::time::Duration;

use millpond_types::Settings;

use super::restart::calm;
use super::*;

const POLICY: Action = Action::Nack(Retry::Policy { floor_ms: 0 });
const HOUR_MS: i64 = 3_600_000;

fn with_retry(base_ms: u64, attempts_max: u32) -> Setup {
    let mut setup = calm();
    let wait = Duration::from_millis(base_ms);
    let defaults = Settings::default().with_backoff(wait, wait);
    setup.options.defaults =
        if attempts_max > 0 { defaults.with_attempts_max(attempts_max) } else { defaults };
    setup
}

impl World {
    /// Accepts entries that are ready so, in this order, and returns their ids.
    pub(super) fn accepted(&mut self, queue: u8, whens: &[When]) -> Checked<Vec<EntryId>> {
        let known: BTreeSet<EntryId> = self.model.entries.keys().copied().collect();
        let new: Vec<New> = whens.iter().copied().map(New::at).collect();
        self.enqueue(queue, &new)?;
        self.commit_turn()?;
        let mut ids: Vec<EntryId> = self.model.entries.keys().copied().collect();
        ids.retain(|id| !known.contains(id));
        ids.sort_by_key(|id| id.rank.sequence);
        Ok(ids)
    }

    /// Leases the head of a queue.
    pub(super) fn leased(&mut self, queue: u8) -> Checked<Option<LeaseRef>> {
        let n_before = self.received.len();
        let source = LeaseSource::Queue(self.queues[usize::from(queue)].id);
        self.lease(source, 1, 1000, false)?;
        self.commit_turn()?;
        self.accept(0);
        Ok(self.received.get(n_before).copied())
    }

    pub(super) fn is_ready(&self, id: EntryId) -> bool {
        self.model.entries[&id].is_ready(self.handled)
    }

    pub(super) fn is_in_memory(&self, queue: u8) -> bool {
        self.node.core.queues.find(&self.queues[usize::from(queue)].id).is_some()
    }

    /// Sleeps as the loop does: until the time at which the core wants to be woken.
    pub(super) fn sleep(&mut self) -> Checked {
        let wakes = self.node.core.poll_timeout().ok_or_else(|| fail("nobody would wake it"))?;
        self.advance(wakes.since(self.now));
        self.commit_turn()
    }

    /// Sleeps until an entry is ready, however often that takes; how long it was, in milliseconds.
    fn sleep_until_ready(&mut self, id: EntryId) -> Checked<u64> {
        let started = self.now;
        for _ in 0..20 {
            if self.is_ready(id) {
                return Ok(self.now.since(started));
            }
            self.sleep()?;
        }
        Err(fail(format!("{id} is never ready")))
    }
}

#[test]
fn a_poison_entry_that_backs_off_lets_newer_ones_of_its_queue_flow() -> Checked {
    let mut world = World::new(&with_retry(1000, 3))?;
    let ids = world.accepted(0, &[When::Now; 3])?;
    let poison = world.leased(0)?.expect("it is ready");
    assert_eq!(poison.id, ids[0]);
    world.settle(poison, POLICY)?;
    world.commit_turn()?;
    for id in &ids[1..] {
        let lease = world.leased(0)?.expect("nothing is in its way");
        assert_eq!(lease.id, *id);
        world.settle(lease, Action::Ack)?;
    }
    // It has three attempts, each after a pause of its own, and then it is out of the way for good.
    for _ in 0..2 {
        world.sleep_until_ready(ids[0])?;
        let lease = world.leased(0)?.expect("its pause is over");
        assert_eq!(lease.id, ids[0]);
        world.settle(lease, POLICY)?;
        world.commit_turn()?;
    }
    assert!(matches!(world.model.entries[&ids[0]].place, Place::Dead(_)));
    assert_eq!(world.leased(0)?, None);
    world.drain()
}

#[test]
fn a_restart_amid_delays_fires_nothing_early_and_loses_nothing() -> Checked {
    let mut world = World::new(&calm())?;
    let whens = [When::After(500), When::At(700), When::After(10), When::After(500), When::Now];
    let ids = world.accepted(0, &whens)?;
    world.advance(200);
    world.commit_turn()?;
    assert!(world.is_ready(ids[2]) && world.is_ready(ids[4]));
    world.close(LeasesAtOpen::Keep)?;
    for id in [ids[0], ids[1], ids[3]] {
        assert!(!world.is_ready(id));
    }
    world.commit_turn()?;
    assert_eq!(world.sleep_until_ready(ids[0])?, 301);
    assert!(world.is_ready(ids[3]), "it was due at the same time");
    assert_eq!(world.sleep_until_ready(ids[1])?, 199);
    world.drain()
}

#[test]
fn the_wall_clock_moves_dates_and_no_delays() -> Checked {
    for step_ms in [HOUR_MS, -HOUR_MS] {
        let mut world = World::new(&calm())?;
        let ids = world.accepted(0, &[When::After(5000), When::At(5000)])?;
        world.set_wall(step_ms);
        world.commit_turn()?;
        assert_eq!(world.is_ready(ids[1]), step_ms > 0, "its date follows the wall clock");
        assert!(!world.is_ready(ids[0]), "its delay does not");
        world.sleep_until_ready(ids[0])?;
        assert_eq!(world.is_ready(ids[1]), step_ms > 0);
        world.drain()?;
    }
    Ok(())
}

#[test]
fn a_wall_clock_that_is_set_is_noticed_within_a_second() -> Checked {
    let mut world = World::new(&calm())?;
    let ids = world.accepted(0, &[When::At(HOUR_MS)])?;
    world.sleep()?;
    world.set_wall(2 * HOUR_MS);
    assert!(world.sleep_until_ready(ids[0])? <= 1000);
    world.drain()
}

#[test]
fn a_queue_with_nothing_but_delayed_entries_leaves_memory_and_they_arrive() -> Checked {
    let mut setup = calm();
    setup.options.idle_queues_max = 0;
    let mut world = World::new(&setup)?;
    let ids = world.accepted(0, &[When::After(5000)])?;
    let late = world.accepted(1, &[When::At(6000)])?;
    world.commit_turn()?;
    assert!(!world.is_in_memory(0) && !world.is_in_memory(1));
    assert_eq!(world.node.core.recall.dormant.n_queues, 2);
    assert_eq!(world.sleep_until_ready(ids[0])?, 5001);
    assert!(world.is_in_memory(0) && !world.is_in_memory(1));
    world.sleep_until_ready(late[0])?;
    world.drain()
}

#[test]
fn what_comes_before_a_full_window_pushes_others_out_and_loses_none() -> Checked {
    let mut world = World::new(&calm())?;
    // A line keeps three in memory.
    let mut ids = world.accepted(0, &[900, 800, 700].map(When::After))?;
    for ms in [600, 500, 400, 300, 1000] {
        ids.extend(world.accepted(1, &[When::After(ms)])?);
    }
    let line = world.node.core.lines.iter().next().expect("the steady line");
    assert_eq!(line.window().len(), 3);
    let order = [6, 5, 4, 3, 2, 1, 0, 7].map(|at| ids[at]);
    for (nth, id) in order.into_iter().enumerate() {
        world.sleep_until_ready(id)?;
        assert!(order[nth + 1..].iter().all(|later| !world.is_ready(*later)));
    }
    world.drain()
}

#[test]
fn a_last_attempt_that_is_only_written_down_as_over_is_over() -> Checked {
    let mut world = World::new(&calm())?;
    let ids = world.accepted(0, &[When::Now])?;
    let lease = world.leased(0)?.expect("it is ready");
    world.settle(lease, POLICY)?;
    // As after an owner that ended the leases of the one before and then lost its power.
    world.setup.options.defaults = world.setup.options.defaults.clone().with_attempts_max(1);
    world.close(LeasesAtOpen::Release)?;
    for _ in 0..5 {
        world.commit_turn()?;
    }
    assert!(matches!(world.model.entries[&ids[0]].place, Place::Dead(_)));
    world.drain()
}

/// A look-up that takes its time, while the sweep brings its queue back, which is worked off and leaves.
fn late_look_up(broken: Option<Mutation>) -> Checked {
    let mut setup = calm();
    (setup.options.idle_queues_max, setup.options.broken) = (0, broken);
    let mut world = World::new(&setup)?;
    world.accepted(0, &[When::Now])?;
    world.close(LeasesAtOpen::Keep)?;
    world.disk.block_reads(BlockReads::Always);
    world.node.holds_look_ups = true;
    world.enqueue(0, &[New::PLAIN])?;
    world.reads()?;
    assert!(world.parked.contains_key(&world.queues[0].id));
    world.disk.block_reads(BlockReads::Never);
    for _ in 0..3 {
        world.commit_turn()?;
        world.lease(LeaseSource::Queue(world.queues[0].id), 5, 1000, false)?;
        world.commit_turn()?;
        world.ack_all()?;
    }
    assert!(world.model.entries.is_empty() && world.node.core.recall.is_done());
    world.commit_turn()?;
    // What it has read is of no use any more.
    world.node.holds_look_ups = false;
    world.commit_turn()?;
    world.accepted(0, &[When::Now])?;
    world.drain()
}

#[test]
fn a_queue_stays_in_memory_while_it_is_being_looked_up() {
    late_look_up(None).expect("the promises hold");
    let broken = late_look_up(Some(Mutation::LookedUpForgotten));
    println!("{:?}", broken.expect_err("the rule is indispensable"));
}
