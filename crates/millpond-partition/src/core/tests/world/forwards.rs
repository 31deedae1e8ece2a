//! Dead letters that go to another topic.

use millpond_types::{DeadCause, Setting};

use super::restart::calm;
use super::*;

const REJECT: Action = Action::Nack(Retry::Never);

impl World {
    fn names(&self, queue: QueueId) -> Option<&Arc<QueueRef>> {
        self.queues.iter().find(|names| names.id == queue)
    }

    /// The queue that takes the dead letters of an entry's queue, if they do not stay.
    pub(super) fn grave_of(&self, id: EntryId) -> Option<Arc<QueueRef>> {
        let rules = self.setup.options.defaults.clone();
        let (topic, names) = (rules.dead_letter_topic.value()?, self.names(id.queue)?);
        (topic != names.topic).then(|| QueueRef::new(topic, names.key.clone()))
    }

    /// The new entry has the body of the old one, which tells of its death, and nothing else of it.
    pub(super) fn check_forwarded(
        &self,
        change: &Change,
        cause: DeadCause,
        reason: &str,
    ) -> Checked {
        let Change::Forwarded { from, to, row, body } = change else {
            return Err(fail("nothing went anywhere"));
        };
        let Some(grave) = self.grave_of(*from) else {
            return Err(fail(format!("{from} has nowhere to go")));
        };
        prop_assert_eq!((to.queue, to.rank.priority), (grave.id, from.rank.priority));
        let entry = &self.model.entries[from];
        let names = self.names(from.queue).expect("there is a grave for it");
        let mut expected = Body::decode(&entry.body).map_err(fail)?;
        let cause = if cause == DeadCause::Rejected { "rejected" } else { "attempts-spent" };
        for (name, value) in [
            ("millpond-dead-cause", cause),
            ("millpond-dead-reason", reason),
            ("millpond-dead-topic", names.topic.as_str()),
            ("millpond-dead-attempts", &entry.n_attempts().to_string()),
            ("millpond-dead-sequence", &from.rank.sequence.0.to_string()),
        ] {
            if !value.is_empty() {
                expected.headers.push(name, value.to_owned());
            }
        }
        prop_assert_eq!(body, &expected.encode());
        let new = ModelEntry::new(body.clone(), self.now, Place::Ready, self.staging());
        prop_assert_eq!(row, &new.row());
        note(match (entry.has_separate_body(), new.has_separate_body()) {
            (false, false) => Situation::Forwarded,
            (false, true) => Situation::ForwardedLarger,
            _ => Situation::ForwardedLarge,
        });
        Ok(())
    }

    /// A new entry is rejected, and its reads come back as often as they are let go; and what comes then.
    pub(super) fn bury_slowly(
        &mut self,
        queue: u8,
        n_bytes: usize,
        n_reads: u8,
        then: Then,
    ) -> Checked {
        self.enqueue(queue, &[New { n_bytes, priority: 1, ..New::PLAIN }])?;
        self.commit_turn()?;
        let n_before = self.received.len();
        self.lease(LeaseSource::Queue(self.queues[usize::from(queue)].id), 1, 300, false)?;
        self.commit_turn()?;
        while self.calls.iter().any(|call| call.unread.is_some()) {
            self.accept(0);
        }
        self.disk.block_reads(BlockReads::Always);
        self.disk.hold_scans(SnapshotAt::Start);
        if matches!(then, Then::FailRead) {
            self.disk.fail_read(n_reads.into(), StoreErrorKind::Io);
        }
        for lease in self.received.split_off(n_before.min(self.received.len())) {
            self.received.push(lease);
            self.settle(lease, REJECT)?;
        }
        for _ in 0..n_reads {
            self.reads()?;
            self.let_scans_go()?;
        }
        self.disk.block_reads(self.setup.block);
        match then {
            Then::Purge { .. } => self.purge(queue),
            Then::Advance(ms) => {
                self.advance(ms);
                self.timeout()
            }
            Then::Nothing | Then::FailRead => self.check_structure(),
        }
    }

    /// Scans that are held come back.
    fn let_scans_go(&mut self) -> Checked {
        while self.disk.release_scan() {}
        for at in (0..self.node.reads.len()).rev() {
            self.node.poll_read(self.now, at);
            self.after_reads()?;
        }
        Ok(())
    }

    /// Notes that a purge comes while dead letters of the queue are on their way elsewhere.
    pub(super) fn note_purged_on_the_way(&self, queue: QueueId) {
        let core = &self.node.core;
        let busy = core.queues.find(&queue).and_then(|slot| core.queues[slot].busy.as_ref());
        let mut moves = busy.iter().flat_map(|busy| busy.moves.values());
        if moves.any(|moving| !matches!(moving.step, Step::Row)) {
            note(Situation::ForwardPurged);
        }
    }

    /// A lease of a new entry in the first queue, whose dead letters go to the first grave.
    fn doomed(setup: &Setup, n_bytes: usize) -> Checked<(Self, LeaseRef)> {
        let mut world = Self::new(setup)?;
        world.enqueue(0, &[New { n_bytes, ..New::PLAIN }])?;
        world.commit_turn()?;
        let lease = world.leased(0)?.expect("it is ready");
        Ok((world, lease))
    }

    fn in_grave(&self) -> usize {
        let grave = self.queues[usize::from(N_QUEUES)].id;
        self.model.of_queue(grave).filter(|(_, entry)| entry.place == Place::Ready).count()
    }
}

fn with_graves() -> Setup {
    let mut setup = calm();
    setup.options.defaults.dead_letter_topic = Setting::Is(topic(2));
    setup
}

#[test]
fn a_dead_letter_is_ready_for_those_who_wait_in_the_other_topic() -> Checked {
    let mut setup = with_graves();
    setup.options.defaults.attempts_max = Setting::Is(1);
    let (mut world, lease) = World::doomed(&setup, 3)?;
    world.lease(LeaseSource::Topic(world.queues[usize::from(N_QUEUES)].topic_id), 1, 1000, true)?;
    world.settle(lease, Action::Nack(Retry::Policy { floor_ms: 0 }))?;
    world.reads()?;
    assert!(world.calls.iter().all(|call| call.unread.is_none()), "it is not durable yet");
    for _ in 0..2 {
        world.commit_turn()?;
    }
    world.accept(0);
    let again = *world.received.last().expect("it was waited for");
    assert_eq!(again.id.queue, world.queues[usize::from(N_QUEUES)].id);
    // There it stays when it dies once more.
    world.settle(again, REJECT)?;
    world.commit_turn()?;
    assert!(matches!(world.model.entries[&again.id].place, Place::Dead(_)));
    let counters = &world.node.core.counters;
    assert_eq!((counters.n_died, counters.n_forwarded), (2, 1));
    world.drain()
}

/// A grave that is not in memory, and names that are not remembered.
fn far_away() -> Checked<(World, LeaseRef)> {
    let mut setup = with_graves();
    (setup.options.idle_queues_max, setup.options.names_cached_max) = (0, 1);
    let (mut world, lease) = World::doomed(&setup, 5_000)?;
    world.accepted(N_QUEUES, &[When::After(5_000)])?;
    world.accepted(1, &[When::Now])?;
    world.commit_turn()?;
    assert!(!world.is_in_memory(N_QUEUES));
    Ok((world, lease))
}

#[test]
fn whatever_cannot_be_read_on_the_way_leaves_the_worker_its_lease() -> Checked {
    for n_reads in 0.. {
        let (mut world, lease) = far_away()?;
        world.disk.block_reads(BlockReads::Always);
        world.disk.fail_read(n_reads, StoreErrorKind::Io);
        world.settle(lease, REJECT)?;
        world.reads()?;
        if world.in_grave() == 1 {
            // Row, names, the two rows of a look-up, body.
            assert_eq!(n_reads, 5);
            return world.drain();
        }
        assert_eq!(world.standing(lease), Ok(()));
        world.commit_turn()?;
        assert!(!world.is_in_memory(N_QUEUES) || n_reads < 4, "nothing holds on to it");
        world.settle(lease, REJECT)?;
        world.reads()?;
        assert_eq!(world.in_grave(), 1);
        world.drain()?;
    }
    Ok(())
}

#[test]
fn a_purge_ends_the_way_wherever_the_entry_is() -> Checked {
    let is_there = |world: &World, n: usize| {
        let slot = world.node.core.queues.find(&world.queues[0].id).expect("it has work");
        let busy = world.node.core.queues[slot].busy.as_ref();
        let step = busy.and_then(|busy| busy.moves.values().next()).map(|moving| &moving.step);
        match n {
            0 => matches!(step, Some(Step::Row)),
            1 => matches!(step, Some(Step::Names(..))),
            2 => matches!(step, Some(Step::LookUp(..))),
            _ => matches!(step, Some(Step::Body(..))),
        }
    };
    for n in 0..4 {
        let (mut world, lease) = far_away()?;
        world.disk.block_reads(BlockReads::Always);
        world.disk.hold_scans(SnapshotAt::Start);
        world.node.holds_look_ups = true;
        world.settle(lease, REJECT)?;
        for _ in 0..20 {
            world.reads()?;
            if is_there(&world, n) {
                break;
            }
            world.node.holds_look_ups = n == 2;
            world.let_scans_go()?;
        }
        assert!(is_there(&world, n), "step {n}");
        world.purge(0)?;
        world.settle_down()?;
        assert_eq!(world.in_grave(), 0);
        assert!(!world.is_in_memory(N_QUEUES), "nothing holds on to it");
        world.drain()?;
    }
    Ok(())
}

#[test]
fn a_dead_letter_that_waits_is_in_nobodys_way() -> Checked {
    let (mut world, lease) = far_away()?;
    world.disk.block_reads(BlockReads::Always);
    world.node.holds_look_ups = true;
    world.settle(lease, REJECT)?;
    for _ in 0..3 {
        world.commit_turn()?;
    }
    assert!(world.node.core.n_parked() > 0, "its grave is being looked up");
    // Its own queue and others go on, and what waits for the grave waits behind it.
    let next = world.accepted(0, &[When::Now])?;
    assert_eq!(world.leased(0)?.map(|lease| lease.id), Some(next[0]));
    world.enqueue(N_QUEUES, &[New::PLAIN])?;
    assert_eq!(world.in_grave(), 0);
    world.node.holds_look_ups = false;
    world.settle_down()?;
    assert_eq!(world.in_grave(), 2);
    world.drain()
}
