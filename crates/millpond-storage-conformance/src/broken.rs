//! Stores that are wrong on purpose: the proof that the suite can fail.
//!
//! A [`BrokenHarness`] wraps a good harness and adds one [`Defect`]. Every case of the suite must fail
//! for at least one defect, and every defect must be caught by at least one case; a test of the memory
//! backend asserts both. The store underneath must never wait for anything, as the memory backend in its
//! automatic mode does.

mod buffered;
mod defect;
mod log;
mod store;
mod view;
mod write;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use millpond_storage_api::{
    CommitPromise, Epoch, LogPosition, LogRecord, OpenError, PartitionStore, StoreError, Table,
    WriteBatch,
};
use millpond_sync::Mutex;

use crate::{FaultHarness, Harness};

pub use defect::Defect;
use store::BrokenStore;

// std's Arc: the traits name it, and a wrapper for tests needs no model.
use std::sync::Arc;

/// A harness with a [`Defect`].
pub struct BrokenHarness<H> {
    inner: H,
    lab: Arc<Lab>,
}

/// What the handles of one broken harness share.
struct Lab {
    defect: Defect,
    state: Mutex<State>,
}

/// What a handle did, or should have done.
#[derive(Default)]
struct State {
    /// The newest handle underneath.
    newest: Option<Arc<dyn PartitionStore>>,
    /// The highest epoch under which something was submitted.
    used_epoch: Epoch,
    n_submits: usize,
    /// Acknowledged, and not submitted.
    stash: Option<WriteBatch>,
    previous: WriteBatch,
    /// The newest position that was buffered.
    buffered: LogPosition,
    held: Vec<(CommitPromise, Outcome)>,
    failed: bool,
    poisoned: bool,
    records: Vec<LogRecord>,
}

type Outcome = Result<LogPosition, StoreError>;

impl<H: Harness> BrokenHarness<H> {
    /// Adds `defect` to the stores of `inner`.
    pub fn new(inner: H, defect: Defect) -> Self {
        Self { inner, lab: Arc::new(Lab { defect, state: Mutex::new(State::default()) }) }
    }

    /// The handle underneath, while it is open and the defect is to give it out twice.
    fn open_twice(&self) -> Option<Arc<dyn PartitionStore>> {
        let newest = self.lab.state.lock().newest.clone()?;
        let is_open = newest.try_get(Table::System, b"").is_ok();
        (is_open && self.lab.defect == Defect::NeverFences).then_some(newest)
    }
}

impl<H: Harness> Harness for BrokenHarness<H> {
    fn open(&mut self) -> Result<Arc<dyn PartitionStore>, OpenError> {
        let (inner, n_more) = match self.open_twice() {
            Some(inner) => (inner, 1),
            None => (self.inner.open()?, 0),
        };
        let mut state = self.lab.state.lock();
        state.newest = Some(inner.clone());
        if std::mem::take(&mut state.failed) && self.lab.defect == Defect::FailureLosesData {
            let mut wipe = WriteBatch::new();
            wipe.delete_range(Table::Active, &[0], &[9]);
            drop(inner.submit(wipe));
        }
        let epoch = match self.lab.defect {
            Defect::ClaimsEpochsLate => Epoch(state.used_epoch.0 + 1),
            Defect::NeverRaisesTheEpoch => Epoch(1),
            _ => Epoch(inner.epoch().0 + n_more),
        };
        drop(state);
        Ok(Arc::new(BrokenStore::new(inner, self.lab.clone(), epoch)))
    }

    fn crash(&mut self) {
        self.lab.forget();
        self.inner.crash();
    }

    fn kill(&mut self) {
        self.lab.forget();
        self.inner.kill();
    }

    fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        if self.lab.defect == Defect::LosesUnwaited {
            self.lab.flush();
        }
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            // The newest first, which is the wrong way round.
            let held = self.lab.state.lock().held.pop();
            match held {
                Some((promise, outcome)) => write::resolve(promise, outcome),
                None => return self.inner.block_on(future),
            }
        }
    }
}

impl<H: FaultHarness> FaultHarness for BrokenHarness<H> {
    fn fail_next_commit(&mut self) {
        self.inner.fail_next_commit();
    }
}

/// The output of a future that never waits.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the store underneath must never wait"),
    }
}
