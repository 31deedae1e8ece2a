//! Commands, the rows they stage, and those that have to wait until their queue is looked up.

use millpond_storage_api::{Op as StagedOp, Table, WriteBatch};

use super::*;
use crate::Purged;
use crate::command::{Answer, Nack, Nacked, Reply};

/// A command whose rows are due when the core gets to it.
pub(super) enum Command {
    Enqueue {
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
    /// Stages nothing by itself.
    Lease,
    GiveBack(LeaseRef),
}

type Receiver<T> = millpond_sync::oneshot::Receiver<Answer<millpond_storage_api::Durable<T>>>;
pub(super) type EnqueueAnswer = Receiver<Vec<EntryId>>;
pub(super) type PurgeAnswer = Receiver<Purged>;

pub(super) enum SettleAnswer {
    Nacked(Receiver<Nacked>),
    Settled(Receiver<()>),
    Extended(Receiver<UnixMillis>),
}

/// What was staged and not looked at, queue by queue.
pub(super) struct Staged {
    batch: WriteBatch,
    by_queue: BTreeMap<QueueId, VecDeque<usize>>,
}

impl World {
    pub(super) fn send(&mut self, queue: QueueId, message: Message, command: Command) -> Checked {
        self.node.core.handle_message(self.now, message);
        if self.node.core.recall.is_parked(&queue) {
            note(Situation::Parked);
            self.parked.entry(queue).or_default().push(command);
            return Ok(());
        }
        let mut staged = self.take_staged()?;
        self.judge(queue, command, &mut staged)?;
        self.finish_staged(staged)
    }

    pub(super) fn enqueue(&mut self, queue: u8, entries: &[(u8, bool)]) -> Checked {
        let queue = self.queues[usize::from(queue)].clone();
        let is_known = self.node.core.queues.find(&queue.id).is_some();
        if !is_known && self.receipts.iter().any(|id| id.queue == queue.id) {
            note(Situation::Returned);
        }
        let new: Vec<NewEntry> =
            entries.iter().map(|&(priority, large)| new_entry(priority, large)).collect();
        let (reply, answer) = millpond_sync::oneshot::channel();
        let message = Message::Enqueue { queue: queue.clone(), entries: new.clone(), reply };
        self.send(queue.id, message, Command::Enqueue { queue, new, answer })
    }

    pub(super) fn settle(&mut self, lease: LeaseRef, action: Action) -> Checked {
        fn asked<T>(of: impl FnOnce(Reply<T>) -> Settle) -> (Settle, Receiver<T>) {
            let (reply, answer) = millpond_sync::oneshot::channel();
            (of(reply), answer)
        }
        let (settle, reply) = match action {
            Action::Ack => {
                let (settle, answer) = asked(Settle::Ack);
                (settle, SettleAnswer::Settled(answer))
            }
            Action::Nack => {
                let nack = Nack::default();
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

    pub(super) fn purge(&mut self, queue: u8) -> Checked {
        let queue = self.queues[usize::from(queue)].id;
        let (reply, answer) = millpond_sync::oneshot::channel();
        let message = Message::Purge { id: queue, reply };
        self.send(queue, message, Command::Purge { queue, answer })
    }

    /// Reads that have ended may have let commands go on, and purges.
    pub(super) fn after_reads(&mut self) -> Checked {
        let mut staged = self.take_staged()?;
        let still_parked = |id: &QueueId| self.node.core.recall.is_parked(id);
        let free: Vec<QueueId> =
            self.parked.keys().filter(|id| !still_parked(id)).copied().collect();
        // In the order in which the core got to them.
        let mut free: Vec<(usize, QueueId)> =
            free.into_iter().map(|id| (staged.first_of(id), id)).collect();
        free.sort_unstable();
        for (_, id) in free {
            for command in self.parked.remove(&id).unwrap_or_default() {
                self.judge(id, command, &mut staged)?;
            }
        }
        self.finish_staged(staged)
    }

    /// Everything staged since the last look.
    fn take_staged(&mut self) -> Checked<Staged> {
        let batch = self.node.core.batch.clone();
        let mut by_queue: BTreeMap<QueueId, VecDeque<usize>> = BTreeMap::new();
        for (at, op) in batch.ops().enumerate().skip(self.node.n_read) {
            if let Some(id) = queue_of(&op) {
                by_queue.entry(id).or_default().push_back(at);
            }
        }
        self.node.n_read = batch.len();
        Ok(Staged { batch, by_queue })
    }

    /// The next change of one queue.
    fn next_change(&self, id: QueueId, staged: &mut Staged) -> Checked<Option<Change>> {
        let Some(ops) = staged.by_queue.get_mut(&id) else { return Ok(None) };
        while let Some(at) = ops.pop_front() {
            let op = staged.batch.ops().nth(at).expect("counted before");
            if let Some(change) = self.model.read(op)? {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    fn judge(&mut self, id: QueueId, command: Command, staged: &mut Staged) -> Checked {
        match command {
            Command::Enqueue { queue, new, answer } => {
                self.judge_enqueue(&queue, new, answer, staged)
            }
            Command::Settle { lease, action, reply } => {
                self.judge_settle(id, lease, action, reply, staged)
            }
            Command::Purge { queue, answer } => {
                self.note_purges(|id| *id == queue);
                self.purges.push((queue, answer));
                self.judge_range(queue, staged)
            }
            Command::Lease => Ok(()),
            Command::GiveBack(lease) => self.judge_return(lease, staged),
        }
    }

    /// A purge that needs one commit stages its range at once, before what comes after it.
    fn judge_range(&mut self, queue: QueueId, staged: &mut Staged) -> Checked {
        let next = staged.by_queue.get(&queue).and_then(|ops| ops.front()).copied();
        let op = next.and_then(|at| staged.batch.ops().nth(at));
        let of_entries = matches!(op, Some(StagedOp::DeleteRange { table: Table::Entries, .. }));
        if of_entries && let Some(change) = self.next_change(queue, staged)? {
            self.purge_row(queue, &change)?;
        }
        Ok(())
    }

    fn judge_return(&mut self, LeaseRef { id, token }: LeaseRef, staged: &mut Staged) -> Checked {
        let entry = self.model.entries.get(&id).filter(|entry| !entry.purged);
        let lease = entry.and_then(|entry| entry.lease.as_ref());
        let held = lease.filter(|lease| lease.row.token == token && lease.is_held(self.handled));
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
        mut answer: EnqueueAnswer,
        staged: &mut Staged,
    ) -> Checked {
        if is_refused(answer.try_recv().map_err(fail)?)? {
            return Ok(());
        }
        let at = self.staging();
        let mut ids = Vec::new();
        for entry in new {
            let Some(Change::Entered(id)) = self.next_change(queue.id, staged)? else {
                return Err(fail("an entry was not staged"));
            };
            prop_assert_eq!((id.queue, id.rank.priority), (queue.id, entry.priority));
            prop_assert!(id.rank.sequence > self.newest_sequence, "{} is no new sequence", id);
            self.newest_sequence = id.rank.sequence;
            let entry = ModelEntry {
                body: entry.body,
                enqueued_at: self.now,
                enqueued: at,
                lease: None,
                removed: None,
                purged: false,
            };
            self.model.entries.insert(id, entry);
            ids.push(id);
        }
        self.pending.push(Pending { at, reply: Replies::Enqueued { answer, ids } });
        Ok(())
    }

    fn judge_settle(
        &mut self,
        queue: QueueId,
        lease: LeaseRef,
        action: Action,
        reply: SettleAnswer,
        staged: &mut Staged,
    ) -> Checked {
        let standing = self.model.standing(lease, self.now, self.handled);
        let attempts = self.model.entries.get(&lease.id).and_then(|entry| entry.lease.as_ref());
        let attempts = attempts.map_or(0, |lease| lease.row.attempts);
        let id = lease.id;
        let (expected, how) = match action {
            Action::Ack => (Change::Removed(id), Ending::Acked),
            Action::Nack => (Change::Released { id, attempts }, Ending::Nacked),
            Action::Extend(ms) => (Change::Extended(id, self.now.plus(ms)), Ending::Forgotten),
        };
        let reply = match (reply, &expected) {
            (SettleAnswer::Settled(answer), _) => {
                Replies::Settled { answer, acked: matches!(action, Action::Ack).then_some(id) }
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
        if matches!(answered, Some(Err(PartitionError::Read(_) | PartitionError::Corrupt(_)))) {
            note(Situation::LookUpFailed);
            return Ok(());
        }
        match standing {
            Ok(()) => {
                note(match action {
                    Action::Ack => Situation::Acked,
                    Action::Nack => Situation::Nacked,
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

    /// What no command has staged, a purge has.
    fn finish_staged(&mut self, mut staged: Staged) -> Checked {
        self.note_purges(|_| true);
        let queues: Vec<QueueId> = staged.by_queue.keys().copied().collect();
        for queue in queues {
            while let Some(change) = self.next_change(queue, &mut staged)? {
                self.purge_row(queue, &change)?;
            }
        }
        Ok(())
    }

    /// Applies a change that a purge has staged.
    fn purge_row(&mut self, queue: QueueId, change: &Change) -> Checked {
        let at = self.staging();
        let is_purge = match change {
            Change::Purged(_) => {
                note(Situation::PurgedByRange);
                let mine = self.model.entries.iter().filter(|(id, _)| id.queue == queue);
                let gone: Vec<EntryId> = mine.map(|(id, _)| *id).collect();
                for id in gone {
                    // One that was acked already is gone since then.
                    self.removals.entry(id).or_insert(at);
                }
                true
            }
            Change::Removed(id) => {
                note(Situation::PurgedByRow);
                self.removals.insert(*id, at);
                self.model.entries.get(id).is_some_and(|entry| entry.purged)
            }
            _ => false,
        };
        prop_assert!(is_purge, "nobody asked for {:?}", change);
        self.model.apply(change, at, Ending::Forgotten);
        Ok(())
    }

    /// Purges that have begun: from here on nobody may be handed what they concern.
    fn note_purges(&mut self, of: impl Fn(&QueueId) -> bool) {
        for (_, queue) in self.node.core.queues.iter().filter(|(_, queue)| of(&queue.id)) {
            let Some(purge) = queue.purge() else { continue };
            let is_new = self.begun.insert(queue.id, purge.upto) != Some(purge.upto);
            let (mut n_entries, mut n_leased) = (0, 0);
            // Also of one seen before: entries that were parked with it are known only now.
            let mine = self.model.entries.iter_mut().filter(|(id, _)| id.queue == queue.id);
            for (id, entry) in mine.filter(|(id, _)| id.rank.sequence < purge.upto) {
                if entry.removed.is_none() && !entry.purged {
                    n_entries += 1;
                    let lease = entry.lease.as_ref();
                    n_leased += u64::from(lease.is_some_and(|l| !l.is_over(self.handled)));
                }
                entry.purged = true;
                self.purged.insert(*id);
            }
            if n_leased > 0 {
                note(Situation::PurgedWhileLeased);
            }
            if is_new {
                self.started.push_back((queue.id, 0));
            }
            let mut newest = self.started.iter_mut().rev();
            if let Some((_, n)) = newest.find(|(id, _)| *id == queue.id) {
                *n += n_entries;
            }
        }
    }

    /// Purges that were answered have removed what they say.
    pub(super) fn hear_purges(&mut self) -> Checked {
        for (queue, mut answer) in std::mem::take(&mut self.purges) {
            let Some(outcome) = answer.try_recv().map_err(fail)? else {
                self.purges.push((queue, answer));
                continue;
            };
            if is_refused(Some(outcome.clone()))? {
                continue;
            }
            let removed = *outcome.map_err(fail)?.get();
            if removed.n_entries == 0 {
                continue;
            }
            let at = self.started.iter().position(|(id, _)| *id == queue);
            let Some((_, n_entries)) = at.and_then(|at| self.started.remove(at)) else {
                prop_assert!(!self.looks_inside(), "a purge that was not begun");
                continue;
            };
            prop_assert_eq!(removed.n_entries, n_entries, "entries of {} removed", queue);
        }
        Ok(())
    }
}

impl Staged {
    fn first_of(&self, id: QueueId) -> usize {
        self.by_queue.get(&id).and_then(|ops| ops.front()).copied().unwrap_or(usize::MAX)
    }
}

/// Whether a command was refused because its queue could not be looked up.
fn is_refused<T>(answer: Option<Answer<T>>) -> Checked<bool> {
    match answer {
        Some(Err(PartitionError::Read(_) | PartitionError::Corrupt(_))) => {
            note(Situation::LookUpFailed);
            Ok(true)
        }
        Some(Err(error)) => Err(fail(error)),
        _ => Ok(false),
    }
}

fn queue_of(op: &StagedOp<'_>) -> Option<QueueId> {
    let (table, key) = match op {
        StagedOp::Put { table, key, .. }
        | StagedOp::Delete { table, key }
        | StagedOp::SingleDelete { table, key } => (table, key),
        StagedOp::DeleteRange { table, lower, .. } => (table, lower),
    };
    let starts_with_queue = matches!(table, Table::Entries | Table::Leases | Table::Payloads);
    let id = key.first_chunk::<16>().filter(|_| starts_with_queue)?;
    Some(QueueId(*id))
}
