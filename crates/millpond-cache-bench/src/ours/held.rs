//! A promotion that waits on its thread for exactly as long as a case wants.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use millpond_blob_cache::Promotion;
use millpond_promotion::{Ended, Executor};

use crate::Outcome;

/// The case's end of it.
pub(super) struct Held {
    begun: Receiver<()>,
    gate: Sender<()>,
    ended: Receiver<()>,
}

impl Held {
    /// Returns when a thread has the promotion in its hands.
    pub(super) fn has_begun(&self) -> Outcome<()> {
        Ok(self.begun.recv()?)
    }

    /// Lets it go on, and every later one too; returns when it has ended.
    pub(super) fn end(self) -> Outcome<()> {
        let Self { begun: _begun, gate, ended } = self;
        drop(gate);
        Ok(ended.recv()?)
    }
}

/// An executor whose first promotion is held, and what lets it go on.
pub(super) fn hold() -> (impl Executor<Promotion>, Held) {
    let (has_begun, begun) = channel();
    let (gate, is_open) = channel::<()>();
    let (has_ended, ended) = channel();
    // The executor is shared by the threads of a pool, and a receiver cannot be.
    let is_open = Mutex::new(is_open);
    let executor = move |promotion: Promotion| -> Ended {
        // Nobody listens to later ones.
        let _ = has_begun.send(());
        // Nothing is ever sent: the gate is open when it is gone.
        let _ = is_open.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let outcome = promotion.install();
        let _ = has_ended.send(());
        outcome
    };
    (executor, Held { begun, gate, ended })
}
