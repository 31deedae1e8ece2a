//! Models of the device against its users' threads.

use millpond_storage_api::{
    PartitionStore, ScanRequest, StoreErrorKind, StoreRead, Table, WriteBatch,
};
use millpond_sync::{Arc, model, thread};

use crate::{MemoryDisk, MemoryOptions, MemoryStore, SnapshotAt, SyncMode};

const STEPPED: MemoryOptions = MemoryOptions {
    sync: SyncMode::Stepped,
    visibility: crate::Visibility::AtSubmit,
    sharing: crate::Sharing::Shared,
    tombstones: false,
};

fn open(disk: &MemoryDisk) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::open(disk, STEPPED).expect("an empty disk can be opened"))
}

fn put() -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(Table::Active, b"key", b"value");
    batch
}

#[test]
fn a_sync_reaches_the_waiter() {
    model("memory_sync_against_wait", || {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        let ticket = store.submit(put());
        let device = thread::spawn(move || disk.sync_all());
        thread::block_on(ticket).expect("the disk synced the batch");
        device.join().expect("syncing does not panic");
    });
}

#[test]
fn a_write_reaches_the_waiter_beside_a_sync() {
    model("memory_write_against_sync_and_wait", || {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        let ticket = store.submit_buffered(put());
        let syncer = {
            let disk = disk.clone();
            thread::spawn(move || disk.sync_next())
        };
        let writer = thread::spawn(move || disk.write_next());
        thread::block_on(ticket).expect("the disk wrote the batch");
        syncer.join().expect("syncing does not panic");
        writer.join().expect("writing does not panic");
    });
}

/// Whichever comes first, the ticket and the disk tell the same.
#[test]
fn a_batch_is_durable_or_refused_at_close() {
    model("memory_submit_against_close", || {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        let submitter = {
            let store = store.clone();
            thread::spawn(move || store.submit(put()))
        };
        let close = store.close();
        let mut ticket = submitter.join().expect("submitting does not panic");
        disk.sync_all();
        thread::block_on(close).expect("nothing is left to sync");
        let outcome = ticket.try_outcome().expect("closing resolves every ticket");
        match outcome {
            Ok(durable) => assert_eq!(*durable.get(), disk.durable_position()),
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Closed);
                assert_eq!(disk.durable_position().0, 0);
            }
        }
    });
}

#[test]
fn a_released_scan_reaches_its_waiter() {
    model("memory_release_against_wait_and_close", || {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        disk.hold_scans(SnapshotAt::Release);
        let scan = store.scan(ScanRequest {
            table: Table::Active,
            lower: Vec::new(),
            upper: None,
            rows_max: 1,
            bytes_max: 1,
            skip_max: 0,
        });
        let device = thread::spawn(move || disk.release_scan());
        let closer = thread::spawn(move || drop(store.close()));
        if let Err(error) = thread::block_on(scan) {
            assert_eq!(error.kind(), StoreErrorKind::Closed);
        }
        device.join().expect("releasing does not panic");
        closer.join().expect("closing does not panic");
    });
}
