//! The durability that a caller asks for: replies, tickets and positions of either kind.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use millpond_storage_api::{
    Buffered, BufferedTicket, CommitTicket, Durable, LogPosition, PartitionStore, StoreError,
    WriteBatch,
};
use millpond_sync::oneshot;

use crate::PartitionError;
use crate::command::{Answer, Reply};

/// Where the answer to a caller goes who could choose.
#[derive(Debug)]
pub(crate) enum Receipt<T> {
    Synced(Reply<T>),
    Buffered(oneshot::Sender<Answer<Buffered<T>>>),
}

impl<T> Receipt<T> {
    pub(crate) fn needs_sync(&self) -> bool {
        matches!(self, Self::Synced(_))
    }

    /// Tells what the commit at `position` has done.
    pub(crate) fn give(self, value: T, position: &Position, outbox: &mut oneshot::Outbox) {
        // A caller that went away does not take back what it asked for.
        match self {
            Self::Synced(reply) => {
                drop(outbox.send(reply, Ok(position.durable().attach(value))));
            }
            Self::Buffered(reply) => {
                drop(outbox.send(reply, Ok(position.buffered().attach(value))));
            }
        }
    }

    pub(crate) fn refuse(self, error: PartitionError) {
        match self {
            Self::Synced(reply) => drop(reply.send(Err(error))),
            Self::Buffered(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// A batch on its way to storage.
#[derive(Debug)]
pub(crate) enum Ticket {
    Synced(CommitTicket),
    Buffered(BufferedTicket),
}

impl Ticket {
    pub(crate) fn of(store: &dyn PartitionStore, batch: WriteBatch, needs_sync: bool) -> Self {
        if needs_sync {
            Self::Synced(store.submit(batch))
        } else {
            Self::Buffered(store.submit_buffered(batch))
        }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Position, StoreError>> {
        match self {
            Self::Synced(ticket) => {
                Pin::new(ticket).poll(context).map(|outcome| outcome.map(Position::Synced))
            }
            Self::Buffered(ticket) => {
                Pin::new(ticket).poll(context).map(|outcome| outcome.map(Position::Buffered))
            }
        }
    }
}

/// Where a commit is in the log, with the witness of what it would survive.
#[derive(Debug)]
pub(crate) enum Position {
    Synced(Durable<LogPosition>),
    Buffered(Buffered<LogPosition>),
}

impl Position {
    /// For all who did not ask for less. None of them is in a batch that was not to be synced.
    pub(crate) fn durable(&self) -> &Durable<LogPosition> {
        match self {
            Self::Synced(position) => position,
            Self::Buffered(_) => unreachable!("a batch is synced if anything in it needs that"),
        }
    }

    fn buffered(&self) -> Buffered<LogPosition> {
        match self {
            Self::Synced(position) => (*position).into(),
            Self::Buffered(position) => *position,
        }
    }
}
