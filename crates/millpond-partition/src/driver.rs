//! The loop: one thread that owns a [`Core`], a mailbox and a store.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use millpond_storage_api::{
    CommitTicket, PartitionStore, ScanFuture, ScanRows, StoreError, StoreErrorKind,
};
use millpond_types::UnixMillis;
use slab::Slab;

use crate::PartitionError;
use crate::clock::Clock;
use crate::command::Message;
use crate::core::{Core, Effects, ScanJob, Slot};
use crate::end::End;
use crate::mailbox::{Class, MailboxOwner, MailboxSender, NotifyOwner};
use crate::options::PartitionOptions;

/// Control messages and completions that one turn takes.
const SHARE: usize = 1024;

/// What the loop owns.
pub(crate) struct Driver {
    core: Core,
    store: Arc<dyn PartitionStore>,
    mailbox: MailboxOwner<Message>,
    sender: MailboxSender<Message>,
    options: PartitionOptions,
    clock: Clock,
    commits: VecDeque<(CommitTicket, Effects)>,
    commit_waker: Waker,
    scans: Slab<(Slot, ScanFuture)>,
    rows: ScanRows,
    /// Taken from the mailbox and not handled yet.
    messages: VecDeque<Message>,
    closing: bool,
    end: Arc<End>,
}

impl Driver {
    pub(crate) fn new(
        core: Core,
        store: Arc<dyn PartitionStore>,
        (sender, mailbox): (MailboxSender<Message>, MailboxOwner<Message>),
        options: PartitionOptions,
        end: Arc<End>,
    ) -> Self {
        let commit_waker = Waker::from(Arc::new(NotifyOwner(sender.clone())));
        Self {
            core,
            store,
            mailbox,
            sender,
            options,
            clock: Clock::start(),
            commits: VecDeque::new(),
            commit_waker,
            scans: Slab::new(),
            rows: ScanRows::new(),
            messages: VecDeque::new(),
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
        let shares = self.shares();
        if self.closing && self.commits.is_empty() && self.core.staged_is_empty() {
            return Ok(false);
        }
        self.mailbox.wait(shares, self.deadline());
        self.mailbox.drain(&mut self.messages, shares);
        let now = self.clock.now();
        // Commits first: what they make ready is there for the commands of this turn.
        self.take_commits()?;
        while let Some(message) = self.messages.pop_front() {
            self.handle(now, message)?;
        }
        self.core.handle_timeout(now);
        self.start_scans(now)?;
        if !self.closing {
            self.core.serve(now);
        }
        self.submit();
        self.take_commits()?;
        Ok(true)
    }

    /// How many messages of each class this turn may take. Commands wait while the next batch is full:
    /// that is the back-pressure, and it reaches the callers through the mailbox's capacity.
    fn shares(&self) -> [usize; 3] {
        let full = self.core.staged_bytes() >= self.options.batch_bytes_max;
        [SHARE, SHARE, if full { 0 } else { self.options.commands_per_turn }]
    }

    fn deadline(&self) -> Option<std::time::Instant> {
        self.core.poll_timeout().and_then(|time| self.clock.instant_at(time))
    }

    fn handle(&mut self, now: UnixMillis, message: Message) -> Result<(), PartitionError> {
        match message {
            Message::Close => self.closing = true,
            Message::ScanWoken { scan } => self.poll_scan(now, scan)?,
            command if self.closing => command.refuse(&PartitionError::Closed),
            command => self.core.handle_message(now, command),
        }
        Ok(())
    }

    fn submit(&mut self) {
        if self.commits.len() >= self.options.commits_in_flight_max {
            return;
        }
        if let Some((batch, staged)) = self.core.poll_batch() {
            self.commits.push_back((self.store.submit(batch), staged));
        }
    }

    /// Takes over every commit that has become durable, and leaves a waker with the first that has not.
    fn take_commits(&mut self) -> Result<(), PartitionError> {
        let mut context = Context::from_waker(&self.commit_waker);
        while let Some((ticket, _)) = self.commits.front_mut() {
            let Poll::Ready(outcome) = Pin::new(ticket).poll(&mut context) else { break };
            let (_, staged) = self.commits.pop_front().expect("the front was just polled");
            match outcome {
                Ok(position) => {
                    self.core.handle_durable(staged, position);
                    // What has become ready is served in a turn of its own.
                    self.sender.notify();
                }
                Err(error) => {
                    tracing::error!(%error, "a commit failed; the partition stops");
                    let error = PartitionError::Stopped(error);
                    staged.refuse(&error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn start_scans(&mut self, now: UnixMillis) -> Result<(), PartitionError> {
        for _ in 0..self.options.scans_per_turn {
            let Some(ScanJob { slot, request, may_wait }) = self.core.poll_scan() else {
                return Ok(());
            };
            if may_wait {
                let future = self.store.scan(request);
                let scan = self.scans.insert((slot, future));
                self.poll_scan(now, scan)?;
            } else {
                let outcome = still_ours(self.store.try_scan(&request, &mut self.rows))?;
                self.core.handle_scan(now, slot, &self.rows, outcome);
            }
        }
        // There may be more to start, in a turn of its own.
        self.sender.notify();
        Ok(())
    }

    fn poll_scan(&mut self, now: UnixMillis, scan: usize) -> Result<(), PartitionError> {
        // A late wake-up may name a scan that has ended, or one that took its place: both are harmless.
        let Some((slot, future)) = self.scans.get_mut(scan) else { return Ok(()) };
        let slot = *slot;
        let waker = Waker::from(Arc::new(ScanWaker { scan, sender: self.sender.clone() }));
        let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return Ok(());
        };
        drop(self.scans.remove(scan));
        match still_ours(outcome)? {
            Ok((rows, end)) => self.core.handle_scan(now, slot, &rows, Ok(end)),
            Err(error) => {
                self.core.handle_scan(now, slot, &ScanRows::new(), Err(never_blocks(error)));
            }
        }
        Ok(())
    }
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
        for message in self.messages.drain(..).chain(self.mailbox.close()) {
            message.refuse(&why);
        }
        for (_, staged) in self.commits.drain(..) {
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

struct ScanWaker {
    scan: usize,
    sender: MailboxSender<Message>,
}

impl Wake for ScanWaker {
    fn wake(self: Arc<Self>) {
        // A closed loop waits for no scan.
        let _ = self.sender.push(Class::Completion, Message::ScanWoken { scan: self.scan });
    }
}
