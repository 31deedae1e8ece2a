//! What a backend implements.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    BufferedTicket, CommitLog, CommitTicket, Epoch, LogPosition, ScanEnd, ScanRequest, ScanRows,
    StoreError, Table, WriteBatch,
};

/// The outcome of [`StoreRead::scan`].
pub type ScanFuture =
    Pin<Box<dyn Future<Output = Result<(ScanRows, ScanEnd), StoreError>> + Send + 'static>>;
/// The outcome of [`StoreRead::get`].
pub type GetFuture =
    Pin<Box<dyn Future<Output = Result<Option<Bytes>, StoreError>> + Send + 'static>>;
/// The outcome of [`PartitionStore::checkpoint`].
pub type CheckpointFuture =
    Pin<Box<dyn Future<Output = Result<Checkpoint, StoreError>> + Send + 'static>>;
/// The outcome of [`PartitionStore::close`].
pub type CloseFuture = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'static>>;

/// Reading the tables of a partition.
///
/// Every future here is `'static` and may be polled on any executor; dropping it cancels the wait and
/// harms nothing.
pub trait StoreRead: Send + Sync + 'static {
    /// Fills `out` with what memory can serve, and never blocks on a device.
    ///
    /// `out` is cleared first. The rows form one consistent view taken at some moment during the call.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](crate::StoreErrorKind::WouldBlock) when the next row is not in memory or `skip_max`
    /// was reached: `out` keeps the rows read so far, which are valid and complete up to its last key.
    /// Other kinds leave `out` empty.
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError>;

    /// As [`try_scan`](Self::try_scan), but may wait; runs wherever the backend decides. Always makes
    /// progress: it returns at least one row unless the range is exhausted.
    ///
    /// # Errors
    ///
    /// Never `WouldBlock`.
    fn scan(&self, request: ScanRequest) -> ScanFuture;

    /// One value, if memory can tell. Never blocks on a device.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](crate::StoreErrorKind::WouldBlock) when memory cannot tell.
    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// One value; may wait.
    ///
    /// # Errors
    ///
    /// Never `WouldBlock`.
    fn get(&self, table: Table, key: &[u8]) -> GetFuture;
}

/// One partition's ordered, durable store. The [contract](crate#the-contract) says what every
/// implementation owes.
pub trait PartitionStore: StoreRead {
    /// Orders the batch after every batch submitted before, and returns at once; nothing is promised
    /// until the ticket resolves. Batches waiting for the same sync share it.
    ///
    /// The caller bounds how much it has in flight; the store holds what it is given.
    ///
    /// The ticket's errors: `Closed` after [`close`](Self::close) or after an earlier failure, `Fenced`,
    /// `NoSpace`, `Io`. None of them is ever followed by a success.
    fn submit(&self, batch: WriteBatch) -> CommitTicket;

    /// As [`submit`](Self::submit), in the same order, but the ticket resolves as soon as the batch would
    /// survive the end of the process. A power cut may take it until a later batch is durable, which
    /// covers it; where none follows, an empty one that was submitted with `submit` does.
    ///
    /// The ticket may resolve before those of earlier batches that wait for their sync. Its errors are
    /// those of `submit`.
    ///
    /// A store that can do no better makes every batch durable: so does this implementation.
    fn submit_buffered(&self, batch: WriteBatch) -> BufferedTicket {
        self.submit(batch).into()
    }

    /// The epoch claimed when the store was opened.
    fn epoch(&self) -> Epoch;

    /// The position up to which everything is durable. Batches that are only buffered do not move it.
    fn durable_position(&self) -> LogPosition;

    /// A consistent, cheap view with the position it stands for. It stays as it is while the store moves
    /// on, and costs space only until it is dropped. It holds every batch whose ticket had resolved, and
    /// only what is durable: where something is merely buffered, the checkpoint begins with a sync.
    fn checkpoint(&self) -> CheckpointFuture;

    /// The log of commits.
    fn log(&self) -> &dyn CommitLog;

    /// What this kind of store can do.
    fn capabilities(&self) -> Capabilities;

    /// Stops accepting, waits until every submitted batch, buffered ones too, is durable or has failed, and
    /// gives the store up, so that it can be opened again. Idempotent. Reads fail with `Closed` afterwards.
    fn close(&self) -> CloseFuture;
}

/// A consistent view of a partition.
pub struct Checkpoint {
    /// The view holds exactly the batches up to here.
    pub position: LogPosition,
    /// The rows.
    pub view: Box<dyn StoreRead>,
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint").field("position", &self.position).finish_non_exhaustive()
    }
}

/// What a kind of store can do, so that callers choose a way instead of assuming one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether `delete_range` costs less than deleting key by key.
    pub cheap_range_delete: bool,
    /// Whether another process can open the same data and thereby fence this one.
    pub shared: bool,
    /// Whether a durable commit survives a power cut (and not only the end of the process).
    pub power_safe: bool,
    /// Whether a buffered commit survives the end of the process.
    pub process_safe: bool,
    /// How long a commit usually takes.
    pub typical_commit: Duration,
}
