//! Batches that are written before they are durable, step by step.

use millpond_storage_api::{
    BufferedTicket, CommitTicket, LogPosition, PartitionStore, StoreErrorKind, StoreRead, Table,
    WriteBatch,
};
use millpond_storage_memory::{
    FailedBatch, MemoryDisk, MemoryOptions, MemoryStore, SyncMode, Visibility,
};
use millpond_sync::thread::block_on;

const STEPPED: MemoryOptions = MemoryOptions {
    sync: SyncMode::Stepped,
    visibility: Visibility::AtSync,
    sharing: millpond_storage_memory::Sharing::Shared,
    tombstones: false,
};

fn open(disk: &MemoryDisk, options: MemoryOptions) -> MemoryStore {
    MemoryStore::open(disk, options).expect("the disk is in order")
}

fn batch(key: u8) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Table::Active, &[key], b"value");
    batch
}

fn synced(store: &MemoryStore, key: u8) -> CommitTicket {
    store.submit(batch(key))
}

fn buffered(store: &MemoryStore, key: u8) -> BufferedTicket {
    store.submit_buffered(batch(key))
}

/// How many of the keys from 0 on are there. Whatever is behind the first hole must not be.
fn n_keys(store: &MemoryStore) -> usize {
    let has = |key| store.try_get(Table::Active, &[key]).expect("the store is open").is_some();
    let there: Vec<_> = (0..20).map(has).collect();
    let n_first = there.iter().take_while(|there| **there).count();
    assert!(!there[n_first..].contains(&true), "{there:?}");
    n_first
}

fn position(ticket: &mut BufferedTicket) -> Option<LogPosition> {
    ticket.try_outcome().map(|outcome| outcome.expect("nothing fails").into_inner())
}

#[test]
fn a_buffered_ticket_resolves_when_its_batch_is_written() {
    let disk = MemoryDisk::new();
    let store = open(&disk, STEPPED);
    let mut waits = synced(&store, 0);
    let mut tickets = [buffered(&store, 1), buffered(&store, 2)];
    assert_eq!((disk.n_unwritten(), disk.n_unsynced(), n_keys(&store)), (3, 3, 0));
    assert!(disk.write_next());
    assert_eq!(position(&mut tickets[0]), None);
    assert!(disk.write_next());
    assert_eq!(position(&mut tickets[0]), Some(LogPosition(2)));
    assert_eq!(position(&mut tickets[1]), None);
    assert_eq!((disk.n_unwritten(), disk.n_unsynced(), n_keys(&store)), (1, 3, 2));
    assert!(waits.try_outcome().is_none(), "written is not durable");
    assert_eq!(store.durable_position(), LogPosition(0));
    disk.write_all();
    assert!(!disk.write_next());
    assert_eq!(position(&mut tickets[1]), Some(LogPosition(3)));
    disk.sync_next();
    assert!(waits.try_outcome().expect("it is synced").is_ok());
    assert_eq!(
        (store.durable_position(), disk.n_unsynced(), n_keys(&store)),
        (LogPosition(1), 2, 3)
    );
}

#[test]
fn a_sync_resolves_what_nobody_wrote_before() {
    let disk = MemoryDisk::new();
    let store = open(&disk, STEPPED);
    for round in 0..3 {
        let mut tickets = [2, 3].map(|key| buffered(&store, round * 4 + key - 2));
        let mut last = [synced(&store, round * 4 + 2), synced(&store, round * 4 + 3)];
        disk.sync_all();
        assert!(tickets.iter_mut().all(|ticket| position(ticket).is_some()));
        assert!(last.iter_mut().all(|ticket| ticket.try_outcome().is_some()));
        assert_eq!(n_keys(&store), usize::from(round + 1) * 4);
        // From the second round on something was written without a sync.
        disk.write_all();
    }
}

#[test]
fn a_crash_may_take_what_was_written_and_a_kill_may_not() {
    type End = fn(&MemoryDisk, usize);
    let ends: [(End, usize); 2] = [(MemoryDisk::crash, 1), (MemoryDisk::kill, 3)];
    for (end, n_safe) in ends {
        for keep in 0..=4 {
            let disk = MemoryDisk::new();
            let store = open(&disk, STEPPED);
            drop(synced(&store, 0));
            disk.sync_all();
            let mut written = [buffered(&store, 1), buffered(&store, 2)];
            disk.write_all();
            assert!(written.iter_mut().all(|ticket| position(ticket).is_some()));
            let mut unwritten = buffered(&store, 3);
            end(&disk, keep);
            let error = unwritten.try_outcome().expect("it is resolved").expect_err("it failed");
            assert_eq!(error.kind(), StoreErrorKind::Closed);
            let store = open(&disk, STEPPED);
            assert_eq!(n_keys(&store), (n_safe + keep).min(4));
            assert_eq!(store.durable_position(), LogPosition((n_safe + keep).min(4) as u64));
        }
    }
}

#[test]
fn what_is_buffered_waits_for_a_batch_that_is_to_be_durable() {
    for cut in [false, true] {
        let disk = MemoryDisk::new();
        let store = open(&disk, MemoryOptions { sync: SyncMode::Automatic, ..STEPPED });
        let mut tickets = [0, 1].map(|key| buffered(&store, key));
        assert!(tickets.iter_mut().all(|ticket| position(ticket).is_some()));
        assert_eq!((n_keys(&store), disk.n_unsynced(), disk.n_unwritten()), (2, 2, 0));
        if cut {
            disk.crash(0);
        } else {
            assert!(store.submit(WriteBatch::new()).try_outcome().expect("it is synced").is_ok());
            assert_eq!((store.durable_position(), disk.n_unsynced()), (LogPosition(3), 0));
            assert_eq!(position(&mut buffered(&store, 2)), Some(LogPosition(4)));
            block_on(store.close()).expect("nothing fails");
            assert_eq!((disk.durable_position(), disk.n_unsynced()), (LogPosition(4), 0));
        }
        assert_eq!(n_keys(&open(&disk, STEPPED)), if cut { 0 } else { 3 });
    }
}

#[test]
fn a_failing_batch_is_never_written() {
    for sync in [SyncMode::Stepped, SyncMode::Automatic] {
        let disk = MemoryDisk::new();
        let store = open(&disk, MemoryOptions { sync, ..STEPPED });
        disk.fail_commit(1, StoreErrorKind::NoSpace, FailedBatch::Lost);
        let mut tickets = [0, 1, 2].map(|key| buffered(&store, key));
        disk.write_all();
        if sync == SyncMode::Stepped {
            assert_eq!((disk.n_unwritten(), disk.n_unsynced()), (2, 3));
            disk.sync_all();
        }
        let kinds = tickets.each_mut().map(|ticket| {
            ticket.try_outcome().expect("it is resolved").err().map(|error| error.kind())
        });
        assert_eq!(kinds, [None, Some(StoreErrorKind::NoSpace), Some(StoreErrorKind::Closed)]);
        assert_eq!(n_keys(&open(&disk, STEPPED)), 1);
    }
}

#[test]
fn a_checkpoint_makes_what_it_holds_durable() {
    let disk = MemoryDisk::new();
    let store = open(&disk, STEPPED);
    let mut tickets = [0, 1].map(|key| buffered(&store, key));
    disk.write_next();
    let checkpoint = block_on(store.checkpoint()).expect("nothing fails");
    assert_eq!(tickets.each_mut().map(position), [Some(LogPosition(1)), None]);
    assert_eq!((checkpoint.position, disk.durable_position()), (LogPosition(1), LogPosition(1)));
    assert!(checkpoint.view.try_get(Table::Active, &[0]).expect("it is in memory").is_some());
    assert!(checkpoint.view.try_get(Table::Active, &[1]).expect("it is in memory").is_none());
}

#[test]
fn a_newer_handle_takes_what_was_only_buffered() {
    let disk = MemoryDisk::new();
    let old = open(&disk, STEPPED);
    let mut ticket = buffered(&old, 0);
    disk.write_all();
    assert_eq!(position(&mut ticket), Some(LogPosition(1)));
    assert_eq!(n_keys(&open(&disk, STEPPED)), 0);
}
