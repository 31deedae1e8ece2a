//! One opened partition: a core, its store, and what is on its way between the two.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millpond_storage_api::{ScanFuture, ScanRows, StoreErrorKind, StoreRead};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore, SyncMode};
use millpond_sync::thread::block_on;
use millpond_types::{DedupRow, UnixMillis};

use super::super::op::Setup;
use super::super::oracle::{Checked, fail};
use crate::PartitionError;
use crate::command::{LeaseRef, Message};
use crate::core::{
    Core, Effect, Effects, Read, ReadJob, ReadOutcome, Recovered, StoredActive, read_active,
    read_seen, try_read_active, try_read_seen,
};
use crate::durability::Ticket;
use crate::governor::Governor;
use crate::mailbox::{MailboxOwner, mailbox};

/// Reads that a history can make fail before an open succeeds.
const OPENS_MAX: usize = 100;

/// A read in flight.
pub(in crate::core::tests) enum Waiting {
    Rows(ScanFuture),
    Active(Pin<Box<dyn Future<Output = Result<StoredActive, PartitionError>>>>),
    /// What was read when it began, on its way for as long as look-ups are held.
    Held(Result<StoredActive, PartitionError>),
    Seen(Result<Vec<Option<DedupRow>>, PartitionError>),
}

pub(in crate::core::tests) struct Node {
    pub(in crate::core::tests) core: Core,
    pub(in crate::core::tests) governor: Governor,
    pub(in crate::core::tests) store: Arc<MemoryStore>,
    mailbox: MailboxOwner,
    pub(super) commits: VecDeque<(Ticket, Effects)>,
    pub(in crate::core::tests) reads: Vec<(u64, Waiting)>,
    /// The thread of the next read that waits dies at once.
    pub(super) loses_next: bool,
    /// Look-ups that wait arrive later.
    pub(super) holds_look_ups: bool,
    /// Operations of the batch being staged that were looked at.
    pub(super) n_read: usize,
}

impl Node {
    pub(super) fn open(disk: &MemoryDisk, setup: &Setup, now: UnixMillis) -> Checked<Self> {
        Self::open_under(&Governor::new(1), 0, disk, setup, now)
    }

    /// As one of several partitions.
    pub(super) fn open_under(
        governor: &Governor,
        number: usize,
        disk: &MemoryDisk,
        setup: &Setup,
        now: UnixMillis,
    ) -> Checked<Self> {
        let options = MemoryOptions {
            sync: SyncMode::Stepped,
            visibility: setup.visibility,
            tombstones: setup.tombstones,
            ..MemoryOptions::default()
        };
        let store = Arc::new(MemoryStore::open(disk, options).map_err(fail)?);
        let mut opened = None;
        for _ in 0..OPENS_MAX {
            match block_on(Recovered::read(&*store)) {
                Ok(recovered) => {
                    opened = Some(recovered);
                    break;
                }
                Err(PartitionError::Read(error)) if error.kind() != StoreErrorKind::Closed => {}
                Err(error) => return Err(fail(error)),
            }
        }
        let recovered = opened.ok_or_else(|| fail("the partition does not open"))?;
        let (sender, mailbox) = mailbox(1);
        let seat = governor.join(number, sender.clone());
        let core = Core::new(now, recovered, setup.options.clone(), setup.ranges, sender, seat);
        let (commits, reads) = (VecDeque::new(), Vec::new());
        Ok(Self {
            core,
            governor: governor.clone(),
            store,
            mailbox,
            commits,
            reads,
            loses_next: false,
            holds_look_ups: false,
            n_read: 0,
        })
    }

    /// Whatever was in memory is gone.
    pub(super) fn reopen(&mut self, disk: &MemoryDisk, setup: &Setup, now: UnixMillis) -> Checked {
        let _ = self.mailbox.close();
        // The older store is dropped after the newer one is open, as after a takeover.
        *self = Self::open(disk, setup, now)?;
        Ok(())
    }

    pub(super) fn start_reads(&mut self, now: UnixMillis) {
        let mut rows = ScanRows::new();
        let mut n_reads = 0;
        while let Some(ReadJob { number, read, may_wait, .. }) = self.core.poll_read() {
            n_reads += 1;
            assert!(n_reads < 10_000, "reads without end: {read:?} {:?}", self.core);
            if may_wait && std::mem::take(&mut self.loses_next) {
                self.core.handle_read(now, number, ReadOutcome::Lost, Duration::ZERO);
                continue;
            }
            let store = self.store.clone();
            let outcome = match (&read, may_wait) {
                (Read::Rows(request), false) => {
                    let outcome = store.try_scan(request, &mut rows);
                    ReadOutcome::Rows(&rows, outcome)
                }
                (Read::Active(id), false) => ReadOutcome::Active(try_read_active(&*store, *id)),
                (Read::Seen(keys), false) => ReadOutcome::Seen(try_read_seen(&*store, keys)),
                (Read::Seen(keys), true) => {
                    let found = block_on(read_seen(&*store, keys));
                    self.reads.push((number, Waiting::Seen(found)));
                    self.poll_read(now, self.reads.len() - 1);
                    continue;
                }
                (Read::Rows(request), true) => {
                    self.reads.push((number, Waiting::Rows(store.scan(request.clone()))));
                    self.poll_read(now, self.reads.len() - 1);
                    continue;
                }
                (Read::Active(id), true) if self.holds_look_ups => {
                    let found = block_on(read_active(&*store, *id));
                    self.reads.push((number, Waiting::Held(found)));
                    continue;
                }
                (Read::Active(id), true) => {
                    let id = *id;
                    let found = Box::pin(async move { read_active(&*store, id).await });
                    self.reads.push((number, Waiting::Active(found)));
                    self.poll_read(now, self.reads.len() - 1);
                    continue;
                }
            };
            self.core.handle_read(now, number, outcome, Duration::ZERO);
        }
        self.core.poll_cancelled();
    }

    pub(super) fn poll_read(&mut self, now: UnixMillis, at: usize) {
        let (number, waiting) = &mut self.reads[at];
        let (number, none) = (*number, ScanRows::new());
        let mut context = Context::from_waker(Waker::noop());
        let rows;
        let outcome = match waiting {
            Waiting::Rows(future) => match future.as_mut().poll(&mut context) {
                Poll::Pending => return,
                Poll::Ready(Ok((read, end))) => {
                    rows = read;
                    ReadOutcome::Rows(&rows, Ok(end))
                }
                Poll::Ready(Err(error)) => ReadOutcome::Rows(&none, Err(error)),
            },
            Waiting::Active(future) => match future.as_mut().poll(&mut context) {
                Poll::Pending => return,
                Poll::Ready(found) => ReadOutcome::Active(found),
            },
            Waiting::Held(_) | Waiting::Seen(_) if self.holds_look_ups => return,
            Waiting::Held(found) => ReadOutcome::Active(found.clone()),
            Waiting::Seen(found) => ReadOutcome::Seen(found.clone()),
        };
        self.core.handle_read(now, number, outcome, Duration::ZERO);
        drop(self.reads.swap_remove(at));
    }

    /// The thread that performs a read dies.
    pub(super) fn lose_read(&mut self, now: UnixMillis, at: usize) {
        let (number, _) = self.reads.swap_remove(at);
        self.core.handle_read(now, number, ReadOutcome::Lost, Duration::ZERO);
    }

    /// Messages about unreceived leases that have arrived.
    pub(super) fn take_mail(&mut self) -> Vec<Vec<LeaseRef>> {
        let mut messages = Vec::new();
        self.mailbox.drain(&mut messages, [usize::MAX; 2]);
        messages
            .into_iter()
            .map(|message| match message {
                Message::Unreceived(leases) => leases,
                other => unreachable!("nobody sends {other:?}"),
            })
            .collect()
    }

    /// Everything that waits for its commit, staged or submitted.
    pub(in crate::core::tests) fn effects(&self) -> impl Iterator<Item = &Effect> {
        let submitted = self.commits.iter().flat_map(|(_, effects)| effects.effects.as_slice());
        submitted.chain(&self.core.effects)
    }

    pub(super) fn is_still(&self) -> bool {
        self.commits.is_empty() && self.core.staged_is_empty() && self.reads.is_empty()
    }
}
