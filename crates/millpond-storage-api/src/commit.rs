//! The way from a submitted batch to a durable value.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use millpond_sync::oneshot;

use crate::{LogPosition, StoreError, StoreErrorKind};

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

type Outcome = Result<Durable<LogPosition>, StoreError>;

/// The store's end of a commit: it must resolve it, and dropping it says [`StoreErrorKind::Closed`].
#[derive(Debug)]
pub struct CommitPromise(oneshot::Sender<Outcome>);

/// The submitter's end of a commit: a future of its outcome.
///
/// # Cancel safety
///
/// Dropping the ticket does not cancel the commit; it only forgets to wait.
#[derive(Debug)]
#[must_use = "nothing is promised until the ticket resolves"]
pub struct CommitTicket(oneshot::Receiver<Outcome>);

/// Connects a promise to a ticket.
pub fn commit_ticket() -> (CommitPromise, CommitTicket) {
    let (sender, receiver) = oneshot::channel();
    (CommitPromise(sender), CommitTicket(receiver))
}

impl CommitPromise {
    /// States that every batch up to `position` would survive a power cut.
    ///
    /// This is the one place where durability is vouched for: call it after the sync, never before.
    pub fn durable(self, position: LogPosition) {
        // A submitter that no longer waits loses nothing.
        let _ = self.0.send(Ok(Durable(position)));
    }

    /// States that the batch will not take effect, or that nobody can know.
    pub fn failed(self, error: StoreError) {
        let _ = self.0.send(Err(error));
    }
}

impl CommitTicket {
    /// The outcome, if it is known already.
    pub fn try_outcome(&mut self) -> Option<Outcome> {
        self.0.try_recv().unwrap_or_else(|oneshot::Dropped| Some(Err(dropped())))
    }
}

impl Future for CommitTicket {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|received| received.unwrap_or_else(|oneshot::Dropped| Err(dropped())))
    }
}

fn dropped() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "the store closed before the commit was durable")
}
