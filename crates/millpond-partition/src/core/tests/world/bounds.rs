//! What is refused because a bound would be exceeded.

use millpond_types::Settings;

use super::restart::calm;
use super::*;
use crate::FullOf;

/// The limit that a bound has, and what it is about.
pub(super) type Exceeded = (FullOf, u64);

impl World {
    /// The first bound that so many more bodies in a queue would exceed, of what is stored or staged.
    /// What leaves with the same batch makes room.
    pub(super) fn exceeded(
        &self,
        queue: QueueId,
        more: &[usize],
        less: Option<EntryId>,
    ) -> Option<Exceeded> {
        let options = &self.setup.options;
        let held = |of: &dyn Fn(&EntryId) -> bool| {
            let entries = self
                .model
                .entries
                .iter()
                .filter(|(id, entry)| of(id) && entry.removed.is_none() && less != Some(**id));
            entries.fold((0, 0), |(n, bytes), (_, entry)| (n + 1, bytes + entry.body.len() as u64))
        };
        let (here, all) = (held(&|id| id.queue == queue), held(&|_| true));
        let n_bytes = more.iter().map(|n| *n as u64).sum::<u64>();
        let n = more.len() as u64;
        let bounds = [
            (FullOf::QueueEntries, here.0 + n, options.defaults.entries_max.value()),
            (FullOf::QueueBytes, here.1 + n_bytes, options.defaults.bytes_max.value()),
            (FullOf::PartitionEntries, all.0 + n, options.entries_max),
            (FullOf::PartitionBytes, all.1 + n_bytes, options.bytes_max),
        ];
        let exceeded = |(what, n, max): (FullOf, u64, Option<u64>)| {
            max.filter(|max| n > *max).map(|max| (what, max))
        };
        bounds.into_iter().find_map(exceeded).filter(|_| n > 0)
    }

    /// Whether a command was refused for want of room, and rightly so. Of one that had to wait nobody knows
    /// what there was when its turn came.
    pub(super) fn is_refused_full<T>(
        &self,
        answer: &Option<crate::command::Answer<T>>,
        expected: Option<Exceeded>,
        waited: bool,
    ) -> Checked<bool> {
        let refused = match answer {
            Some(Err(PartitionError::Full { what, limit })) => Some((*what, *limit)),
            _ => None,
        };
        if !waited {
            prop_assert_eq!(refused, expected);
        }
        if let Some((what, _)) = refused {
            note(match what {
                FullOf::QueueEntries | FullOf::QueueBytes => Situation::QueueFull,
                _ => Situation::PartitionFull,
            });
        }
        Ok(refused.is_some())
    }
}

#[test]
fn nothing_of_a_batch_that_is_too_large_is_accepted() -> Checked {
    let mut setup = calm();
    setup.options.defaults = Settings::default().with_entries_max(3);
    let mut world = World::new(&setup)?;
    world.enqueue(0, &[New::PLAIN; 4])?;
    assert!(world.model.entries.is_empty() && world.node.core.staged_is_empty());
    assert_eq!(world.node.core.queues.len(), 0);
    world.enqueue(0, &[New::PLAIN, New::at(When::After(10)), New::PLAIN])?;
    world.enqueue(0, &[New::PLAIN])?;
    world.commit_turn()?;
    assert_eq!((world.model.entries.len(), world.node.core.counters.n_refused_full), (3, 2));
    let report = world.node.core.report_queue(world.queues[0].id).expect("it has work");
    assert_eq!((report.full, report.n_bytes), (Some(FullOf::QueueEntries), 3 * 5));
    world.drain()
}

#[test]
fn callers_beyond_the_limit_are_refused_and_those_that_left_take_no_place() -> Checked {
    let mut setup = calm();
    setup.options.lease_calls_max = 2;
    let mut world = World::new(&setup)?;
    let source = LeaseSource::Topic(world.queues[0].topic_id);
    for _ in 0..3 {
        world.lease(source, 1, 1000, true)?;
    }
    world.hear()?;
    assert_eq!((world.calls.len(), world.node.core.seats.n_taken()), (2, 2));
    world.abandon(0);
    world.lease(source, 1, 1000, true)?;
    world.hear()?;
    assert_eq!((world.calls.len(), world.node.core.seats.n_taken()), (2, 2));
    world.enqueue(0, &[New::PLAIN])?;
    world.commit_turn()?;
    assert_eq!(world.node.core.seats.n_taken(), 1);
    world.drain()
}
