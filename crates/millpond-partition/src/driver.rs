//! The loop: one thread that owns a [`Core`], a mailbox and a store.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use millpond_inbox::completions::{Completions, Outcome, RefillFlight, RefillTicket};
use millpond_storage_api::{PartitionStore, ScanEnd, ScanRows, StoreError, StoreErrorKind};
use millpond_sync::thread::block_on;
use millpond_types::{DedupRow, UnixMillis};

use crate::PartitionError;
use crate::clock::Clock;
use crate::command::Message;
use crate::core::{
    Core, Effects, Read, ReadJob, ReadOutcome, StoredActive, read_active, read_seen,
    try_read_active, try_read_seen,
};
use crate::durability::{self, Position};
use crate::end::End;
use crate::executor::Executor;
use crate::mailbox::{MailboxOwner, MailboxSender, bytes};
use crate::options::PartitionOptions;

/// Control messages that one turn takes.
const SHARE: usize = 1024;

/// How long one turn goes on taking commands …
const COMMANDS_TIME: Duration = Duration::from_millis(2);
/// … looking at the clock once in so many.
const COMMANDS_PER_LOOK: usize = 32;

/// Entries of a durable commit that one turn takes over.
const ENTRIES_PER_TURN: usize = 1024;

/// Changes that a commit may bring about before the loop stops taking commands.
const EFFECTS_PER_BATCH_MAX: usize = 8192;

/// Turns in which deadlines may change the batch being staged. A share of their own, so that no flood of
/// commands keeps them waiting, and no more, so that a commit with a flood of them is soon taken over.
const DEADLINE_TURNS_PER_BATCH: usize = 2;

/// Reads that one job performs: neighbours in the store, at the same time.
const READS_PER_JOB: usize = 16;

/// What a read that was waited for has found.
#[derive(Debug)]
enum Found {
    Rows(ScanRows, ScanEnd),
    Active(StoredActive),
    Seen(Vec<Option<DedupRow>>),
}

type Ticket = RefillTicket<u64, Found, PartitionError>;
type Job = Vec<(Read, Ticket)>;

/// A read that an executor was asked for.
#[derive(Debug)]
struct Flight {
    flight: RefillFlight,
    /// Whether rows are read.
    of_rows: bool,
    /// Whether it is about keys.
    of_keys: bool,
    started: Duration,
}

/// What the loop owns.
pub(crate) struct Driver {
    core: Core,
    store: Arc<dyn PartitionStore>,
    mailbox: MailboxOwner,
    sender: MailboxSender,
    options: PartitionOptions,
    clock: Clock,
    /// On their way to storage, each with when it was submitted.
    commits: VecDeque<(durability::Ticket, Effects, Duration)>,
    /// A commit that came through and has not been taken over to its end.
    unhandled: Option<(Effects, Position)>,
    commit_waker: Waker,
    executor: Executor<Job>,
    completions: Completions<u64, Found, PartitionError>,
    flights: HashMap<u64, Flight>,
    rows: ScanRows,
    /// Taken from the mailbox and not handled yet.
    control: VecDeque<Message>,
    commands: VecDeque<Message>,
    /// Of `commands`.
    commands_bytes: usize,
    /// At most so many bytes of commands wait in the core for a read of their queue. See
    /// [`parked_bytes`](Self::parked_bytes).
    parked_bytes: usize,
    deadline_turns_left: usize,
    closing: bool,
    end: Arc<End>,
}

impl Driver {
    pub(crate) fn new(
        core: Core,
        store: Arc<dyn PartitionStore>,
        (sender, mailbox): (MailboxSender, MailboxOwner),
        options: PartitionOptions,
        (clock, end): (Clock, Arc<End>),
    ) -> Self {
        let commit_waker = sender.waker();
        let reader = store.clone();
        let executor = Executor::new(options.refill_tasks_max, move |job| perform(&*reader, job));
        let notified = sender.clone();
        Self {
            core,
            store,
            mailbox,
            sender,
            options,
            clock,
            commits: VecDeque::new(),
            unhandled: None,
            commit_waker,
            executor,
            completions: Completions::new(move || notified.notify()),
            flights: HashMap::new(),
            rows: ScanRows::new(),
            control: VecDeque::new(),
            commands: VecDeque::new(),
            commands_bytes: 0,
            parked_bytes: 0,
            deadline_turns_left: DEADLINE_TURNS_PER_BATCH,
            closing: false,
            end,
        }
    }

    /// Runs until closed, or until the store fails.
    pub(crate) fn run(mut self) -> Result<(), PartitionError> {
        // The first turn starts reading what recovery found; it must not wait for a first message.
        self.sender.notify();
        let ended = loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.end.because(ended.clone().err().unwrap_or(PartitionError::Closed));
        ended
    }

    /// One turn. `false` when everything is done and the loop was asked to close.
    fn turn(&mut self) -> Result<bool, PartitionError> {
        let [control, commands] = self.shares();
        let is_done = self.commits.is_empty() && self.unhandled.is_none();
        if self.closing && is_done && self.core.staged_is_empty() {
            return Ok(false);
        }
        self.mailbox.wait([control, commands], self.deadline());
        let started = self.clock.elapsed();
        self.mailbox.drain(&mut self.control, [control, 0]);
        let n_commands = self.mailbox.drain(&mut self.commands, [0, commands]);
        let came = self.commands.iter().rev().take(n_commands);
        self.commands_bytes += came.map(bytes).sum::<usize>();
        let now = self.clock.now();
        self.core.set_clocks(now, Clock::wall());
        // Commits first: what they make ready is there for the commands of this turn.
        self.take_commits()?;
        self.take_reads(now)?;
        self.take_commands(now, started);
        self.take_deadlines(now);
        if !self.closing {
            self.serve(now);
            self.start_reads(now)?;
            // Most reads end at once, and whoever waits for them is there.
            self.serve(now);
        }
        let goes_on = self.core.tidy() || !self.closing && self.core.has_reads_waiting();
        self.submit();
        // While the disk is busy. They would only be in the way before.
        self.core.wake_answered();
        let has_callers = self.commits.is_empty() && self.core.has_callers();
        // What was submitted made room for the commands that are left.
        if goes_on || has_callers || !self.commands.is_empty() && !self.is_full() {
            self.sender.notify();
        }
        self.take_commits()?;
        self.core.note_turn(self.clock.elapsed().saturating_sub(started));
        Ok(true)
    }

    /// How many messages of each class this turn may take. Commands wait while the next batch is full:
    /// that is the back-pressure, and it reaches the callers through the mailbox's capacity. So they do while
    /// those that were taken weigh as much as a mailbox may.
    fn shares(&self) -> [usize; 2] {
        let n_commands = self.options.commands_per_turn.saturating_sub(self.commands.len());
        let held_bytes = self.commands_bytes + self.parked_bytes();
        let holds_enough = held_bytes >= self.options.mailbox_bytes_max;
        [SHARE, if holds_enough || self.is_full() { 0 } else { n_commands }]
    }

    fn is_full(&self) -> bool {
        self.core.staged_bytes() >= self.options.batch_bytes_max
            || self.core.n_staged_effects() >= EFFECTS_PER_BATCH_MAX
            || self.core.n_parked() >= self.options.mailbox_capacity
            || self.parked_bytes() >= self.options.mailbox_bytes_max
    }

    /// Bytes of commands that wait for their queue, or more: the core does not say which of them have been
    /// handled, so all count until none waits.
    fn parked_bytes(&self) -> usize {
        if self.core.n_parked() == 0 { 0 } else { self.parked_bytes }
    }

    /// Handles messages for as long as one turn allows. What is left comes first in the next.
    fn take_commands(&mut self, now: UnixMillis, started: Duration) {
        while let Some(message) = self.control.pop_front() {
            self.handle(now, message);
        }
        for n in 1.. {
            if self.is_full() {
                return;
            }
            let Some(command) = self.commands.pop_front() else { return };
            self.handle_command(now, command);
            let looks = n % COMMANDS_PER_LOOK == 0;
            if looks && self.clock.elapsed().saturating_sub(started) > COMMANDS_TIME {
                return;
            }
        }
    }

    /// Whether deadlines have an effect in this turn.
    fn heeds_deadlines(&self) -> bool {
        !self.closing && self.deadline_turns_left > 0
    }

    fn take_deadlines(&mut self, now: UnixMillis) {
        if !self.heeds_deadlines() {
            return;
        }
        let n_staged = self.core.n_staged_effects();
        self.core.handle_timeout(now);
        if self.core.n_staged_effects() > n_staged {
            self.deadline_turns_left -= 1;
        }
    }

    fn deadline(&self) -> Option<std::time::Instant> {
        if !self.heeds_deadlines() {
            // A commit ends the wait.
            return None;
        }
        self.core.poll_timeout().and_then(|time| self.clock.instant_at(time))
    }

    /// Handles a command, and notes its bytes where it is now.
    fn handle_command(&mut self, now: UnixMillis, command: Message) {
        let n_bytes = bytes(&command);
        self.commands_bytes -= n_bytes;
        self.parked_bytes = self.parked_bytes();
        let n_parked = self.core.n_parked();
        self.handle(now, command);
        if self.core.n_parked() > n_parked {
            self.parked_bytes += n_bytes;
        }
    }

    fn handle(&mut self, now: UnixMillis, message: Message) {
        match message {
            Message::Close => self.closing = true,
            command if self.closing => command.refuse(&PartitionError::Closed),
            command => self.core.handle_message(now, command),
        }
    }

    /// Grants what can be granted, unless it could not be submitted at once: whoever becomes ready meanwhile has its
    /// turn in the same commit.
    fn serve(&mut self, now: UnixMillis) {
        if self.has_room() {
            self.core.serve(now);
        }
    }

    /// Whether another commit may be on its way. Two keep the disk busy; one comes back sooner, and is what matters
    /// to queues whose first entry is in it or waits for the next.
    fn has_room(&self) -> bool {
        let n_max = self.options.commits_in_flight_max;
        self.commits.len() < if self.core.is_awaiting() { 1 } else { n_max }
    }

    fn submit(&mut self) {
        if !self.has_room() {
            return;
        }
        if let Some((batch, staged)) = self.core.poll_batch() {
            let started = self.clock.elapsed();
            let ticket = durability::Ticket::of(&*self.store, batch, staged.needs_sync());
            self.commits.push_back((ticket, staged, started));
            self.deadline_turns_left = DEADLINE_TURNS_PER_BATCH;
        }
    }

    /// Takes over what has become as durable as it was to be, as far as one turn allows, and leaves a waker
    /// with the first commit that has not.
    fn take_commits(&mut self) -> Result<(), PartitionError> {
        let mut n_left = ENTRIES_PER_TURN;
        loop {
            if let Some((effects, position)) = &mut self.unhandled {
                self.core.handle_commit(effects, position, &mut n_left);
                // What has become ready is served in a turn of its own, and the rest is taken over there.
                self.sender.notify();
                if !effects.is_empty() {
                    return Ok(());
                }
                self.unhandled = None;
            }
            let Some((ticket, ..)) = self.commits.front_mut() else { return Ok(()) };
            let mut context = Context::from_waker(&self.commit_waker);
            let Poll::Ready(outcome) = ticket.poll(&mut context) else { return Ok(()) };
            let (_, effects, started) =
                self.commits.pop_front().expect("the front was just polled");
            match outcome {
                Ok(position) => {
                    self.core.note_commit(self.clock.elapsed().saturating_sub(started));
                    self.unhandled = Some((effects, position));
                }
                Err(error) => {
                    tracing::error!(%error, "a commit failed; the partition stops");
                    let error = PartitionError::Stopped(error);
                    effects.refuse(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Performs what reads memory can serve, and hands the others over, neighbours together.
    fn start_reads(&mut self, now: UnixMillis) -> Result<(), PartitionError> {
        let mut waiting: [Vec<(Read, Ticket)>; 2] = Default::default();
        for _ in 0..self.options.scans_per_turn {
            let Some(ReadJob { number, read, may_wait, urgent }) = self.core.poll_read() else {
                break;
            };
            let started = self.clock.elapsed();
            if may_wait {
                let (flight, ticket) = self.completions.issue(number);
                let of_rows = matches!(read, Read::Rows(_));
                let of_keys = matches!(read, Read::Seen(_));
                self.flights.insert(number, Flight { flight, of_rows, of_keys, started });
                waiting[usize::from(!urgent)].push((read, ticket));
                continue;
            }
            let outcome = match &read {
                Read::Rows(request) => {
                    let outcome = self.store.try_scan(request, &mut self.rows);
                    ReadOutcome::Rows(&self.rows, still_ours(outcome)?)
                }
                Read::Active(id) => ReadOutcome::Active(try_read_active(&*self.store, *id)),
                Read::Seen(keys) => ReadOutcome::Seen(try_read_seen(&*self.store, keys)),
            };
            let took = self.clock.elapsed().saturating_sub(started);
            self.core.handle_read(now, number, outcome, took);
        }
        for number in self.core.poll_cancelled() {
            // Its worker may still stop; its completion comes all the same.
            self.flights.remove(&number);
        }
        for (mut reads, urgent) in waiting.into_iter().zip([true, false]) {
            reads.sort_by(|(a, _), (b, _)| a.place().cmp(&b.place()));
            while !reads.is_empty() {
                let rest = reads.split_off(reads.len().min(READS_PER_JOB));
                self.executor.submit(std::mem::replace(&mut reads, rest), urgent);
            }
        }
        Ok(())
    }

    /// Takes over every read that has come back.
    fn take_reads(&mut self, now: UnixMillis) -> Result<(), PartitionError> {
        while let Some(completion) = self.completions.next() {
            let number = completion.tag;
            let flight = self.flights.remove(&number);
            let Some(flight) = flight.filter(|flight| flight.flight.accepts(&completion)) else {
                self.core.handle_read(now, number, ReadOutcome::Lost, Duration::ZERO);
                continue;
            };
            let none = ScanRows::new();
            let outcome = match &completion.outcome {
                Outcome::Completed(Found::Rows(rows, end)) => {
                    ReadOutcome::Rows(rows, Ok(end.clone()))
                }
                Outcome::Completed(Found::Active(found)) => ReadOutcome::Active(Ok(*found)),
                Outcome::Completed(Found::Seen(found)) => ReadOutcome::Seen(Ok(found.clone())),
                Outcome::Failed(PartitionError::Read(error)) if flight.of_rows => {
                    ReadOutcome::Rows(&none, still_ours(Err(never_blocks(error.clone())))?)
                }
                Outcome::Failed(error) if flight.of_keys => ReadOutcome::Seen(Err(error.clone())),
                Outcome::Failed(error) => ReadOutcome::Active(Err(error.clone())),
                Outcome::Cancelled => ReadOutcome::Lost,
            };
            let took = self.clock.elapsed().saturating_sub(flight.started);
            self.core.handle_read(now, number, outcome, took);
        }
        Ok(())
    }
}

/// Performs the reads of one job, all at the same time, and reports each when it ends.
fn perform(store: &dyn PartitionStore, job: Job) {
    let reads = job.into_iter().filter(|(_, ticket)| !ticket.is_cancelled());
    let mut reads: FuturesUnordered<_> = reads
        .map(|(read, ticket)| async move {
            let found = match read {
                Read::Rows(request) => store
                    .scan(request)
                    .await
                    .map(|(rows, end)| Found::Rows(rows, end))
                    .map_err(Into::into),
                Read::Active(id) => read_active(store, id).await.map(Found::Active),
                Read::Seen(keys) => read_seen(store, &keys).await.map(Found::Seen),
            };
            match found {
                Ok(found) => ticket.complete(found),
                Err(error) => ticket.fail(error),
            }
        })
        .collect();
    block_on(async { while reads.next().await.is_some() {} });
}

/// What a read says about the ownership of the store. A partition that has another owner stops; it must
/// not try again, and without a commit it would learn of it in no other way.
fn still_ours<T>(outcome: Result<T, StoreError>) -> Result<Result<T, StoreError>, PartitionError> {
    match outcome {
        Err(error) if error.kind() == StoreErrorKind::Fenced => Err(PartitionError::Stopped(error)),
        outcome => Ok(outcome),
    }
}

/// However the loop ends, by a panic too: everybody who waits gets an answer.
impl Drop for Driver {
    fn drop(&mut self) {
        self.end.because(PartitionError::Stopped(panicked()));
        let why = self.end.error();
        let waiting = self.control.drain(..).chain(self.commands.drain(..));
        for message in waiting.chain(self.mailbox.close()) {
            message.refuse(&why);
        }
        if let Some((effects, _)) = self.unhandled.take() {
            effects.refuse(&why);
        }
        for (_, staged, _) in self.commits.drain(..) {
            staged.refuse(&why);
        }
        self.core.refuse_all(&why);
    }
}

pub(crate) fn panicked() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "the loop of the partition panicked")
}

/// The waiting form of a scan has no reason to block; if a store says so all the same, it is retried
/// after a pause instead of at once.
fn never_blocks(error: StoreError) -> StoreError {
    if error.would_block() {
        return StoreError::new(StoreErrorKind::Retry, error.to_string());
    }
    error
}
