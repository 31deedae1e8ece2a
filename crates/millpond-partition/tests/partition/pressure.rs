//! Limits that are hit slow callers down, and lose nothing.

use std::collections::BTreeSet;
use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use millpond_partition::{
    Clock, InboxLimits, LeaseCall, LeaseSource, Nack, Partition, PartitionOptions,
};
use millpond_storage_api::{ScanRequest, StoreError, StoreErrorKind, Table};
use millpond_storage_memory::{BlockReads, Intercept, MemoryDisk, MemoryOptions, SnapshotAt};
use millpond_sync::thread::block_on;
use millpond_sync::{Condvar, Mutex};

use crate::fixture::{
    answered, barrier, call, enqueue, entry, intercepted, lease, lease_ref, on_new_disk, open,
    queue, start, stepped, store,
};

#[test]
fn senders_wait_while_a_commit_is_held_and_then_proceed() {
    let options = PartitionOptions {
        mailbox_capacity: 1,
        commits_in_flight_max: 1,
        batch_bytes_max: 1,
        ..PartitionOptions::default()
    };
    let disk = MemoryDisk::new();
    let partition = open(store(&disk, stepped()), options);
    let queue = queue("a");
    let held = start(partition.enqueue(&queue, vec![entry(3)]));
    barrier(&partition);
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (partition, queue) = (partition.clone(), queue.clone());
            std::thread::spawn(move || block_on(partition.enqueue(&queue, vec![entry(3)])))
        })
        .collect();
    // A batch is full with its first entry: one is submitted, one staged, one in the mailbox, and the
    // others wait for room however often the loop wakes up.
    assert!(senders.iter().all(|sender| !sender.is_finished()));
    while !senders.iter().all(std::thread::JoinHandle::is_finished) {
        assert!(disk.n_unsynced() <= 1, "more commits in flight than allowed");
        disk.sync_next();
        std::thread::yield_now();
    }
    let mut ids = BTreeSet::from([block_on(held).expect("accepted").get()[0].id()]);
    for sender in senders {
        let receipt = sender.join().expect("it only sends").expect("accepted");
        assert!(ids.insert(receipt.get()[0].id()), "an id was given twice");
    }
    assert_eq!(disk.durable_position().0, 9, "one entry per batch");
}

const LARGE_BYTES: usize = 10_000;
const N_LARGE: usize = 100;

/// Holds every lookup, and every read of the table that says which queues have work.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    fn pass(&self, table: Table, may_wait: bool) -> Result<(), StoreError> {
        let mut is_open = self.0.0.lock();
        if *is_open || !matches!(table, Table::Active | Table::Queues) {
            return Ok(());
        }
        if !may_wait {
            return Err(StoreError::new(StoreErrorKind::WouldBlock, "not in memory"));
        }
        while !*is_open {
            is_open = self.0.1.wait(is_open);
        }
        Ok(())
    }
}

impl Intercept for Gate {
    fn before_scan(&self, request: &ScanRequest, may_wait: bool) -> Result<(), StoreError> {
        self.pass(request.table, may_wait)
    }

    fn before_get(&self, table: Table, _: &[u8], may_wait: bool) -> Result<(), StoreError> {
        self.pass(table, may_wait)
    }
}

/// Starts calls with a large entry each, polls them while `stir` does something, again and again, and drops
/// them. Says how many had been accepted by then, once `release` has let the partition go on.
fn n_accepted(
    partition: &Partition,
    mut stir: impl FnMut(),
    release: impl FnOnce(&mut dyn FnMut()),
) -> usize {
    let a = queue("a");
    let large = || start(partition.enqueue(&a, vec![entry(LARGE_BYTES)]));
    let mut calls: Vec<_> = (0..N_LARGE).map(|_| large()).collect();
    for _ in 0..10 {
        // Often, so that the loop takes what it would take without a bound.
        for _ in 0..200 {
            let mut context = Context::from_waker(Waker::noop());
            calls.retain_mut(|call| call.as_mut().poll(&mut context).is_pending());
            std::thread::yield_now();
        }
        stir();
    }
    drop(calls);
    let mut n_enqueued = 0;
    release(&mut || {
        // It comes after everything that was accepted before.
        enqueue(partition, &a, 1);
        let report = block_on(partition.report(0)).expect("the partition is open");
        n_enqueued = report.counters.n_enqueued;
        block_on(partition.close()).expect("the store has not failed");
    });
    usize::try_from(n_enqueued).expect("a few") - 1
}

/// How many large entries are accepted when only the first ten commits become durable.
fn n_accepted_by_a_slow_disk(mailbox_bytes_max: usize) -> usize {
    let options = PartitionOptions {
        mailbox_bytes_max,
        commits_in_flight_max: 1,
        batch_bytes_max: 1,
        ..PartitionOptions::default()
    };
    let disk = MemoryDisk::new();
    let partition = open(store(&disk, stepped()), options);
    // With an entry in it the queue stays in memory, so that no command waits for a read of it.
    while_syncing(&disk, || drop(enqueue(&partition, &queue("a"), 1)));
    let sync_one = || {
        while !disk.sync_next() {
            std::thread::yield_now();
        }
    };
    n_accepted(&partition, sync_one, |rest| while_syncing(&disk, rest)) - 1
}

/// How many large entries are accepted while nobody knows what their queue holds.
fn n_accepted_without_reads(mailbox_bytes_max: usize) -> usize {
    let options = PartitionOptions { mailbox_bytes_max, ..PartitionOptions::default() };
    let gate = Gate::default();
    let store = intercepted(&MemoryDisk::new(), MemoryOptions::default(), gate.clone());
    let partition = open(store, options);
    n_accepted(&partition, std::thread::yield_now, |rest| {
        gate.open();
        rest();
    })
}

#[test]
fn commands_wait_in_no_more_memory_than_the_mailbox_says_however_large_they_are() {
    // Of ten that are durable one is submitted and one staged behind them. Less than three limits and two
    // commands wait: in the mailbox, in the loop, and for their queue.
    const N_WAITING_MAX: usize = 3 * 5 + 2;
    let bytes_max = 5 * LARGE_BYTES;
    let n_accepted = n_accepted_by_a_slow_disk(bytes_max);
    assert!((10..=12 + N_WAITING_MAX).contains(&n_accepted), "{n_accepted} at a slow disk");
    let n_accepted = n_accepted_without_reads(bytes_max);
    assert!((1..=N_WAITING_MAX).contains(&n_accepted), "{n_accepted} without reads");
}

#[test]
fn one_command_larger_than_the_mailbox_still_passes() {
    assert!((10..=12 + 2).contains(&n_accepted_by_a_slow_disk(1)));
    assert!((1..=2).contains(&n_accepted_without_reads(1)));
}

#[test]
fn commands_without_a_limit_in_bytes_all_come_in() {
    assert_eq!(n_accepted_by_a_slow_disk(usize::MAX), N_LARGE);
    assert_eq!(n_accepted_without_reads(usize::MAX), N_LARGE);
}

#[test]
fn limits_of_zero_do_not_stop_a_partition() {
    let options = PartitionOptions {
        mailbox_capacity: 0,
        mailbox_bytes_max: 0,
        commands_per_turn: 0,
        commits_in_flight_max: 0,
        batch_bytes_max: 0,
        scans_in_flight_max: 0,
        scan_bytes_max: 0,
        scan_skip_max: 0,
        scans_per_turn: 0,
        timers_per_turn: 0,
        idle_queues_max: 0,
        refill_tasks_max: 0,
        names_cached_max: 0,
        ..PartitionOptions::default()
    };
    let (disk, partition) = on_new_disk(options.clone());
    let ids = enqueue(&partition, &queue("a"), 30);
    block_on(partition.close()).expect("the store has not failed");
    let partition = open(store(&disk, MemoryOptions::default()), options);
    for id in ids {
        let grant = lease(&partition, LeaseSource::Topic(queue("a").topic_id), 1).remove(0);
        assert_eq!(grant.id, id);
        block_on(partition.ack(lease_ref(&grant))).expect("just leased");
    }
    let none = call(&partition, LeaseSource::Topic(queue("a").topic_id), 1, false);
    assert_eq!(answered(none), Ok(Vec::new()));
}

#[test]
fn a_cold_start_loads_every_queue_however_few_reads_a_turn_may_start() {
    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let mut expected = BTreeSet::new();
    for n in 0..50 {
        expected.extend(enqueue(&partition, &queue(&n.to_string()), 1));
    }
    block_on(partition.close()).expect("the store has not failed");

    let options = PartitionOptions { scans_per_turn: 1, ..PartitionOptions::default() };
    let partition = open(store(&disk, MemoryOptions::default()), options);
    let mut leased = BTreeSet::new();
    while leased.len() < expected.len() {
        let grants = lease(&partition, LeaseSource::Topic(queue("0").topic_id), 50);
        leased.extend(grants.into_iter().map(|grant| grant.id));
    }
    assert_eq!(leased, expected);
}

#[test]
fn a_head_that_memory_cannot_serve_is_waited_for() {
    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let id = enqueue(&partition, &queue("a"), 1)[0];
    block_on(partition.close()).expect("the store has not failed");

    let again = store(&disk, MemoryOptions::default());
    let partition = open(again, PartitionOptions::default());
    let grant = lease(&partition, LeaseSource::Queue(id.queue), 1).remove(0);
    block_on(partition.nack(lease_ref(&grant), Nack::default())).expect("just leased");
    block_on(partition.close()).expect("the store has not failed");

    let again = store(&disk, MemoryOptions::default());
    disk.block_reads(BlockReads::Always);
    let partition = open(again, PartitionOptions::default());
    disk.hold_scans(SnapshotAt::Release);
    let impatient = call(&partition, LeaseSource::Queue(id.queue), 1, false);
    // The first read may have gone through before scans were held; then there is none to release.
    disk.release_scans();
    let grants = answered(impatient).expect("the partition is open");
    assert_eq!((grants.len(), grants[0].attempt), (1, 2), "nobody is sent away during a load");
}

#[test]
fn a_row_that_cannot_be_decoded_is_passed_over() {
    use millpond_types::{EntryKey, Stage};

    let (disk, partition) = on_new_disk(PartitionOptions::default());
    let ids = enqueue(&partition, &queue("a"), 4);
    block_on(partition.close()).expect("the store has not failed");
    for id in &ids[..2] {
        let key = EntryKey { queue: id.queue, stage: Stage::Ready, rank: id.rank };
        disk.poke_row(Table::Entries, &key.encode(), b"garbage");
    }
    // A batch of one reads row by row: each of the two damaged rows is all that a scan returns.
    let inbox = InboxLimits::new(1, 1, 0).and_then(|limits| limits.with_batch(1, 1));
    let inbox = inbox.expect("limits that an inbox can work with");
    let options = PartitionOptions { inbox, ..PartitionOptions::default() };
    let partition = open(store(&disk, MemoryOptions::default()), options);
    for id in &ids[2..] {
        assert_eq!(lease(&partition, LeaseSource::Queue(id.queue), 1)[0].id, *id);
    }
    let report = block_on(partition.report(0)).expect("the partition is open");
    assert_eq!(report.counters.n_rows_corrupt, 2);
}

#[test]
fn a_lease_ends_while_commands_fill_every_batch() {
    const N_COMMANDS: usize = 50;
    // One command fills a batch, so there is never room that commands leave.
    let options = PartitionOptions {
        commits_in_flight_max: 1,
        batch_bytes_max: 1,
        ..PartitionOptions::default()
    };
    let disk = MemoryDisk::new();
    let partition = open(store(&disk, stepped()), options);
    let a = queue("a");
    let (short, first) = LeaseCall::new(1, 1);
    let accepted = start(partition.enqueue(&a, vec![entry(3)]));
    block_on(partition.lease(LeaseSource::Queue(a.id), &short, true)).expect("it is open");
    let mut first = first;
    let granted = loop {
        disk.sync_next();
        match first.try_recv().expect("every call is answered") {
            Some(grants) => break grants.expect("it is open").accept().remove(0),
            None => std::thread::yield_now(),
        }
    };
    let mut again = call(&partition, LeaseSource::Queue(a.id), 1, true);
    let b = queue("b");
    let flood: Vec<_> =
        (0..N_COMMANDS).map(|_| start(partition.enqueue(&b, vec![entry(3)]))).collect();
    let clock = Clock::start();
    while clock.now() <= granted.get().deadline {
        std::thread::yield_now();
    }
    // Every commit carries one command, and the deadline does not wait for the last of them.
    let mut n_commits = 0;
    let answer = loop {
        if let Some(answer) = again.try_recv().expect("every call is answered") {
            break answer;
        }
        if disk.n_unsynced() > 0 {
            disk.sync_next();
            n_commits += 1;
        }
        std::thread::yield_now();
    };
    assert_eq!(answer.expect("it is open").accept()[0].get().attempt, 2);
    assert!(n_commits < N_COMMANDS / 2, "the lease ended after {n_commits} commits");
    drop((accepted, flood));
    while_syncing(&disk, || block_on(partition.close()).expect("the store has not failed"));
}

/// Does something while every commit becomes durable.
fn while_syncing(disk: &MemoryDisk, act: impl FnOnce()) {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                disk.sync_next();
                std::thread::yield_now();
            }
        });
        act();
        is_done.store(true, Ordering::Relaxed);
    });
}
