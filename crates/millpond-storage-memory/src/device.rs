//! The state behind a [`MemoryDisk`](crate::MemoryDisk): a device, and who has it open.
//!
//! Nothing here calls out while the lock is held: whatever must be told to somebody goes to
//! [`Device::wakes`], and the disk delivers it after unlocking. A waker may therefore use the store.

use std::collections::{BTreeMap, VecDeque};

use millpond_storage_api::{
    CommitPromise, Epoch, LogPin, LogPosition, LogRecord, OpenError, ScanRequest, StoreError,
    StoreErrorKind, Table, WriteBatch,
};
use millpond_sync::oneshot;
use millpond_types::{FORMAT_VERSION, SystemKey, decode_u64, encode_u64};

use crate::fault::{FailedBatch, Faults, SnapshotAt};
use crate::handle::{Handle, Standing};
use crate::tables::{Scanned, Tables};
use crate::{MemoryOptions, Sharing, SyncMode, Visibility, discipline};

pub(crate) const PATH: &str = "memory";

/// Something to deliver once the lock is released.
pub(crate) enum Wake {
    Durable(CommitPromise, LogPosition),
    Buffered(CommitPromise, LogPosition),
    Failed(CommitPromise, StoreError),
    Scanned(oneshot::Sender<Scanned>, Scanned),
    GivenUp(oneshot::Sender<()>),
}

impl Wake {
    pub(crate) fn deliver(self) {
        // A receiver that has gone no longer wants to know.
        match self {
            Self::Durable(promise, position) => promise.durable(position),
            Self::Buffered(promise, position) => {
                promise.buffered(position).expect("no sync was asked for");
            }
            Self::Failed(promise, error) => promise.failed(error),
            Self::Scanned(sender, scanned) => drop(sender.send(scanned)),
            Self::GivenUp(sender) => drop(sender.send(())),
        }
    }
}

/// A batch that was submitted and is not durable yet.
struct Pending {
    position: LogPosition,
    batch: WriteBatch,
    /// Gone when the submitting handle was dropped, or when being written was all that was asked for.
    promise: Option<CommitPromise>,
    fault: Option<(StoreError, FailedBatch)>,
}

struct HeldScan {
    epoch: Epoch,
    request: ScanRequest,
    snapshot: Option<Tables>,
    sender: oneshot::Sender<Scanned>,
}

#[derive(Default)]
pub(crate) struct Device {
    durable: Tables,
    /// `durable` with the written batches on top. `None` until a batch is written before it is durable,
    /// so that those who never ask for that do not pay for it.
    written: Option<Tables>,
    /// `durable` with every pending batch on top.
    submitted: Tables,
    durable_position: LogPosition,
    submitted_position: LogPosition,
    pending: VecDeque<Pending>,
    /// How many of `pending` are written: the first ones.
    n_written: usize,
    held: VecDeque<HeldScan>,
    handles: BTreeMap<Epoch, Handle>,
    /// The one handle that is open or closing.
    owner: Option<Epoch>,
    pub(crate) faults: Faults,
    pub(crate) wakes: Vec<Wake>,
}

impl Device {
    pub(crate) fn open(&mut self, options: MemoryOptions) -> Result<Epoch, OpenError> {
        self.check_format()?;
        if let Some(owner) = self.owner {
            let sharing = [options.sharing, self.handle(owner).options.sharing];
            if sharing.contains(&Sharing::Exclusive) {
                return Err(OpenError::AlreadyOpen { path: PATH.into() });
            }
            self.discard_pending(StoreErrorKind::Fenced, "a newer handle has claimed the store");
            self.end(owner, StoreErrorKind::Fenced, "a newer handle has claimed the store");
        }
        // What a dropped handle had written is recovered, as the page cache survives a process.
        self.keep_pending(usize::MAX);
        let epoch = Epoch(self.system_number(SystemKey::Epoch)?.unwrap_or(0) + 1);
        for (key, number) in
            [(SystemKey::FormatVersion, FORMAT_VERSION), (SystemKey::Epoch, epoch.0)]
        {
            self.durable.put(Table::System, key.encode(), &encode_u64(number));
        }
        self.submitted = self.durable.clone();
        self.handles.insert(epoch, Handle::new(options, self.durable_position));
        self.owner = Some(epoch);
        Ok(epoch)
    }

    fn check_format(&self) -> Result<(), OpenError> {
        match self.system_number(SystemKey::FormatVersion)? {
            None | Some(FORMAT_VERSION) => Ok(()),
            Some(found) if found > FORMAT_VERSION => {
                Err(OpenError::NewerFormat { path: PATH.into(), found, supported: FORMAT_VERSION })
            }
            Some(found) => {
                Err(OpenError::OlderFormat { path: PATH.into(), found, supported: FORMAT_VERSION })
            }
        }
    }

    fn system_number(&self, key: SystemKey) -> Result<Option<u64>, OpenError> {
        let corrupt = |why: String| OpenError::Corrupt { path: PATH.into(), why };
        let row = self
            .durable
            .get(Table::System, key.encode())
            .map_err(|error| corrupt(error.to_string()))?;
        row.map(|row| decode_u64(&row).map_err(|error| corrupt(error.to_string()))).transpose()
    }

    pub(crate) fn submit(&mut self, epoch: Epoch, batch: WriteBatch, promise: CommitPromise) {
        if let Err(error) = self.check_open(epoch) {
            self.wakes.push(Wake::Failed(promise, error));
            return;
        }
        let position = self.submitted_position.next();
        self.submitted_position = position;
        let injected = self.faults.on_commit();
        let fault = match discipline::check(&self.submitted, &batch) {
            Ok(()) => {
                let keep_tombstones = self.keep_tombstones();
                self.submitted.commit(position, &batch, keep_tombstones);
                injected
            }
            Err(error) => Some((error, FailedBatch::Lost)),
        };
        let handle = self.handle_mut(epoch);
        handle.record(position, &batch);
        let automatic = handle.options.sync == SyncMode::Automatic;
        let needs_sync = promise.needs_sync();
        self.pending.push_back(Pending { position, batch, promise: Some(promise), fault });
        if automatic && (needs_sync || !self.write_next()) {
            while self.sync_next() {}
        }
    }

    /// Writes the oldest batch that is not written, which resolves its ticket if that is all it asks for.
    /// Returns whether there was one. A batch that is to fail is never written: it fails in
    /// [`sync_next`](Self::sync_next).
    pub(crate) fn write_next(&mut self) -> bool {
        let keep_tombstones = self.keep_tombstones();
        let Some(pending) = self.pending.get_mut(self.n_written) else { return false };
        if pending.fault.is_some() {
            return false;
        }
        let written = self.written.get_or_insert_with(|| self.durable.clone());
        written.commit(pending.position, &pending.batch, keep_tombstones);
        self.n_written += 1;
        let promise = pending.promise.take_if(|promise| !promise.needs_sync());
        self.wakes.extend(promise.map(|promise| Wake::Buffered(promise, pending.position)));
        true
    }

    /// Makes the oldest pending batch durable, or fails it. Returns whether there was one.
    pub(crate) fn sync_next(&mut self) -> bool {
        // What is durable was written first.
        if self.n_written == 0 && self.written.is_some() {
            self.write_next();
        }
        let Some(pending) = self.pending.pop_front() else { return false };
        self.n_written = self.n_written.saturating_sub(1);
        match pending.fault {
            None => self.make_durable(pending),
            Some((error, survives)) => {
                if survives == FailedBatch::Survives {
                    self.store(pending.position, &pending.batch);
                }
                let why = format!("the store has stopped after a failed commit: {error}");
                self.wakes.extend(pending.promise.map(|promise| Wake::Failed(promise, error)));
                self.discard_pending(StoreErrorKind::Closed, &why);
                if let Some(owner) = self.owner {
                    self.end(owner, StoreErrorKind::Closed, &why);
                }
            }
        }
        if self.pending.is_empty() {
            self.finish_closing();
        }
        true
    }

    fn make_durable(&mut self, pending: Pending) {
        self.store(pending.position, &pending.batch);
        if let Some(owner) = self.owner {
            self.handle_mut(owner).durable_position = pending.position;
        }
        self.wakes.extend(pending.promise.map(|promise| Wake::Durable(promise, pending.position)));
    }

    fn store(&mut self, position: LogPosition, batch: &WriteBatch) {
        let keep_tombstones = self.keep_tombstones();
        self.durable.commit(position, batch, keep_tombstones);
        self.durable_position = position;
    }

    /// Ends the process: what was written stays, and of the batches behind it the first `keep`.
    pub(crate) fn kill(&mut self, keep: usize) {
        self.interrupt(self.n_written.saturating_add(keep), "the process was killed");
    }

    /// Cuts the power: of the pending batches the first `keep` reached the disk.
    pub(crate) fn crash(&mut self, keep: usize) {
        self.interrupt(keep, "the power was cut");
    }

    fn interrupt(&mut self, keep: usize, why: &str) {
        for pending in &mut self.pending {
            let error = closed(why);
            self.wakes.extend(pending.promise.take().map(|promise| Wake::Failed(promise, error)));
        }
        self.keep_pending(keep);
        if let Some(owner) = self.owner {
            self.end(owner, StoreErrorKind::Closed, why);
        }
    }

    pub(crate) fn close(&mut self, epoch: Epoch) -> Option<oneshot::Receiver<()>> {
        let handle = self.handle_mut(epoch);
        if matches!(handle.standing, Standing::Ended(_)) {
            return None;
        }
        handle.standing = Standing::Closing;
        let (sender, receiver) = oneshot::channel();
        handle.closers.push(sender);
        if handle.options.sync == SyncMode::Automatic {
            // Only what was buffered is left.
            while self.sync_next() {}
        }
        self.fail_held(epoch, &closed("the store is closed"));
        if self.pending.is_empty() {
            self.finish_closing();
        }
        Some(receiver)
    }

    /// The handle was dropped: its tickets fail, and what it had written stays on the device.
    pub(crate) fn drop_handle(&mut self, epoch: Epoch) {
        match self.handle(epoch).standing {
            // A close that somebody may wait for goes on.
            Standing::Closing => {
                self.handle_mut(epoch).dropped = true;
                return;
            }
            Standing::Open => {
                const WHY: &str = "the store was dropped before the commit was durable";
                for pending in &mut self.pending {
                    let promise = pending.promise.take();
                    self.wakes.extend(promise.map(|promise| Wake::Failed(promise, closed(WHY))));
                }
                self.end(epoch, StoreErrorKind::Closed, WHY);
            }
            Standing::Ended(_) => {}
        }
        self.handles.remove(&epoch);
    }

    fn finish_closing(&mut self) {
        let Some(owner) = self.owner else { return };
        if matches!(self.handle(owner).standing, Standing::Closing) {
            self.end(owner, StoreErrorKind::Closed, "the store is closed");
        }
    }

    /// Ends `owner`, which is the current one.
    fn end(&mut self, owner: Epoch, kind: StoreErrorKind, why: &str) {
        let error = StoreError::new(kind, why);
        self.fail_held(owner, &error);
        let handle = self.handle_mut(owner);
        handle.standing = Standing::Ended(error);
        handle.log.clear();
        let closers = std::mem::take(&mut handle.closers);
        if handle.dropped {
            self.handles.remove(&owner);
        }
        self.wakes.extend(closers.into_iter().map(Wake::GivenUp));
        self.owner = None;
    }

    /// Applies the first `keep` pending batches to the device and forgets the others.
    fn keep_pending(&mut self, keep: usize) {
        let kept = self.pending.iter().take(keep).take_while(|pending| pending.fault.is_none());
        let n_kept = kept.count();
        for pending in std::mem::take(&mut self.pending).into_iter().take(n_kept) {
            self.store(pending.position, &pending.batch);
        }
        self.forget_undurable();
    }

    fn discard_pending(&mut self, kind: StoreErrorKind, why: &str) {
        let error = StoreError::new(kind, why);
        for pending in std::mem::take(&mut self.pending) {
            let promise = pending.promise;
            self.wakes.extend(promise.map(|promise| Wake::Failed(promise, error.clone())));
        }
        self.forget_undurable();
    }

    fn forget_undurable(&mut self) {
        self.written = None;
        self.n_written = 0;
        self.submitted = self.durable.clone();
        self.submitted_position = self.durable_position;
    }

    /// The rows that a read through the handle of `epoch` sees now.
    pub(crate) fn visible(&self, epoch: Epoch) -> Result<&Tables, StoreError> {
        self.check_open(epoch)?;
        Ok(match self.handle(epoch).options.visibility {
            Visibility::AtSubmit => &self.submitted,
            Visibility::AtSync => self.written.as_ref().unwrap_or(&self.durable),
        })
    }

    /// The rows of everything that was written, which is made durable first.
    pub(crate) fn checkpoint(&mut self, epoch: Epoch) -> Result<(LogPosition, Tables), StoreError> {
        self.check_open(epoch)?;
        while self.n_written > 0 {
            self.sync_next();
        }
        Ok((self.durable_position, self.durable.clone()))
    }

    /// Starts a scan: its result, or where the result will arrive if scans are held.
    pub(crate) fn scan(
        &mut self,
        epoch: Epoch,
        request: ScanRequest,
    ) -> Result<Scanned, oneshot::Receiver<Scanned>> {
        if let Err(error) = self.check_open(epoch) {
            return Ok(Err(error));
        }
        if let Some(error) = self.faults.on_read() {
            return Ok(Err(error));
        }
        let Some(snapshot_at) = self.faults.hold_scans else {
            return Ok(self.visible(epoch).and_then(|tables| tables.scan_all(&request)));
        };
        let snapshot = (snapshot_at == SnapshotAt::Start)
            .then(|| self.visible(epoch).expect("the handle is open").clone());
        let (sender, receiver) = oneshot::channel();
        self.held.push_back(HeldScan { epoch, request, snapshot, sender });
        Err(receiver)
    }

    pub(crate) fn n_held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn release(&mut self, index: usize) -> bool {
        let Some(held) = self.held.remove(index) else { return false };
        let scanned = match &held.snapshot {
            Some(tables) => tables.scan_all(&held.request),
            None => self.visible(held.epoch).and_then(|tables| tables.scan_all(&held.request)),
        };
        self.wakes.push(Wake::Scanned(held.sender, scanned));
        true
    }

    fn fail_held(&mut self, epoch: Epoch, error: &StoreError) {
        let (ended, held) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.epoch == epoch);
        self.held = held;
        let ended: VecDeque<HeldScan> = ended;
        self.wakes
            .extend(ended.into_iter().map(|held| Wake::Scanned(held.sender, Err(error.clone()))));
    }

    pub(crate) fn pin(&mut self, epoch: Epoch) -> LogPin {
        let newest = self.submitted_position;
        let handle = self.handle_mut(epoch);
        // Without this, records from before a hole could stand before those of the new pin.
        handle.trim_log();
        handle.pins.pin_after(newest)
    }

    pub(crate) fn read_after(
        &mut self,
        epoch: Epoch,
        after: LogPosition,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>, StoreError> {
        self.check_open(epoch)?;
        self.handle_mut(epoch).read_log(after, bytes_max)
    }

    pub(crate) fn check_open(&self, epoch: Epoch) -> Result<(), StoreError> {
        match &self.handle(epoch).standing {
            Standing::Open => Ok(()),
            Standing::Closing => Err(closed("the store is closing")),
            Standing::Ended(error) => Err(error.clone()),
        }
    }

    pub(crate) fn n_pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn n_unwritten(&self) -> usize {
        self.pending.len() - self.n_written
    }

    pub(crate) fn durable_position(&self) -> LogPosition {
        self.durable_position
    }

    /// Changes rows behind the back of every handle.
    pub(crate) fn tamper(&mut self, mut change: impl FnMut(&mut Tables) -> bool) -> bool {
        let written = self.written.as_mut().is_some_and(&mut change);
        change(&mut self.submitted) | change(&mut self.durable) | written
    }

    pub(crate) fn handle(&self, epoch: Epoch) -> &Handle {
        self.handles.get(&epoch).expect("a handle is known until it is dropped")
    }

    fn handle_mut(&mut self, epoch: Epoch) -> &mut Handle {
        self.handles.get_mut(&epoch).expect("a handle is known until it is dropped")
    }

    fn keep_tombstones(&self) -> bool {
        self.owner.is_some_and(|owner| self.handle(owner).options.tombstones)
    }
}

pub(crate) fn closed(why: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Closed, why)
}
