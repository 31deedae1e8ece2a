//! A store whose reads and commits a test lets go on, one by one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use millpond_storage_api::{
    Capabilities, CheckpointFuture, CloseFuture, CommitLog, CommitTicket, Epoch, GetFuture,
    LogPosition, PartitionStore, ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError,
    StoreErrorKind, StoreRead, Table, WriteBatch,
};
use millpond_storage_memory::MemoryStore;
use millpond_sync::Mutex;

#[derive(Debug, Default)]
struct Latch {
    is_open: bool,
    waker: Option<Waker>,
}

/// What waits at gates, to be let through in any order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gates(Arc<Mutex<Vec<Arc<Mutex<Latch>>>>>);

impl Gates {
    /// A future that waits until it is let through.
    pub(crate) fn pass(&self) -> Passage {
        let latch = Arc::new(Mutex::new(Latch::default()));
        self.0.lock().push(latch.clone());
        Passage(latch)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn open(&self, at: usize) {
        let latch = self.0.lock().remove(at);
        let waker = {
            let mut latch = latch.lock();
            latch.is_open = true;
            latch.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Passage(Arc<Mutex<Latch>>);

impl Future for Passage {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut latch = self.0.lock();
        if latch.is_open {
            return Poll::Ready(());
        }
        latch.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A [`MemoryStore`] whose reads wait at gates: they look at the rows before or after.
#[derive(Debug)]
pub(crate) struct GatedStore {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) gates: Gates,
    pub(crate) looks_early: bool,
    pub(crate) cheap_range_delete: bool,
}

impl StoreRead for GatedStore {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        self.store.try_scan(request, out)
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        self.store.scan(request)
    }

    fn try_get(&self, _: Table, _: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Err(StoreError::new(StoreErrorKind::WouldBlock, "reads wait at a gate"))
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        let passage = self.gates.pass();
        let (store, key) = (self.store.clone(), key.to_vec());
        let early = self.looks_early.then(|| self.store.get(table, &key));
        Box::pin(async move {
            passage.await;
            match early {
                Some(early) => early.await,
                None => store.get(table, &key).await,
            }
        })
    }
}

impl PartitionStore for GatedStore {
    fn submit(&self, batch: WriteBatch) -> CommitTicket {
        self.store.submit(batch)
    }

    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn durable_position(&self) -> LogPosition {
        self.store.durable_position()
    }

    fn checkpoint(&self) -> CheckpointFuture {
        self.store.checkpoint()
    }

    fn log(&self) -> &dyn CommitLog {
        self.store.log()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { cheap_range_delete: self.cheap_range_delete, ..self.store.capabilities() }
    }

    fn close(&self) -> CloseFuture {
        self.store.close()
    }
}
