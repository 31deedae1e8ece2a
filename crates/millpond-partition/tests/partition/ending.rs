//! However a partition ends, everybody who waits is told so, and told why.

use millpond_partition::{LeaseCall, LeaseSource, Partition, PartitionError, PartitionOptions};
use millpond_storage_api::{
    LogPosition, PartitionStore, ScanRequest, StoreError, StoreErrorKind, WriteBatch,
};
use millpond_storage_memory::{FailedBatch, Intercept, MemoryDisk, MemoryOptions, Sharing};
use millpond_sync::thread::block_on;
use millpond_types::ErrorKind;

use crate::fixture::{
    LEASE_MS, answered, barrier, call, enqueue, entry, intercepted, lease, lease_ref, on_new_disk,
    open, queue, start, stepped, store,
};

fn one_commit_at_a_time() -> PartitionOptions {
    PartitionOptions { commits_in_flight_max: 1, ..PartitionOptions::default() }
}

#[test]
fn closing_makes_durable_what_was_accepted_and_answers_everybody_else() {
    let disk = MemoryDisk::new();
    let partition = open(store(&disk, stepped()), one_commit_at_a_time());
    let queue = queue("a");
    let submitted = start(partition.enqueue(&queue, vec![entry(3)]));
    barrier(&partition);
    let staged = start(partition.enqueue(&queue, vec![entry(3)]));
    barrier(&partition);
    assert_eq!(disk.n_unsynced(), 1, "the second waits for the first");
    let of_topic = call(&partition, LeaseSource::Topic(queue.topic_id), 1, true);
    let of_queue = call(&partition, LeaseSource::Queue(queue.id), 1, true);
    barrier(&partition);

    let closing = start(partition.close());
    let refused = block_on(partition.report(0));
    assert_eq!(refused.expect_err("the partition is closing").kind(), ErrorKind::Closed);
    let syncing = std::thread::spawn({
        let disk = disk.clone();
        move || {
            while disk.durable_position() < LogPosition(2) {
                disk.sync_all();
                std::thread::yield_now();
            }
        }
    });
    assert_eq!(block_on(submitted).expect("accepted before the close").get().len(), 1);
    assert_eq!(block_on(staged).expect("accepted before the close").get().len(), 1);
    for answer in [of_topic, of_queue] {
        assert_eq!(answered(answer), Err(PartitionError::Closed));
    }
    block_on(closing).expect("the store has not failed");
    block_on(partition.close()).expect("closing twice is closing once");
    syncing.join().expect("it only syncs");

    let again = open(store(&disk, MemoryOptions::default()), PartitionOptions::default());
    assert_eq!(lease(&again, LeaseSource::Queue(queue.id), 5).len(), 2);
}

#[test]
fn a_failed_commit_stops_the_partition_and_tells_everybody_why() {
    for (kind, expected) in
        [(StoreErrorKind::NoSpace, ErrorKind::NoSpace), (StoreErrorKind::Io, ErrorKind::Io)]
    {
        for (batch, n_kept) in [(FailedBatch::Lost, 1), (FailedBatch::Survives, 2)] {
            stops_with(kind, expected, batch, n_kept);
        }
    }
}

fn stops_with(kind: StoreErrorKind, expected: ErrorKind, batch: FailedBatch, n_kept: usize) {
    let disk = MemoryDisk::new();
    let partition = open(store(&disk, stepped()), one_commit_at_a_time());
    let queue = queue("a");
    let accepted = start(partition.enqueue(&queue, vec![entry(3)]));
    barrier(&partition);
    disk.sync_all();
    let accepted = block_on(accepted).expect("the first commit succeeds");

    disk.fail_commit(0, kind, batch);
    let submitted = start(partition.enqueue(&queue, vec![entry(3)]));
    barrier(&partition);
    let staged = start(partition.enqueue(&queue, vec![entry(3)]));
    let granting = call(&partition, LeaseSource::Queue(queue.id), 1, true);
    let waiting = call(&partition, LeaseSource::Queue(self::queue("b").id), 1, true);
    barrier(&partition);
    let closing = std::thread::spawn({
        let partition = partition.clone();
        move || {
            // Either it is refused at once or it learns how the partition ended: with the same reason.
            let queue = self::queue("c");
            let stranger = partition.enqueue(&queue, vec![entry(3)]);
            (block_on(stranger).err(), block_on(partition.close()))
        }
    });
    disk.sync_next();

    let is_expected = |error: PartitionError| {
        assert!(matches!(error, PartitionError::Stopped(_)), "{error:?}");
        assert_eq!(error.kind(), expected);
    };
    is_expected(block_on(submitted).expect_err("its commit failed"));
    // From the first bad news on, whoever asks hears the reason and not just that it is over.
    is_expected(block_on(partition.report(0)).expect_err("stopped"));
    is_expected(block_on(staged).expect_err("it was never submitted"));
    is_expected(answered(granting).expect_err("the grant is not durable"));
    is_expected(answered(waiting).expect_err("nobody waits for ever"));
    let (stranger, closed) = closing.join().expect("it only asks");
    assert_eq!(stranger.map(|error| error.kind()).unwrap_or(expected), expected);
    is_expected(closed.expect_err("it did not end by closing"));

    let again = open(store(&disk, MemoryOptions::default()), PartitionOptions::default());
    let found = lease(&again, LeaseSource::Queue(queue.id), 5);
    assert_eq!(found.len(), n_kept);
    assert_eq!(found[0].id, accepted.get()[0].id(), "what had a receipt is there");
}

#[test]
fn dropping_the_last_handle_closes() {
    let disk = MemoryDisk::new();
    let exclusive = MemoryOptions { sharing: Sharing::Exclusive, ..MemoryOptions::default() };
    let first = store(&disk, exclusive);
    let partition = open(first.clone(), PartitionOptions::default());
    let another = partition.clone();
    let id = enqueue(&partition, &queue("a"), 1)[0];
    let waiting = call(&partition, LeaseSource::Queue(queue("b").id), 1, true);
    drop(partition);
    barrier(&another);
    drop(another);

    assert_eq!(answered(waiting), Err(PartitionError::Closed));
    block_on(first.close()).expect("closed by the loop, or now");
    let again = open(store(&disk, exclusive), PartitionOptions::default());
    assert_eq!(lease(&again, LeaseSource::Queue(id.queue), 1)[0].id, id);
}

#[test]
fn a_partition_whose_store_was_taken_over_is_fenced() {
    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let id = enqueue(&partition, &queue("a"), 1)[0];
    let held = lease(&partition, LeaseSource::Queue(id.queue), 1).remove(0);
    let other = open(store(&disk, MemoryOptions::default()), PartitionOptions::default());
    let error = block_on(partition.ack(lease_ref(&held))).expect_err("somebody else owns it");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    // The lease stands with the new owner, and only there.
    block_on(other.ack(lease_ref(&held))).expect("its deadline is far");
}

/// Somebody else owns the store, as a read is the first to find.
struct ReadsAreFenced;

impl Intercept for ReadsAreFenced {
    fn before_scan(&self, _: &ScanRequest, may_wait: bool) -> Result<(), StoreError> {
        match may_wait {
            true => Ok(()),
            false => Err(StoreError::new(StoreErrorKind::Fenced, "somebody else owns it")),
        }
    }
}

/// The first commit succeeds, and submitting the next one panics.
struct PanicsAtTheSecondCommit(MemoryDisk);

impl Intercept for PanicsAtTheSecondCommit {
    fn before_submit(&self, _: &WriteBatch) {
        assert!(self.0.durable_position() < LogPosition(1), "a panic on purpose");
    }
}

#[test]
fn a_read_that_finds_the_store_taken_over_stops_the_partition() {
    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let queue = queue("a");
    enqueue(&partition, &queue, 1);
    block_on(partition.close()).expect("the store has not failed");

    let fenced = intercepted(&disk, stepped(), ReadsAreFenced);
    let partition = open(fenced, PartitionOptions::default());
    // No commit is under way that could tell. The loop may read, and stop, before it gets the call.
    let (call, answer) = LeaseCall::new(1, LEASE_MS);
    let source = LeaseSource::Queue(queue.id);
    let refused = block_on(partition.lease(source, &call, true)).err();
    let error = refused.unwrap_or_else(|| answered(answer).expect_err("nothing can be granted"));
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let error = block_on(partition.enqueue(&queue, vec![entry(3)])).expect_err("it has stopped");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(block_on(partition.close()).expect_err("so did it end").kind(), ErrorKind::Fenced);
}

#[test]
fn a_panic_in_the_loop_answers_everybody_and_gives_the_store_up() {
    let disk = MemoryDisk::new();
    let exclusive = MemoryOptions { sharing: Sharing::Exclusive, ..MemoryOptions::default() };
    let fragile = intercepted(&disk, exclusive, PanicsAtTheSecondCommit(disk.clone()));
    let partition = open(fragile, PartitionOptions::default());
    let kept = enqueue(&partition, &queue("a"), 1)[0];
    let waiting = call(&partition, LeaseSource::Queue(queue("b").id), 1, true);

    let is_stopped = |error: PartitionError| {
        assert!(matches!(error, PartitionError::Stopped(_)), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Closed);
    };
    let queue = queue("a");
    let staged = partition.enqueue(&queue, vec![entry(3)]);
    is_stopped(block_on(staged).expect_err("its commit was never made"));
    is_stopped(answered(waiting).expect_err("nobody waits for ever"));
    is_stopped(block_on(partition.report(0)).expect_err("the loop is gone"));
    is_stopped(block_on(partition.close()).expect_err("it did not end by closing"));

    let again = open(store(&disk, exclusive), PartitionOptions::default());
    assert_eq!(lease(&again, LeaseSource::Queue(kept.queue), 5).len(), 1);
}

#[test]
fn a_store_that_cannot_be_read_is_not_opened() {
    let disk = MemoryDisk::new();
    let unreadable = store(&disk, MemoryOptions::default());
    disk.fail_read(0, StoreErrorKind::Io);
    let opened = block_on(Partition::open(unreadable, PartitionOptions::default()));
    assert_eq!(opened.expect_err("the first read fails").kind(), ErrorKind::Io);
}

#[test]
fn grants_that_outlive_their_partition_end_at_their_deadline() {
    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let id = enqueue(&partition, &queue("a"), 1)[0];
    let unread = block_on(call(&partition, LeaseSource::Queue(id.queue), 1, true));
    block_on(partition.close()).expect("the store has not failed");
    drop(unread);
    let again = open(store(&disk, MemoryOptions::default()), PartitionOptions::default());
    let report = block_on(again.report_queue(id.queue)).expect("open").expect("it has work");
    assert_eq!((report.n_entries, report.n_leased), (1, 1));
}
