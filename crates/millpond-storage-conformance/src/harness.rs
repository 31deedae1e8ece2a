//! What a backend lends to the suite.

use std::future::Future;
use std::sync::Arc;

use millpond_storage_api::{OpenError, PartitionStore};

/// One place for one store: a directory, a bucket, a simulated disk. It begins empty; every case gets a
/// harness of its own.
pub trait Harness {
    /// Opens the store, and creates it the first time.
    ///
    /// Cases call it while another handle is open, to see that the second is refused or fences the
    /// first, so it must ask the backend and must not close anything by itself.
    ///
    /// # Errors
    ///
    /// Whatever the backend answers.
    fn open(&mut self) -> Result<Arc<dyn PartitionStore>, OpenError>;

    /// Cuts the power: the place afterwards holds what was synced, and of the rest whatever a device
    /// might have kept. The next [`open`](Self::open) must work on that.
    ///
    /// Handles may be open and batches in flight. The case drops its handle afterwards and uses it for
    /// nothing else, so a backend may go on with a copy of the files as they are at this moment; killing
    /// a process is a weaker cut, because the system's page cache survives it. Say in the harness which
    /// of the two it is.
    fn crash(&mut self);

    /// Ends the process that has the store open: the place afterwards holds what was handed to the system,
    /// synced or not. Otherwise as [`crash`](Self::crash), which is allowed to leave less.
    fn kill(&mut self);

    /// Waits for a future in the way that suits the backend: park the thread, enter a runtime, step a
    /// simulated device. Futures given here resolve without further help from the case.
    fn block_on<F: Future>(&mut self, future: F) -> F::Output;
}

/// A harness that can also make the device fail.
pub trait FaultHarness: Harness {
    /// Makes the next commit to be submitted fail as `NoSpace` or `Io`.
    fn fail_next_commit(&mut self);
}
