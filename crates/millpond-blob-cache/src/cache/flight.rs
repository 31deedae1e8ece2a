//! One read for all that miss a key at the same time.
//!
//! 1. A flight has one leader, or is waiting for one, or has ended. Its slot is the proof that its key was not
//!    replaced since it began: whoever finds it there may take its answer for their own.
//! 2. A leader that goes away hands its ticket to the followers, and the first that looks takes it. Without followers
//!    the ticket is dropped, and the flight is gone.
//! 3. Nobody holds the lock of a flight while taking that of a shard, and no waker is called under either.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millpond_sync::Mutex;
use slab::Slab;

use crate::row::Row;
use crate::rules::Mutation;
use crate::{CacheError, Ticket};

/// What a flight brings.
pub(crate) type Outcome = Result<Option<Row>, CacheError>;

#[derive(Debug)]
enum Phase {
    Led,
    /// Its leader is gone, followers are there.
    Orphaned(Ticket),
    Done(Outcome),
    /// Its leader is gone, and nobody was there.
    Gone,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    followers: Slab<Option<Waker>>,
}

impl State {
    fn wakers(&mut self) -> Vec<Waker> {
        self.followers.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
    }
}

/// A read of one key.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Whether it ends with a loader, which plain readers do not wait for.
    pub(crate) loads: bool,
    state: Mutex<State>,
}

impl Flight {
    pub(crate) fn new(loads: bool) -> Arc<Self> {
        let state = State { phase: Phase::Led, followers: Slab::new() };
        Arc::new(Self { loads, state: Mutex::new(state) })
    }

    fn enter(&self, phase: Phase) {
        let (old, wakers) = {
            let mut state = self.state.lock();
            let old = std::mem::replace(&mut state.phase, phase);
            (old, state.wakers())
        };
        drop(old);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The one who reads.
#[derive(Debug)]
pub(crate) struct Leader {
    flight: Arc<Flight>,
    ticket: Option<Ticket>,
    /// What followers get if the leader goes away after it gave its ticket up.
    row: Option<Row>,
    forgets: bool,
}

impl Leader {
    pub(crate) fn new(flight: Arc<Flight>, ticket: Ticket) -> Self {
        let forgets = ticket.rules().lacks(Mutation::LeaderForgets);
        Self { flight, ticket: Some(ticket), row: None, forgets }
    }

    pub(crate) fn ticket(&self) -> &Ticket {
        self.ticket.as_ref().expect("it is given up once, at the end")
    }

    /// Answers everybody; the ticket is the caller's to commit or to drop.
    pub(crate) fn resolve(mut self, outcome: Outcome) -> Option<Ticket> {
        let ticket = self.ticket.take();
        self.row = None;
        self.flight.enter(Phase::Done(outcome));
        ticket
    }

    /// The ticket becomes a write of `row`, which is what followers get whatever happens.
    pub(crate) fn give_ticket(&mut self, row: Row) -> Ticket {
        self.row = Some(row);
        self.ticket.take().expect("it is given up once, at the end")
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(row) = self.row.take() {
            self.flight.enter(Phase::Done(Ok(Some(row))));
        }
        let Some(ticket) = self.ticket.take() else { return };
        if self.forgets {
            return;
        }
        let (unwanted, wakers) = {
            let mut state = self.flight.state.lock();
            let unwanted = if state.followers.is_empty() {
                state.phase = Phase::Gone;
                Some(ticket)
            } else {
                state.phase = Phase::Orphaned(ticket);
                None
            };
            (unwanted, state.wakers())
        };
        drop(unwanted);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What a follower gets.
#[derive(Debug)]
pub(crate) enum Followed {
    Done(Outcome),
    /// To be the leader.
    Lead(Ticket),
    /// Nothing: the flight has come down before it was joined.
    Gone,
}

/// One who waits for the leader.
#[derive(Debug)]
pub(crate) struct Follower {
    flight: Arc<Flight>,
    at: usize,
}

impl Follower {
    pub(crate) fn new(flight: Arc<Flight>) -> Self {
        let at = flight.state.lock().followers.insert(None);
        Self { flight, at }
    }
}

impl Future for Follower {
    type Output = Followed;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Followed> {
        let mut state = self.flight.state.lock();
        match &state.phase {
            Phase::Led => {
                state.followers[self.at] = Some(context.waker().clone());
                Poll::Pending
            }
            Phase::Done(outcome) => Poll::Ready(Followed::Done(outcome.clone())),
            Phase::Gone => Poll::Ready(Followed::Gone),
            Phase::Orphaned(_) => {
                let Phase::Orphaned(ticket) = std::mem::replace(&mut state.phase, Phase::Led)
                else {
                    unreachable!("it was orphaned a line ago");
                };
                Poll::Ready(Followed::Lead(ticket))
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let (waker, ticket) = {
            let mut state = self.flight.state.lock();
            let waker = state.followers.remove(self.at);
            let is_unwanted =
                state.followers.is_empty() && matches!(state.phase, Phase::Orphaned(_));
            let phase = is_unwanted.then(|| std::mem::replace(&mut state.phase, Phase::Gone));
            (waker, phase)
        };
        // Outside the lock: the ticket takes that of its shard, the waker is the user's.
        drop(ticket);
        drop(waker);
    }
}
