//! Entries that go from one stage to another for a reason other than time: back-off, dead letters.
//!
//! The row of an entry holds its body, and the key of the row its stage, so a move writes the row anew and
//! has to read it first. Most often memory serves the read, because the worker has just had the entry;
//! otherwise the move waits for it, and whoever asked waits with it. A dead letter that goes to another topic has
//! [further to go](super::forward).

use millpond_storage_api::{
    Durable, LogPosition, ScanEnd, ScanRequest, ScanRows, StoreError, Table,
};
use millpond_sync::oneshot::Outbox;
use millpond_types::{
    DeadCause, DeadRow, DelayedKey, DelayedRow, Due, DueClock, EntryHead, EntryId, EntryKey,
    EntryRank, EntryRow, LeaseKey, PayloadKey, Stage, StoredBody, UnixMillis,
};

use super::forward::Step;
use super::reads::{Read, ReadJob, Reading, pause_ms};
use super::waits::Wait;
use super::{Core, Effect, LeaseState, Mutation, Slot};
use crate::command::{DeadAction, Nack, Nacked, Reply, Retry};
use crate::rules::RetryPolicy;
use crate::{PartitionError, StaleReason};

/// An entry of which the row is to be read, so that it can be written elsewhere.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) goal: Goal,
    pub(super) step: Step,
    may_wait: bool,
    n_failures: u32,
}

/// Where a move begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: Slot,
    pub(super) from: Stage,
    pub(super) rank: EntryRank,
}

/// What is to become of it.
#[derive(Debug)]
pub(super) enum Goal {
    /// Its attempt has failed, and its worker said so.
    Nacked(Nack, Reply<Nacked>),
    /// Its last attempt has failed, and nobody is there to hear of it.
    Spent,
    Dead(DeadAction, Reply<()>),
}

/// Where a move ends.
#[derive(Debug)]
pub(super) enum Target {
    Delayed(DelayedKey, DelayedRow),
    Ready(EntryHead),
    /// Ready in another queue, as a new entry.
    Elsewhere(Slot, EntryRank, EntryHead),
    Dead,
    Nowhere,
}

/// Who is told.
#[derive(Debug)]
pub(super) enum Tell {
    Nacked(Nacked, Reply<Nacked>),
    Done(Reply<()>),
    Nobody,
}

impl Goal {
    fn refuse(self, error: PartitionError) {
        match self {
            Self::Nacked(_, reply) => drop(reply.send(Err(error))),
            Self::Spent => {}
            Self::Dead(_, reply) => drop(reply.send(Err(error))),
        }
    }

    /// Who is told that the entry is a dead letter.
    pub(super) fn died(self) -> Tell {
        match self {
            Self::Nacked(_, reply) => Tell::Nacked(Nacked::Dead, reply),
            Self::Spent | Self::Dead(..) => Tell::Nobody,
        }
    }
}

impl Tell {
    pub(super) fn of(self, position: &Durable<LogPosition>, outbox: &mut Outbox) {
        match self {
            Self::Nacked(nacked, reply) => drop(outbox.send(reply, Ok(position.attach(nacked)))),
            Self::Done(reply) => drop(outbox.send(reply, Ok(position.attach(())))),
            Self::Nobody => {}
        }
    }

    pub(super) fn refuse(self, error: PartitionError) {
        match self {
            Self::Nacked(_, reply) => drop(reply.send(Err(error))),
            Self::Done(reply) => drop(reply.send(Err(error))),
            Self::Nobody => {}
        }
    }
}

/// How long an entry waits after a failure, and the floor it keeps, in milliseconds.
fn pause_of(
    policy: RetryPolicy,
    retry: Retry,
    attempts: u32,
    id: EntryId,
    floor_ms: u64,
) -> (u64, u64) {
    let longest = millpond_types::limits::DELAY_MS_MAX;
    match retry {
        Retry::After(ms) => (ms.max(floor_ms).min(longest), floor_ms),
        Retry::Never => (0, floor_ms),
        Retry::Policy { floor_ms: asked_ms } => {
            let floor_ms = if asked_ms > 0 { asked_ms.min(longest) } else { floor_ms };
            let backoff =
                policy.backoff.map(|backoff| backoff.delay_ms(attempts, seed(id), floor_ms));
            (backoff.unwrap_or(floor_ms).min(longest), floor_ms)
        }
    }
}

/// What tells the waits of one entry from those of all others: the same for all its attempts.
fn seed(id: EntryId) -> u64 {
    let queue =
        u64::from_le_bytes(*id.queue.0.first_chunk::<8>().expect("a queue id has 16 bytes"));
    queue ^ id.rank.sequence.0.rotate_left(32)
}

impl Core {
    /// The worker of a leased entry gives up.
    pub(super) fn nack(&mut self, slot: Slot, rank: EntryRank, nack: Nack, reply: Reply<Nacked>) {
        self.counters.n_nacked += 1;
        let policy = self.retry_of(slot);
        let Some(row) = self.queues[slot].lease(&rank).map(|lease| lease.row) else { return };
        let spent = self.is_spent(slot, row.attempts);
        let waits = match nack.retry {
            Retry::Never => true,
            Retry::After(ms) => ms > 0 || row.has_retry_floor,
            Retry::Policy { floor_ms } => {
                floor_ms > 0 || row.has_retry_floor || policy.backoff.is_some()
            }
        };
        if !spent && !waits {
            return self.stage_release(slot, rank, LeaseState::Settling, Some(reply));
        }
        if let Some(lease) = self.queues[slot].lease_mut(&rank) {
            lease.state = LeaseState::Settling;
        }
        self.wait_no_more(slot, row.deadline, Wait::LeaseEnds(rank));
        self.start_move(slot, Stage::Ready, rank, Goal::Nacked(nack, reply));
    }

    /// Whether an entry that has had so many attempts may have no more.
    pub(super) fn is_spent(&self, slot: Slot, attempts: u32) -> bool {
        self.retry_of(slot).is_spent(attempts) && !self.is_broken(Mutation::AttemptsUnlimited)
    }

    fn retry_of(&self, slot: Slot) -> RetryPolicy {
        self.rules_of(slot).retry
    }

    /// The last attempt of an entry has failed without a word. Its lease, if it has one, is at its end.
    pub(super) fn set_spent_aside(&mut self, slot: Slot, rank: EntryRank) {
        if let Some(lease) = self.queues[slot].lease_mut(&rank) {
            lease.state = LeaseState::Expiring;
        }
        self.start_move(slot, Stage::Ready, rank, Goal::Spent);
    }

    pub(super) fn dead(&mut self, id: EntryId, action: DeadAction, reply: Reply<()>) {
        let again = self.is_broken(Mutation::DeadTwice);
        let slot = self.queues.find(&id.queue).filter(|slot| {
            let queue = &self.queues[*slot];
            let goes = queue.busy.as_ref().is_some_and(|busy| {
                busy.moves.contains_key(&(Stage::Dead, id.rank))
                    || busy.leaving_dead.contains(&id.rank) && !again
            });
            queue.stored.n_dead > 0 && queue.purge().is_none() && !goes
        });
        match slot {
            Some(slot) => self.start_move(slot, Stage::Dead, id.rank, Goal::Dead(action, reply)),
            None => drop(reply.send(Err(PartitionError::NotDead { id }))),
        }
    }

    fn start_move(&mut self, slot: Slot, from: Stage, rank: EntryRank, goal: Goal) {
        let queue = &mut self.queues[slot];
        // It stays in memory until the move is durable.
        queue.n_effects += 1;
        let moving = Move { goal, step: Step::Row, may_wait: false, n_failures: 0 };
        self.list_move(Place { slot, from, rank }, moving);
    }

    /// A move has to read what its step says.
    pub(super) fn list_move(&mut self, at: Place, moving: Move) {
        if let Step::Body(..) = moving.step {
            self.body_reads.push_back((at.slot, at.rank));
        } else {
            self.move_reads.push_back(at);
        }
        self.queues[at.slot].busy_mut().moves.insert((at.from, at.rank), moving);
    }

    pub(super) fn poll_move(&mut self) -> Option<ReadJob> {
        loop {
            let at = self.move_reads.pop_front()?;
            // A purge may have ended it.
            let Some((request, may_wait)) = self.move_request(at) else { continue };
            return Some(self.start_read(Reading::Move(at), Read::Rows(request), may_wait, true));
        }
    }

    /// What a move reads next, and whether that may wait.
    pub(super) fn move_request(&self, at: Place) -> Option<(ScanRequest, bool)> {
        let queue = self.queues.get(at.slot)?;
        let moving = queue.busy.as_ref()?.moves.get(&(at.from, at.rank))?;
        let place = (at.from, at.rank);
        let request = moving.step.request(queue.id, place, self.options.scan_skip_max);
        Some((request, moving.may_wait))
    }

    pub(super) fn handle_moved_row(
        &mut self,
        now: UnixMillis,
        at: Place,
        rows: &ScanRows,
        outcome: Result<ScanEnd, StoreError>,
    ) {
        let Some(mut moving) = self.take_move(at) else { return };
        let mut may_wait = moving.may_wait;
        let end = match self.scan_end(rows, outcome, &mut may_wait) {
            Ok(end) => end,
            Err(error) => return self.move_failed(now, at, moving, error.into()),
        };
        moving.may_wait = may_wait;
        let row = rows.iter().next().map(|(_, row)| row);
        if row.is_none() && end != Some(ScanEnd::Exhausted) {
            return self.list_move(at, moving);
        }
        match std::mem::take(&mut moving.step) {
            Step::Row => self.make_move(now, at, moving, row),
            Step::Names(dead, to) => self.names_read(now, at, moving, (dead, to), row),
            Step::Body(dead, from, target) => {
                self.body_read(now, at, moving, (dead, from, target), row);
            }
            Step::LookUp(..) => unreachable!("a look-up is no read of the move"),
        }
    }

    pub(super) fn take_move(&mut self, at: Place) -> Option<Move> {
        self.queues.get_mut(at.slot)?.busy.as_mut()?.moves.remove(&(at.from, at.rank))
    }

    fn make_move(&mut self, now: UnixMillis, at: Place, moving: Move, row: Option<&[u8]>) {
        let Some(row) = row else { return self.row_is_gone(now, at, moving) };
        let entry = match at.from {
            Stage::Dead => DeadRow::decode(row).map(|dead| dead.entry),
            Stage::Ready | Stage::Delayed => EntryRow::decode(row),
        };
        match entry {
            Ok(entry) if at.from == Stage::Dead => self.end_death(at.slot, at.rank, entry, moving),
            Ok(entry) => self.fail(now, at, entry, moving),
            Err(error) => self.move_failed(now, at, moving, error.into()),
        }
    }

    fn row_is_gone(&mut self, now: UnixMillis, at: Place, moving: Move) {
        if at.from == Stage::Dead {
            let id = EntryId { queue: self.queues[at.slot].id, rank: at.rank };
            moving.goal.refuse(PartitionError::NotDead { id });
            return self.move_ended(at.slot);
        }
        self.move_failed(now, at, moving, damaged("has no row"));
    }

    /// An attempt has failed: decides what becomes of the entry, and stages it.
    fn fail(&mut self, now: UnixMillis, at: Place, mut entry: EntryRow, moving: Move) {
        let Place { slot, rank, .. } = at;
        let id = EntryId { queue: self.queues[slot].id, rank };
        if let Some(lease) = self.queues[slot].lease(&rank) {
            entry.attempts = lease.row.attempts;
        }
        let (retry, reason) = match &moving.goal {
            Goal::Nacked(nack, _) => (nack.retry, nack.reason.as_str()),
            Goal::Spent | Goal::Dead(..) => (Retry::Policy { floor_ms: 0 }, ""),
        };
        let spent = self.is_spent(slot, entry.attempts);
        if spent || retry == Retry::Never {
            let cause = if spent { DeadCause::AttemptsSpent } else { DeadCause::Rejected };
            let dead = DeadRow { cause, died_at: now, reason: reason.to_owned(), entry };
            return match self.dead_letter_topic(slot) {
                Some(topic) => self.forward(now, at, moving, (dead, topic)),
                None => self.stage_death(slot, rank, &dead, moving.goal),
            };
        }
        let reply = match moving.goal {
            Goal::Nacked(_, reply) => Some(reply),
            Goal::Spent | Goal::Dead(..) => None,
        };
        let floor_ms = entry.retry_floor_ms;
        let (pause_ms, floor_ms) =
            pause_of(self.retry_of(slot), retry, entry.attempts, id, floor_ms);
        if !self.is_broken(Mutation::RetryFloorForgotten) {
            entry.retry_floor_ms = floor_ms;
        }
        if pause_ms == 0 {
            self.queues[slot].n_effects -= 1;
            return self.stage_release(slot, rank, LeaseState::Settling, reply);
        }
        // `now` has lost its fraction, and the pause must not.
        let until = now.plus(pause_ms).plus(1);
        let row = DelayedRow { priority: rank.priority, entry };
        self.stage_departure(slot, rank);
        let due = Due { clock: DueClock::Steady, at: until };
        let key = self.stage_delayed(slot, due, &row, rank);
        self.counters.n_backed_off += 1;
        let tell =
            reply.map_or(Tell::Nobody, |reply| Tell::Nacked(Nacked::BackingOff { until }, reply));
        let (from, to) = ((Stage::Ready, rank), Target::Delayed(key, row));
        self.effects.push(Effect::Moved { slot, from, to, tell });
    }

    /// Stages that an entry leaves the ready ones, with the record of its lease if there is one. Its bytes stay
    /// with the queue.
    pub(super) fn stage_departure(&mut self, slot: Slot, rank: EntryRank) {
        self.recount(slot, |stored| stored.n_ready = stored.n_ready.saturating_sub(1));
        let queue = &mut self.queues[slot];
        let key = EntryKey { queue: queue.id, stage: Stage::Ready, rank };
        let lease = LeaseKey { queue: queue.id, sequence: rank.sequence };
        self.batch.single_delete(Table::Entries, &key.encode());
        if queue.lease(&rank).is_some() {
            self.batch.delete(Table::Leases, &lease.encode());
        }
        self.mark_dirty(slot);
    }

    fn stage_death(&mut self, slot: Slot, rank: EntryRank, dead: &DeadRow, goal: Goal) {
        self.stage_departure(slot, rank);
        self.recount(slot, |stored| stored.n_dead += 1);
        let queue = &mut self.queues[slot];
        let key = EntryKey { queue: queue.id, stage: Stage::Dead, rank };
        self.row_buffer.clear();
        dead.encode_into(&mut self.row_buffer);
        if !self.is_broken(Mutation::DeadLost) {
            self.batch.put(Table::Entries, &key.encode(), &self.row_buffer);
        }
        self.counters.n_died += 1;
        let (from, to) = ((Stage::Ready, rank), Target::Dead);
        self.effects.push(Effect::Moved { slot, from, to, tell: goal.died() });
    }

    /// A dead letter is replayed or dropped.
    fn end_death(&mut self, slot: Slot, rank: EntryRank, mut entry: EntryRow, moving: Move) {
        let Goal::Dead(action, reply) = moving.goal else { return self.move_ended(slot) };
        let goes = u64::from(action == DeadAction::Drop);
        let n_bytes = goes * u64::from(entry.body.n_bytes());
        self.recount(slot, |stored| {
            // Saturating: a damaged store may count fewer than there are.
            stored.n_dead = stored.n_dead.saturating_sub(1);
            stored.n_bytes = stored.n_bytes.saturating_sub(n_bytes);
        });
        let queue = &mut self.queues[slot];
        let id = queue.id;
        queue.busy_mut().leaving_dead.insert(rank);
        let key = EntryKey { queue: id, stage: Stage::Dead, rank };
        self.batch.single_delete(Table::Entries, &key.encode());
        self.mark_dirty(slot);
        let to = match action {
            DeadAction::Replay => {
                if !self.is_broken(Mutation::ReplayKeepsAttempts) {
                    (entry.attempts, entry.retry_floor_ms) = (0, 0);
                }
                self.stage_ready(slot, rank, &entry);
                self.counters.n_replayed += 1;
                Target::Ready(entry.head())
            }
            DeadAction::Drop => {
                if let StoredBody::Separate { .. } = entry.body {
                    let key = PayloadKey { queue: id, sequence: rank.sequence };
                    self.batch.delete(Table::Payloads, &key.encode());
                }
                self.counters.n_dropped += 1;
                Target::Nowhere
            }
        };
        let (from, tell) = ((Stage::Dead, rank), Tell::Done(reply));
        self.effects.push(Effect::Moved { slot, from, to, tell });
    }

    /// The commit of a move is durable.
    pub(super) fn moved(&mut self, slot: Slot, (from, rank): (Stage, EntryRank), to: Target) {
        if from == Stage::Ready {
            let busy = self.queues[slot].busy.as_mut();
            let lease = busy.and_then(|busy| busy.leases.remove(&rank));
            self.release(lease.and_then(|lease| lease.permit));
            self.with_window(slot, |window| window.confirm(&rank));
        } else if let Some(busy) = &mut self.queues[slot].busy {
            busy.leaving_dead.remove(&rank);
        }
        match to {
            Target::Ready(head) => return self.ready_arrived(slot, rank, head),
            Target::Delayed(key, row) => self.delayed_arrived(key, row),
            Target::Elsewhere(target, rank, head) => self.ready_arrived(target, rank, head),
            Target::Dead | Target::Nowhere => {}
        }
        self.move_ended(slot);
    }

    fn move_ended(&mut self, slot: Slot) {
        self.queues[slot].n_effects -= 1;
        self.touch(slot);
    }

    /// The row could not be read. Whoever waits is told, and everything is as before; what nobody waits for
    /// is tried again.
    pub(super) fn move_failed(
        &mut self,
        now: UnixMillis,
        Place { slot, from, rank }: Place,
        mut moving: Move,
        error: PartitionError,
    ) {
        self.counters.n_scans_failed += 1;
        self.let_target_go(&std::mem::take(&mut moving.step));
        let queue = &mut self.queues[slot];
        let id = queue.id;
        tracing::warn!(queue = %id, sequence = %rank.sequence, %error, "an entry cannot be moved");
        match moving.goal {
            Goal::Spent => {
                let until = now.plus(pause_ms(moving.n_failures, id));
                moving.n_failures += 1;
                queue.busy_mut().moves.insert((from, rank), moving);
                self.wait(slot, until, Wait::RetryMove(from, rank));
            }
            Goal::Nacked(_, reply) => {
                let lease = queue.lease_mut(&rank);
                let deadline = lease.map(|lease| {
                    lease.state = LeaseState::Held;
                    lease.row.deadline
                });
                let forgets = self.is_broken(Mutation::MoveFailureForgetsDeadline);
                if let Some(deadline) = deadline.filter(|_| !forgets) {
                    self.wait(slot, deadline, Wait::LeaseEnds(rank));
                }
                let _ = reply.send(Err(error));
                self.move_ended(slot);
            }
            Goal::Dead(_, reply) => {
                let _ = reply.send(Err(error));
                self.move_ended(slot);
            }
        }
    }

    /// The thread that was to read the row is gone.
    pub(super) fn moved_row_lost(&mut self, now: UnixMillis, at: Place, error: PartitionError) {
        if let Some(moving) = self.take_move(at) {
            self.move_failed(now, at, moving, error);
        }
    }

    /// A purge ends every move of its queue that is not staged.
    pub(super) fn end_moves(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        let id = queue.id;
        let moves =
            queue.busy.as_mut().map(|busy| std::mem::take(&mut busy.moves)).unwrap_or_default();
        queue.n_effects -= u32::try_from(moves.len()).expect("each was counted");
        for ((stage, rank), moving) in moves {
            self.let_target_go(&moving.step);
            let id = EntryId { queue: id, rank };
            moving.goal.refuse(match stage {
                Stage::Dead => PartitionError::NotDead { id },
                _ => PartitionError::StaleLease { id, reason: StaleReason::NotLeased },
            });
        }
    }

    /// The partition ends: nobody is left waiting for a move.
    pub(super) fn refuse_moves(&mut self, slot: Slot, error: &PartitionError) {
        let busy = self.queues[slot].busy.as_mut();
        let moves = busy.map(|busy| std::mem::take(&mut busy.moves)).unwrap_or_default();
        moves.into_values().for_each(|moving| moving.goal.refuse(error.clone()));
    }
}

pub(super) fn damaged(what: &str) -> PartitionError {
    PartitionError::Corrupt(format!("an entry that is to be moved {what}").into())
}
