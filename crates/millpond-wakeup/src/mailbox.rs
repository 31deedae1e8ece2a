//! Many senders, one owner, and a guaranteed share for every class of messages.
//!
//! A mailbox has `N` classes, from the most urgent, class 0, to the least. Each has its own queue and its own
//! capacity, and the owner says at every drain how many messages of each class it takes: its *share*. The
//! owner sleeps as a thread ([`MailboxOwner::wait`]) or as a task ([`MailboxOwner::ready`]).
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

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use millpond_sync::{Arc, Condvar, Mutex};
use thiserror::Error;

mod merge;
mod mutation;
mod owner;
mod send;
mod sender;

use mutation::Mutation;

pub use merge::{DueShare, Event};
pub use owner::{MailboxOwner, Ready};
pub use send::Sending;
pub use sender::MailboxSender;

/// The capacity of a class that refuses nothing for want of room.
pub const UNBOUNDED: usize = usize::MAX;

/// Makes a mailbox with `N` classes and the most messages that each may hold.
///
/// A capacity of 0 lets a class take pushes only.
pub fn mailbox<T, const N: usize>(
    capacities: [usize; N],
) -> (MailboxSender<T, N>, MailboxOwner<T, N>) {
    let state = State {
        classes: capacities.map(|capacity| Class {
            queue: VecDeque::new(),
            capacity,
            waiting: BTreeMap::new(),
        }),
        notified: false,
        sealed: false,
        sleep: None,
        last_ticket: 0,
        n_senders: 1,
        #[cfg(test)]
        broken: None,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), wake_up: Condvar::new() });
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

#[derive(Debug)]
struct Class<T> {
    queue: VecDeque<T>,
    capacity: usize,
    /// Those who wait for room and have not been woken. By ticket, so that each future stands here once
    /// however often it is polled, and not at all once it is dropped.
    waiting: BTreeMap<u64, Waker>,
}

impl<T> Class<T> {
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.queue.len())
    }

    /// Takes out those whose turn it is.
    fn take_admitted(&mut self, woken: &mut Vec<Waker>) {
        if self.waiting.is_empty() {
            return;
        }
        if self.room() >= self.waiting.len() {
            woken.extend(std::mem::take(&mut self.waiting).into_values());
            return;
        }
        for _ in 0..self.room() {
            woken.extend(self.waiting.pop_first().map(|(_, waker)| waker));
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
        self.notified || classes.any(|(class, share)| share > 0 && !class.queue.is_empty())
    }

    /// Whether somebody with this ticket may come in: there is room, and nobody waits before it.
    fn admits<const CLASS: usize>(&self, ticket: u64) -> bool {
        let class = &self.classes[CLASS];
        let first = || class.waiting.first_key_value();
        class.room() > 0
            && (class.waiting.is_empty()
                || first().is_some_and(|(first, _)| ticket <= *first)
                || self.is_broken(Mutation::Overtake))
    }

    /// Leaves a message. Gives the sleep that must be ended for it.
    fn push<const CLASS: usize>(&mut self, message: T) -> Option<Sleep<N>> {
        self.classes[CLASS].queue.push_back(message);
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
        for class in &mut self.classes {
            class.take_admitted(&mut woken);
        }
        woken
    }

    /// Refuses every later message. Gives everybody who waits for room.
    fn seal(&mut self) -> Vec<Waker> {
        self.sealed = !self.is_broken(Mutation::TakeWhenClosed);
        if self.is_broken(Mutation::CloseWakesNobody) {
            return Vec::new();
        }
        let waiting = self.classes.iter_mut().map(|class| std::mem::take(&mut class.waiting));
        waiting.flat_map(BTreeMap::into_values).collect()
    }

    #[cfg(test)]
    fn is_broken(&self, rule: Mutation) -> bool {
        self.broken == Some(rule)
    }

    #[cfg(not(test))]
    const fn is_broken(&self, _rule: Mutation) -> bool {
        false
    }
}

#[derive(Debug)]
struct Shared<T, const N: usize> {
    state: Mutex<State<T, N>>,
    wake_up: Condvar,
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
