use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::mutation::Mutation;
use super::{Closed, Shared};

/// A message on its way in: the future of [`MailboxSender::send`](super::MailboxSender::send).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sending<'a, T, const N: usize, const CLASS: usize> {
    shared: &'a Shared<T, N>,
    message: Option<T>,
    weight: usize,
    /// Its place among those that wait for room, once it had to wait. It keeps it when it was woken and
    /// found the class full again.
    ticket: Option<u64>,
}

impl<'a, T, const N: usize, const CLASS: usize> Sending<'a, T, N, CLASS> {
    pub(super) fn new(shared: &'a Shared<T, N>, message: T) -> Self {
        let weight = (shared.weigh)(&message);
        Self { shared, message: Some(message), weight, ticket: None }
    }
}

// No field is pinned: the future is a value waiting to be moved.
impl<T, const N: usize, const CLASS: usize> Unpin for Sending<'_, T, N, CLASS> {}

impl<T, const N: usize, const CLASS: usize> Future for Sending<'_, T, N, CLASS> {
    type Output = Result<(), Closed<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let message = self.message.take().expect("a finished future is not polled again");
        let shared = self.shared;
        let mut guard = shared.state.lock();
        let state = &mut *guard;
        if state.sealed {
            return Poll::Ready(Err(Closed(message)));
        }
        if !state.admits::<CLASS>(self.ticket.unwrap_or(u64::MAX)) {
            let ticket = self.ticket.unwrap_or(state.last_ticket + 1);
            state.last_ticket = state.last_ticket.max(ticket);
            let class = &mut state.classes[CLASS];
            let replaced = class.wait(ticket, context.waker().clone(), self.weight);
            drop(guard);
            // Outside the lock, like every waker: dropping it may run anything.
            drop(replaced);
            self.ticket = Some(ticket);
            self.message = Some(message);
            return Poll::Pending;
        }
        let class = &mut state.classes[CLASS];
        let waker = self.ticket.take().and_then(|ticket| class.wait_no_longer(ticket));
        let sleep = state.push::<CLASS>(message, self.weight);
        drop(guard);
        drop(waker);
        shared.end(sleep);
        Poll::Ready(Ok(()))
    }
}

impl<T, const N: usize, const CLASS: usize> Drop for Sending<'_, T, N, CLASS> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let mut state = self.shared.state.lock();
            if state.is_broken(Mutation::DroppedWaits) {
                return;
            }
            let waker = state.classes[CLASS].wait_no_longer(ticket);
            drop(state);
            drop(waker);
        }
    }
}
