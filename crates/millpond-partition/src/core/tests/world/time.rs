//! The clocks, and what happens by itself.

use super::*;

impl World {
    /// As the driver does at the beginning of each turn.
    pub(super) fn show_clocks(&mut self) {
        self.node.core.set_clocks(self.now, self.wall);
    }

    pub(super) fn advance(&mut self, ms: u64) {
        (self.now, self.wall) = (self.now.plus(ms), self.wall.plus(ms));
        self.show_clocks();
    }

    pub(super) fn set_wall(&mut self, ms: i64) {
        self.wall = self.wall_plus(ms);
        self.show_clocks();
        note(Situation::WallClockSet);
    }

    /// So far from what the wall clock shows.
    pub(super) fn wall_plus(&self, ms: i64) -> UnixMillis {
        UnixMillis(self.wall.0.saturating_add_signed(ms))
    }

    pub(in crate::core::tests) fn now(&self) -> UnixMillis {
        self.now
    }

    pub(in crate::core::tests) fn wall(&self) -> UnixMillis {
        self.wall
    }

    fn shows(&self, clock: DueClock) -> UnixMillis {
        match clock {
            DueClock::Steady => self.now,
            DueClock::Wall => self.wall,
        }
    }

    pub(super) fn timeout(&mut self) -> Checked {
        let mut due = self.leases_to_end();
        for lease in self.model.entries.values().filter_map(|entry| entry.lease.as_ref()) {
            let past_first = lease.first_deadline <= self.now && self.now < lease.row.deadline;
            if lease.is_held(self.handled) && past_first {
                note(Situation::ExtendedInTime);
            }
        }
        let is_retry = |wait: &Wait| !matches!(wait, Wait::LeaseEnds(_));
        let core = &self.node.core;
        let n_retries =
            waits(core).filter(|(_, _, wait)| is_retry(wait)).count() + core.wakes.len();
        let n_waiting = self.n_in_lines();
        self.node.core.handle_timeout(self.now);
        let (mut n_expired, mut n_outlived) = (0, 0);
        self.read_staged(|world, change| match change {
            Change::Released { id, attempts } => {
                prop_assert_eq!(due.remove(id), Some(*attempts), "{} expired", id);
                let is_spent = world.is_spent(id.queue, *attempts);
                prop_assert!(!is_spent, "{} goes on after {} attempts", id, attempts);
                n_expired += 1;
                note(Situation::Expired);
                Ok(Ending::Expired)
            }
            Change::Arose(..) => world.check_risen(change),
            Change::Removed(id, Stage::Ready) => {
                n_outlived += 1;
                note(Situation::OutlivedAlone);
                world.judge_outlived(*id)
            }
            other => Err(fail(format!("a timeout staged {other:?}"))),
        })?;
        // Of those that had their last attempt, the rows are read first.
        let n_due = due.len();
        due.retain(|id, attempts| !self.is_spent(id.queue, *attempts) || !self.has_move(*id));
        n_expired += n_due - due.len();
        let n_ended = n_expired + n_outlived + n_retries;
        let may_remain = n_ended >= self.setup.options.timers_per_turn;
        prop_assert!(due.is_empty() || may_remain, "did not expire: {:?}", due);
        prop_assert!(may_remain || self.has_no_outlived_head(), "heads that are over stay");
        self.note_leaving()?;
        self.check_lines_served(n_waiting)
    }

    /// The leases that the next timeout ends, with their attempts.
    fn leases_to_end(&self) -> BTreeMap<EntryId, u32> {
        let entries = self.model.entries.iter();
        entries
            // Those of a queue that is not back yet end when it is.
            .filter(|(id, entry)| !entry.purged && self.node.core.queues.find(&id.queue).is_some())
            .filter_map(|(id, entry)| entry.lease.as_ref().map(|lease| (*id, lease)))
            .filter(|(_, lease)| lease.is_held(self.handled) && lease.row.deadline <= self.now)
            .filter(|(id, _)| !self.is_ending(*id))
            .map(|(id, lease)| (id, lease.row.attempts))
            .collect()
    }

    /// An entry that waited becomes ready: it is due, and as it was.
    pub(super) fn check_risen(&self, change: &Change) -> Checked<Ending> {
        let Change::Arose(id, row) = change else { return Err(fail("nothing has risen")) };
        let entry = self.model.entries.get(id).filter(|entry| entry.is_there());
        let Some((entry, due)) = entry.and_then(|entry| Some((entry, entry.due()?))) else {
            return Err(fail(format!("{id} did not wait and has risen")));
        };
        let shows = self.shows(due.clock);
        let is_due = due.at <= shows || self.leaving.contains(id);
        prop_assert!(is_due, "{} is due at {:?} and rises at {}", id, due, shows);
        prop_assert_eq!(row, &entry.row(), "the row of {}", id);
        note(match due.clock {
            DueClock::Steady if entry.attempts > 0 => Situation::RoseAfterBackOff,
            DueClock::Steady => Situation::RoseAfterDelay,
            DueClock::Wall => Situation::RoseAtDate,
        });
        Ok(Ending::Forgotten)
    }

    /// Notes what has left its line and waits for its queue to be looked up: its time has come, whatever
    /// becomes of the wall clock.
    pub(super) fn note_leaving(&mut self) -> Checked {
        let before = std::mem::take(&mut self.leaving);
        for message in self.node.core.recall.parked() {
            let Message::Due(key, row) = message else { continue };
            let rank = EntryRank { priority: row.priority, sequence: key.sequence };
            let id = EntryId { queue: key.queue, rank };
            let is_due = key.due.at <= self.shows(key.due.clock) || before.contains(&id);
            prop_assert!(is_due, "{:?} leaves at {}", key, self.shows(key.due.clock));
            self.leaving.insert(id);
        }
        Ok(())
    }

    fn n_in_lines(&self) -> [usize; 2] {
        let mut lines = self.node.core.lines.iter().map(|line| line.window().len());
        [lines.next().unwrap_or_default(), lines.next().unwrap_or_default()]
    }

    /// Whatever was due and could go has gone (D3).
    fn check_lines_served(&self, n_before: [usize; 2]) -> Checked {
        if !self.looks_inside() {
            return Ok(());
        }
        for (line, n_before) in self.node.core.lines.iter().zip(n_before) {
            let n_taken = n_before - line.window().len();
            prop_assert!(n_taken <= self.setup.options.timers_per_turn);
            let next = line.window().peek().map(|(key, _)| key.due);
            let is_due = next.is_some_and(|due| due.at <= self.shows(due.clock));
            let may_stay = n_taken == self.setup.options.timers_per_turn
                || line.is_full()
                || line.is_resting(self.now);
            prop_assert!(!is_due || may_stay, "{:?} is due and stays", next);
            if is_due && line.is_full() {
                note(Situation::LineWasFull);
            }
        }
        Ok(())
    }
}
