//! Many senders, one owner, and a guaranteed share for every class of messages.
//!
//! A mailbox has `N` classes, from the most urgent, class 0, to the least. Each has its own queue and its own
//! capacity, in messages and, if they are [weighed](mailbox_weighing), in weight. The owner says at every drain
//! how many messages of each class it takes: its *share*. It sleeps as a thread ([`MailboxOwner::wait`]) or as
//! a task ([`MailboxOwner::ready`]).
//!
//! ```
//! use millpond_sync::thread;
//! use millpond_wakeup::mailbox::{UNBOUNDED, mailbox};
//!
//! const CONTROL: usize = 0;
//! const DATA: usize = 1;
//!
//! let (sender, mut owner) = mailbox::<&str, 2>([UNBOUNDED, 1024]);
//! for _ in 0..1000 {
//!     sender.push::<CONTROL>("a flood")?;
//! }
//! thread::block_on(sender.send::<DATA>("a request"))?;
//!
//! let mut turn = Vec::new();
//! let shares = [4, 64];
//! owner.wait(shares, None);
//! owner.drain(&mut turn, shares);
//! assert_eq!(turn, ["a flood", "a flood", "a flood", "a flood", "a request"]);
//! # Ok::<(), millpond_wakeup::mailbox::Closed<&str>>(())
//! ```
//!
//! [`MailboxOwner::drain_merged`] makes due timers one more class, for a loop that waits for both.
//!
//! # Invariants
//!
//! One lock guards everything and is held for moves only. Each invariant but M4 has models.
//!
//! * **M1** A message is drained, in order within its class, or given back: by [`MailboxOwner::close`] if it
//!   was inside, to its sender if it was not.
//! * **M2** The owner never sleeps while a notification, or a message of a class with a share, is waiting. A
//!   burst of senders wakes it once.
//! * **M3** Senders that wait for room are woken in the order they came, as many as there is room for; nobody
//!   overtakes one that has not been woken. All of them are woken when the mailbox closes, and none is left
//!   waiting beside free room when the owner falls asleep.
//! * **M4** A drain takes up to the share of *each* class. So whatever floods the other classes, a message with
//!   `n` messages of its class before it is taken by drain number `n / share + 1` after it came, and no drain
//!   takes more than the sum of the shares.

use std::task::Waker;

use millpond_sync::{Arc, Condvar, Mutex};
use thiserror::Error;

mod class;
mod merge;
mod mutation;
mod owner;
mod send;
mod sender;

use class::Class;
use mutation::Mutation;

pub use class::Capacity;
pub use merge::{DueShare, Event};
pub use owner::{MailboxOwner, Ready};
pub use send::Sending;
pub use sender::MailboxSender;

/// The capacity of a class that refuses nothing for want of room.
pub const UNBOUNDED: usize = usize::MAX;

/// Makes a mailbox with `N` classes and the most messages that each may hold, whatever they weigh.
///
/// A capacity of 0 lets a class take pushes only.
pub fn mailbox<T, const N: usize>(
    capacities: [usize; N],
) -> (MailboxSender<T, N>, MailboxOwner<T, N>) {
    mailbox_weighing(capacities.map(Capacity::from), |_| 0)
}

/// Makes a mailbox with `N` classes, and what each may hold in messages and in weight.
///
/// `weigh` says what a message weighs, in whatever unit the capacities have. It is asked once for each
/// message, by its sender and outside the lock.
///
/// A class takes a message while it holds less than its weight, so that one that is heavier than the whole
/// capacity still passes. Together the messages that were sent to a class weigh less than its capacity and the
/// heaviest of them.
///
/// ```
/// use millpond_wakeup::mailbox::{Capacity, TrySendError, mailbox_weighing};
///
/// let capacity = Capacity { n_messages: 1024, weight: 8 };
/// let (sender, mut owner) = mailbox_weighing::<&str, 1>([capacity], |text| text.len());
/// sender.try_send::<0>("short")?;
/// sender.try_send::<0>("one that is longer than 8 bytes")?;
/// assert_eq!(sender.try_send::<0>("more"), Err(TrySendError::Full("more")));
///
/// owner.drain(&mut Vec::new(), [2]);
/// sender.try_send::<0>("more")?;
/// # Ok::<(), TrySendError<&str>>(())
/// ```
pub fn mailbox_weighing<T, const N: usize>(
    capacities: [Capacity; N],
    weigh: fn(&T) -> usize,
) -> (MailboxSender<T, N>, MailboxOwner<T, N>) {
    let state = State {
        classes: capacities.map(Class::new),
        notified: false,
        sealed: false,
        sleep: None,
        last_ticket: 0,
        n_senders: 1,
        #[cfg(test)]
        broken: None,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), wake_up: Condvar::new(), weigh });
    (MailboxSender::new(shared.clone()), MailboxOwner::new(shared))
}

/// The mailbox takes no more messages. Gives back the one it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the mailbox is closed")]
pub struct Closed<T>(pub T);

/// Why a message was not left at once. Gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// There is no room, or others wait for it: try later, or wait with [`MailboxSender::send`].
    #[error("the class is full")]
    Full(T),
    /// The mailbox takes no more messages.
    #[error("the mailbox is closed")]
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The message that was refused.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

/// How the owner sleeps, and what for.
#[derive(Debug, Clone)]
struct Sleep<const N: usize> {
    shares: [usize; N],
    /// Of the owner's task; `None` if its thread stands at the condition variable.
    waker: Option<Waker>,
}

#[derive(Debug)]
struct State<T, const N: usize> {
    classes: [Class<T>; N],
    /// Something outside the mailbox wants the owner to look around.
    notified: bool,
    sealed: bool,
    /// Taken by whoever wakes the owner, so that it is woken once.
    sleep: Option<Sleep<N>>,
    last_ticket: u64,
    n_senders: usize,
    #[cfg(test)]
    broken: Option<Mutation>,
}

impl<T, const N: usize> State<T, N> {
    fn has_work(&self, shares: [usize; N]) -> bool {
        let mut classes = self.classes.iter().zip(shares);
        self.notified || classes.any(|(class, share)| share > 0 && class.len() > 0)
    }

    /// Whether somebody with this ticket may come in: there is room, and nobody waits before it.
    fn admits<const CLASS: usize>(&self, ticket: u64) -> bool {
        self.classes[CLASS].admits(ticket, self.broken())
    }

    /// Leaves a message. Gives the sleep that must be ended for it.
    fn push<const CLASS: usize>(&mut self, message: T, weight: usize) -> Option<Sleep<N>> {
        self.classes[CLASS].push(message, weight);
        if self.is_broken(Mutation::PushWakesNobody) {
            return None;
        }
        let any_share = self.is_broken(Mutation::WakeWithoutShare);
        if self.is_broken(Mutation::WakeTwice) {
            return self.sleep.clone();
        }
        self.sleep.take_if(|sleep| sleep.shares[CLASS] > 0 || any_share)
    }

    fn notify(&mut self) -> Option<Sleep<N>> {
        self.notified = true;
        if self.is_broken(Mutation::NotifyWakesNobody) { None } else { self.sleep.take() }
    }

    /// Takes out those whose turn it is, to be woken outside the lock: waking may run anything.
    fn take_admitted(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        let broken = self.broken();
        for class in &mut self.classes {
            class.take_admitted(&mut woken, broken);
        }
        woken
    }

    /// Refuses every later message. Gives everybody who waits for room.
    fn seal(&mut self) -> Vec<Waker> {
        self.sealed = !self.is_broken(Mutation::TakeWhenClosed);
        if self.is_broken(Mutation::CloseWakesNobody) {
            return Vec::new();
        }
        self.classes.iter_mut().flat_map(Class::take_waiting).collect()
    }

    fn is_broken(&self, rule: Mutation) -> bool {
        self.broken() == Some(rule)
    }

    #[cfg(test)]
    fn broken(&self) -> Option<Mutation> {
        self.broken
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the tests look there")]
    const fn broken(&self) -> Option<Mutation> {
        None
    }
}

#[derive(Debug)]
struct Shared<T, const N: usize> {
    state: Mutex<State<T, N>>,
    wake_up: Condvar,
    weigh: fn(&T) -> usize,
}

impl<T, const N: usize> Shared<T, N> {
    /// Wakes the owner; after the lock is gone, so that it does not run into it.
    fn end(&self, sleep: Option<Sleep<N>>) {
        match sleep {
            None => {}
            Some(Sleep { waker: None, .. }) => self.wake_up.notify_one(),
            Some(Sleep { waker: Some(waker), .. }) => waker.wake(),
        }
    }
}

#[cfg(test)]
mod models;
#[cfg(test)]
mod tests;
