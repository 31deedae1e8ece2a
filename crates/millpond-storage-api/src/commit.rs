//! The way from a submitted batch to a durable or a buffered value.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use millpond_sync::oneshot;

use crate::{LogPosition, StoreError, StoreErrorKind};
use witness::Witness;

/// A value that a power cut can no longer take back.
///
/// The only source of a `Durable` is a [`CommitPromise`] that its store resolved; everything else is
/// derived from one with [`map`](Self::map) or [`attach`](Self::attach). A function that returns a
/// receipt, a grant or an external acknowledgement therefore cannot be written without a commit.
///
/// ```compile_fail
/// use millpond_storage_api::Durable;
/// let forged = Durable(5); // the field is private
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    /// The value.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The value, without the witness.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// A value derived from a durable one.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Durable<U> {
        Durable(f(self.0))
    }

    /// Another value that became durable by the same commit. The caller vouches for that.
    pub fn attach<U>(&self, value: U) -> Durable<U> {
        Durable(value)
    }
}

/// A value that the end of the process can no longer take back. A power cut still can.
///
/// Its sources are those of [`Durable`], and every `Durable`: what is durable is at least buffered. There
/// is no way back.
///
/// ```compile_fail,E0277
/// use millpond_storage_api::{Buffered, Durable};
/// fn promote(buffered: Buffered<u64>) -> Durable<u64> {
///     buffered.into()
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffered<T>(T);

impl<T> Buffered<T> {
    /// The value.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The value, without the witness.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// A value derived from a buffered one.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Buffered<U> {
        Buffered(f(self.0))
    }

    /// Another value that was handed over by the same commit. The caller vouches for that.
    pub fn attach<U>(&self, value: U) -> Buffered<U> {
        Buffered(value)
    }
}

impl<T> From<Durable<T>> for Buffered<T> {
    fn from(durable: Durable<T>) -> Self {
        Self(durable.0)
    }
}

mod witness {
    use super::{Buffered, Durable};
    use crate::LogPosition;

    /// What a ticket resolves to. Nobody outside can name it, so nobody outside can call it.
    pub trait Witness {
        fn of(position: LogPosition) -> Self;
    }

    impl Witness for Durable<LogPosition> {
        fn of(position: LogPosition) -> Self {
            Self(position)
        }
    }

    impl Witness for Buffered<LogPosition> {
        fn of(position: LogPosition) -> Self {
            Self(position)
        }
    }
}

type Outcome = Result<LogPosition, StoreError>;

/// The store's end of a commit: it must resolve it, and dropping it says [`StoreErrorKind::Closed`].
#[derive(Debug)]
pub struct CommitPromise {
    sender: oneshot::Sender<Outcome>,
    needs_sync: bool,
}

/// The submitter's end of a commit: a future of its outcome, which is a position with a witness `W`.
///
/// # Cancel safety
///
/// Dropping the ticket does not cancel the commit; it only forgets to wait.
#[derive(Debug)]
#[must_use = "nothing is promised until the ticket resolves"]
pub struct Ticket<W> {
    receiver: oneshot::Receiver<Outcome>,
    witness: PhantomData<fn() -> W>,
}

/// The ticket of a batch that is to survive a power cut.
pub type CommitTicket = Ticket<Durable<LogPosition>>;

/// The ticket of a batch that is to survive the end of the process. A [`CommitTicket`] can be turned into
/// one.
pub type BufferedTicket = Ticket<Buffered<LogPosition>>;

/// Connects a promise to a ticket for a batch that is to survive a power cut.
pub fn commit_ticket() -> (CommitPromise, CommitTicket) {
    promise(true)
}

/// Connects a promise to a ticket for a batch that is to survive the end of the process.
pub fn buffered_ticket() -> (CommitPromise, BufferedTicket) {
    promise(false)
}

fn promise<W>(needs_sync: bool) -> (CommitPromise, Ticket<W>) {
    let (sender, receiver) = oneshot::channel();
    (CommitPromise { sender, needs_sync }, Ticket { receiver, witness: PhantomData })
}

impl CommitPromise {
    /// Whether only [`durable`](Self::durable) fulfils it.
    pub fn needs_sync(&self) -> bool {
        self.needs_sync
    }

    /// States that every batch up to `position` would survive a power cut. Fulfils either kind of ticket.
    ///
    /// This is the one place where durability is vouched for: call it after the sync, never before.
    pub fn durable(self, position: LogPosition) {
        // A submitter that no longer waits loses nothing.
        let _ = self.sender.send(Ok(position));
    }

    /// States that every batch up to `position` would survive the end of the process.
    ///
    /// # Errors
    ///
    /// Gives the promise back, still to be kept, when it [needs a sync](Self::needs_sync).
    pub fn buffered(self, position: LogPosition) -> Result<(), Self> {
        if self.needs_sync {
            return Err(self);
        }
        // As above.
        let _ = self.sender.send(Ok(position));
        Ok(())
    }

    /// States that the batch will not take effect, or that nobody can know.
    pub fn failed(self, error: StoreError) {
        let _ = self.sender.send(Err(error));
    }
}

impl<W: Witness> Ticket<W> {
    /// The outcome, if it is known already.
    pub fn try_outcome(&mut self) -> Option<Result<W, StoreError>> {
        self.receiver.try_recv().transpose().map(witnessed)
    }
}

impl<W: Witness> Future for Ticket<W> {
    type Output = Result<W, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(witnessed)
    }
}

impl From<CommitTicket> for BufferedTicket {
    fn from(ticket: CommitTicket) -> Self {
        Self { receiver: ticket.receiver, witness: PhantomData }
    }
}

fn witnessed<W: Witness>(received: Result<Outcome, oneshot::Dropped>) -> Result<W, StoreError> {
    received.unwrap_or_else(|oneshot::Dropped| Err(dropped())).map(W::of)
}

fn dropped() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "the store closed before the commit was complete")
}
