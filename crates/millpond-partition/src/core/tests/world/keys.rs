//! Keys by which entries are told apart, and what becomes of those that come twice.

use bytes::Bytes;
use millpond_types::Settings;

use super::restart::calm;
use super::*;

/// The entry that was accepted instead, or its place in the same batch.
type Instead = Result<EntryId, usize>;

impl World {
    /// For each entry, which one had been accepted before it, if one had.
    pub(super) fn verdicts(&self, queue: QueueId, new: &[NewEntry]) -> Vec<Option<Instead>> {
        let verdict = |(at, entry): (usize, &NewEntry)| {
            let key = entry.dedup.clone()?;
            let seen = self.model.keys.get(&DedupKey { queue, key });
            match seen.filter(|(_, until)| *until > self.now) {
                Some((id, _)) => {
                    note(if self.model.entries.contains_key(id) {
                        Situation::Duplicate
                    } else {
                        Situation::DuplicateOfGone
                    });
                    Some(Ok(*id))
                }
                None => {
                    let first = new[..at].iter().position(|other| other.dedup == entry.dedup)?;
                    note(Situation::DuplicateInBatch);
                    Some(Err(first))
                }
            }
        };
        new.iter().enumerate().map(verdict).collect()
    }

    /// A key is taken until the window is over. What is left of a millisecond belongs to the window.
    pub(super) fn take_key(&mut self, id: EntryId, key: Option<Bytes>) {
        let Some(key) = key else { return };
        let window_ms = self.setup.options.defaults.dedup_window_ms;
        let window_ms = window_ms.unwrap_or(millpond_types::limits::DEDUP_WINDOW_MS_DEFAULT);
        let until = self.now.plus(window_ms).plus(1);
        let key = DedupKey { queue: id.queue, key };
        if self.model.keys.insert(key, (id, until)).is_some() {
            note(Situation::KeyTakenAgain);
        }
    }
}

const fn keyed(key: u8) -> New {
    New { key: Some(key), ..New::PLAIN }
}

fn with_window(ms: u64) -> Setup {
    let mut setup = calm();
    setup.options.defaults = Settings { dedup_window_ms: Some(ms), ..Settings::default() };
    setup
}

#[test]
fn the_window_goes_on_after_the_entry_and_over_a_restart_and_then_the_rows_go() -> Checked {
    let mut world = World::new(&with_window(1000))?;
    world.job(1)?;
    world.enqueue(0, &[keyed(1), keyed(2), keyed(1)])?;
    world.commit_turn()?;
    assert_eq!(world.model.entries.len(), 2);
    world.lease(LeaseSource::Queue(world.queues[0].id), 5, 1000, false)?;
    world.commit_turn()?;
    world.ack_all()?;
    world.close(LeasesAtOpen::Keep)?;
    world.advance(1000);
    world.enqueue(0, &[keyed(1)])?;
    world.commit_turn()?;
    assert!(world.model.entries.is_empty(), "its window has lasted a second, and is not over");
    world.advance(1);
    world.enqueue(0, &[keyed(1)])?;
    world.commit_turn()?;
    assert_eq!(world.model.entries.len(), 1);
    assert_eq!(world.node.core.counters.n_keys_forgotten, 1, "the other one was taken again");
    world.drain()
}

#[test]
fn what_storage_says_is_waited_for_in_order_and_other_queues_flow() -> Checked {
    let mut world = World::new(&with_window(1000))?;
    world.commit_turn()?;
    world.disk.block_reads(BlockReads::Always);
    world.node.holds_look_ups = true;
    world.enqueue(0, &[keyed(1)])?;
    world.enqueue(0, &[New::PLAIN])?;
    world.enqueue(0, &[keyed(1)])?;
    world.enqueue(1, &[New::PLAIN])?;
    world.commit_turn()?;
    assert_eq!((world.model.entries.len(), world.node.core.door.n_waiting()), (1, 3));
    world.node.holds_look_ups = false;
    world.commit_turn()?;
    world.commit_turn()?;
    assert_eq!((world.model.entries.len(), world.node.core.door.n_waiting()), (3, 0));
    world.drain()
}
