use std::collections::{BTreeMap, VecDeque, vec_deque};
use std::task::Waker;

use super::UNBOUNDED;
use super::mutation::Mutation;

/// What a class of messages may hold before senders wait: it is full at either limit.
///
/// With a `weight` of bytes it bounds memory: see [`mailbox_weighing`](super::mailbox_weighing).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Messages. With 0 the class takes pushes only.
    pub n_messages: usize,
    /// The sum of their weights, exceeded by at most the last message that was sent. With 0 the class takes
    /// pushes only.
    pub weight: usize,
}

/// So many messages, whatever they weigh.
impl From<usize> for Capacity {
    fn from(n_messages: usize) -> Self {
        Self { n_messages, weight: UNBOUNDED }
    }
}

/// A sender that waits for room and has not been woken.
#[derive(Debug)]
struct Waiting {
    waker: Waker,
    weight: usize,
}

#[derive(Debug)]
pub(super) struct Class<T> {
    queue: VecDeque<T>,
    /// Of the messages in `queue`, in step with it.
    weights: VecDeque<usize>,
    /// Their sum: wide enough for whatever a caller takes for a weight.
    weight: u128,
    capacity: Capacity,
    /// By ticket, so that each future stands here once however often it is polled, and not at all once it is
    /// dropped.
    waiting: BTreeMap<u64, Waiting>,
}

impl<T> Class<T> {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            queue: VecDeque::new(),
            weights: VecDeque::new(),
            weight: 0,
            capacity,
            waiting: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> u128 {
        self.weight
    }

    /// Whether somebody with this ticket may come in: there is room, and nobody waits before it.
    pub(super) fn admits(&self, ticket: u64, broken: Option<Mutation>) -> bool {
        let first = self.waiting.first_key_value();
        let weight = if broken == Some(Mutation::IgnoreWeight) { 0 } else { self.weight };
        self.has_room(self.queue.len(), weight)
            && (first.is_none_or(|(first, _)| ticket <= *first)
                || broken == Some(Mutation::Overtake))
    }

    /// Whether a message may join so many that weigh so much. How heavy it is does not matter (**M5**).
    fn has_room(&self, n_messages: usize, weight: u128) -> bool {
        let Capacity { n_messages: n_max, weight: weight_max } = self.capacity;
        n_messages < n_max && (weight_max == UNBOUNDED || weight < weight_max as u128)
    }

    pub(super) fn push(&mut self, message: T, weight: usize) {
        self.queue.push_back(message);
        self.weights.push_back(weight);
        self.weight += weight as u128;
    }

    /// Takes out up to `share` messages, the first ones.
    pub(super) fn drain(
        &mut self,
        share: usize,
        broken: Option<Mutation>,
    ) -> vec_deque::Drain<'_, T> {
        let n = self.queue.len().min(share);
        let weight: u128 = self.weights.drain(..n).map(|weight| weight as u128).sum();
        if broken != Some(Mutation::WeightStays) {
            self.weight -= weight;
        }
        self.queue.drain(..n)
    }

    /// Lets somebody wait at its place. Gives the waker that it left there before.
    pub(super) fn wait(&mut self, ticket: u64, waker: Waker, weight: usize) -> Option<Waker> {
        self.waiting.insert(ticket, Waiting { waker, weight }).map(|replaced| replaced.waker)
    }

    pub(super) fn wait_no_longer(&mut self, ticket: u64) -> Option<Waker> {
        self.waiting.remove(&ticket).map(|left| left.waker)
    }

    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = Waker> + use<T> {
        std::mem::take(&mut self.waiting).into_values().map(|one| one.waker)
    }

    /// Takes out those whose turn it is: as many as find room if each comes in.
    pub(super) fn take_admitted(&mut self, woken: &mut Vec<Waker>, broken: Option<Mutation>) {
        if broken == Some(Mutation::WeightWakesNobody) && self.capacity.weight != UNBOUNDED {
            return;
        }
        let (mut n_messages, mut weight) = (self.queue.len(), self.weight);
        while self.has_room(n_messages, weight) {
            let Some((_, first)) = self.waiting.pop_first() else { return };
            n_messages += 1;
            if broken != Some(Mutation::WakeBeyondWeight) {
                weight += first.weight as u128;
            }
            woken.push(first.waker);
        }
    }
}
