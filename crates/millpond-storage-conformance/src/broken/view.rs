//! Places to read from, and futures that mind being dropped.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use millpond_storage_api::{
    GetFuture, PartitionStore, ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError, StoreRead,
    Table,
};

use super::{Lab, at_once};

/// The store as it is.
pub(super) struct Live(pub(super) Arc<dyn PartitionStore>);

impl StoreRead for Live {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        self.0.try_scan(request, out)
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        self.0.scan(request)
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        self.0.get(table, key)
    }
}

/// Where the stale half of a mixed view begins.
const MIDDLE: &[u8] = &[128];

/// Keys below the middle as they are, keys from there on as they were.
pub(super) struct StaleView {
    live: Arc<dyn StoreRead>,
    stale: Arc<dyn StoreRead>,
}

impl StaleView {
    pub(super) fn mixed(live: Arc<dyn StoreRead>, stale: Arc<dyn StoreRead>) -> Self {
        Self { live, stale }
    }
}

impl StoreRead for StaleView {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        let (rows, end) = at_once(self.scan(request.clone()))?;
        *out = rows;
        Ok(end)
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        if request.lower.as_slice() >= MIDDLE {
            return self.stale.scan(request);
        }
        let middle = MIDDLE.to_vec();
        let upper = request.upper.clone().map_or(middle.clone(), |upper| upper.min(middle));
        let low = ScanRequest { upper: Some(upper), ..request.clone() };
        let high = ScanRequest { lower: MIDDLE.to_vec(), ..request };
        let scanned = at_once(self.live.scan(low)).and_then(|(mut rows, end)| {
            if end != ScanEnd::Exhausted {
                return Ok((rows, end));
            }
            let (more, end) = at_once(self.stale.scan(high))?;
            more.iter().for_each(|(key, value)| rows.push(key, value));
            Ok((rows, end))
        });
        Box::pin(ready(scanned))
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.live.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        self.live.get(table, key)
    }
}

type Scanned = Result<(ScanRows, ScanEnd), StoreError>;

/// A scan that ruins its store when it is dropped before it was polled.
pub(super) struct PoisonOnDrop {
    scanned: Option<Scanned>,
    lab: Arc<Lab>,
}

impl PoisonOnDrop {
    pub(super) fn new(scanned: Scanned, lab: Arc<Lab>) -> Self {
        Self { scanned: Some(scanned), lab }
    }
}

impl Future for PoisonOnDrop {
    type Output = Scanned;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Scanned> {
        Poll::Ready(self.scanned.take().expect("a future is polled until it is ready"))
    }
}

impl Drop for PoisonOnDrop {
    fn drop(&mut self) {
        if self.scanned.is_some() {
            self.lab.state.lock().poisoned = true;
        }
    }
}
