//! What a restart makes callers wait for, as readable examples.

use super::*;
use crate::InboxLimits;
use crate::options::PartitionOptions;

pub(super) fn calm() -> Setup {
    Setup {
        rules: Vec::new(),
        options: PartitionOptions { inbox: InboxLimits::default(), ..PartitionOptions::default() },
        visibility: millpond_storage_memory::Visibility::AtSync,
        tombstones: true,
        ranges: true,
        by_queue: false,
        block: BlockReads::Never,
        hold: None,
    }
}

impl World {
    /// A partition with work in every queue, just opened.
    fn reopened(n_entries: usize) -> Checked<Self> {
        let mut world = Self::new(&calm())?;
        for queue in 0..N_QUEUES {
            world.enqueue(queue, &vec![New::PLAIN; n_entries])?;
        }
        world.commit_turn()?;
        world.close(LeasesAtOpen::Keep)?;
        Ok(world)
    }

    fn n_recalled(&self) -> u64 {
        self.node.core.counters.n_queues_recalled
    }
}

#[test]
fn the_first_lease_does_not_wait_for_the_last_queue() -> Checked {
    let mut world = World::reopened(1)?;
    world.lease(LeaseSource::Topic(world.queues[0].topic_id), 1, 1000, true)?;
    // A turn takes one step of two rows, and asks for the heads of what it brought; the next has them.
    world.turn()?;
    world.turn()?;
    assert!(world.model.entries.values().any(|entry| entry.lease.is_some()), "nothing was granted");
    assert!(world.n_recalled() <= 4 && !world.node.core.recall.is_done());
    world.drain()
}

#[test]
fn a_topic_that_somebody_wants_comes_back_before_the_others() -> Checked {
    let mut world = World::reopened(1)?;
    let alone = world.queues[usize::from(N_QUEUES) - 1].clone();
    world.turn()?;
    world.lease(LeaseSource::Topic(alone.topic_id), 1, 1000, true)?;
    for _ in 0..2 {
        world.turn()?;
    }
    assert!(world.node.core.queues.find(&alone.id).is_some());
    assert!(world.n_recalled() <= 5, "the topic did not have to wait for the whole table");
    world.drain()
}

#[test]
fn a_command_waits_for_its_own_queue_only() -> Checked {
    let mut world = World::reopened(1)?;
    world.enqueue(3, &[New::PLAIN])?;
    assert!(world.parked.contains_key(&world.queues[3].id), "its queue is not back yet");
    world.node.start_reads(world.now);
    world.after_reads()?;
    assert!(world.parked.is_empty());
    assert!(world.n_recalled() <= 3, "a step of the sweep and one look-up");
    world.drain()
}

#[test]
fn nothing_is_read_that_nobody_asks_for() -> Checked {
    let mut world = World::reopened(30)?;
    for _ in 0..10 {
        world.turn()?;
    }
    let counters = &world.node.core.counters;
    assert!(world.node.core.recall.is_done());
    assert_eq!((counters.n_queues_recalled, counters.n_refills_demanded), (u64::from(N_QUEUES), 0));
    assert_eq!((counters.n_refills_ahead, world.node.core.memory.window_bytes()), (0, 0));
    world.drain()
}

/// Reads of heads during 1000 dequeues, first in first out, at a constant depth.
fn refills_at_depth(depth: usize) -> Checked<u64> {
    let mut world = World::new(&calm())?;
    world.enqueue(0, &vec![New::PLAIN; depth])?;
    world.commit_turn()?;
    for _ in 0..1000 {
        world.lease(LeaseSource::Topic(world.queues[0].topic_id), 1, 1000, true)?;
        world.plain_turn()?;
        world.accept(0);
        let lease = *world.received.last().expect("there is work");
        world.settle(lease, Action::Ack)?;
        world.enqueue(0, &[New::PLAIN])?;
        world.plain_turn()?;
    }
    let counters = &world.node.core.counters;
    assert_eq!(counters.n_granted, 1000);
    Ok(counters.n_refills_demanded + counters.n_refills_ahead)
}

impl World {
    /// A turn and its commit, without looking at every row afterwards.
    fn plain_turn(&mut self) -> Checked {
        self.turn()?;
        self.disk.sync_all();
        self.take_commits()
    }
}

#[test]
fn a_thousand_dequeues_cost_few_refills_through_the_whole_core() -> Checked {
    let mut refills = Vec::new();
    for depth in [2, 8, 24, 48, 500] {
        refills.push(refills_at_depth(depth)?);
    }
    assert_eq!(refills[..3], [0, 0, 0]);
    assert!(refills[3] <= 40 && refills[4] <= 42, "{refills:?}");
    println!("refills per 1000 dequeues at depth 2, 8, 24, 48, 500: {refills:?}");
    Ok(())
}
