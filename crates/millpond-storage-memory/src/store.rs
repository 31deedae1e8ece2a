//! The store on a [`MemoryDisk`].

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use millpond_storage_api::{
    BufferedTicket, Capabilities, Checkpoint, CheckpointFuture, CloseFuture, CommitLog,
    CommitTicket, Epoch, GetFuture, LogFuture, LogPin, LogPosition, OpenError, PartitionStore,
    ScanEnd, ScanFuture, ScanRequest, ScanRows, StoreError, StoreRead, Table, WriteBatch,
    buffered_ticket, commit_ticket,
};

use crate::device::closed;
use crate::tables::{Tables, would_block};
use crate::{MemoryDisk, MemoryOptions, Sharing};

/// A [`PartitionStore`] whose device is a [`MemoryDisk`].
///
/// Dropping it without [`close`](PartitionStore::close) is the end of a process without the end of the
/// machine: tickets fail, and the next open recovers what was submitted, unless
/// [`MemoryDisk::crash`] comes first. An end that leaves less is [`MemoryDisk::kill`].
#[derive(Debug)]
pub struct MemoryStore {
    disk: MemoryDisk,
    epoch: Epoch,
    options: MemoryOptions,
}

impl MemoryStore {
    /// Opens the store on `disk` and claims the next epoch, durably.
    ///
    /// # Errors
    ///
    /// `AlreadyOpen` if a handle is open and either of the two is
    /// [exclusive](Sharing::Exclusive); `NewerFormat` or `Corrupt` if the store's own rows are not what
    /// this build writes.
    pub fn open(disk: &MemoryDisk, options: MemoryOptions) -> Result<Self, OpenError> {
        let epoch = disk.with(|device| device.open(options))?;
        Ok(Self { disk: disk.clone(), epoch, options })
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.disk.with(|device| device.drop_handle(self.epoch));
    }
}

impl StoreRead for MemoryStore {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        out.clear();
        self.disk.with(|device| {
            let rows_readable = device.faults.on_try_read();
            device.visible(self.epoch)?.scan(request, request.skip_max, rows_readable, out)
        })
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        match self.disk.with(|device| device.scan(self.epoch, request)) {
            Ok(scanned) => Box::pin(ready(scanned)),
            Err(held) => Box::pin(async {
                // The device answers every held scan before it forgets it.
                held.await.unwrap_or_else(|_| Err(closed("the disk is gone")))
            }),
        }
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.disk.with(|device| {
            let rows_readable = device.faults.on_try_read();
            let tables = device.visible(self.epoch)?;
            match rows_readable {
                Some(0) => Err(would_block("the row is not in memory")),
                _ => tables.get(table, key),
            }
        })
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        let got = self.disk.with(|device| {
            let tables = device.visible(self.epoch)?.clone();
            device.faults.on_read().map_or(Ok(()), Err)?;
            tables.get(table, key)
        });
        Box::pin(ready(got))
    }
}

impl PartitionStore for MemoryStore {
    fn submit(&self, batch: WriteBatch) -> CommitTicket {
        let (promise, ticket) = commit_ticket();
        self.disk.with(|device| device.submit(self.epoch, batch, promise));
        ticket
    }

    fn submit_buffered(&self, batch: WriteBatch) -> BufferedTicket {
        let (promise, ticket) = buffered_ticket();
        self.disk.with(|device| device.submit(self.epoch, batch, promise));
        ticket
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn durable_position(&self) -> LogPosition {
        self.disk.with(|device| device.handle(self.epoch).durable_position)
    }

    fn checkpoint(&self) -> CheckpointFuture {
        let checkpoint = self.disk.with(|device| device.checkpoint(self.epoch));
        Box::pin(ready(checkpoint.map(|(position, tables)| Checkpoint {
            position,
            view: Box::new(FrozenTables(tables)),
        })))
    }

    fn log(&self) -> &dyn CommitLog {
        self
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            cheap_range_delete: true,
            shared: self.options.sharing == Sharing::Shared,
            // The power cuts and the ends of processes that it survives are simulated ones.
            power_safe: false,
            process_safe: false,
            typical_commit: Duration::ZERO,
        }
    }

    fn close(&self) -> CloseFuture {
        match self.disk.with(|device| device.close(self.epoch)) {
            None => Box::pin(ready(Ok(()))),
            // Either way the device has given the store up.
            Some(given_up) => Box::pin(async {
                let _ = given_up.await;
                Ok(())
            }),
        }
    }
}

impl CommitLog for MemoryStore {
    fn pin(&self) -> LogPin {
        self.disk.with(|device| device.pin(self.epoch))
    }

    fn read_after(&self, after: LogPosition, bytes_max: usize) -> LogFuture {
        let read = self.disk.with(|device| device.read_after(self.epoch, after, bytes_max));
        Box::pin(ready(read))
    }
}

/// The view of a checkpoint. It is in memory as a whole, so it never blocks and no fault reaches it.
struct FrozenTables(Tables);

impl StoreRead for FrozenTables {
    fn try_scan(&self, request: &ScanRequest, out: &mut ScanRows) -> Result<ScanEnd, StoreError> {
        self.0.scan(request, request.skip_max, None, out)
    }

    fn scan(&self, request: ScanRequest) -> ScanFuture {
        Box::pin(ready(self.0.scan_all(&request)))
    }

    fn try_get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(table, key)
    }

    fn get(&self, table: Table, key: &[u8]) -> GetFuture {
        Box::pin(ready(self.0.get(table, key)))
    }
}
