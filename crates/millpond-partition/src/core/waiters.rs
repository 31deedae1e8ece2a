//! Who waits for work, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;

use millpond_sync::oneshot;

use super::bounds::Seat;
use crate::PartitionError;
use crate::command::{Answer, Grants, LeaseCall};

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) call: Arc<LeaseCall>,
    /// Whether to wait for work that is not there yet.
    pub(super) wait: bool,
    /// The number of the batch that was being staged when it came.
    pub(super) since: u64,
    pub(super) _seat: Seat,
}

/// The calls registered with one topic or one queue.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    calls: VecDeque<Waiter>,
    /// How many of them do not wait. Mostly none, and then nobody has to be looked for.
    n_impatient: usize,
}

impl Waiters {
    pub(super) fn push(&mut self, waiter: Waiter) {
        self.n_impatient += usize::from(!waiter.wait);
        self.calls.push_back(waiter);
    }

    /// The first call that nobody else has claimed, and where its answer goes.
    pub(super) fn claim(&mut self) -> Option<(Arc<LeaseCall>, oneshot::Sender<Answer<Grants>>)> {
        while let Some(waiter) = self.pop() {
            if let Some(reply) = waiter.call.claim() {
                return Some((waiter.call, reply));
            }
        }
        None
    }

    fn pop(&mut self) -> Option<Waiter> {
        let waiter = self.calls.pop_front()?;
        self.n_impatient -= usize::from(!waiter.wait);
        Some(waiter)
    }

    /// How many entries the first call wants, if there is one.
    pub(super) fn first_wants(&self) -> Option<usize> {
        self.calls.front().map(|waiter| waiter.call.n_max)
    }

    /// Since which batch the first call waits, if there is one.
    pub(super) fn first_since(&self) -> Option<u64> {
        self.calls.front().map(|waiter| waiter.since)
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Tells the calls that do not wait that there is nothing; the others stay.
    pub(super) fn answer_impatient(&mut self) {
        if self.n_impatient == 0 {
            return;
        }
        self.calls.retain(|waiter| {
            if !waiter.wait {
                waiter.answer_none();
            }
            waiter.wait
        });
        self.n_impatient = 0;
    }

    /// Forgets the calls whose caller is gone or was served by another partition.
    pub(super) fn sweep(&mut self) {
        self.calls.retain(|waiter| waiter.call.is_open());
        self.n_impatient = self.calls.iter().filter(|waiter| !waiter.wait).count();
    }

    pub(super) fn refuse_all(self, error: &PartitionError) {
        for waiter in self.calls {
            if let Some(reply) = waiter.call.claim() {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.calls.iter()
    }
}

impl Waiter {
    fn answer_none(&self) {
        if let Some(reply) = self.call.claim() {
            let _ = reply.send(Ok(Grants::none()));
        }
    }
}
