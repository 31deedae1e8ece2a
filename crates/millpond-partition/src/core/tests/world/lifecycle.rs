//! The ends of a partition, and what the next owner must find.

use super::*;

impl World {
    /// A commit failed: everybody is told why, and the partition is opened again.
    pub(super) fn stop(&mut self, error: StoreError) -> Checked {
        note(Situation::Stopped);
        let why = PartitionError::Stopped(error);
        for (_, effects) in self.node.commits.drain(..) {
            effects.refuse(&why);
        }
        self.end(&why)?;
        self.reopen(self.setup.options.leases_at_open)
    }

    /// As the loop does when it is asked to close: stages nothing for anybody, makes durable what is
    /// staged, answers everybody.
    pub(super) fn close(&mut self, at_open: LeasesAtOpen) -> Checked {
        let epoch = self.node.store.epoch();
        while !(self.node.commits.is_empty() && self.node.core.staged_is_empty()) {
            self.submit()?;
            self.disk.sync_all();
            self.check_durable()?;
            self.take_commits()?;
            if self.node.store.epoch() != epoch {
                return Ok(());
            }
        }
        note(Situation::Closed);
        self.end(&PartitionError::Closed)?;
        // Closing makes durable what was only buffered, and nothing here does so by itself.
        self.disk.sync_all();
        block_on(self.node.store.close()).map_err(fail)?;
        self.check_buffered(self.disk.durable_position())?;
        self.reopen(at_open)
    }

    /// Everybody who waits is answered.
    fn end(&mut self, why: &PartitionError) -> Checked {
        self.node.core.refuse_all(why);
        for mut pending in self.pending.drain(..) {
            prop_assert_eq!(pending.poll()?, Some(Err(why.clone())), "a reply at the end");
        }
        for mut moving in self.moves.drain(..) {
            let answer = moving.answer.poll()?;
            prop_assert_eq!(answer, Some(Err(why.clone())), "a move at the end");
        }
        for (_, mut answer) in self.purges.drain(..) {
            let answer = answer.try_recv().map_err(fail)?;
            prop_assert_eq!(answer.map(|answer| answer.map(drop)), Some(Err(why.clone())));
        }
        self.rulebook.end(why)?;
        for command in std::mem::take(&mut self.parked).into_values().flatten() {
            let answer = match command {
                Command::Enqueue { mut answer, .. } | Command::HandOn { mut answer, .. } => {
                    answer.poll()?.map(|answer| answer.map(drop))
                }
                Command::Settle { mut reply, .. } => reply.poll()?,
                Command::Dead { mut answer, .. } => {
                    answer.try_recv().map_err(fail)?.map(|answer| answer.map(drop))
                }
                Command::Purge { mut answer, .. } => {
                    answer.try_recv().map_err(fail)?.map(|answer| answer.map(drop))
                }
                Command::Lease | Command::GiveBack(_) => Some(Err(why.clone())),
            };
            prop_assert_eq!(answer, Some(Err(why.clone())), "a parked command at the end");
        }
        for call in &mut self.calls {
            call.check_ended(why)?;
        }
        Ok(())
    }

    pub(super) fn reopen(&mut self, at_open: LeasesAtOpen) -> Checked {
        self.disk.release_scans();
        self.disk.block_reads(BlockReads::Never);
        let durable = self.disk.durable_position();
        let kept = self.snapshots.iter().find(|(at, _)| *at == durable);
        let Some((_, kept)) = kept else { return Err(fail(format!("no batch {durable}"))) };
        self.model = kept.clone();
        self.setup.options.leases_at_open = at_open;
        self.rulebook.crashed(durable);
        self.handled = durable;
        let mut model = std::mem::take(&mut self.model);
        model.reopened(at_open, durable, |queue, attempts| {
            self.said_of(queue).retry.is_spent(attempts)
        });
        self.model = model;
        self.snapshots = [(durable, self.model.clone())].into();
        (self.handled, self.submitted) = (durable, durable);
        self.check_promises(durable)?;
        self.pending.clear();
        self.moves.clear();
        self.leaving.clear();
        self.parked.clear();
        self.purges.clear();
        self.started.clear();
        self.begun.clear();
        self.purged.clear();
        self.calls.clear();
        self.mail.clear();
        self.count_scans();
        self.node.reopen(&self.disk, &self.setup, self.wall)?;
        self.model.forget_keys(&*self.node.store, self.now)?;
        self.snapshots = [(durable, self.model.clone())].into();
        // A partition starts its clock by the wall clock.
        self.now = self.wall;
        self.show_clocks();
        self.note_recovered();
        self.disk.block_reads(self.setup.block);
        self.setup.hold.into_iter().for_each(|snapshot| self.disk.hold_scans(snapshot));
        self.check_durable()
    }

    fn note_recovered(&self) {
        for entry in self.model.entries.values() {
            match entry.place {
                Place::Delayed(_) => note(Situation::RecoveredDelayed),
                Place::Dead(_) => note(Situation::RecoveredDead),
                Place::Ready if entry.doomed => note(Situation::RecoveredSpent),
                Place::Ready => {}
            }
        }
        for lease in self.model.entries.values().filter_map(|entry| entry.lease.as_ref()) {
            note(match lease.end {
                None => Situation::RecoveredHeldLease,
                Some(_) => Situation::RecoveredReleased,
            });
        }
    }

    pub(super) fn count_scans(&self) {
        let counters = &self.node.core.counters;
        note_many(Situation::ScanWaited, counters.n_scans_waited);
        note_many(Situation::ScanFailed, counters.n_scans_failed);
        note_many(Situation::OverlayOverflowed, counters.n_overlay_overflows);
        note_many(Situation::WindowShrunk, counters.n_windows_shrunk);
        note_many(Situation::Recalled, counters.n_queues_recalled);
        note_many(Situation::KeyForgotten, counters.n_keys_forgotten);
        note_many(Situation::ReadAhead, counters.n_refills_ahead);
    }

    /// The process has ended, and the power was there all the time.
    pub(super) fn check_buffered(&mut self, kept: LogPosition) -> Checked {
        for (at, _) in &self.buffered {
            prop_assert!(*at <= kept, "what was buffered at {} is gone after {}", at, kept);
            note(Situation::BufferedKept);
        }
        Ok(())
    }

    /// No receipt is forgotten and no acknowledged entry is back.
    fn check_promises(&mut self, durable: LogPosition) -> Checked {
        self.removals.retain(|_, at| *at <= durable);
        for (at, promise) in std::mem::take(&mut self.buffered) {
            if at <= durable {
                self.hold_to(promise);
            } else {
                note(Situation::BufferedLost);
            }
        }
        for id in &self.receipts {
            let is_kept = self.model.entries.contains_key(id) || self.removals.contains_key(id);
            prop_assert!(is_kept, "{} had a receipt and is gone", id);
        }
        for id in &self.acked {
            prop_assert!(!self.model.entries.contains_key(id), "{} was acked and is back", id);
        }
        let live = self.model.entries.keys().chain(&self.receipts);
        self.newest_sequence = live.map(|id| id.rank.sequence).max().unwrap_or_default();
        Ok(())
    }
}
