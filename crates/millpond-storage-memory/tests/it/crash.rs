//! Power cuts, ends of processes, takeovers and closing, step by step.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use millpond_storage_api::{
    CommitTicket, Epoch, LogPosition, OpenError, PartitionStore, StoreErrorKind, StoreRead, Table,
    WriteBatch,
};
use millpond_storage_memory::{
    MemoryDisk, MemoryOptions, MemoryStore, Sharing, SyncMode, Visibility,
};
use millpond_sync::Mutex;
use millpond_sync::thread::block_on;

const STEPPED: MemoryOptions = MemoryOptions {
    sync: SyncMode::Stepped,
    visibility: Visibility::AtSubmit,
    sharing: Sharing::Shared,
    tombstones: false,
};

fn open(disk: &MemoryDisk, options: MemoryOptions) -> MemoryStore {
    MemoryStore::open(disk, options).expect("the disk is in order")
}

fn put(store: &MemoryStore, key: &[u8]) -> CommitTicket {
    let mut batch = WriteBatch::new();
    batch.put(Table::Active, key, b"value");
    store.submit(batch)
}

fn has(store: &MemoryStore, key: &[u8]) -> bool {
    store.try_get(Table::Active, key).expect("the store is open").is_some()
}

fn kind(ticket: &mut CommitTicket) -> StoreErrorKind {
    ticket.try_outcome().expect("it is resolved").expect_err("it failed").kind()
}

#[test]
fn tickets_resolve_one_sync_at_a_time() {
    let disk = MemoryDisk::new();
    let store = open(&disk, STEPPED);
    let (mut first, mut second) = (put(&store, b"1"), put(&store, b"2"));
    assert_eq!((disk.n_unsynced(), disk.durable_position()), (2, LogPosition(0)));
    assert!(first.try_outcome().is_none());
    assert!(disk.sync_next());
    assert_eq!(*first.try_outcome().unwrap().unwrap().get(), LogPosition(1));
    assert!(second.try_outcome().is_none());
    assert_eq!(store.durable_position(), LogPosition(1));
    disk.sync_all();
    assert_eq!(*second.try_outcome().unwrap().unwrap().get(), LogPosition(2));
    assert!(!disk.sync_next());
}

#[test]
fn unsynced_batches_are_visible_or_not_as_chosen() {
    for (visibility, visible) in [(Visibility::AtSubmit, true), (Visibility::AtSync, false)] {
        let disk = MemoryDisk::new();
        let store = open(&disk, MemoryOptions { visibility, ..STEPPED });
        drop(put(&store, b"key"));
        assert_eq!(has(&store, b"key"), visible);
        disk.sync_all();
        assert!(has(&store, b"key"));
    }
}

#[test]
fn a_crash_keeps_the_chosen_prefix() {
    for keep in 0..=4 {
        let disk = MemoryDisk::new();
        let store = open(&disk, STEPPED);
        drop(put(&store, b"durable"));
        disk.sync_all();
        let mut tickets = [b"0", b"1", b"2"].map(|key| put(&store, key));
        disk.crash(keep);
        assert!(tickets.iter_mut().all(|ticket| kind(ticket) == StoreErrorKind::Closed));
        let refused = store.try_get(Table::Active, b"durable").unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Closed);
        assert_eq!(kind(&mut put(&store, b"late")), StoreErrorKind::Closed);
        assert_eq!(store.durable_position(), LogPosition(1), "a dead handle learns nothing");

        let again = open(&disk, STEPPED);
        assert_eq!(again.epoch(), Epoch(2));
        assert!(has(&again, b"durable"));
        let kept = [b"0", b"1", b"2"].map(|key| has(&again, key));
        assert_eq!(kept, [0, 1, 2].map(|index| index < keep));
        let position = LogPosition(1 + keep.min(3) as u64);
        assert_eq!((again.durable_position(), disk.durable_position()), (position, position));
    }
}

#[test]
fn a_dropped_handle_leaves_what_it_had_written() {
    let disk = MemoryDisk::new();
    let store = open(&disk, STEPPED);
    let mut ticket = put(&store, b"key");
    drop(store);
    assert_eq!(kind(&mut ticket), StoreErrorKind::Closed);
    assert_eq!(disk.n_unsynced(), 1);
    let again = open(&disk, STEPPED);
    assert!(has(&again, b"key"));
    assert_eq!((disk.n_unsynced(), disk.durable_position()), (0, LogPosition(1)));

    drop(put(&again, b"cut"));
    drop(again);
    disk.crash(0);
    assert!(!has(&open(&disk, STEPPED), b"cut"));
}

#[test]
fn a_newer_handle_fences_what_was_not_durable() {
    let disk = MemoryDisk::new();
    let old = open(&disk, STEPPED);
    let mut durable = put(&old, b"durable");
    disk.sync_all();
    let mut in_flight = put(&old, b"in flight");
    let new = open(&disk, STEPPED);
    assert!(durable.try_outcome().unwrap().is_ok());
    assert_eq!(kind(&mut in_flight), StoreErrorKind::Fenced);
    assert_eq!(kind(&mut put(&old, b"late")), StoreErrorKind::Fenced);
    let refused = old.try_get(Table::Active, b"durable").unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Fenced);
    assert_eq!(
        [&b"durable"[..], b"in flight", b"late"].map(|key| has(&new, key)),
        [true, false, false]
    );
    block_on(old.close()).expect("there is nothing left to give up");
    drop(old);
    assert!(has(&new, b"durable"), "the old handle takes nothing with it");
}

#[test]
fn either_side_can_insist_on_being_alone() {
    let exclusive = MemoryOptions { sharing: Sharing::Exclusive, ..STEPPED };
    for (first, second) in [(exclusive, STEPPED), (STEPPED, exclusive)] {
        let disk = MemoryDisk::new();
        let store = open(&disk, first);
        let refused = MemoryStore::open(&disk, second).unwrap_err();
        assert!(matches!(refused, OpenError::AlreadyOpen { .. }));
        drop(store);
        assert_eq!(open(&disk, second).epoch(), Epoch(2), "the refusal changed nothing");
    }
}

#[test]
fn closing_waits_for_the_last_sync() {
    let disk = MemoryDisk::new();
    let store = open(&disk, MemoryOptions { sharing: Sharing::Exclusive, ..STEPPED });
    let mut ticket = put(&store, b"key");
    let mut close = store.close();
    let mut context = Context::from_waker(Waker::noop());
    assert!(close.as_mut().poll(&mut context).is_pending());
    assert_eq!(kind(&mut put(&store, b"late")), StoreErrorKind::Closed);
    assert!(MemoryStore::open(&disk, STEPPED).is_err(), "the store is not given up yet");
    // Not even by dropping the handle.
    drop(store);
    assert!(close.as_mut().poll(&mut context).is_pending());
    disk.sync_all();
    assert_eq!(close.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    assert!(ticket.try_outcome().unwrap().is_ok());
    let again = open(&disk, STEPPED);
    assert!(has(&again, b"key") && !has(&again, b"late"));
}

/// A waker runs whatever it likes, and may do so before `wake` returns.
#[test]
fn a_waker_may_use_the_store() {
    struct Look(MemoryDisk, MemoryStore, Mutex<Option<bool>>);
    impl Wake for Look {
        fn wake(self: Arc<Self>) {
            assert_eq!(self.0.n_unsynced(), 0);
            *self.2.lock() = Some(has(&self.1, b"key"));
        }
    }
    let disk = MemoryDisk::new();
    let store = open(&disk, STEPPED);
    let mut ticket = put(&store, b"key");
    let look = Arc::new(Look(disk.clone(), store, Mutex::new(None)));
    let waker = Waker::from(look.clone());
    assert!(std::pin::pin!(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
    disk.sync_all();
    assert_eq!(*look.2.lock(), Some(true));
}
