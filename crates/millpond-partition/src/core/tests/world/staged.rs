//! Commands, the rows they stage, and those that have to wait until their queue is looked up.

use super::super::handled::Handled;
use super::callers::Awaited;
use super::moves::REASON;
use super::*;
use crate::Purged;
use crate::command::{Accepted, Answer, Nack, Nacked, Reply};

/// A command whose rows are due when the core gets to it.
pub(super) enum Command {
    Enqueue {
        queue: Arc<QueueRef>,
        new: Vec<NewEntry>,
        answer: EnqueueAnswer,
    },
    HandOn {
        lease: LeaseRef,
        queue: Arc<QueueRef>,
        new: Vec<NewEntry>,
        answer: EnqueueAnswer,
    },
    Settle {
        lease: LeaseRef,
        action: Action,
        reply: SettleAnswer,
    },
    Purge {
        queue: QueueId,
        answer: PurgeAnswer,
    },
    Dead {
        id: EntryId,
        action: DeadAction,
        answer: Receiver<()>,
    },
    /// Stages nothing by itself.
    Lease,
    GiveBack(LeaseRef),
}

pub(super) type Receiver<T> =
    millpond_sync::oneshot::Receiver<Answer<millpond_storage_api::Durable<T>>>;
pub(super) type EnqueueAnswer = Awaited<Vec<Accepted>>;
pub(super) type PurgeAnswer = Receiver<Purged>;

pub(super) enum SettleAnswer {
    Nacked(Receiver<Nacked>),
    Settled(Awaited<()>),
    Extended(Receiver<UnixMillis>),
}

impl SettleAnswer {
    pub(super) fn poll(&mut self) -> Checked<Option<Result<(), PartitionError>>> {
        Ok(match self {
            Self::Nacked(answer) => answer.try_recv().map_err(fail)?.map(|a| a.map(drop)),
            Self::Settled(answer) => answer.poll()?,
            Self::Extended(answer) => answer.try_recv().map_err(fail)?.map(|a| a.map(drop)),
        })
    }
}

/// What was staged and not looked at, queue by queue, and in which order.
pub(super) struct Staged {
    by_queue: BTreeMap<QueueId, VecDeque<(usize, Change)>>,
    /// The command that staged it had to wait, or nobody asked for it.
    waited: bool,
}

impl World {
    pub(super) fn send(&mut self, queue: QueueId, message: Message, command: Command) -> Checked {
        self.node.core.handled.clear();
        let handled = Handled::of(&message).ok_or_else(|| fail("nobody asked for it"))?;
        self.node.core.handle_message(self.now, message);
        if !self.node.core.handled.contains(&handled) {
            if !self.node.core.recall.is_parked(&queue) {
                note(Situation::AskedForKeys);
            } else if self.node.core.recall.is_done() {
                note(Situation::Dormant);
            }
            note(Situation::Parked);
            self.parked.entry(queue).or_default().push(command);
            return Ok(());
        }
        let mut staged = self.take_staged()?;
        staged.waited = false;
        self.judge(queue, command, &mut staged)?;
        self.finish_staged(staged)
    }

    pub(super) fn enqueue(&mut self, queue: u8, entries: &[New]) -> Checked {
        self.enqueue_as(queue, entries, false)
    }

    pub(super) fn enqueue_as(&mut self, queue: u8, entries: &[New], buffered: bool) -> Checked {
        // An address of its own: see `Handled`.
        let queue = Arc::new((*self.queues[usize::from(queue)]).clone());
        let is_known = self.node.core.queues.find(&queue.id).is_some();
        if !is_known && self.receipts.iter().any(|id| id.queue == queue.id) {
            note(Situation::Returned);
        }
        let new: Vec<NewEntry> = entries.iter().map(|new| self.new_entry(new)).collect();
        let (reply, answer) = Awaited::new(buffered);
        let message = Message::Enqueue {
            queue: queue.clone(),
            entries: new.clone(),
            seen: Seen::default(),
            reply,
        };
        self.send(queue.id, message, Command::Enqueue { queue, new, answer })
    }

    fn new_entry(&self, new: &New) -> NewEntry {
        let body = Body { payload: vec![b'x'; new.n_bytes].into(), ..Body::default() };
        let start = match new.when {
            When::Now => Start::Now,
            When::After(ms) => Start::After(ms),
            When::At(ms) => Start::At(self.wall_plus(ms)),
        };
        let dedup = new.key.map(|key| vec![key].into());
        let priority = millpond_types::Priority(new.priority);
        NewEntry { priority, body: body.encode(), start, dedup }
    }

    pub(super) fn settle(&mut self, lease: LeaseRef, action: Action) -> Checked {
        fn asked<T>(of: impl FnOnce(Reply<T>) -> Settle) -> (Settle, Receiver<T>) {
            let (reply, answer) = millpond_sync::oneshot::channel();
            (of(reply), answer)
        }
        let (settle, reply) = match action {
            Action::Ack | Action::AckBuffered => {
                let (reply, answer) = Awaited::new(matches!(action, Action::AckBuffered));
                (Settle::Ack(reply), SettleAnswer::Settled(answer))
            }
            Action::Nack(retry) => {
                let nack = Nack { retry, reason: REASON.to_owned() };
                let (settle, answer) = asked(|reply| Settle::Nack { nack, reply });
                (settle, SettleAnswer::Nacked(answer))
            }
            Action::Extend(lease_ms) => {
                let (settle, answer) = asked(|reply| Settle::Extend { lease_ms, reply });
                (settle, SettleAnswer::Extended(answer))
            }
        };
        let message = Message::Settle { lease, action: settle };
        self.send(lease.id.queue, message, Command::Settle { lease, action, reply })
    }

    pub(super) fn hand_on(&mut self, lease: LeaseRef, queue: u8, entries: &[New]) -> Checked {
        let queue = Arc::new((*self.queues[usize::from(queue)]).clone());
        let new: Vec<NewEntry> = entries.iter().map(|new| self.new_entry(new)).collect();
        let (reply, answer) = millpond_sync::oneshot::channel();
        let answer = Awaited::Synced(answer);
        let (entries, seen) = (new.clone(), Seen::default());
        let message = Message::AckAndEnqueue { lease, queue: queue.clone(), entries, seen, reply };
        self.send(queue.id, message, Command::HandOn { lease, queue, new, answer })
    }

    fn judge_handed_on(
        &mut self,
        lease: LeaseRef,
        queue: &QueueRef,
        new: Vec<NewEntry>,
        mut answer: EnqueueAnswer,
        staged: &mut Staged,
    ) -> Checked {
        let was_moving = self.is_moving(Stage::Ready, lease.id);
        let answered = answer.poll()?;
        let Err(reason) = self.standing(lease) else {
            // Unless it failed only after a command that had to wait was refused because of it.
            let settling =
                PartitionError::StaleLease { id: lease.id, reason: StaleReason::Settling };
            let refused = matches!(&answered, Some(Err(error)) if *error == settling);
            if refused && was_moving && staged.waited {
                note(Situation::HandedOnStale);
                return Ok(());
            }
            return self.judge_enqueue(queue, new, (answer, answered), Some(lease.id), staged);
        };
        match answered {
            Some(Err(PartitionError::StaleLease { id, reason: found })) => {
                // A move that has failed since has left a lease whose deadline may have passed meanwhile.
                let is_over = self.is_moving(Stage::Ready, lease.id)
                    && self.model.standing(lease, self.now, self.handled) == Err(found);
                prop_assert!(
                    id == lease.id && (found == reason || is_over),
                    "{found:?}, {reason:?}"
                );
                note(Situation::HandedOnStale);
                Ok(())
            }
            // A move that has failed since has left the lease in force, which is heard of later.
            None if reason == StaleReason::Settling && self.is_moving(Stage::Ready, lease.id) => {
                self.judge_enqueue(queue, new, (answer, None), Some(lease.id), staged)
            }
            answered => {
                let refused = is_refused(answered)?;
                prop_assert!(refused, "{:?} was accepted: {:?}", lease, reason);
                Ok(())
            }
        }
    }

    pub(super) fn purge(&mut self, queue: u8) -> Checked {
        let queue = self.queues[usize::from(queue)].id;
        self.note_purged_on_the_way(queue);
        let (reply, answer) = millpond_sync::oneshot::channel();
        let message = Message::Purge { id: queue, reply };
        self.send(queue, message, Command::Purge { queue, answer })
    }

    /// Reads that have ended may have let commands go on, and purges.
    pub(super) fn after_reads(&mut self) -> Checked {
        let mut staged = self.take_staged()?;
        for handled in std::mem::take(&mut self.node.core.handled) {
            if let Some((id, command)) = self.take_parked(handled) {
                self.judge(id, command, &mut staged)?;
            }
        }
        self.finish_staged(staged)
    }

    /// The command that the core has dealt with, if it had to wait.
    fn take_parked(&mut self, handled: Handled) -> Option<(QueueId, Command)> {
        for (id, commands) in &mut self.parked {
            let at = commands.iter().position(|command| match (command, handled) {
                (
                    Command::Enqueue { queue, .. } | Command::HandOn { queue, .. },
                    Handled::Entries(address),
                ) => Arc::as_ptr(queue).addr() == address,
                (Command::Purge { queue, .. }, Handled::Purge(of)) => *queue == of,
                (Command::Enqueue { .. } | Command::HandOn { .. } | Command::Purge { .. }, _) => {
                    false
                }
                (_, Handled::Other(of)) => *id == of,
                _ => false,
            });
            if let Some(at) = at {
                let (id, command) = (*id, commands.remove(at));
                self.parked.retain(|_, commands| !commands.is_empty());
                return Some((id, command));
            }
        }
        None
    }

    /// Everything staged since the last look.
    fn take_staged(&mut self) -> Checked<Staged> {
        let batch = &self.node.core.batch;
        let changes = read_changes(batch.ops().skip(self.node.n_read))?;
        self.node.n_read = batch.len();
        self.note_sequences(&changes)?;
        let mut by_queue: BTreeMap<QueueId, VecDeque<_>> = BTreeMap::new();
        for (at, change) in changes.into_iter().enumerate() {
            by_queue.entry(change.queue()).or_default().push_back((at, change));
        }
        Ok(Staged { by_queue, waited: true })
    }

    /// Whatever is new comes after everything that was there.
    pub(super) fn note_sequences(&mut self, changes: &[Change]) -> Checked {
        for id in changes.iter().filter_map(Change::accepts) {
            prop_assert!(id.rank.sequence > self.newest_sequence, "{} is no new sequence", id);
            self.newest_sequence = id.rank.sequence;
        }
        Ok(())
    }

    /// The next change of one queue that a command or a purge has brought about.
    pub(super) fn next_change(
        &mut self,
        id: QueueId,
        staged: &mut Staged,
    ) -> Checked<Option<Change>> {
        while let Some((_, change)) = staged.by_queue.get_mut(&id).and_then(VecDeque::pop_front) {
            let change = self.model.resolve(change)?;
            // A purge goes on while others wait at the door.
            if matches!(change, Change::Removed(id, _) if self.is_purged(id)) {
                self.purge_row(change.queue(), &change)?;
            } else if !self.judge_own(&change)? {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    /// What has risen, failed, or come from another topic, before a purge of its queue.
    fn judge_risen(&mut self, queue: QueueId, staged: &mut Staged) -> Checked {
        let Some(changes) = staged.by_queue.get_mut(&queue) else { return Ok(()) };
        while let Some((_, change)) = changes.pop_front_if(|(_, change)| goes_before_purge(change))
        {
            self.judge_own(&change)?;
        }
        Ok(())
    }

    /// What has gone to another topic before a purge of its queue.
    fn judge_forwarded(&mut self, queue: QueueId, staged: &mut Staged) -> Checked {
        let has_left = |change: &Change| matches!(change, Change::Forwarded { from, .. } if from.queue == queue);
        for changes in staged.by_queue.values_mut() {
            for (_, change) in changes.iter().filter(|(_, change)| has_left(change)) {
                self.judge_own(change)?;
            }
            changes.retain(|(_, change)| !has_left(change));
        }
        Ok(())
    }

    fn judge(&mut self, id: QueueId, command: Command, staged: &mut Staged) -> Checked {
        match command {
            Command::Enqueue { queue, new, mut answer } => {
                let answered = answer.poll()?;
                self.judge_enqueue(&queue, new, (answer, answered), None, staged)
            }
            Command::HandOn { lease, queue, new, answer } => {
                self.judge_handed_on(lease, &queue, new, answer, staged)
            }
            Command::Settle { lease, action, reply } => {
                self.judge_settle(id, lease, action, reply, staged)
            }
            Command::Purge { queue, answer } => {
                self.judge_risen(queue, staged)?;
                self.judge_forwarded(queue, staged)?;
                self.note_purges(|id| *id == queue);
                self.purges.push((queue, answer));
                self.judge_range(queue, staged)
            }
            Command::Dead { id, action, answer } => {
                self.judge_dead(id, action, answer);
                Ok(())
            }
            Command::Lease => Ok(()),
            Command::GiveBack(lease) => self.judge_return(lease, staged),
        }
    }

    /// A purge that needs one commit stages its range at once, before what comes after it.
    fn judge_range(&mut self, queue: QueueId, staged: &mut Staged) -> Checked {
        let next = staged.by_queue.get(&queue).and_then(VecDeque::front);
        if matches!(next, Some((_, Change::Purged(_))))
            && let Some(change) = self.next_change(queue, staged)?
        {
            self.purge_row(queue, &change)?;
        }
        Ok(())
    }

    fn judge_return(&mut self, LeaseRef { id, token }: LeaseRef, staged: &mut Staged) -> Checked {
        let entry = self.model.entries.get(&id).filter(|entry| !entry.purged);
        let lease = entry.and_then(|entry| entry.lease.as_ref());
        let is_moving = self.is_ending(id);
        let held = lease
            .filter(|lease| lease.row.token == token && lease.is_held(self.handled) && !is_moving);
        // Nobody is told if the look-up failed; then the lease ends at its deadline.
        let is_there = self.node.core.queues.find(&id.queue).is_some();
        let Some(lease) = held.filter(|_| is_there) else { return Ok(()) };
        let change = Change::Released { id, attempts: lease.row.attempts - 1 };
        prop_assert_eq!(self.next_change(id.queue, staged)?, Some(change.clone()));
        self.model.apply(&change, self.staging(), Ending::Unreceived);
        Ok(())
    }

    fn judge_enqueue(
        &mut self,
        queue: &QueueRef,
        new: Vec<NewEntry>,
        (answer, answered): (EnqueueAnswer, Option<Answer<Vec<Accepted>>>),
        acked: Option<EntryId>,
        staged: &mut Staged,
    ) -> Checked {
        let verdicts = self.verdicts(queue.id, &new);
        let is_new = new.iter().zip(&verdicts).filter(|(_, of)| of.is_none());
        let sizes: Vec<usize> = is_new.map(|(new, _)| new.body.len()).collect();
        let exceeded = self.exceeded(queue.id, &sizes, acked);
        if self.is_refused_full(&answered, exceeded, staged.waited)? || is_refused(answered)? {
            return Ok(());
        }
        let at = self.staging();
        if let Some(id) = acked {
            let removed = Change::Removed(id, Stage::Ready);
            let change = self.next_change(id.queue, staged)?;
            prop_assert_eq!(change.as_ref(), Some(&removed));
            self.model.apply(&removed, at, Ending::Acked);
            self.removals.insert(id, at);
            note(Situation::HandedOn);
        }
        let mut accepted: Vec<Accepted> = Vec::new();
        for (new, verdict) in new.into_iter().zip(verdicts) {
            if let Some(of) = verdict {
                let of = of.unwrap_or_else(|first| accepted[first].id());
                accepted.push(Accepted::Duplicate { of });
                continue;
            }
            let due = self.due(new.start);
            let (id, place, row) = match (self.next_change(queue.id, staged)?, due) {
                (Some(Change::Entered(id, row)), None) => (id, Place::Ready, row),
                (Some(Change::Delayed(id, found, row)), Some(due)) => {
                    prop_assert_eq!(found, due, "{:?}", new.start);
                    (id, Place::Delayed(due), row)
                }
                other => return Err(fail(format!("{:?} was staged as {other:?}", new.start))),
            };
            prop_assert_eq!((id.queue, id.rank.priority), (queue.id, new.priority));
            let entry = ModelEntry::new(new.body, self.now, place, at);
            prop_assert_eq!(row, entry.row());
            self.model.entries.insert(id, entry);
            self.take_key(id, new.dedup);
            accepted.push(Accepted::New(id));
        }
        self.pending.push(Pending { at, reply: Replies::Enqueued { answer, accepted, acked } });
        Ok(())
    }

    /// When an entry accepted now is due. A delay is never cut short: what is left of a millisecond is
    /// waited for.
    fn due(&self, start: Start) -> Option<Due> {
        match start {
            Start::After(ms) if ms > 0 => {
                Some(Due { clock: DueClock::Steady, at: self.now.plus(ms).plus(1) })
            }
            Start::At(at) if at > self.wall => Some(Due { clock: DueClock::Wall, at }),
            Start::Now | Start::After(_) | Start::At(_) => None,
        }
    }

    fn judge_settle(
        &mut self,
        queue: QueueId,
        lease: LeaseRef,
        action: Action,
        reply: SettleAnswer,
        staged: &mut Staged,
    ) -> Checked {
        let standing = self.standing(lease);
        let id = lease.id;
        let attempts = self.model.entries.get(&id).map_or(0, ModelEntry::n_attempts);
        let reply = match (reply, action) {
            // The row has to be read first.
            (SettleAnswer::Nacked(answer), Action::Nack(retry))
                if standing.is_ok()
                    && self.outcome(id, retry) != Some(Outcome::Ready { by_chance: false }) =>
            {
                self.nack_started(id, retry, answer);
                return Ok(());
            }
            (reply, _) => reply,
        };
        let (expected, how) = match action {
            Action::Ack | Action::AckBuffered => (Change::Removed(id, Stage::Ready), Ending::Acked),
            Action::Nack(_) => (Change::Released { id, attempts }, Ending::Nacked),
            Action::Extend(ms) => (Change::Extended(id, self.now.plus(ms)), Ending::Forgotten),
        };
        let reply = match (reply, &expected) {
            (SettleAnswer::Settled(answer), _) => {
                Replies::Settled { answer, removed: (how == Ending::Acked).then_some(id) }
            }
            (SettleAnswer::Nacked(answer), Change::Released { .. }) => {
                Replies::Nacked { answer, nacked: Nacked::Ready }
            }
            (SettleAnswer::Extended(answer), Change::Extended(_, deadline)) => {
                Replies::Extended { answer, deadline: *deadline }
            }
            _ => return Err(fail("an answer of another kind")),
        };
        let mut pending = Pending { at: self.staging(), reply };
        let answered = pending.poll()?;
        if matches!(answered, Some(Err(PartitionError::Read(_)))) {
            note(Situation::LookUpFailed);
            return Ok(());
        }
        match standing {
            Ok(()) => {
                note(match action {
                    Action::Ack | Action::AckBuffered => Situation::Acked,
                    Action::Nack(_) => Situation::Nacked,
                    Action::Extend(_) => Situation::Extended,
                });
                let change = self.next_change(queue, staged)?;
                prop_assert_eq!(change.as_ref(), Some(&expected));
                self.model.apply(&expected, pending.at, how);
                if how == Ending::Acked {
                    self.removals.insert(id, pending.at);
                }
                self.pending.push(pending);
            }
            Err(reason) => {
                note_stale(reason);
                let error = PartitionError::StaleLease { id, reason };
                prop_assert_eq!(answered, Some(Err(error)), "{:?}", self.model.entries);
            }
        }
        Ok(())
    }
}

impl Staged {
    pub(super) fn queues(&self) -> impl Iterator<Item = QueueId> {
        self.by_queue.keys().copied()
    }
}

/// Whether the core stages it by itself, and not once a purge has begun.
fn goes_before_purge(change: &Change) -> bool {
    matches!(
        change,
        Change::Arose(..)
            | Change::BackedOff(..)
            | Change::Died(..)
            | Change::Replayed(..)
            | Change::Forwarded { .. }
    )
}

/// Whether a command was refused because its queue could not be looked up.
pub(super) fn is_refused<T>(answer: Option<Answer<T>>) -> Checked<bool> {
    match answer {
        Some(Err(PartitionError::Read(_))) => {
            note(Situation::LookUpFailed);
            Ok(true)
        }
        Some(Err(error)) => Err(fail(error)),
        _ => Ok(false),
    }
}
