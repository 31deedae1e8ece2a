//! Limits that outlast a queue's stay in memory, and limits that hold for two partitions, and callers that are kept, as
//! readable examples.

use std::time::Duration;

use millpond_types::{RateLimit, Scope, Settings};

use super::restart::calm;
use super::*;

/// A queue that has a topic of its own.
const ALONE: u8 = N_QUEUES - 1;

impl World {
    fn ruled(&mut self, scope: Scope, settings: Settings) -> Checked {
        self.say(scope, settings)?;
        self.commit_turn()?;
        self.commit_turn()
    }

    fn n_granted(&self) -> u64 {
        self.node.core.counters.n_granted
    }

    /// Whether what was made available reaches those who wait.
    fn turns(&mut self) -> Checked {
        self.turn()?;
        self.disk.sync_all();
        self.check_durable()?;
        self.turn()
    }
}

/// A queue leaves memory, or would, and comes back, in a topic of its own. It has used up its rate, or the topic has.
fn two_jobs(of_topic: bool, broken: Option<Mutation>) -> Checked<u64> {
    let mut setup = calm();
    (setup.options.idle_queues_max, setup.options.broken) = (0, broken);
    let mut world = World::new(&setup)?;
    let names = world.queues[usize::from(ALONE)].clone();
    let rate = RateLimit::new(1, Duration::from_secs(10), 1);
    if of_topic {
        let rule = Settings::default().with_rate_together(rate);
        world.ruled(Scope::Topic(names.topic.clone()), rule)?;
    } else {
        let scope = Scope::Queue(names.topic.clone(), names.key.clone());
        world.ruled(scope, Settings::default().with_rate(rate))?;
    }
    for _ in 0..2 {
        world.job(ALONE)?;
        world.tidy()?;
        world.commit_turn()?;
    }
    Ok(world.n_granted())
}

#[test]
fn a_queue_does_not_get_a_full_bucket_by_leaving_memory() -> Checked {
    assert_eq!(two_jobs(false, None)?, 1);
    let n_broken = two_jobs(false, Some(Mutation::BucketForgotten))?;
    assert_eq!(n_broken, 2, "the rule is indispensable");
    Ok(())
}

#[test]
fn a_topic_does_not_get_a_full_bucket_by_leaving_memory() -> Checked {
    assert_eq!(two_jobs(true, None)?, 1);
    let n_broken = two_jobs(true, Some(Mutation::TopicBucketForgotten))?;
    assert_eq!(n_broken, 2, "the rule is indispensable");
    Ok(())
}

#[test]
fn a_rate_is_not_exceeded_by_restarting_and_saying_it_again() -> Checked {
    let mut world = World::new(&calm())?;
    let names = world.queues[usize::from(ALONE)].clone();
    let scope = Scope::Topic(names.topic.clone());
    let rule = Settings::default().with_rate(RateLimit::new(1, Duration::from_secs(3600), 5));
    world.ruled(scope.clone(), rule.clone())?;
    world.job(ALONE)?;
    assert_eq!(world.n_granted(), 1, "a bucket is full when its rule is made");
    world.close(LeasesAtOpen::Keep)?;
    world.ruled(scope, rule)?;
    world.job(ALONE)?;
    assert_eq!(world.n_granted(), 0, "nobody knows what was let through before");
    Ok(())
}

#[test]
fn the_rate_of_the_defaults_is_not_exceeded_by_restarting() -> Checked {
    let mut setup = calm();
    let rate = RateLimit::new(1, Duration::from_secs(3600), 5);
    setup.options.defaults = Settings::default().with_rate(rate);
    let mut world = World::new(&setup)?;
    world.job(ALONE)?;
    assert_eq!(world.n_granted(), 0, "nobody knows whether it was open before");
    world.advance(3_600_000);
    world.turns()?;
    world.job(ALONE)?;
    assert_eq!(world.n_granted(), 1);
    Ok(())
}

#[test]
fn a_queue_that_left_memory_is_not_held_up() -> Checked {
    let mut setup = calm();
    setup.options.idle_queues_max = 0;
    let mut world = World::new(&setup)?;
    let names = world.queues[0].clone();
    let source = LeaseSource::Queue(names.id);
    let scope = Scope::Queue(names.topic.clone(), names.key.clone());
    world.ruled(scope, Settings::default().with_concurrency(1))?;
    // Another queue keeps the topic in memory.
    world.enqueue(
        two_queues(&world).map(|(at, _)| at).into_iter().max().unwrap_or(1),
        &[New::PLAIN],
    )?;
    world.enqueue(0, &[New::PLAIN; 2])?;
    world.commit_turn()?;
    for _ in 0..2 {
        world.lease(source, 1, 1000, false)?;
        world.turns()?;
    }
    let topic = world.node.core.topics.find(names.topic_id).expect("it has work");
    assert_eq!(world.node.core.topics[topic].held_up.len(), 1);
    world.purge(0)?;
    world.turns()?;
    world.turns()?;
    assert!(world.node.core.queues.find(&names.id).is_none(), "it has nothing any more");
    assert_eq!(world.node.core.topics[topic].held_up.len(), 0);
    Ok(())
}

/// Two partitions share the one permit of a topic. It is given back while the first is next in line, where nobody
/// wants it any more.
fn passed_on(broken: Option<Mutation>) -> Checked<u64> {
    let mut setup = calm();
    setup.options.broken = broken;
    let governor = Governor::new(2);
    let mut first = World::under(&governor, 0, &setup)?;
    let mut second = World::under(&governor, 1, &setup)?;
    (first.shares, second.shares) = (true, true);
    let names = first.queues[0].clone();
    let topic = Scope::Topic(names.topic.clone());
    first.ruled(topic, Settings::default().with_concurrency_together(1))?;
    for world in [&mut first, &mut second] {
        world.enqueue(0, &[New::PLAIN, New::PLAIN])?;
        world.commit_turn()?;
    }
    first.lease(LeaseSource::Topic(names.topic_id), 1, 1000, true)?;
    first.turns()?;
    assert_eq!((first.n_granted(), second.n_granted()), (1, 0));
    // The next in line is the first partition again, for a caller that does not wait.
    first.lease(LeaseSource::Topic(names.topic_id), 1, 1000, false)?;
    first.turns()?;
    second.lease(LeaseSource::Topic(names.topic_id), 1, 1000, true)?;
    second.turns()?;
    assert_eq!(second.n_granted(), 0, "one permit for both");
    first.ack_all()?;
    for _ in 0..3 {
        first.turns()?;
        second.turns()?;
    }
    Ok(second.n_granted())
}

#[test]
fn what_a_partition_does_not_use_goes_to_another() -> Checked {
    assert_eq!(passed_on(None)?, 1);
    assert_eq!(passed_on(Some(Mutation::PromiseKept))?, 0, "the rule is indispensable");
    Ok(())
}

/// What two partitions, each with work of weight 1, are asked for after a queue was paused and goes on.
fn shares_after_resume(broken: Option<Mutation>) -> Checked<[Vec<u32>; 2]> {
    let mut setup = calm();
    setup.options.broken = broken;
    let governor = Governor::new(2);
    let mut first = World::under(&governor, 0, &setup)?;
    let mut second = World::under(&governor, 1, &setup)?;
    (first.shares, second.shares) = (true, true);
    let names = first.queues[0].clone();
    for world in [&mut first, &mut second] {
        world.enqueue(0, &[New::PLAIN])?;
        world.commit_turn()?;
    }
    let scope = Scope::Queue(names.topic.clone(), names.key.clone());
    first.ruled(scope.clone(), Settings::default().with_paused(true))?;
    // Whoever asks finds nothing, and says so.
    first.lease(LeaseSource::Topic(names.topic_id), 1, 1000, false)?;
    first.turns()?;
    let paused = governor.share_out(names.topic_id, 2);
    first.ruled(scope, Settings::default())?;
    Ok([paused, governor.share_out(names.topic_id, 2)])
}

#[test]
fn a_queue_that_goes_on_is_asked_for_beside_another_partition() -> Checked {
    assert_eq!(shares_after_resume(None)?, [[0, 2], [1, 1]]);
    let broken = shares_after_resume(Some(Mutation::ChangeUnpublished))?;
    assert_eq!(broken[1], [0, 2], "the rule is indispensable");
    Ok(())
}

/// Two callers want work of the first of two queues, and one wants some of `other`; their topic has one permit. Whoever
/// is served asks again. How often the one was served, out of six times.
fn beside_two(other: LeaseSource, broken: Option<Mutation>) -> Checked<usize> {
    let mut setup = calm();
    setup.options.broken = broken;
    let mut world = World::new(&setup)?;
    let topic = Scope::Topic(world.queues[0].topic.clone());
    let of_first = LeaseSource::Queue(two_queues(&world)[0].1);
    world.ruled(topic, Settings::default().with_concurrency_together(1))?;
    for (at, _) in two_queues(&world) {
        world.enqueue(at, &[New::PLAIN; 8])?;
    }
    world.commit_turn()?;
    for source in [of_first, of_first, other] {
        world.lease(source, 1, 100_000, true)?;
    }
    let mut n_other = 0;
    for _ in 0..6 {
        // One commit ends a lease, and the next grants another.
        world.turns()?;
        world.turns()?;
        let at = world.calls.iter().position(|call| call.unread.is_some());
        let source = world.calls[at.expect("one of them was served")].source();
        n_other += usize::from(source == other);
        world.ack_all()?;
        world.lease(source, 1, 100_000, true)?;
    }
    Ok(n_other)
}

/// Two queues of one topic, in the order of their ids.
fn two_queues(world: &World) -> [(u8, QueueId); 2] {
    let topic = world.queues[0].topic_id;
    let mut mine = (0..N_QUEUES).map(|n| (n, &world.queues[usize::from(n)]));
    let mut next = || mine.find(|(_, names)| names.topic_id == topic).expect("there are two");
    let mut two = [next(), next()].map(|(n, names)| (n, names.id));
    two.sort_by_key(|(_, id)| *id);
    two
}

#[test]
fn callers_of_all_queues_have_their_turn_at_the_limit_of_a_topic() -> Checked {
    let other = LeaseSource::Queue(two_queues(&World::new(&calm())?)[1].1);
    assert_eq!(beside_two(other, None)?, 3, "every second time");
    let n_broken = beside_two(other, Some(Mutation::HeldUpInOrder))?;
    assert_eq!(n_broken, 0, "the rule is indispensable");
    Ok(())
}

#[test]
fn callers_of_a_topic_have_their_turn_beside_those_of_a_queue() -> Checked {
    let other = LeaseSource::Topic(World::new(&calm())?.queues[0].topic_id);
    assert_eq!(beside_two(other, None)?, 3, "every second time");
    let n_broken = beside_two(other, Some(Mutation::QueuesAlwaysFirst))?;
    assert_eq!(n_broken, 0, "the rule is indispensable");
    Ok(())
}

/// One caller, a queue with work for many, and with every commit another queue that is about to have its first entry.
fn beside_newcomers(broken: Option<Mutation>) -> Checked<u64> {
    let mut setup = calm();
    setup.options.broken = broken;
    let mut world = World::new(&setup)?;
    let topic = world.queues[0].topic_id;
    let mine = (1..world.queues.len()).filter(|at| world.queues[*at].topic_id == topic);
    let newcomers: Vec<_> = mine.take(2).collect();
    world.enqueue(0, &[New::PLAIN; 3])?;
    world.commit_turn()?;
    world.lease(LeaseSource::Topic(topic), 1, 100_000, true)?;
    for at in newcomers {
        world.enqueue(u8::try_from(at).map_err(fail)?, &[New::PLAIN])?;
        world.turn()?;
        assert_eq!(world.n_granted(), 0, "the caller is kept for the first of them");
        world.disk.sync_all();
    }
    world.turn()?;
    Ok(world.n_granted())
}

#[test]
fn a_caller_is_kept_for_one_commit() -> Checked {
    assert_eq!(beside_newcomers(None)?, 1);
    assert_eq!(
        beside_newcomers(Some(Mutation::CallerKeptForever))?,
        0,
        "the rule is indispensable"
    );
    Ok(())
}
