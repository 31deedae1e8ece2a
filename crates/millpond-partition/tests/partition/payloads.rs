//! Large bodies between memory and storage.

use std::sync::atomic::{AtomicUsize, Ordering};

use millpond_partition::{
    LeaseRef, LeaseSource, NewEntry, Partition, PartitionOptions, PayloadStats, Payloads,
};
use millpond_storage_api::{StoreError, StoreErrorKind, Table};
use millpond_storage_memory::{Intercept, MemoryDisk, MemoryOptions};
use millpond_sync::thread::block_on;
use millpond_types::{Body, EntryId, PayloadKey, Priority};

use crate::fixture::{
    enqueue, entry, intercepted, lease, lease_ref, on_new_disk, open, queue, store,
};

const LARGE: usize = 4096;

fn with(payloads: &Payloads) -> PartitionOptions {
    PartitionOptions { payloads: payloads.clone(), ..PartitionOptions::default() }
}

fn filled(byte: u8, n_bytes: usize) -> NewEntry {
    let body = Body { payload: vec![byte; n_bytes].into(), ..Body::default() };
    NewEntry { body: body.encode(), priority: Priority::default(), ..entry(0) }
}

fn enqueue_large(partition: &Partition, byte: u8) -> EntryId {
    let accepted = block_on(partition.enqueue(&queue("a"), vec![filled(byte, LARGE)]));
    accepted.expect("it is accepted").get()[0].id()
}

fn lost_row(disk: &MemoryDisk, id: EntryId) {
    let key = PayloadKey { queue: id.queue, sequence: id.rank.sequence };
    assert!(disk.damage_row(Table::Payloads, &key.encode()), "it has a row of its own");
}

fn payload(partition: &Partition, id: EntryId) -> Option<bytes::Bytes> {
    block_on(partition.body(id)).expect("it can be read").map(|body| body.payload)
}

fn leased(partition: &Partition) -> LeaseRef {
    lease_ref(&lease(partition, LeaseSource::Queue(queue("a").id), 1)[0])
}

fn hits_and_entries(stats: PayloadStats) -> (u64, usize) {
    (stats.n_hits, stats.n_entries)
}

#[test]
fn what_was_enqueued_is_delivered_from_memory_and_leaves_it_with_the_ack() {
    let payloads = Payloads::default();
    let (disk, partition) = on_new_disk(with(&payloads));
    let id = enqueue_large(&partition, 7);
    enqueue(&partition, &queue("a"), 1);
    assert_eq!(payloads.stats().n_entries, 1, "a small body is in the row of its entry");
    // Not looked at as long as it is in memory.
    lost_row(&disk, id);
    let lease = leased(&partition);
    let first = payload(&partition, id).expect("it is leased");
    assert_eq!(first, [7; LARGE].as_slice());
    let again = payload(&partition, id).expect("it is leased");
    assert_eq!(first.as_ptr(), again.as_ptr(), "nothing is copied");
    block_on(partition.ack(lease)).expect("it is leased");
    assert_eq!(hits_and_entries(payloads.stats()), (2, 0));
    assert_eq!(payload(&partition, id), None);
    block_on(partition.close()).expect("nothing has failed");
}

#[test]
fn a_body_that_is_read_again_is_kept() {
    let disk = MemoryDisk::new();
    let payloads = Payloads::default();
    let before = open(store(&disk, MemoryOptions::default()), with(&payloads));
    let id = enqueue_large(&before, 7);
    block_on(before.close()).expect("nothing has failed");
    // The id may be another's since, so what is in memory is nobody's.
    let partition = open(store(&disk, MemoryOptions::default()), with(&payloads));
    for (n_hits, n_entries) in [(0, 1), (0, 2), (1, 2)] {
        assert_eq!(payload(&partition, id).expect("it is ready"), [7; LARGE].as_slice());
        assert_eq!(hits_and_entries(payloads.stats()), (n_hits, n_entries));
    }
    block_on(partition.close()).expect("nothing has failed");
}

#[test]
fn partitions_that_share_a_cache_share_no_ids() {
    let payloads = Payloads::default();
    let (_first_disk, first) = on_new_disk(with(&payloads));
    let (_second_disk, second) = on_new_disk(with(&payloads));
    let id = enqueue_large(&first, 1);
    assert_eq!(enqueue_large(&second, 2), id);
    assert_eq!(payload(&first, id).expect("it is ready"), [1; LARGE].as_slice());
    assert_eq!(payload(&second, id).expect("it is ready"), [2; LARGE].as_slice());
    assert_eq!(hits_and_entries(payloads.stats()), (2, 2));
}

#[test]
fn the_bytes_are_bounded_and_whatever_has_no_room_is_delivered_all_the_same() {
    for bytes_max in [0, 1, LARGE, 3 * LARGE] {
        let payloads = Payloads::new(bytes_max);
        let (_disk, partition) = on_new_disk(with(&payloads));
        let ids: Vec<_> = (0..9).map(|byte| enqueue_large(&partition, byte)).collect();
        let stats = payloads.stats();
        assert!(stats.bytes <= bytes_max && stats.n_entries <= 2, "{stats:?}");
        for _ in 0..3 {
            for (byte, id) in (0..).zip(&ids) {
                assert_eq!(payload(&partition, *id).expect("ready"), [byte; LARGE].as_slice());
                assert!(payloads.stats().bytes <= bytes_max);
            }
        }
    }
}

/// The second read of a body fails.
#[derive(Default)]
struct SecondReadFails {
    n_reads: AtomicUsize,
}

impl Intercept for SecondReadFails {
    fn before_get(&self, table: Table, _key: &[u8], _may_wait: bool) -> Result<(), StoreError> {
        let is_body = table == Table::Payloads;
        match self.n_reads.fetch_add(usize::from(is_body), Ordering::Relaxed) {
            1 if is_body => Err(StoreError::new(StoreErrorKind::Io, "a bad sector")),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_read_that_fails_leaves_nothing_behind() {
    let disk = MemoryDisk::new();
    let before = open(store(&disk, MemoryOptions::default()), with(&Payloads::new(0)));
    let id = enqueue_large(&before, 7);
    block_on(before.close()).expect("nothing has failed");
    let payloads = Payloads::default();
    let failing = intercepted(&disk, MemoryOptions::default(), SecondReadFails::default());
    let partition = open(failing, with(&payloads));
    assert!(payload(&partition, id).is_some());
    // What it would have read would have been kept.
    assert!(block_on(partition.body(id)).is_err());
    let stats = payloads.stats();
    assert_eq!((stats.n_entries, stats.n_pending, stats.bytes), (0, 0, 0));
    assert!(payload(&partition, id).is_some());
    assert_eq!(payloads.stats().n_entries, 1);
    block_on(partition.close()).expect("reads that fail stop nothing");
}
