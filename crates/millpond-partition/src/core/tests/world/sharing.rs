//! Limits that outlast a queue's stay in memory, and limits that hold for two partitions, and callers that are kept, as
//! readable examples.

use std::time::Duration;

use millpond_types::{RateLimit, Scope, Settings};

use super::restart::calm;
use super::*;

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

/// A queue that has used up its rate leaves memory, or would, and comes back.
fn two_jobs(broken: Option<Mutation>) -> Checked<u64> {
    let mut setup = calm();
    (setup.options.idle_queues_max, setup.options.broken) = (0, broken);
    let mut world = World::new(&setup)?;
    let names = world.queues[1].clone();
    let rate = RateLimit::new(1, Duration::from_secs(10), 1);
    let scope = Scope::Queue(names.topic.clone(), names.key.clone());
    world.ruled(scope, Settings::default().with_rate(rate))?;
    for _ in 0..2 {
        world.job(1)?;
        world.tidy()?;
        world.commit_turn()?;
    }
    Ok(world.n_granted())
}

#[test]
fn a_queue_does_not_get_a_full_bucket_by_leaving_memory() -> Checked {
    assert_eq!(two_jobs(None)?, 1);
    assert_eq!(two_jobs(Some(Mutation::BucketForgotten))?, 2, "the rule is indispensable");
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
