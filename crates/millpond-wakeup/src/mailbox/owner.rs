use std::collections::vec_deque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use millpond_sync::{Arc, MutexGuard};

use super::mutation::Mutation;
use super::{Shared, Sleep, State};

/// The owner's end. There is one, and dropping it closes the mailbox.
#[derive(Debug)]
pub struct MailboxOwner<T, const N: usize> {
    shared: Arc<Shared<T, N>>,
}

impl<T, const N: usize> MailboxOwner<T, N> {
    pub(super) fn new(shared: Arc<Shared<T, N>>) -> Self {
        Self { shared }
    }

    /// Blocks until a class with a share has a message, somebody notifies, the last sender goes, or `deadline`
    /// comes. A share of 0 leaves a class alone: its messages do not end the sleep.
    #[expect(clippy::disallowed_methods, reason = "the owner's sleep ends at a real point in time")]
    pub fn wait(&mut self, shares: [usize; N], deadline: Option<Instant>) {
        let mut state = self.shared.state.lock();
        while let Some(mut may_sleep) = self.may_sleep(state, shares) {
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return;
            }
            may_sleep.sleep = Some(Sleep { shares, waker: None });
            state = match deadline {
                None => self.shared.wake_up.wait(may_sleep),
                Some(deadline) => self.shared.wake_up.wait_until(may_sleep, deadline),
            };
        }
    }

    /// As [`wait`](Self::wait), for a task. A deadline is the caller's: it selects between this and a timer.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future; the next one looks again.
    pub fn ready(&mut self, shares: [usize; N]) -> Ready<'_, T, N> {
        Ready { owner: self, shares, is_asleep: false }
    }

    /// As [`ready`](Self::ready), for a loop that polls by hand. The waker of the last call counts.
    pub fn poll_ready(&mut self, context: &mut Context<'_>, shares: [usize; N]) -> Poll<()> {
        let state = self.shared.state.lock();
        let Some(mut state) = self.may_sleep(state, shares) else { return Poll::Ready(()) };
        state.sleep = Some(Sleep { shares, waker: Some(context.waker().clone()) });
        Poll::Pending
    }

    /// Waits as [`ready`](Self::ready) does and drains. Gives how many messages it took: none, if it was only
    /// notified or the last sender went.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future: messages move to `out` only where it ends.
    pub async fn recv(&mut self, out: &mut impl Extend<T>, shares: [usize; N]) -> usize {
        self.ready(shares).await;
        self.drain(out, shares)
    }

    /// Appends to `out` up to `shares[class]` messages of each class, the most urgent class first, and
    /// clears the notification. Never waits. Gives how many messages it took.
    pub fn drain(&mut self, out: &mut impl Extend<T>, shares: [usize; N]) -> usize {
        self.take(shares, |messages| out.extend(messages))
    }

    /// Refuses every later message. Those that are inside can still be drained, so that an orderly end under
    /// a flood has an end: what is left at its deadline comes back from [`close`](Self::close).
    pub fn seal(&mut self) {
        let waiting = self.shared.state.lock().seal();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Refuses every later message and returns those that were inside, the most urgent class first. Whoever
    /// waits for room gets its message back.
    pub fn close(&mut self) -> Vec<T> {
        let mut state = self.shared.state.lock();
        let waiting = state.seal();
        let broken = state.broken();
        let classes = state.classes.iter_mut();
        let left = classes.flat_map(|class| class.drain(usize::MAX, broken)).collect();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        left
    }

    /// How many messages of each class are inside.
    pub fn lens(&self) -> [usize; N] {
        let state = self.shared.state.lock();
        std::array::from_fn(|class| state.classes[class].len())
    }

    /// Whether no message is inside.
    pub fn is_empty(&self) -> bool {
        self.lens().iter().all(|len| *len == 0)
    }

    /// Whether a message can still come: some sender is left, and the mailbox is not closed.
    pub fn is_open(&self) -> bool {
        let state = self.shared.state.lock();
        !state.sealed && state.n_senders > 0
    }

    /// Hands up to `shares[class]` messages of each class to `sink`, clears the notification, and lets in
    /// those for whom there is room now.
    pub(super) fn take(
        &mut self,
        shares: [usize; N],
        mut sink: impl FnMut(vec_deque::Drain<'_, T>),
    ) -> usize {
        let mut state = self.shared.state.lock();
        state.notified = false;
        let mut n_taken = 0;
        let broken = state.broken();
        let one_share = state.is_broken(Mutation::OneShareForAll);
        for (class, share) in state.classes.iter_mut().zip(shares) {
            let share = if one_share { share.saturating_sub(n_taken) } else { share };
            let messages = class.drain(share, broken);
            n_taken += messages.len();
            sink(messages);
        }
        let wakes_nobody = state.is_broken(Mutation::DrainWakesNobody);
        let woken = if wakes_nobody { Vec::new() } else { state.take_admitted() };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        n_taken
    }

    #[cfg(test)]
    pub(super) fn weights(&self) -> [u128; N] {
        let state = self.shared.state.lock();
        std::array::from_fn(|class| state.classes[class].weight())
    }

    #[cfg(test)]
    pub(super) fn break_rule(&self, broken: Option<Mutation>) {
        self.shared.state.lock().broken = broken;
    }

    /// Gives the lock back if there is a reason to sleep, and no sleep in it. Before that, everybody for whom
    /// there is room comes in (**M3**): one that was woken and never came must not keep the others out.
    fn may_sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T, N>>,
        shares: [usize; N],
    ) -> Option<MutexGuard<'a, State<T, N>>> {
        loop {
            let ended = state.sleep.take().and_then(|sleep| sleep.waker);
            let has_work = state.has_work(shares);
            let stays = has_work || state.is_broken(Mutation::SleepBesideRoom);
            let woken = if stays { Vec::new() } else { state.take_admitted() };
            if !has_work && woken.is_empty() && ended.is_none() {
                return Some(state);
            }
            drop(state);
            drop(ended);
            if has_work {
                return None;
            }
            woken.into_iter().for_each(Waker::wake);
            state = self.shared.state.lock();
        }
    }
}

/// An owner that is gone, be it by a panic, takes no more messages, and nobody may wait for it.
impl<T, const N: usize> Drop for MailboxOwner<T, N> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// The owner's sleep as a future: see [`MailboxOwner::ready`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Ready<'a, T, const N: usize> {
    owner: &'a mut MailboxOwner<T, N>,
    shares: [usize; N],
    is_asleep: bool,
}

impl<T, const N: usize> Future for Ready<'_, T, N> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shares = self.shares;
        let ready = self.owner.poll_ready(context, shares);
        self.is_asleep = ready.is_pending();
        ready
    }
}

impl<T, const N: usize> Drop for Ready<'_, T, N> {
    fn drop(&mut self) {
        if self.is_asleep {
            let sleep = self.owner.shared.state.lock().sleep.take();
            drop(sleep);
        }
    }
}
