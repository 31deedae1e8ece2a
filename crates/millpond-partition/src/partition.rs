//! The handle through which everybody else talks to a partition.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use millpond_storage_api::{Buffered, Durable, PartitionStore, StoreError, StoreErrorKind};
use millpond_sync::{oneshot, thread};
use millpond_types::{Body, EntryId, QueueId, SettingsRow, StoredBody, UnixMillis};
use millpond_wakeup::mailbox::Capacity;

use crate::command::{
    Accepted, Answer, DeadAction, LeaseCall, LeaseRef, LeaseSource, Message, Nack, Nacked,
    NewEntry, Purged, QueueRef, Reply, Settle,
};
use crate::core::{Core, Recovered, Seen};
use crate::driver::{Driver, panicked};
use crate::durability::Receipt;
use crate::end::{Announce, End};
use crate::governor::Governor;
use crate::mailbox::{COMMAND, CONTROL, MailboxSender, mailbox};
use crate::options::{LeasesAtOpen, PartitionOptions};
use crate::payloads::{self, Found, PartitionPayloads};
use crate::report::{PartitionReport, QueueReport};
use crate::{PartitionError, inspect};

/// A running partition. Cheap to clone; all clones are the same partition.
///
/// Every method may be called from any thread and any executor.
///
/// Dropping the last handle without [`close`](Self::close) closes the partition too, and **blocks** until
/// what it accepted is durable and the store is given up: a process that ended before that would pull
/// the ground from under the store's threads. Async code should call `close` and await it.
#[derive(Debug, Clone)]
pub struct Partition(Arc<Inner>);

struct Inner {
    sender: MailboxSender,
    store: Arc<dyn PartitionStore>,
    payloads: PartitionPayloads,
    end: Arc<End>,
    loop_thread: thread::Thread,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").finish_non_exhaustive()
    }
}

impl Partition {
    /// Reads the leases and starts the loop on a thread of its own. Which queues have work it learns while
    /// it serves, and the entries stay where they are until they are wanted.
    ///
    /// # Errors
    ///
    /// A limit makes no sense, the store cannot be read or written, its counters cannot be decoded, or no
    /// thread can be started.
    pub async fn open(
        store: Arc<dyn PartitionStore>,
        options: PartitionOptions,
    ) -> Result<Self, PartitionError> {
        Self::open_under(&Governor::new(1), 0, store, options).await
    }

    /// As [`open`](Self::open), for one of several partitions of an engine: the one with this number, from 0.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Panics
    ///
    /// When the governor was made for fewer partitions.
    pub async fn open_under(
        governor: &Governor,
        number: usize,
        store: Arc<dyn PartitionStore>,
        options: PartitionOptions,
    ) -> Result<Self, PartitionError> {
        options.check()?;
        let options = options.workable();
        let recovered = Recovered::read(&*store).await?;
        if options.leases_at_open == LeasesAtOpen::Release {
            recovered.release_leases(&*store).await?;
        }
        let (sender, owner) = mailbox(Capacity {
            n_messages: options.mailbox_capacity,
            weight: options.mailbox_bytes_max,
        });
        let clock = governor.clock();
        let seat = governor.join(number, sender.clone());
        let ranges = store.capabilities().cheap_range_delete;
        let core = Core::new(clock.now(), recovered, options.clone(), ranges, sender.clone(), seat);
        let mail = (sender.clone(), owner);
        let end = Arc::new(End::default());
        let payloads = options.payloads.of_partition();
        let driver = Driver::new(core, store.clone(), mail, options, (clock, end.clone()));
        let announce = Announce(end.clone());
        let closing_store = store.clone();
        let running = thread::Builder::new()
            .name("millpond-loop".to_owned())
            .spawn(move || {
                // A panic has answered everybody by now. The store is given up all the same, so that it
                // can be opened again.
                let ended = catch_unwind(AssertUnwindSafe(|| driver.run()))
                    .unwrap_or_else(|_| Err(PartitionError::Stopped(panicked())));
                let closed = thread::block_on(closing_store.close());
                drop(closing_store);
                announce.make(ended.and(closed.map_err(PartitionError::Stopped)));
            })
            .map_err(|error| StoreError::new(StoreErrorKind::Io, error.to_string()))?;
        let loop_thread = running.thread().clone();
        Ok(Self(Arc::new(Inner { sender, store, payloads, end, loop_thread })))
    }

    /// Accepts entries into one queue, all or none, in this order.
    ///
    /// The bodies and the keys must have been [checked](millpond_types::Body::check) against the limits.
    ///
    /// An entry whose key was taken within the window of its queue is not accepted again: its receipt names the
    /// one that was, and is given when that one is durable. The window begins with the acceptance, is
    /// measured by the partition's clock, and goes on whatever becomes of the entry and over restarts.
    ///
    /// # Errors
    ///
    /// [`Full`](PartitionError::Full), and nothing was accepted; storage could not say whether a key was seen,
    /// and nothing was accepted; or the partition is closed or has stopped; then nobody knows whether the entries were accepted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the command had room leaves nothing; afterwards the entries are
    /// accepted and only the receipt is lost.
    pub async fn enqueue(
        &self,
        queue: &Arc<QueueRef>,
        entries: Vec<NewEntry>,
    ) -> Result<Durable<Vec<Accepted>>, PartitionError> {
        let bodies = self.0.payloads.bodies(&entries);
        let accepted = self.ask(|reply| enqueue(queue, entries, Receipt::Synced(reply))).await?;
        self.0.payloads.written(bodies, accepted.get());
        Ok(accepted)
    }

    /// As [`enqueue`](Self::enqueue), with a receipt as soon as the entries would survive the end of the process.
    /// A power cut, or the failure of a later commit, may take them back, with everything that came after
    /// them, and then their ids may be given to others. Whatever comes after them and is durable makes them
    /// durable, too.
    ///
    /// # Errors
    ///
    /// As [`enqueue`](Self::enqueue).
    ///
    /// # Cancel safety
    ///
    /// As [`enqueue`](Self::enqueue).
    pub async fn enqueue_buffered(
        &self,
        queue: &Arc<QueueRef>,
        entries: Vec<NewEntry>,
    ) -> Result<Buffered<Vec<Accepted>>, PartitionError> {
        let bodies = self.0.payloads.bodies(&entries);
        let accepted = self.ask(|reply| enqueue(queue, entries, Receipt::Buffered(reply))).await?;
        self.0.payloads.written(bodies, accepted.get());
        Ok(accepted)
    }

    /// The work is done, and has led to more work: removes the leased entry and accepts the others, by one
    /// commit, or does neither. That some of the others had been accepted before is no reason not to.
    ///
    /// The queue must be in this partition. It may be the one of the lease.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack) and [`enqueue`](Self::enqueue). What leaves makes room for what comes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the command had room leaves everything as it was; afterwards both are done,
    /// or neither, and only the receipt is lost.
    pub async fn ack_and_enqueue(
        &self,
        lease: LeaseRef,
        queue: &Arc<QueueRef>,
        entries: Vec<NewEntry>,
    ) -> Result<Durable<Vec<Accepted>>, PartitionError> {
        let (queue, seen) = (queue.clone(), Seen::default());
        let bodies = self.0.payloads.bodies(&entries);
        let asked = self.ask(|reply| Message::AckAndEnqueue { lease, queue, entries, seen, reply });
        let accepted = asked.await?;
        self.0.payloads.remove(lease.id);
        self.0.payloads.written(bodies, accepted.get());
        Ok(accepted)
    }

    /// Registers a lease call. Its answer comes through the call itself; with `wait` it comes when there
    /// is work, otherwise at once.
    ///
    /// # Errors
    ///
    /// The partition is closed or has stopped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the call registered. Dropping the call's answer withdraws it, and
    /// gives back what was granted to it.
    pub async fn lease(
        &self,
        source: LeaseSource,
        call: &Arc<LeaseCall>,
        wait: bool,
    ) -> Result<(), PartitionError> {
        let message = Message::Lease { source, call: call.clone(), wait };
        self.0.sender.send::<COMMAND>(message).await.map_err(|_| self.0.end.error())
    }

    /// The work is done: removes the entry.
    ///
    /// # Errors
    ///
    /// The lease no longer stands, or the partition is closed or has stopped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the command had room leaves the lease as it was; afterwards it is
    /// settled and only the answer is lost. The same holds for [`nack`](Self::nack) and
    /// [`extend`](Self::extend).
    pub async fn ack(&self, lease: LeaseRef) -> Result<Durable<()>, PartitionError> {
        let acked = self.settle(lease, |reply| Settle::Ack(Receipt::Synced(reply))).await?;
        self.0.payloads.remove(lease.id);
        Ok(acked)
    }

    /// As [`ack`](Self::ack), confirmed as soon as it would survive the end of the process. A power cut, or the
    /// failure of a later commit, may bring the entry back, leased as it was.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    ///
    /// # Cancel safety
    ///
    /// As [`ack`](Self::ack).
    pub async fn ack_buffered(&self, lease: LeaseRef) -> Result<Buffered<()>, PartitionError> {
        let acked = self.ask(|reply| {
            let action = Settle::Ack(Receipt::Buffered(reply));
            Message::Settle { lease, action }
        });
        let acked = acked.await?;
        self.0.payloads.remove(lease.id);
        Ok(acked)
    }

    /// The body of an entry that is ready or leased, from memory or from storage; `None` if the entry is gone.
    ///
    /// # Errors
    ///
    /// A read fails or what is stored is malformed.
    pub async fn body(&self, id: EntryId) -> Result<Option<Body>, PartitionError> {
        let store = &*self.0.store;
        // Asked for in any case: it says whether the entry is still there.
        let Some(stored) = inspect::stored_body(store, id).await? else { return Ok(None) };
        let bytes = match stored {
            StoredBody::Inline(bytes) => bytes,
            StoredBody::Separate { .. } => match self.0.payloads.find(id) {
                Found::Body(bytes) => bytes,
                Found::Nothing(ticket) => {
                    let Some(bytes) = inspect::separate_body(store, id).await? else {
                        return Ok(None);
                    };
                    if let Some(ticket) = ticket {
                        payloads::keep(ticket, bytes.clone());
                    }
                    bytes
                }
            },
        };
        Ok(Some(Body::decode(&bytes)?))
    }

    /// The work was not done: the attempt counts, and the entry is ready again, backs off or is set aside;
    /// the answer tells which. While it backs off it is in nobody's way.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack); or what is stored of the entry could not be read, and then the lease stands.
    pub async fn nack(
        &self,
        lease: LeaseRef,
        nack: Nack,
    ) -> Result<Durable<Nacked>, PartitionError> {
        self.settle(lease, |reply| Settle::Nack { nack, reply }).await
    }

    /// The work takes longer: the lease ends `lease_ms` milliseconds from now. Returns the new deadline.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub async fn extend(
        &self,
        lease: LeaseRef,
        lease_ms: u64,
    ) -> Result<Durable<UnixMillis>, PartitionError> {
        self.settle(lease, |reply| Settle::Extend { lease_ms, reply }).await
    }

    async fn settle<T>(
        &self,
        lease: LeaseRef,
        action: impl FnOnce(Reply<T>) -> Settle,
    ) -> Result<Durable<T>, PartitionError> {
        self.ask(|reply| Message::Settle { lease, action: action(reply) }).await
    }

    /// Makes a dead letter ready again, or removes it for good.
    ///
    /// # Errors
    ///
    /// [`NotDead`](PartitionError::NotDead); what is stored of the entry could not be read; or the partition is
    /// closed or has stopped, and then nobody knows whether it was done.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the command had room leaves everything; afterwards it is done and only the
    /// answer is lost.
    pub async fn dead(
        &self,
        id: EntryId,
        action: DeadAction,
    ) -> Result<Durable<()>, PartitionError> {
        self.ask(|reply| Message::Dead { id, action, reply }).await
    }

    /// Removes every entry that the queue holds, leased ones included. Entries accepted after this call was
    /// taken stay. A queue that does not exist holds nothing, so nothing is removed.
    ///
    /// Where ranges cannot be deleted cheaply, and for short queues, this takes several commits, and a crash
    /// between them leaves a part.
    ///
    /// # Errors
    ///
    /// The partition is closed or has stopped; then nobody knows how much was removed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the command had room leaves everything; afterwards the queue is purged
    /// and only the answer is lost.
    pub async fn purge(&self, id: QueueId) -> Result<Durable<Purged>, PartitionError> {
        self.ask(|reply| Message::Purge { id, reply }).await
    }

    /// Stores a [rule](Governor::change) and puts it in force. The answer comes when nothing is granted by
    /// older rules any more. What is leased stays leased.
    ///
    /// # Errors
    ///
    /// The partition is closed or has stopped; then nobody knows whether it was stored.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the command had room leaves everything; afterwards it is done and only the
    /// answer is lost.
    pub async fn configure(&self, row: SettingsRow) -> Result<Durable<()>, PartitionError> {
        self.ask(|reply| Message::Configure { row, reply }).await
    }

    /// One queue, if it is in memory. One that is not holds nothing.
    ///
    /// # Errors
    ///
    /// The partition is closed or has stopped.
    pub async fn report_queue(&self, id: QueueId) -> Result<Option<QueueReport>, PartitionError> {
        self.ask(|reply| Message::ReportQueue { id, reply }).await
    }

    /// Counters, and the deepest queues.
    ///
    /// # Errors
    ///
    /// The partition is closed or has stopped.
    pub async fn report(&self, n_queues_max: usize) -> Result<PartitionReport, PartitionError> {
        self.ask(|reply| Message::Report { n_queues_max, reply }).await
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Answer<T>>) -> Message,
    ) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        self.0.sender.send::<COMMAND>(message(reply)).await.map_err(|_| self.0.end.error())?;
        // Every command is answered, so that only a panic can have lost this one.
        answer.await.unwrap_or_else(|oneshot::Dropped| Err(PartitionError::Stopped(panicked())))
    }

    /// Gives leases back that were granted and will not be worked on; their attempt does not count.
    /// Returns at once: a lease that cannot be given back any more ends at its deadline.
    pub fn give_back(&self, leases: Vec<LeaseRef>) {
        let _ = self.0.sender.push::<CONTROL>(Message::Unreceived(leases));
    }

    /// Whether the other is a handle of the same partition.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The store, for reads that need no order with the loop.
    pub fn store(&self) -> &Arc<dyn PartitionStore> {
        &self.0.store
    }

    /// Stops accepting, makes durable what was accepted, answers everybody and gives the store up.
    /// Idempotent; every caller learns how the partition ended.
    ///
    /// # Errors
    ///
    /// The partition had stopped, or stops now, because its store failed.
    pub async fn close(&self) -> Result<(), PartitionError> {
        // Refused when closed already.
        let _ = self.0.sender.push::<CONTROL>(Message::Close);
        self.0.end.wait().await
    }
}

fn enqueue(
    queue: &Arc<QueueRef>,
    entries: Vec<NewEntry>,
    reply: Receipt<Vec<Accepted>>,
) -> Message {
    Message::Enqueue { queue: queue.clone(), entries, seen: Seen::default(), reply }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.sender.push::<CONTROL>(Message::Close);
        // A waker that the loop runs may drop the last handle; the loop cannot wait for itself.
        if thread::current().id() != self.loop_thread.id() {
            // How it ended was for `close` to tell.
            let _ = thread::block_on(self.end.wait());
        }
    }
}
