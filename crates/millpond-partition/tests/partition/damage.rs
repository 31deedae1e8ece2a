//! One queue that cannot be read, and the others that must not notice.

use std::sync::Arc;

use millpond_partition::{
    LeaseSource, Partition, PartitionError, PartitionOptions, PartitionStore, QueueState,
};
use millpond_storage_api::{
    Capabilities, CheckpointFuture, CloseFuture, CommitLog, CommitTicket, Epoch, GetFuture,
    LogPosition, ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError, StoreErrorKind, StoreRead,
    Table, WriteBatch,
};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
use millpond_sync::thread::block_on;
use millpond_types::{ActiveKey, EntryId, LeaseKey, QueueId};

use crate::fixture::{call, enqueue, entry, lease, lease_ref, on_new_disk, open, queue, store};

/// What reading the entries of one queue comes to.
#[derive(Clone, Copy)]
enum Reads {
    Fail,
    Panic,
}

/// A store in which the entries of one queue cannot be read.
struct OneQueueUnreadable {
    inner: MemoryStore,
    queue: QueueId,
    reads: Reads,
}

impl OneQueueUnreadable {
    fn concerns(&self, request: &ScanRequest) -> bool {
        request.table == Table::Entries && request.lower.starts_with(&self.queue.0)
    }
}

impl StoreRead for OneQueueUnreadable {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        if self.concerns(request) {
            out.clear();
            return Err(StoreError::new(StoreErrorKind::WouldBlock, "not in memory"));
        }
        self.inner.try_scan(request, out)
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        match self.reads {
            _ if !self.concerns(&request) => self.inner.scan(request),
            Reads::Fail => {
                Box::pin(async { Err(StoreError::new(StoreErrorKind::Io, "a bad sector")) })
            }
            Reads::Panic => Box::pin(async { panic!("a store with a defect") }),
        }
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<bytes::Bytes>, StoreError> {
        self.inner.try_get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        self.inner.get(table, key)
    }
}

impl PartitionStore for OneQueueUnreadable {
    fn submit(&self, batch: WriteBatch) -> CommitTicket {
        self.inner.submit(batch)
    }

    fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }

    fn durable_position(&self) -> LogPosition {
        self.inner.durable_position()
    }

    fn checkpoint(&self) -> CheckpointFuture {
        self.inner.checkpoint()
    }

    fn log(&self) -> &dyn CommitLog {
        self.inner.log()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn close(&self) -> CloseFuture {
        self.inner.close()
    }
}

/// Two queues of one topic with an entry each; the first cannot be read after a restart.
fn reopened_with(reads: Reads) -> (Partition, EntryId, EntryId) {
    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let bad = enqueue(&partition, &queue("bad"), 1)[0];
    let good = enqueue(&partition, &queue("good"), 1)[0];
    block_on(partition.close()).expect("the store has not failed");
    let inner = MemoryStore::open(&disk, MemoryOptions::default()).expect("it was closed");
    let store = OneQueueUnreadable { inner, queue: bad.queue, reads };
    let partition = block_on(Partition::open(Arc::new(store), PartitionOptions::default()));
    (partition.expect("the leases can be read"), bad, good)
}

fn backs_off_and_lets_the_others_flow(reads: Reads, why: &str) {
    let (partition, bad, good) = reopened_with(reads);
    let grants = lease(&partition, LeaseSource::Topic(queue("good").topic_id), 2);
    assert_eq!(grants.iter().map(|grant| grant.id).collect::<Vec<_>>(), [good]);
    // A call that does not wait is answered when the read has failed, not before.
    let none = block_on(call(&partition, LeaseSource::Queue(bad.queue), 1, false));
    assert!(none.expect("answered").expect("the partition is open").accept().is_empty());
    let report = block_on(partition.report_queue(bad.queue)).expect("the partition is open");
    match report.expect("it has work").state {
        QueueState::BackingOff { error, .. } => assert!(error.contains(why), "{error}"),
        // It tries again whenever its pause is over.
        QueueState::Loading | QueueState::Cold => {}
        other => panic!("a queue that cannot be read is {other:?}"),
    }
    block_on(partition.ack(lease_ref(&grants[0]))).expect("just leased");
    let counters = block_on(partition.report(0)).expect("the partition is open").counters;
    assert!(counters.n_scans_failed > 0);
    block_on(partition.close()).expect("reads that fail stop nothing");
}

#[test]
fn a_head_that_can_never_be_read_backs_off_and_the_others_flow() {
    backs_off_and_lets_the_others_flow(Reads::Fail, "a bad sector");
}

#[test]
fn a_store_that_panics_in_a_read_costs_that_read_only() {
    backs_off_and_lets_the_others_flow(Reads::Panic, "panicked");
}

/// A row of `active` that was overwritten, in a store with another queue beside it.
fn with_damaged_active() -> (MemoryDisk, EntryId, EntryId, Vec<u8>) {
    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let bad = enqueue(&partition, &queue("bad"), 3)[0];
    let good = enqueue(&partition, &queue("good"), 1)[0];
    let key = ActiveKey { topic: queue("bad").topic_id, queue: bad.queue }.encode();
    let row = block_on(partition.store().get(Table::Active, &key)).expect("readable");
    block_on(partition.close()).expect("the store has not failed");
    disk.poke_row(Table::Active, &key, b"garbage");
    (disk, bad, good, row.expect("it has work").to_vec())
}

#[test]
fn a_queue_whose_counters_cannot_be_decoded_is_closed_and_loses_nothing() {
    let (disk, bad, good, row) = with_damaged_active();
    let partition = open(store(&disk, MemoryOptions::default()), PartitionOptions::default());
    // Were it taken for empty, its floor would move past the entries that are there.
    let refused = block_on(partition.enqueue(&queue("bad"), vec![entry(3)]));
    assert!(matches!(refused, Err(PartitionError::Corrupt(_))), "{refused:?}");
    let refused = block_on(partition.purge(bad.queue));
    assert!(matches!(refused, Err(PartitionError::Corrupt(_))), "{refused:?}");
    let grants = lease(&partition, LeaseSource::Topic(queue("good").topic_id), 9);
    assert_eq!(grants.iter().map(|grant| grant.id).collect::<Vec<_>>(), [good]);
    let report = block_on(partition.report(0)).expect("the partition is open");
    assert!(report.counters.n_rows_corrupt >= 1);
    block_on(partition.close()).expect("a damaged row stops nothing");

    let key = ActiveKey { topic: queue("bad").topic_id, queue: bad.queue }.encode();
    disk.poke_row(Table::Active, &key, &row);
    let partition = open(store(&disk, MemoryOptions::default()), PartitionOptions::default());
    let grants = lease(&partition, LeaseSource::Queue(bad.queue), 9);
    assert_eq!((grants.len(), grants[0].id), (3, bad));
}

#[test]
fn a_lease_that_cannot_be_decoded_leaves_its_entry_to_be_delivered_again() {
    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let id = enqueue(&partition, &queue("a"), 1)[0];
    let held = lease(&partition, LeaseSource::Queue(id.queue), 1).remove(0);
    block_on(partition.close()).expect("the store has not failed");
    let key = LeaseKey { queue: id.queue, sequence: id.rank.sequence };
    disk.poke_row(Table::Leases, &key.encode(), b"garbage");

    let partition = open(store(&disk, MemoryOptions::default()), PartitionOptions::default());
    let again = lease(&partition, LeaseSource::Queue(id.queue), 1).remove(0);
    assert_eq!(again.id, id);
    assert!(again.token > held.token);
    let stale = block_on(partition.ack(lease_ref(&held)));
    assert!(matches!(stale, Err(PartitionError::StaleLease { .. })), "{stale:?}");
    block_on(partition.ack(lease_ref(&again))).expect("just leased");
}
