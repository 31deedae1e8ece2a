//! Entries on their way to another stage: failed attempts, dead letters.

use millpond_types::DeadCause;

use super::callers::Awaited;
use super::staged::{Command, Receiver, Staged};
use super::*;
use crate::command::Nacked;
use crate::rules::RetryPolicy;

/// What the callers' reasons say.
pub(super) const REASON: &str = "no luck";

/// Somebody waits for a move that is not staged yet.
pub(super) struct Moving {
    from: Stage,
    id: EntryId,
    pub(super) answer: Asked,
    /// Nothing but a failed read or a purge may come in between.
    is_sure: bool,
}

/// What for, and the way back.
pub(super) enum Asked {
    Nack(Retry, Receiver<Nacked>),
    Dead(DeadAction, Receiver<()>),
}

impl Asked {
    pub(super) fn poll(&mut self) -> Checked<Option<Result<(), PartitionError>>> {
        Ok(match self {
            Self::Nack(_, answer) => answer.try_recv().map_err(fail)?.map(|a| a.map(drop)),
            Self::Dead(_, answer) => answer.try_recv().map_err(fail)?.map(|a| a.map(drop)),
        })
    }
}

impl World {
    fn policy(&self, queue: QueueId) -> RetryPolicy {
        self.rules_of(queue).retry
    }

    /// Whether an entry that has had so many attempts may have no more.
    pub(super) fn is_spent(&self, queue: QueueId, attempts: u32) -> bool {
        self.policy(queue).attempts_max.is_some_and(|max| attempts >= max.get())
    }

    pub(super) fn outcome(&self, id: EntryId, retry: Retry) -> Option<Outcome> {
        let entry = self.model.entries.get(&id)?;
        let attempts = entry.n_attempts();
        Some(outcome(self.policy(id.queue), retry, id, attempts, entry.floor_ms))
    }

    /// What a settlement by this caller must be told now.
    pub(super) fn standing(&self, lease: LeaseRef) -> Result<(), StaleReason> {
        match self.model.standing(lease, self.now, self.handled) {
            // Its deadline is no matter any more.
            Ok(()) | Err(StaleReason::Expired) if self.is_moving(Stage::Ready, lease.id) => {
                Err(StaleReason::Settling)
            }
            standing => standing,
        }
    }

    /// Whether somebody waits for this move, and nobody was told how it ended.
    pub(super) fn is_moving(&self, from: Stage, id: EntryId) -> bool {
        self.moves.iter().any(|moving| (moving.from, moving.id) == (from, id))
    }

    /// Whether the core is about to read the row of a ready entry.
    pub(super) fn has_move(&self, id: EntryId) -> bool {
        let core = &self.node.core;
        let busy = core.queues.find(&id.queue).and_then(|slot| core.queues[slot].busy.as_ref());
        busy.is_some_and(|busy| busy.moves.contains_key(&(Stage::Ready, id.rank)))
    }

    /// Whether the attempt of a leased entry has failed, and its row is to be read.
    pub(super) fn is_ending(&self, id: EntryId) -> bool {
        self.is_moving(Stage::Ready, id) || self.has_move(id)
    }

    pub(super) fn nack_started(&mut self, id: EntryId, retry: Retry, answer: Receiver<Nacked>) {
        let answer = Asked::Nack(retry, answer);
        self.moves.push(Moving { from: Stage::Ready, id, answer, is_sure: true });
    }

    pub(super) fn look_after(&mut self, entry: Corpse, action: DeadAction) -> Checked {
        let all = |is_one: fn(&ModelEntry) -> bool| -> Vec<EntryId> {
            let entries = self.model.entries.iter();
            entries.filter(|(_, entry)| is_one(entry)).map(|(id, _)| *id).collect()
        };
        let id = match entry {
            Corpse::Dead(nth) => {
                let dead = all(|entry| matches!(entry.place, Place::Dead(_)));
                pick(&dead, nth).map(|at| dead[at])
            }
            Corpse::Same => self.buried,
            Corpse::Any(nth) => {
                let any = all(|_| true);
                pick(&any, nth).map(|at| any[at])
            }
            Corpse::Unknown { queue } => {
                let rank = EntryRank { sequence: Sequence(7_777_777), ..EntryRank::default() };
                Some(EntryId { queue: self.queues[usize::from(queue)].id, rank })
            }
        };
        self.buried = id;
        id.map_or(Ok(()), |id| self.dead(id, action))
    }

    /// Somebody replays or drops a dead letter.
    pub(super) fn dead(&mut self, id: EntryId, action: DeadAction) -> Checked {
        let (reply, answer) = millpond_sync::oneshot::channel();
        let message = Message::Dead { id, action, reply };
        self.send(id.queue, message, Command::Dead { id, action, answer })
    }

    pub(super) fn judge_dead(&mut self, id: EntryId, action: DeadAction, answer: Receiver<()>) {
        let entry = self.model.entries.get(&id).filter(|entry| entry.is_there());
        let is_dead =
            entry.is_some_and(|e| matches!(e.place, Place::Dead(_)) && e.since <= self.handled);
        let is_sure = is_dead && !self.is_moving(Stage::Dead, id);
        let answer = Asked::Dead(action, answer);
        self.moves.push(Moving { from: Stage::Dead, id, answer, is_sure });
    }

    /// Whoever is told that nothing moves is told why, and everything is as it was.
    pub(super) fn hear_moves(&mut self) -> Checked {
        for mut moving in std::mem::take(&mut self.moves) {
            let Some(answer) = moving.answer.poll()? else {
                self.moves.push(moving);
                continue;
            };
            self.check_unmoved(&moving, answer)?;
        }
        Ok(())
    }

    fn check_unmoved(&self, moving: &Moving, answer: Result<(), PartitionError>) -> Checked {
        let Moving { id, is_sure, .. } = *moving;
        match (&moving.answer, answer) {
            (_, Err(PartitionError::Read(_))) => {
                note(Situation::MoveFailed);
            }
            (Asked::Nack(..), Err(PartitionError::StaleLease { id: of, reason })) => {
                prop_assert_eq!((of, reason), (id, StaleReason::NotLeased));
                prop_assert!(self.purged.contains(&id), "{} was leased: {:?}", id, reason);
                note(Situation::MovePurged);
            }
            (Asked::Dead(..), Err(PartitionError::NotDead { id: of })) => {
                prop_assert_eq!(of, id);
                let is_purged = self.purged.contains(&id);
                prop_assert!(!is_sure || is_purged, "{} is dead, and that is denied", id);
                note(Situation::NotDead);
            }
            (_, answer) => return Err(fail(format!("a move of {id} ended with {answer:?}"))),
        }
        Ok(())
    }

    /// The move that has been staged, of those that somebody waits for.
    fn take_move(&mut self, from: Stage, id: EntryId) -> Checked<Option<Asked>> {
        let mut at = 0;
        while let Some(moving) = self.moves.get_mut(at) {
            if (moving.from, moving.id) != (from, id) {
                at += 1;
                continue;
            }
            let mut moving = self.moves.remove(at);
            match moving.answer.poll()? {
                None => return Ok(Some(moving.answer)),
                Some(answer) => self.check_unmoved(&moving, answer)?,
            }
        }
        Ok(None)
    }

    /// Judges and applies what the core stages by itself: what has risen, and moves whose rows were read.
    /// Whether it was something of that kind.
    pub(super) fn judge_own(&mut self, change: &Change) -> Checked<bool> {
        let at = self.staging();
        let how = match change {
            Change::Arose(..) => self.check_risen(change)?,
            Change::BackedOff(id, ..) | Change::Died(id, _) => self.judge_failure(*id, change)?,
            Change::Forwarded { from, .. } => {
                self.removals.insert(*from, at);
                self.judge_failure(*from, change)?
            }
            Change::Released { id, .. } if self.is_moving(Stage::Ready, *id) => {
                self.judge_failure(*id, change)?
            }
            Change::Replayed(id, _) => self.judge_burial(*id, change)?,
            Change::Removed(id, Stage::Dead) if !self.is_purged(*id) => {
                self.judge_burial(*id, change)?
            }
            _ => return Ok(false),
        };
        self.model.apply(change, at, how);
        Ok(true)
    }

    pub(super) fn is_purged(&self, id: EntryId) -> bool {
        self.model.entries.get(&id).is_some_and(|entry| entry.purged)
    }

    /// An attempt has failed, and the row was read: the outcome is what the policy says.
    fn judge_failure(&mut self, id: EntryId, change: &Change) -> Checked<Ending> {
        let asked = match self.take_move(Stage::Ready, id)? {
            Some(Asked::Nack(retry, answer)) => Some((retry, answer)),
            _ => None,
        };
        let entry = self.model.entries.get(&id).filter(|entry| entry.is_there());
        let Some(entry) = entry else { return Err(fail(format!("{id} moves and is gone"))) };
        prop_assert_eq!(&entry.place, &Place::Ready);
        let mut row = entry.row();
        row.attempts = entry.n_attempts();
        let how = if asked.is_some() { Ending::Nacked } else { Ending::Expired };
        let lease = entry.lease.as_ref();
        let is_over = asked.is_some()
            || entry.doomed
            || lease.is_some_and(|l| l.is_held(self.handled) && l.row.deadline <= self.now);
        prop_assert!(is_over, "{} moves, and its lease has not ended: {:?}", id, change);
        let retry = asked.as_ref().map_or(Retry::default_policy(), |(retry, _)| *retry);
        let reason = if asked.is_some() { REASON } else { "" };
        let outcome = self.outcome(id, retry);
        let nacked = match (change, outcome) {
            (Change::Released { attempts, .. }, Some(Outcome::Ready { .. })) => {
                prop_assert_eq!(*attempts, row.attempts);
                note(Situation::NackedWithoutPause);
                Nacked::Ready
            }
            (Change::BackedOff(_, due, found), Some(Outcome::After { ms, floor_ms })) => {
                row.retry_floor_ms = floor_ms;
                prop_assert_eq!(found, &row);
                let until = self.now.plus(ms).plus(1);
                prop_assert_eq!(*due, Due { clock: DueClock::Steady, at: until });
                note(if floor_ms > 0 { Situation::FloorKept } else { Situation::BackedOff });
                Nacked::BackingOff { until }
            }
            (Change::Forwarded { .. }, Some(Outcome::Dead(cause))) => {
                self.check_forwarded(change, cause, reason)?;
                Nacked::Dead
            }
            (Change::Died(_, dead), Some(Outcome::Dead(cause))) => {
                prop_assert!(self.grave_of(id).is_none(), "{} stays with its queue", id);
                prop_assert_eq!((dead.cause, dead.died_at), (cause, self.now));
                prop_assert_eq!((&dead.entry, dead.reason.as_str()), (&row, reason));
                note(match cause {
                    DeadCause::Rejected => Situation::Rejected,
                    _ if asked.is_none() => Situation::SpentUnheard,
                    _ => Situation::Spent,
                });
                Nacked::Dead
            }
            _ => return Err(fail(format!("{id}: {change:?}, but {outcome:?} is due"))),
        };
        match asked {
            Some((_, answer)) => {
                let reply = Replies::Nacked { answer, nacked };
                self.pending.push(Pending { at: self.staging(), reply });
            }
            None => prop_assert_eq!(nacked, Nacked::Dead, "{} was not given up", id),
        }
        Ok(how)
    }

    /// A dead letter is replayed or dropped, because somebody asked for it, and once.
    fn judge_burial(&mut self, id: EntryId, change: &Change) -> Checked<Ending> {
        let Some(Asked::Dead(action, answer)) = self.take_move(Stage::Dead, id)? else {
            return Err(fail(format!("nobody asked for {change:?}")));
        };
        let at = self.staging();
        let entry = self.model.entries.get(&id).filter(|entry| entry.is_there());
        let entry = entry.filter(|entry| matches!(entry.place, Place::Dead(_)));
        let Some(entry) = entry else { return Err(fail(format!("{id} is not dead: {change:?}"))) };
        let removed = match (action, change) {
            (DeadAction::Replay, Change::Replayed(_, found)) => {
                let row =
                    millpond_types::EntryRow { attempts: 0, retry_floor_ms: 0, ..entry.row() };
                prop_assert_eq!(found, &row);
                note(Situation::Replayed);
                None
            }
            (DeadAction::Drop, Change::Removed(..)) => {
                self.removals.insert(id, at);
                note(Situation::Dropped);
                Some(id)
            }
            _ => return Err(fail(format!("{change:?}, and it was asked for {action:?}"))),
        };
        self.pending.push(Pending {
            at,
            reply: Replies::Settled { answer: Awaited::Synced(answer), removed },
        });
        Ok(Ending::Forgotten)
    }

    /// What no command has staged, a purge has, or the core by itself.
    pub(super) fn finish_staged(&mut self, mut staged: Staged) -> Checked {
        self.note_purges(|_| true);
        let queues: Vec<QueueId> = staged.queues().collect();
        for queue in queues {
            while let Some(change) = self.next_change(queue, &mut staged)? {
                self.purge_row(queue, &change)?;
            }
        }
        self.note_leaving()?;
        self.hear_moves()
    }
}

impl Retry {
    /// What a failure without a word counts as.
    fn default_policy() -> Self {
        Self::Policy { floor_ms: 0 }
    }
}
