//! The bounded way into the loop: many senders, one owner, a guaranteed share for every class.
//!
//! One lock guards everything, is held for a few instructions, and a sender wakes the owner at most once
//! per sleep, so a burst of senders costs one wake-up.
//!
//! Invariants, each with a model in `models.rs`:
//!
//! * **M1** A message is either drained, in order within its class, or given back to its sender.
//! * **M2** The owner never sleeps while a message or a notification is waiting.
//! * **M3** A sender waiting for room is woken when room appears or the mailbox closes.
//! * **M4** A drain takes up to the share of *each* class, so no class can starve another.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use millpond_sync::{Arc, Condvar, Mutex};

/// The classes of messages, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Closing, giving back grants that nobody received. Few, never refused while open.
    Control = 0,
    /// Requests of users. Bounded by the capacity.
    Command = 1,
}

const N_CLASSES: usize = 2;

#[derive(Debug)]
struct State<T> {
    queues: [VecDeque<T>; N_CLASSES],
    /// Something outside the mailbox wants the owner to look around.
    notified: bool,
    asleep: bool,
    closed: bool,
    /// By ticket, so that each future stands here once however often it is polled, and not at all once
    /// it is dropped.
    waiting_for_room: BTreeMap<u64, Waker>,
    last_ticket: u64,
}

type Shares = [usize; N_CLASSES];

impl<T> State<T> {
    fn has_work(&self, shares: Shares) -> bool {
        let mut classes = self.queues.iter().zip(shares);
        self.notified || classes.any(|(queue, share)| share > 0 && !queue.is_empty())
    }
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// Most commands that may wait.
    capacity: usize,
    wake_up: Condvar,
}

impl<T> Shared<T> {
    /// Wakes the owner after the lock is gone, so that it does not run into it.
    fn wake_if(&self, was_asleep: bool) {
        if was_asleep {
            self.wake_up.notify_one();
        }
    }

    fn push(&self, class: Class, message: T) -> Result<(), T> {
        let was_asleep = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(message);
            }
            state.queues[class as usize].push_back(message);
            std::mem::take(&mut state.asleep)
        };
        self.wake_if(was_asleep);
        Ok(())
    }
}

/// Makes a mailbox that holds at most `capacity` commands.
pub(crate) fn mailbox<T>(capacity: usize) -> (MailboxSender<T>, MailboxOwner<T>) {
    let state = State {
        queues: Default::default(),
        notified: false,
        asleep: false,
        closed: false,
        waiting_for_room: BTreeMap::new(),
        last_ticket: 0,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), capacity, wake_up: Condvar::new() });
    (MailboxSender(shared.clone()), MailboxOwner(shared))
}

/// The senders' end.
#[derive(Debug)]
pub(crate) struct MailboxSender<T>(Arc<Shared<T>>);

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> MailboxSender<T> {
    /// Leaves a message that must not be refused for want of room; gives it back if the mailbox is
    /// closed.
    pub(crate) fn push(&self, class: Class, message: T) -> Result<(), T> {
        debug_assert!(class != Class::Command, "commands wait for room");
        self.0.push(class, message)
    }

    /// Leaves a command as soon as there is room for it; gives it back if the mailbox is closed.
    ///
    /// Cancel safe: a dropped future has left nothing.
    pub(crate) fn send(&self, command: T) -> SendCommand<'_, T> {
        SendCommand { shared: &self.0, command: Some(command), ticket: None }
    }

    /// Makes the owner's next [`drain`](MailboxOwner::drain) return.
    pub(crate) fn notify(&self) {
        let was_asleep = {
            let mut state = self.0.state.lock();
            state.notified = true;
            std::mem::take(&mut state.asleep)
        };
        self.0.wake_if(was_asleep);
    }
}

/// A command on its way in.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct SendCommand<'a, T> {
    shared: &'a Shared<T>,
    command: Option<T>,
    /// Its place among those that wait for room, once it had to wait.
    ticket: Option<u64>,
}

// No field is pinned: the future is a value waiting to be moved.
impl<T> Unpin for SendCommand<'_, T> {}

impl<T> Future for SendCommand<'_, T> {
    type Output = Result<(), T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let command = self.command.take().expect("a finished future is not polled again");
        let shared = self.shared;
        let was_asleep = {
            let mut state = shared.state.lock();
            if state.closed {
                return Poll::Ready(Err(command));
            }
            if state.queues[Class::Command as usize].len() >= shared.capacity {
                let ticket = self.ticket.unwrap_or(state.last_ticket + 1);
                state.last_ticket = state.last_ticket.max(ticket);
                let replaced = state.waiting_for_room.insert(ticket, context.waker().clone());
                drop(state);
                // Outside the lock, like every waker: dropping it may run anything.
                drop(replaced);
                self.ticket = Some(ticket);
                self.command = Some(command);
                return Poll::Pending;
            }
            state.queues[Class::Command as usize].push_back(command);
            std::mem::take(&mut state.asleep)
        };
        self.shared.wake_if(was_asleep);
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for SendCommand<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = self.shared.state.lock().waiting_for_room.remove(&ticket);
            drop(waker);
        }
    }
}

/// What wakes the owner: for wakers of futures the loop polls itself.
pub(crate) struct NotifyOwner<T>(pub(crate) MailboxSender<T>);

impl<T: Send + 'static> Wake for NotifyOwner<T> {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

/// The owner's end.
#[derive(Debug)]
pub(crate) struct MailboxOwner<T>(Arc<Shared<T>>);

impl<T> MailboxOwner<T> {
    /// Sleeps until a class with a share has a message, somebody notifies, or `deadline` comes. A share
    /// of 0 leaves a class alone: its messages do not end the sleep.
    #[expect(clippy::disallowed_methods, reason = "the owner's sleep ends at a real point in time")]
    pub(crate) fn wait(&self, shares: Shares, deadline: Option<Instant>) {
        let mut state = self.0.state.lock();
        while !state.has_work(shares) {
            state.asleep = true;
            state = match deadline {
                None => self.0.wake_up.wait(state),
                Some(deadline) if Instant::now() < deadline => {
                    self.0.wake_up.wait_until(state, deadline)
                }
                Some(_) => break,
            };
        }
        state.asleep = false;
    }

    /// Appends to `out` up to `shares[class]` messages of each class, the most urgent class first, and
    /// clears the notification.
    pub(crate) fn drain(&self, out: &mut impl Extend<T>, shares: Shares) {
        let mut state = self.0.state.lock();
        state.notified = false;
        for (queue, share) in state.queues.iter_mut().zip(shares) {
            let n = queue.len().min(share);
            out.extend(queue.drain(..n));
        }
        if state.queues[Class::Command as usize].len() >= self.0.capacity {
            return;
        }
        // All of them: a woken sender may have given up, and its turn must not be lost with it.
        let waiting = std::mem::take(&mut state.waiting_for_room);
        drop(state);
        waiting.into_values().for_each(Waker::wake);
    }

    /// Refuses every later message and returns those that were waiting.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut state = self.0.state.lock();
        state.closed = true;
        let left = state.queues.iter_mut().flat_map(|queue| queue.drain(..)).collect();
        let waiting = std::mem::take(&mut state.waiting_for_room);
        drop(state);
        waiting.into_values().for_each(Waker::wake);
        left
    }
}

/// An owner that is gone, be it by a panic, takes no more messages, and nobody may wait for it.
impl<T> Drop for MailboxOwner<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}
