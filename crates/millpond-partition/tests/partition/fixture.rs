//! What the tests of this binary share.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millpond_partition::{
    Grant, LeaseAnswer, LeaseCall, LeaseRef, LeaseSource, NewEntry, Partition, PartitionError,
    PartitionOptions, QueueRef, Start,
};
use millpond_storage_api::{Durable, PartitionStore};
use millpond_storage_memory::{
    Intercept, InterceptedStore, MemoryDisk, MemoryOptions, MemoryStore, SyncMode,
};
use millpond_sync::thread::block_on;
use millpond_types::{Body, EntryId, Priority, QueueKey, TopicName};

pub(crate) const LEASE_MS: u64 = 60_000;

/// Commits become durable when the test says so.
pub(crate) fn stepped() -> MemoryOptions {
    MemoryOptions { sync: SyncMode::Stepped, ..MemoryOptions::default() }
}

pub(crate) fn store(disk: &MemoryDisk, options: MemoryOptions) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::open(disk, options).expect("the disk is free"))
}

/// As [`store`], past the hooks of `intercept`.
pub(crate) fn intercepted(
    disk: &MemoryDisk,
    options: MemoryOptions,
    intercept: impl Intercept,
) -> Arc<InterceptedStore> {
    let store = MemoryStore::open(disk, options).expect("the disk is free");
    Arc::new(InterceptedStore::new(store, Arc::new(intercept)))
}

pub(crate) fn open(store: Arc<dyn PartitionStore>, options: PartitionOptions) -> Partition {
    block_on(Partition::open(store, options)).expect("the store can be read")
}

/// A partition on a disk of its own that syncs by itself.
pub(crate) fn on_new_disk(options: PartitionOptions) -> (MemoryDisk, Partition) {
    let disk = MemoryDisk::new();
    let partition = open(store(&disk, MemoryOptions::default()), options);
    (disk, partition)
}

pub(crate) fn queue(key: &str) -> Arc<QueueRef> {
    let topic = TopicName::new("emails").expect("a valid name");
    QueueRef::new(topic, QueueKey::new(key).expect("a valid key"))
}

pub(crate) fn entry(n_bytes: usize) -> NewEntry {
    let body = Body { payload: vec![b'x'; n_bytes].into(), ..Body::default() };
    NewEntry { priority: Priority::default(), body: body.encode(), start: Start::Now, dedup: None }
}

pub(crate) fn enqueue(partition: &Partition, queue: &Arc<QueueRef>, n: usize) -> Vec<EntryId> {
    let receipt = block_on(partition.enqueue(queue, vec![entry(3); n]));
    let accepted = receipt.expect("the entries are accepted").into_inner();
    accepted.iter().map(|accepted| accepted.id()).collect()
}

/// Registers a call for the queue and returns its answer to come.
pub(crate) fn call(
    partition: &Partition,
    source: LeaseSource,
    n_max: usize,
    wait: bool,
) -> LeaseAnswer {
    let (call, answer) = LeaseCall::new(n_max, LEASE_MS);
    block_on(partition.lease(source, &call, wait)).expect("the partition is open");
    answer
}

pub(crate) fn answered(answer: LeaseAnswer) -> Result<Vec<Grant>, PartitionError> {
    let grants = block_on(answer).expect("every call is answered")?;
    Ok(grants.accept().into_iter().map(Durable::into_inner).collect())
}

/// Leases up to `n_max` entries, waiting for the first.
pub(crate) fn lease(partition: &Partition, source: LeaseSource, n_max: usize) -> Vec<Grant> {
    answered(call(partition, source, n_max, true)).expect("the partition is open")
}

pub(crate) fn lease_ref(grant: &Grant) -> LeaseRef {
    LeaseRef { id: grant.id, token: grant.token }
}

/// Returns when the loop has handled everything that was sent before, and has submitted what followed
/// from it as far as its limits allow.
pub(crate) fn barrier(partition: &Partition) {
    for _ in 0..2 {
        block_on(partition.report(0)).expect("the partition is open");
    }
}

/// Polls once, so that a command is on its way.
pub(crate) fn start<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Pending), "nothing answers before the test lets it");
    future
}
