//! The end of a history: when nothing is in the way any more, everything can be worked off.

use super::*;

const DAY_MS: u64 = 24 * 3_600_000;

impl World {
    /// With every fault gone and every lease ended, everything that is left can be leased and acked, in
    /// order, and nothing remains behind.
    pub(in crate::core::tests) fn drain(mut self) -> Checked {
        // Whatever somebody has done to the wall clock, every date is past then, and every lease; and a
        // restart sets no clock back.
        self.wall = self.wall.max(self.now);
        // Those who wait for what never comes must not keep out those who look for what is left.
        self.setup.options.lease_calls_max = usize::MAX;
        self.node.core.options.lease_calls_max = usize::MAX;
        self.advance(DAY_MS);
        for _round in 0..200 {
            // Again, if a commit failed.
            self.withdraw_rules()?;
            self.advance(10_000);
            self.settle_down()?;
            self.bury()?;
            if self.model.entries.is_empty() && self.node.is_still() {
                return self.check_empty();
            }
            self.ask_topics()?;
            let is_waiting = self.calls.iter().any(Call::is_impatient);
            prop_assert!(!is_waiting, "a call that does not wait was not answered");
            self.ack_all()?;
        }
        Err(fail(format!("stuck: {:?} in {:?}", self.model.entries, self.node.core)))
    }

    /// Turns until nothing moves any more by itself.
    pub(super) fn settle_down(&mut self) -> Checked {
        for _ in 0..12 {
            self.disk.block_reads(BlockReads::Never);
            self.disk.release_scans();
            self.node.holds_look_ups = false;
            self.commit_turn()?;
            self.hear()?;
            self.check_structure()?;
        }
        Ok(())
    }

    /// Every second dead letter is given another chance, and the others are dropped.
    fn bury(&mut self) -> Checked {
        let entries = self.model.entries.iter();
        let dead = entries.filter(|(_, entry)| matches!(entry.place, Place::Dead(_)));
        let dead: Vec<EntryId> = dead.map(|(id, _)| *id).collect();
        for id in dead {
            let again = id.rank.sequence.0.is_multiple_of(2);
            self.dead(id, if again { DeadAction::Replay } else { DeadAction::Drop })?;
        }
        Ok(())
    }

    /// Turns the ring of every topic.
    fn ask_topics(&mut self) -> Checked {
        for queue in [0, usize::from(N_QUEUES) - 1, usize::from(N_QUEUES)] {
            self.lease(LeaseSource::Topic(self.queues[queue].topic_id), 5, 1000, false)?;
        }
        self.settle_down()
    }

    fn check_empty(mut self) -> Checked {
        // Queues that are in a ring stay in memory until it turns, and those that back off until they
        // could be read.
        for _ in 0..3 {
            self.advance(10_000);
            self.ask_topics()?;
        }
        self.count_scans();
        let core = &self.node.core;
        prop_assert!(core.queues.len() <= self.setup.options.idle_queues_max, "{:?}", core.queues);
        prop_assert!(core.wakes.is_empty());
        prop_assert!(core.recall.is_done() && core.recall.n_parked() == 0);
        prop_assert_eq!(core.recall.dormant, crate::core::recall::Dormant::default());
        prop_assert_eq!(core.counters.n_rows_corrupt, 0);
        prop_assert!(core.lines.iter().all(|line| line.window().taken_len() == 0));
        prop_assert!(self.purges.is_empty() && self.parked.is_empty() && self.moves.is_empty());
        prop_assert_eq!(core.memory.window_bytes(), 0);
        prop_assert_eq!((core.door.n_waiting(), core.dedup.counts()), (0, (0, 0)));
        prop_assert_eq!(core.next_forgotten(), None, "a key is not forgotten");
        let checkpoint = block_on(self.node.store.checkpoint()).map_err(fail)?;
        let found = block_on(verify(&*checkpoint.view, 0, 1)).map_err(fail)?;
        let rows = (found.n_queues, found.n_entries, found.n_leases, found.n_bodies);
        prop_assert_eq!(rows, (0, 0, 0, 0));
        let mut n_keys = 0;
        let count = |_: &[u8], _: &[u8]| {
            n_keys += 1;
            Ok(())
        };
        block_on(crate::core::scan_table(&*checkpoint.view, Table::Dedup, count)).map_err(fail)?;
        prop_assert_eq!(n_keys, 0, "rows of keys");
        Ok(())
    }
}
