//! The wrapper itself.

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use millpond_storage_api::{
    BufferedTicket, Capabilities, Checkpoint, CheckpointFuture, CloseFuture, CommitLog,
    CommitTicket, Epoch, GetFuture, LogPosition, PartitionStore, ScanEnd, ScanFuture, ScanRequest,
    ScanRows, StoreError, StoreErrorKind, StoreRead, Table, WriteBatch, commit_ticket,
};
use millpond_sync::Mutex;

use super::buffered::Before;
use super::log::BrokenLog;
use super::view::{Live, PoisonOnDrop, StaleView};
use super::{Defect, Lab, at_once, write};

/// A store with a defect.
pub(super) struct BrokenStore {
    inner: Arc<dyn PartitionStore>,
    lab: Arc<Lab>,
    epoch: Epoch,
    /// The position at which this handle was opened.
    base: LogPosition,
    /// The rows as they were before the newest batch.
    stale: Mutex<Option<Arc<dyn StoreRead>>>,
    n_reads: Mutex<u64>,
    n_closes: Mutex<u64>,
    has_written: Mutex<bool>,
    log: BrokenLog,
}

impl BrokenStore {
    pub(super) fn new(inner: Arc<dyn PartitionStore>, lab: Arc<Lab>, epoch: Epoch) -> Self {
        Self {
            base: inner.durable_position(),
            log: BrokenLog::new(inner.clone(), lab.clone()),
            inner,
            lab,
            epoch,
            stale: Mutex::new(None),
            n_reads: Mutex::new(0),
            n_closes: Mutex::new(0),
            has_written: Mutex::new(false),
        }
    }

    fn is(&self, defect: Defect) -> bool {
        self.lab.defect == defect
    }

    fn position(&self, position: LogPosition) -> LogPosition {
        match self.lab.defect {
            Defect::SkipsPositions => LogPosition(position.0 * 2),
            Defect::RestartsPositions => LogPosition(position.0.saturating_sub(self.base.0)),
            _ => position,
        }
    }

    /// Where this read looks.
    fn source(&self) -> Result<Arc<dyn StoreRead>, StoreError> {
        if self.lab.state.lock().poisoned {
            return Err(StoreError::new(StoreErrorKind::Io, "a scan was dropped"));
        }
        if matches!(
            self.lab.defect,
            Defect::AcknowledgesEarly | Defect::LosesOnClose | Defect::LosesFromTheMiddle
        ) {
            self.lab.flush();
        }
        self.lab.catch_up(Before::Read);
        let n_reads = {
            let mut n_reads = self.n_reads.lock();
            *n_reads += 1;
            *n_reads
        };
        let live: Arc<dyn StoreRead> = Arc::new(Live(self.inner.clone()));
        let Some(stale) = self.stale.lock().clone() else { return Ok(live) };
        Ok(match self.lab.defect {
            Defect::ReadsStaleRows => stale,
            Defect::ReadsGoBack if n_reads.is_multiple_of(7) => stale,
            Defect::MixesTwoMoments => Arc::new(StaleView::mixed(live, stale)),
            Defect::ServesAfterClose if *self.n_closes.lock() > 0 => stale,
            _ => live,
        })
    }

    /// Keeps the rows as they are, for reads that look at them too late.
    fn keep_stale(&self) {
        if let Ok(checkpoint) = at_once(self.inner.checkpoint()) {
            *self.stale.lock() = Some(Arc::from(checkpoint.view));
        }
    }
}

impl StoreRead for BrokenStore {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        let leftovers = std::mem::take(out);
        let source = self.source()?;
        let scanned = source.try_scan(&self.request(request), out);
        let end = self.spoil(&*source, request, scanned, out);
        if self.is(Defect::KeepsLeftovers) {
            let fresh = std::mem::replace(out, leftovers);
            fresh.iter().for_each(|(key, value)| out.push(key, value));
        }
        end
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        let scanned = self.source().and_then(|source| {
            let (mut rows, end) = at_once(source.scan(self.request(&request)))?;
            let end = self.spoil(&*source, &request, Ok(end), &mut rows)?;
            Ok((rows, end))
        });
        if self.is(Defect::BreaksWhenAScanIsDropped) {
            return Box::pin(PoisonOnDrop::new(scanned, self.lab.clone()));
        }
        Box::pin(ready(scanned))
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.source()?.try_get(table, key)?;
        self.spoil_value(table, key, value)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        let value = self.source().and_then(|source| {
            let value = at_once(source.get(table, key))?;
            self.spoil_value(table, key, value)
        });
        Box::pin(ready(value))
    }
}

impl BrokenStore {
    /// The request that the store underneath gets instead.
    fn request(&self, request: &ScanRequest) -> ScanRequest {
        let mut request = request.clone();
        let inverted = request.upper.as_ref().is_some_and(|upper| *upper <= request.lower);
        match self.lab.defect {
            Defect::IncludesTheUpperBound => {
                request.upper.iter_mut().for_each(|upper| upper.push(0));
            }
            Defect::ExcludesTheLowerBound => request.lower.push(0),
            Defect::ReadsInvertedRanges if inverted => request.upper = None,
            Defect::IgnoresRowsMax => request.rows_max = usize::MAX,
            Defect::IgnoresBytesMax => request.bytes_max = usize::MAX,
            Defect::StopsAtOnes if request.upper.is_none() => request.upper = Some(vec![0xFF]),
            _ => {}
        }
        request
    }

    /// What becomes of the result.
    fn spoil(
        &self,
        source: &dyn StoreRead,
        request: &ScanRequest,
        scanned: Result<ScanEnd, StoreError>,
        out: &mut ScanRows,
    ) -> Result<ScanEnd, StoreError> {
        let blocked = scanned.as_ref().is_err_and(StoreError::would_block);
        let truncated = matches!(scanned, Ok(ScanEnd::Truncated { .. }));
        match self.lab.defect {
            Defect::TakesBlockingForTheEnd if blocked => return Ok(ScanEnd::Exhausted),
            Defect::LosesRowsBeforeBlocking if blocked => keep(out, |index, n| index + 1 == n),
            Defect::SaysExhausted if truncated => return Ok(ScanEnd::Exhausted),
            Defect::SaysTruncated if scanned == Ok(ScanEnd::Exhausted) => {
                let last = out.last_key().unwrap_or(&request.lower).to_vec();
                return Ok(ScanEnd::Truncated { last });
            }
            Defect::DropsTheRowAtTheLimit if truncated => keep(out, |index, n| index + 1 < n),
            Defect::RefusesOversizedRows if out.n_bytes() > request.bytes_max => {
                out.clear();
                return Ok(ScanEnd::Exhausted);
            }
            Defect::OrdersBytesAsSigned => order_as_signed(out),
            Defect::LeaksTheNextTable if request.upper.is_none() && scanned.is_ok() => {
                leak_next_table(source, request, out);
            }
            _ => {}
        }
        scanned
    }

    fn spoil_value(
        &self,
        table: Table,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<Option<Bytes>, StoreError> {
        Ok(match self.lab.defect {
            Defect::TakesEmptyForAbsent => value.filter(|value| !value.is_empty()),
            Defect::CutsLargeValues => value.map(|value| value.slice(..value.len().min(1 << 16))),
            Defect::ForgetsOnReopen => value.filter(|_| *self.has_written.lock()),
            Defect::LooksInEveryTable if value.is_none() => {
                let others = Table::ALL.into_iter().filter(|other| *other != table);
                let mut found = others.map(|other| self.inner.try_get(other, key));
                found.find_map(|found| found.ok().flatten())
            }
            _ => value,
        })
    }
}

fn keep(rows: &mut ScanRows, wanted: impl Fn(usize, usize) -> bool) {
    let all = std::mem::take(rows);
    for (index, (key, value)) in all.iter().enumerate() {
        if wanted(index, all.len()) {
            rows.push(key, value);
        }
    }
}

fn order_as_signed(rows: &mut ScanRows) {
    let all = std::mem::take(rows);
    let mut signed: Vec<_> = all.iter().collect();
    signed.sort_by_key(|(key, _)| key.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>());
    signed.into_iter().for_each(|(key, value)| rows.push(key, value));
}

fn leak_next_table(source: &dyn StoreRead, request: &ScanRequest, out: &mut ScanRows) {
    if let Some(&table) = Table::ALL.get(request.table.index() + 1) {
        let request = ScanRequest { table, lower: Vec::new(), ..request.clone() };
        if let Ok((rows, _)) = at_once(source.scan(request)) {
            rows.iter().for_each(|(key, value)| out.push(key, value));
        }
    }
}

impl PartitionStore for BrokenStore {
    fn submit(&self, batch: WriteBatch) -> CommitTicket {
        let (promise, ticket) = commit_ticket();
        self.lab.catch_up(Before::Submit);
        self.keep_stale();
        *self.has_written.lock() = true;
        let outcome = self.lab.write(&self.inner, self.epoch, batch);
        let outcome = outcome.map(|position| self.position(position));
        if self.is(Defect::WritesBufferedBatchesLast) {
            self.lab.flush();
        }
        let held = matches!(
            self.lab.defect,
            Defect::ResolvesBackwards
                | Defect::CloseFailsTickets
                | Defect::FailureTakesEarlierTickets
        );
        if held {
            self.lab.state.lock().held.push((promise, outcome));
        } else {
            write::resolve(promise, outcome);
        }
        ticket
    }

    fn submit_buffered(&self, batch: WriteBatch) -> BufferedTicket {
        match self.lab.buffer(&self.inner, batch) {
            Ok(ticket) => ticket,
            // The other defects have all batches alike.
            Err(batch) => self.submit(batch).into(),
        }
    }

    fn epoch(&self) -> Epoch {
        let newest = self.lab.state.lock().newest.clone();
        match newest {
            Some(newest) if self.is(Defect::TellsTheNewestEpoch) => newest.epoch(),
            _ => self.epoch,
        }
    }

    fn durable_position(&self) -> LogPosition {
        let position = self.position(self.inner.durable_position());
        match self.lab.defect {
            Defect::ReportsAnOldPosition => LogPosition(position.0.saturating_sub(1)),
            Defect::CountsBufferedBatchesAsDurable => position.max(self.lab.state.lock().buffered),
            _ => position,
        }
    }

    fn checkpoint(&self) -> CheckpointFuture {
        self.lab.catch_up(Before::Checkpoint);
        let checkpoint = at_once(self.inner.checkpoint()).map(|checkpoint| match self.lab.defect {
            Defect::MovesCheckpoints => {
                Checkpoint { view: Box::new(Live(self.inner.clone())), ..checkpoint }
            }
            Defect::NamesCheckpointsLate => {
                Checkpoint { position: checkpoint.position.next(), ..checkpoint }
            }
            _ => checkpoint,
        });
        Box::pin(ready(checkpoint))
    }

    fn log(&self) -> &dyn CommitLog {
        &self.log
    }

    fn capabilities(&self) -> Capabilities {
        let honest = self.inner.capabilities();
        Capabilities { shared: honest.shared && !self.is(Defect::DeniesSharing), ..honest }
    }

    fn close(&self) -> CloseFuture {
        let closed = StoreError::new(StoreErrorKind::Closed, "the store is closed");
        let n_closes = {
            let mut n_closes = self.n_closes.lock();
            *n_closes += 1;
            *n_closes
        };
        self.lab.catch_up(Before::Close);
        match self.lab.defect {
            Defect::ClosesOnlyOnce if n_closes > 1 => return Box::pin(ready(Err(closed))),
            Defect::LosesOnClose => self.lab.state.lock().stash = None,
            Defect::CloseFailsTickets => self.lab.fail_held(&closed),
            Defect::ServesAfterClose => self.keep_stale(),
            _ => self.lab.flush(),
        }
        self.inner.close()
    }
}
