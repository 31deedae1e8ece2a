//! One opened partition: a core, its store, and what is on its way between the two.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millpond_storage_api::{CommitTicket, ScanFuture, ScanRows, StoreErrorKind, StoreRead};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore, SyncMode};
use millpond_sync::thread::block_on;
use millpond_types::UnixMillis;

use super::super::op::Setup;
use super::super::oracle::{Checked, fail};
use crate::PartitionError;
use crate::command::{LeaseRef, Message};
use crate::core::{Core, Effect, Effects, Recovered, ScanJob, Slot};
use crate::mailbox::{MailboxOwner, mailbox};

/// Reads that a history can make fail before an open succeeds.
const OPENS_MAX: usize = 100;

pub(in crate::core::tests) struct Node {
    pub(in crate::core::tests) core: Core,
    pub(in crate::core::tests) store: Arc<MemoryStore>,
    mailbox: MailboxOwner<Message>,
    pub(super) commits: VecDeque<(CommitTicket, Effects)>,
    pub(in crate::core::tests) scans: Vec<(Slot, ScanFuture)>,
    /// Operations of the batch being staged that were looked at.
    pub(super) n_read: usize,
}

impl Node {
    pub(super) fn open(disk: &MemoryDisk, setup: &Setup) -> Checked<Self> {
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
        let core = Core::new(recovered, setup.options.clone(), sender);
        let (commits, scans) = (VecDeque::new(), Vec::new());
        Ok(Self { core, store, mailbox, commits, scans, n_read: 0 })
    }

    /// Whatever was in memory is gone.
    pub(super) fn reopen(&mut self, disk: &MemoryDisk, setup: &Setup) -> Checked {
        let _ = self.mailbox.close();
        // The older store is dropped after the newer one is open, as after a takeover.
        *self = Self::open(disk, setup)?;
        Ok(())
    }

    pub(super) fn start_scans(&mut self, now: UnixMillis) {
        let mut rows = ScanRows::new();
        while let Some(ScanJob { slot, request, may_wait }) = self.core.poll_scan() {
            if may_wait {
                self.scans.push((slot, self.store.scan(request)));
                self.poll_scan(now, self.scans.len() - 1);
            } else {
                let outcome = self.store.try_scan(&request, &mut rows);
                self.core.handle_scan(now, slot, &rows, outcome);
            }
        }
    }

    pub(super) fn poll_scan(&mut self, now: UnixMillis, at: usize) {
        let (slot, future) = &mut self.scans[at];
        let slot = *slot;
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(outcome) = future.as_mut().poll(&mut context) else { return };
        drop(self.scans.swap_remove(at));
        match outcome {
            Ok((rows, end)) => self.core.handle_scan(now, slot, &rows, Ok(end)),
            Err(error) => self.core.handle_scan(now, slot, &ScanRows::new(), Err(error)),
        }
    }

    /// Messages about unreceived leases that have arrived.
    pub(super) fn take_mail(&self) -> Vec<Vec<LeaseRef>> {
        let mut messages = Vec::new();
        self.mailbox.drain(&mut messages, [usize::MAX; 3]);
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
        let submitted = self.commits.iter().flat_map(|(_, effects)| &effects.effects);
        submitted.chain(&self.core.effects)
    }

    pub(super) fn is_still(&self) -> bool {
        self.commits.is_empty() && self.core.staged_is_empty() && self.scans.is_empty()
    }
}
