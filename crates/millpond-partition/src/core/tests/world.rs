//! A core, a device and callers, driven step by step: the harness does what the loop does, in whatever
//! order a history says, and holds everything that comes out against the [oracle](super::oracle).

mod bounds;
mod callers;
mod delays;
mod drain;
mod forwards;
mod keys;
mod lifecycle;
mod moves;
mod node;
mod purges;
mod restart;
mod retention;
mod rules;
mod sharing;
mod staged;
mod time;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millpond_storage_api::{LogPosition, PartitionStore, StoreError, StoreErrorKind, Table};
use millpond_storage_memory::{BlockReads, MemoryDisk, SnapshotAt};
use millpond_sync::thread::block_on;
use millpond_types::{
    Body, DedupKey, Due, DueClock, EntryId, EntryRank, Epoch, LeaseToken, QueueId, QueueKey,
    Sequence, Stage, UnixMillis,
};
use proptest::prelude::*;

use super::coverage::{Situation, note, note_many, note_stale};
use super::invariants::waits;
use super::op::{Action, Corpse, N_GRAVES, N_QUEUES, Named, New, Op, Setup, Then, When, topic};
use super::oracle::{
    Change, Checked, Ending, Model, ModelEntry, Outcome, Place, fail, outcome, read_changes,
};
use crate::command::{DeadAction, LeaseRef, Message, NewEntry, QueueRef, Retry, Settle, Start};
use crate::core::forward::Step;
use crate::core::waits::Wait;
use crate::core::{Mutation, Seen};
use crate::durability::{Position, Ticket};
use crate::governor::Governor;
use crate::options::LeasesAtOpen;
use crate::verify::verify;
use crate::{LeaseSource, PartitionError, StaleReason};
use callers::{Call, Pending, Promise, Replies};
use moves::Moving;
use node::Node;
use rules::Rulebook;
use staged::{Command, PurgeAnswer};

pub(super) struct World {
    pub(super) setup: Setup,
    disk: MemoryDisk,
    queues: Vec<Arc<QueueRef>>,
    now: UnixMillis,
    wall: UnixMillis,
    pub(super) node: Node,
    /// With everything that was staged.
    pub(super) model: Model,
    /// With everything up to a submitted batch; the first is the newest durable one.
    snapshots: VecDeque<(LogPosition, Model)>,
    /// The newest commit that the core was told of.
    pub(super) handled: LogPosition,
    submitted: LogPosition,
    newest_token: LeaseToken,
    newest_sequence: Sequence,
    pending: Vec<Pending>,
    calls: Vec<Call>,
    /// Every lease that a caller accepted.
    received: Vec<LeaseRef>,
    /// Messages about unreceived leases on their way to the loop.
    mail: VecDeque<Vec<LeaseRef>>,
    /// What callers were promised.
    receipts: BTreeSet<EntryId>,
    acked: BTreeSet<EntryId>,
    /// Those promises that hold until a power cut, or a failed commit, and by which commit.
    buffered: Vec<(LogPosition, Promise)>,
    /// The commit in which an entry left.
    removals: BTreeMap<EntryId, LogPosition>,
    /// Entries that are to go to another stage once their rows are read.
    moves: Vec<Moving>,
    /// Entries that are due and wait for their queue to be looked up.
    leaving: BTreeSet<EntryId>,
    /// The dead letter that somebody looked after last.
    buried: Option<EntryId>,
    /// Commands that wait until their queue is looked up.
    parked: BTreeMap<QueueId, Vec<Command>>,
    /// Who waits for a purge, which purges have begun and not been answered, and how far each queue's
    /// newest goes.
    purges: Vec<(QueueId, PurgeAnswer)>,
    started: VecDeque<(QueueId, u64)>,
    begun: BTreeMap<QueueId, Sequence>,
    /// Entries that a purge concerned.
    purged: BTreeSet<EntryId>,
    rulebook: Rulebook,
    /// Another partition has a part in the limits, so that what is out here says little.
    shares: bool,
}

fn pick<T>(from: &[T], pick: u16) -> Option<usize> {
    (!from.is_empty()).then(|| usize::from(pick) % from.len())
}

impl World {
    pub(super) fn new(setup: &Setup) -> Checked<Self> {
        Self::under(&Governor::new(1), 0, setup)
    }

    /// As one of several partitions.
    fn under(governor: &Governor, number: usize, setup: &Setup) -> Checked<Self> {
        let disk = MemoryDisk::new();
        let now = UnixMillis(100_000_000);
        let node = Node::open_under(governor, number, &disk, setup, now)?;
        disk.block_reads(setup.block);
        setup.hold.into_iter().for_each(|snapshot| disk.hold_scans(snapshot));
        let queues = (0..N_QUEUES + N_GRAVES)
            .map(|n| {
                let topic = topic(usize::from(n + 1 >= N_QUEUES) + usize::from(n >= N_QUEUES));
                let key = QueueKey::new([(n % N_QUEUES) % N_GRAVES]).expect("a valid key");
                QueueRef::new(topic, key)
            })
            .collect();
        let mut world = Self {
            setup: setup.clone(),
            disk,
            queues,
            now,
            wall: now,
            node,
            model: Model::default(),
            snapshots: [(LogPosition(0), Model::default())].into(),
            handled: LogPosition(0),
            submitted: LogPosition(0),
            newest_token: LeaseToken { epoch: Epoch(0), number: 0 },
            newest_sequence: Sequence(0),
            pending: Vec::new(),
            calls: Vec::new(),
            received: Vec::new(),
            mail: VecDeque::new(),
            receipts: BTreeSet::new(),
            acked: BTreeSet::new(),
            buffered: Vec::new(),
            removals: BTreeMap::new(),
            moves: Vec::new(),
            leaving: BTreeSet::new(),
            buried: None,
            parked: BTreeMap::new(),
            purges: Vec::new(),
            started: VecDeque::new(),
            begun: BTreeMap::new(),
            purged: BTreeSet::new(),
            rulebook: Rulebook::default(),
            shares: false,
        };
        world.show_clocks();
        world.lay_down_rules()?;
        Ok(world)
    }

    pub(super) fn step(&mut self, op: &Op) -> Checked {
        match *op {
            Op::Enqueue { queue, ref entries, buffered } => {
                self.enqueue_as(queue, entries, buffered)?;
            }
            Op::Lease { source, n_max, lease_ms, wait } => {
                self.lease(source.resolve(&self.setup, &self.queues), n_max, lease_ms, wait)?;
            }
            Op::Accept(nth) => self.accept(nth),
            Op::Abandon(nth) => self.abandon(nth),
            Op::ClaimElsewhere(nth) => self.claim_elsewhere(nth),
            Op::Settle { lease, action } => self.settle_named(lease, action)?,
            Op::HandOn { lease, queue, ref entries } => {
                if let Some(lease) = self.named(lease) {
                    self.hand_on(lease, queue, entries)?;
                }
            }
            Op::Job { queue } => self.job(queue)?,
            Op::Flood { queue } => self.flood(queue)?,
            Op::Attempt { queue, action, then } => self.attempt(queue, action, then)?,
            Op::Bury { queue, n_bytes, n_reads, then } => {
                self.bury_slowly(queue, n_bytes, n_reads, then)?;
            }
            Op::AckAll => self.ack_all()?,
            Op::GiveBack(nth) => {
                let given = pick(&self.received, nth).map(|at| vec![self.received[at]]);
                self.mail.extend(given);
            }
            Op::Mail => self.deliver_mail()?,
            Op::Dead { entry, action, again } => {
                self.look_after(entry, action)?;
                if again {
                    self.reads()?;
                    self.look_after(Corpse::Same, action)?;
                }
            }
            Op::Advance(ms) => self.advance(ms),
            Op::SetWall(ms) => self.set_wall(ms),
            Op::Timeout => self.timeout()?,
            Op::Reads => self.reads()?,
            Op::PollRead(nth) => {
                if let Some(at) = pick(&self.node.reads, nth) {
                    self.node.poll_read(self.now, at);
                    self.after_reads()?;
                }
            }
            Op::LoseRead(nth) => {
                if let Some(at) = pick(&self.node.reads, nth) {
                    self.node.lose_read(self.now, at);
                    self.after_reads()?;
                } else {
                    self.node.loses_next = true;
                }
            }
            Op::Purge(queue) => self.purge(queue)?,
            Op::Configure { about, ref settings } => self.configure(about, settings)?,
            Op::Tidy => self.tidy()?,
            Op::Serve => self.serve()?,
            Op::Submit => self.submit()?,
            Op::Write(n_batches) => {
                for _ in 0..n_batches {
                    self.disk.write_next();
                }
            }
            Op::Sync(n_batches) => {
                for _ in 0..n_batches {
                    self.disk.sync_next();
                }
                self.check_durable()?;
            }
            Op::TakeCommits => self.take_commits()?,
            Op::Turn => self.turn()?,
            Op::QuickTurn => self.commit_turn()?,
            Op::Block(block) => self.disk.block_reads(block),
            Op::HoldScans(snapshot) => self.disk.hold_scans(snapshot),
            Op::ReleaseScan(nth) => {
                let n_held = self.disk.n_held_scans().max(1);
                self.disk.release_scan_at(usize::from(nth) % n_held);
            }
            Op::ReleaseScans => self.disk.release_scans(),
            Op::HoldLookUps(holds) => self.node.holds_look_ups = holds,
            Op::FailRead { after, kind } => self.disk.fail_read(after, kind),
            Op::FailCommit { after, kind, batch } => self.disk.fail_commit(after, kind, batch),
            Op::Compact => self.disk.compact(),
            Op::Close(at_open) => self.close(at_open)?,
            Op::Crash { n_turns, keep, power, at_open } => {
                for n in 0..n_turns {
                    self.enqueue_as(n, &[New::PLAIN], n < 2)?;
                    self.serve()?;
                    self.submit()?;
                    self.disk.write_next();
                    self.take_commits()?;
                }
                self.hear()?;
                if power {
                    if (1..self.disk.n_unsynced()).contains(&keep) {
                        note(Situation::CrashedBetween);
                    }
                    self.disk.crash(keep);
                } else {
                    self.disk.kill(keep);
                    self.check_buffered(self.disk.durable_position())?;
                }
                self.reopen(at_open)?;
            }
        }
        self.hear()?;
        self.check_structure()
    }

    /// Whether to look at the state of the core, too. A rule left out must be noticed from outside, if
    /// it costs more than memory or a look.
    pub(super) fn looks_inside(&self) -> bool {
        let costs_memory = |rule| {
            use Mutation::*;
            matches!(
                rule,
                DepartureUnconfirmed
                    | RisenUnconfirmed
                    | LeavingUnlimited
                    | DormantStaysCounted
                    | CallsUnbounded
                    | OutlivedUnwatched
                    | WatchedTooLate
            )
        };
        self.setup.options.broken.is_none_or(costs_memory)
    }

    /// The position that the batch being staged will have.
    fn staging(&self) -> LogPosition {
        self.submitted.next()
    }

    fn job(&mut self, queue: u8) -> Checked {
        let key = queue.is_multiple_of(2).then_some(7);
        self.enqueue(queue, &[New { key, ..New::PLAIN }])?;
        self.commit_turn()?;
        self.lease(LeaseSource::Queue(self.queues[usize::from(queue)].id), 1, 1000, false)?;
        self.commit_turn()?;
        self.ack_all()?;
        self.commit_turn()
    }

    fn flood(&mut self, queue: u8) -> Checked {
        // More than its window holds, so that there is something to read.
        self.enqueue(queue, &[New::PLAIN; 5])?;
        self.commit_turn()?;
        self.disk.block_reads(BlockReads::Always);
        self.disk.hold_scans(SnapshotAt::Start);
        self.lease(LeaseSource::Queue(self.queues[usize::from(queue)].id), 5, 1000, false)?;
        self.commit_turn()?;
        self.enqueue(queue, &[New::PLAIN; 6])?;
        self.commit_turn()?;
        self.disk.block_reads(self.setup.block);
        Ok(())
    }

    fn attempt(&mut self, queue: u8, action: Action, then: Then) -> Checked {
        let n_before = self.received.len();
        self.lease(LeaseSource::Queue(self.queues[usize::from(queue)].id), 1, 300, false)?;
        self.commit_turn()?;
        while self.calls.iter().any(|call| call.unread.is_some()) {
            self.accept(0);
        }
        if matches!(then, Then::FailRead) {
            self.disk.fail_read(0, StoreErrorKind::Io);
        }
        // A failed commit may have ended the partition, and with it what was received.
        for lease in self.received.split_off(n_before.min(self.received.len())) {
            self.received.push(lease);
            self.settle(lease, action)?;
        }
        match then {
            Then::Nothing => Ok(()),
            Then::FailRead => self.reads(),
            Then::Advance(ms) => {
                self.advance(ms);
                self.timeout()
            }
            Then::Purge { reads } => {
                if reads {
                    self.reads()?;
                }
                self.purge(queue)
            }
        }
    }

    fn reads(&mut self) -> Checked {
        self.node.start_reads(self.now);
        self.after_reads()
    }

    /// A turn whose commit is durable, and known to be, before the next.
    fn commit_turn(&mut self) -> Checked {
        self.turn()?;
        self.disk.sync_all();
        self.check_durable()?;
        self.turn()
    }

    fn ack_all(&mut self) -> Checked {
        while self.calls.iter().any(|call| call.unread.is_some()) {
            self.accept(0);
        }
        for lease in self.received.clone() {
            if self.standing(lease).is_ok() {
                self.settle(lease, Action::Ack)?;
            }
        }
        Ok(())
    }

    fn settle_named(&mut self, lease: Named, action: Action) -> Checked {
        self.named(lease).map_or(Ok(()), |lease| self.settle(lease, action))
    }

    fn named(&self, lease: Named) -> Option<LeaseRef> {
        match lease {
            Named::Received(nth) => pick(&self.received, nth).map(|at| self.received[at]),
            Named::Standing(nth) => {
                let mut standing = self.received.clone();
                standing.retain(|lease| self.standing(*lease).is_ok());
                pick(&standing, nth).map(|at| standing[at])
            }
            Named::Guessed { entry, ahead } => {
                let ids: Vec<EntryId> = self.model.entries.keys().copied().collect();
                let number = self.newest_token.number.saturating_add_signed(ahead.into());
                let token = LeaseToken { epoch: self.newest_token.epoch, number };
                pick(&ids, entry).map(|at| LeaseRef { id: ids[at], token })
            }
        }
    }

    /// The loop takes the oldest message about unreceived leases.
    fn deliver_mail(&mut self) -> Checked {
        let Some(leases) = self.mail.pop_front() else { return Ok(()) };
        self.node.core.handle_message(self.now, Message::Unreceived(leases.clone()));
        self.node.core.handled.clear();
        let mut expected = VecDeque::new();
        let mut seen = BTreeSet::new();
        for LeaseRef { id, token } in leases {
            if self.node.core.queues.find(&id.queue).is_none() && !self.node.core.recall.is_done() {
                let command = Command::GiveBack(LeaseRef { id, token });
                self.parked.entry(id.queue).or_default().push(command);
                continue;
            }
            let entry = self.model.entries.get(&id).filter(|entry| !entry.purged);
            let lease = entry.and_then(|entry| entry.lease.as_ref());
            let is_moving = self.is_ending(id);
            let held = lease.filter(|lease| {
                lease.row.token == token && lease.is_held(self.handled) && !is_moving
            });
            if let Some(lease) = held
                && seen.insert(id)
            {
                let attempts = lease.row.attempts - 1;
                expected.push_back((Change::Released { id, attempts }, Ending::Unreceived));
                note(Situation::Unreceived);
            } else {
                note(Situation::UnreceivedTooLate);
            }
        }
        self.expect_staged(expected)
    }

    fn serve(&mut self) -> Checked {
        let n_before = if self.looks_inside() { self.n_out() } else { Vec::new() };
        self.node.core.serve(self.now);
        self.check_limits(&n_before)?;
        self.read_staged(|world, change| {
            let (id, row) = match change {
                Change::Granted(id, row) => (id, row),
                Change::Removed(id, Stage::Ready) => {
                    note(Situation::OutlivedUnserved);
                    return world.judge_outlived(*id);
                }
                _ => return Err(fail(format!("serving staged {change:?}"))),
            };
            prop_assert!(!world.is_outlived(*id), "{} was granted too late", id);
            world.model.check_grant(*id, row, world.newest_token, world.handled)?;
            let is_spent = world.is_spent(id.queue, row.attempts - 1);
            prop_assert!(!is_spent, "attempt {} of {}", row.attempts, id);
            world.newest_token = row.token;
            if row.attempts > 1 {
                note(Situation::SecondAttempt);
            }
            Ok(Ending::Forgotten)
        })?;
        self.hear()?;
        self.check_served()
    }

    fn submit(&mut self) -> Checked {
        if self.node.commits.len() >= self.setup.options.commits_in_flight_max {
            return Ok(());
        }
        let n_read = std::mem::take(&mut self.node.n_read);
        let Some((batch, effects)) = self.node.core.poll_batch() else { return Ok(()) };
        let changes = read_changes(batch.ops().skip(n_read))?;
        prop_assert!(changes.is_empty(), "the end of a batch holds {:?}", changes);
        self.submitted = self.submitted.next();
        self.snapshots.push_back((self.submitted, self.model.clone()));
        let ticket = Ticket::of(&*self.node.store, batch, effects.needs_sync());
        self.node.commits.push_back((ticket, effects));
        Ok(())
    }

    /// Holds the durable rows against the model and against the verification's rules.
    fn check_durable(&mut self) -> Checked {
        let durable = self.disk.durable_position();
        while self.snapshots.get(1).is_some_and(|(at, _)| *at <= durable) {
            self.snapshots.pop_front();
        }
        prop_assert_eq!(self.snapshots[0].0, durable);
        if self.written() > durable {
            // A checkpoint would make it durable.
            return Ok(());
        }
        // A store that has stopped makes no checkpoint; then the reopened one is looked at.
        let Ok(checkpoint) = block_on(self.node.store.checkpoint()) else { return Ok(()) };
        self.snapshots[0].1.check_store(&*checkpoint.view, durable, self.now)?;
        let found = block_on(verify(&*checkpoint.view, 0, 1)).map_err(fail)?;
        prop_assert!(found.is_clean(), "at {}: {:?}", durable, found.problems);
        Ok(())
    }

    /// The newest position that the end of the process cannot take back.
    fn written(&self) -> LogPosition {
        let n_written = self.disk.n_unsynced() - self.disk.n_unwritten();
        LogPosition(self.disk.durable_position().0 + n_written as u64)
    }

    fn take_commits(&mut self) -> Checked {
        while let Some((ticket, _)) = self.node.commits.front_mut() {
            match ticket.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => break,
                Poll::Ready(Ok(position)) => {
                    let (_, effects) = self.node.commits.pop_front().expect("just looked at");
                    self.handled = match &position {
                        Position::Synced(position) => *position.get(),
                        Position::Buffered(position) => *position.get(),
                    };
                    let mut effects = effects;
                    while {
                        self.node.core.handle_commit(&mut effects, &position, &mut 2);
                        !effects.is_empty()
                    } {}
                    // A purge that waited for another begins when that one ends.
                    self.after_reads()?;
                    self.model.forget_removed(self.handled);
                    self.check_delivered()?;
                    self.hear()?;
                }
                Poll::Ready(Err(error)) => return self.stop(error),
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> Checked {
        self.take_commits()?;
        while !self.mail.is_empty() {
            self.deliver_mail()?;
        }
        self.timeout()?;
        for at in (0..self.node.reads.len()).rev() {
            self.node.poll_read(self.now, at);
        }
        self.after_reads()?;
        self.serve()?;
        self.reads()?;
        self.serve()?;
        self.tidy()?;
        self.submit()?;
        self.take_commits()
    }

    fn tidy(&mut self) -> Checked {
        let goes_on = self.node.core.tidy();
        let window_bytes = self.node.core.memory.window_bytes();
        let is_within = window_bytes <= self.setup.options.window_bytes_max;
        prop_assert!(goes_on || is_within, "{} bytes of windows", window_bytes);
        let core = &self.node.core;
        let waits = core.recall.is_sweeping() || core.recall.backing_off.is_some();
        let may_stay = goes_on || waits || !self.has_no_rules();
        prop_assert!(may_stay || core.idle.len() <= core.options.idle_queues_max, "idle queues");
        Ok(())
    }

    fn expect_staged(&mut self, mut expected: VecDeque<(Change, Ending)>) -> Checked {
        self.read_staged(|_, change| {
            let next = expected.pop_front();
            prop_assert_eq!(Some(change), next.as_ref().map(|(change, _)| change));
            Ok(next.map_or(Ending::Forgotten, |(_, how)| how))
        })?;
        prop_assert!(expected.is_empty(), "not staged: {:?}", expected);
        Ok(())
    }

    /// Reads what the last call staged; `judge` says whether it may, and how the lease ends by it.
    fn read_staged(
        &mut self,
        mut judge: impl FnMut(&mut Self, &Change) -> Checked<Ending>,
    ) -> Checked {
        let batch = &self.node.core.batch;
        let changes = read_changes(batch.ops().skip(self.node.n_read))?;
        self.node.n_read = batch.len();
        self.note_sequences(&changes)?;
        let at = self.staging();
        for change in changes {
            let change = self.model.resolve(change)?;
            let how = judge(self, &change)?;
            self.model.apply(&change, at, how);
        }
        Ok(())
    }

    fn queues_of(&self, source: LeaseSource) -> impl Iterator<Item = QueueId> {
        let queues = self.queues.iter().filter(move |queue| match source {
            LeaseSource::Topic(topic) => queue.topic_id == topic,
            LeaseSource::Queue(id) => queue.id == id,
        });
        queues.map(|queue| queue.id)
    }
}
