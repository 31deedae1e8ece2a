//! The two halves of a refill in flight: the owner's and the worker's.

use std::fmt;

use millpond_sync::Arc;
use millpond_sync::atomic::{AtomicBool, Ordering};

use super::queue::Shared;

/// How a refill ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T, E> {
    /// The scan was performed, in full or in part.
    Completed(T),
    /// The scan failed.
    Failed(E),
    /// The worker gave up: it saw the cancellation, panicked, or was shut down.
    Cancelled,
}

/// The end of one refill, on its way to the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion<Q, T, E> {
    /// The inbox it belongs to, as named when its ticket was issued.
    pub tag: Q,
    /// How it ended.
    pub outcome: Outcome<T, E>,
    generation: u64,
}

/// The owner's half. Dropping it cancels the refill.
#[derive(Debug)]
pub struct RefillFlight {
    generation: u64,
    cancelled: Arc<AtomicBool>,
}

impl RefillFlight {
    pub(super) fn new(generation: u64, cancelled: Arc<AtomicBool>) -> Self {
        Self { generation, cancelled }
    }

    /// Whether `completion` ends this very refill. One that does not is late, and is dropped.
    pub fn accepts<Q, T, E>(&self, completion: &Completion<Q, T, E>) -> bool {
        self.generation == completion.generation
    }

    /// Tells the worker to stop. Its completion arrives all the same, and nobody accepts it any more: the
    /// owner calls [`refill_failed`](crate::Inbox::refill_failed) now and does not wait.
    pub fn cancel(self) {}
}

impl Drop for RefillFlight {
    fn drop(&mut self) {
        // Relaxed: it only saves work. What keeps a late result out is its generation.
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// The worker's half: the duty to report how the refill ended. Dropping it reports
/// [`Outcome::Cancelled`].
#[must_use = "dropping the ticket reports a cancelled refill"]
pub struct RefillTicket<Q, T, E> {
    /// Gone once reported.
    tag: Option<Q>,
    generation: u64,
    cancelled: Arc<AtomicBool>,
    owner: Arc<Shared<Completion<Q, T, E>>>,
}

impl<Q, T, E> RefillTicket<Q, T, E> {
    pub(super) fn new(
        tag: Q,
        generation: u64,
        cancelled: Arc<AtomicBool>,
        owner: Arc<Shared<Completion<Q, T, E>>>,
    ) -> Self {
        Self { tag: Some(tag), generation, cancelled, owner }
    }

    /// Whether the owner no longer waits, so that the scan may stop.
    pub fn is_cancelled(&self) -> bool {
        // Relaxed: advice, see `RefillFlight::drop`.
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Reports what the scan yielded, be it all or part of what was asked for.
    pub fn complete(mut self, yielded: T) {
        self.report(Outcome::Completed(yielded));
    }

    /// Reports that the scan failed.
    pub fn fail(mut self, error: E) {
        self.report(Outcome::Failed(error));
    }

    fn report(&mut self, outcome: Outcome<T, E>) {
        if let Some(tag) = self.tag.take() {
            self.owner.push(Completion { tag, outcome, generation: self.generation });
        }
    }
}

impl<Q, T, E> Drop for RefillTicket<Q, T, E> {
    fn drop(&mut self) {
        self.report(Outcome::Cancelled);
    }
}

impl<Q: fmt::Debug, T, E> fmt::Debug for RefillTicket<Q, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefillTicket")
            .field("tag", &self.tag)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
