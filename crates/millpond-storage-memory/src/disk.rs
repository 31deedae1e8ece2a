//! The device that outlives its handles, and the levers of a test.

use millpond_storage_api::{LogPosition, StoreErrorKind, Table};
use millpond_sync::{Arc, Mutex};

use crate::device::Device;
use crate::fault::{BlockReads, FailedBatch, SnapshotAt};

/// A simulated storage device. Clones are the same device.
///
/// [`MemoryStore::open`](crate::MemoryStore::open) opens the store on it; everything else here is what
/// a test or a simulator does to it. Nothing happens by itself: no thread, no clock, no randomness.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Device>>);

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryDisk")
            .field("durable_position", &self.durable_position())
            .field("n_unsynced", &self.n_unsynced())
            .finish_non_exhaustive()
    }
}

impl MemoryDisk {
    /// An empty device.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `f` on the device, and delivers what it has to tell anybody after unlocking.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Device) -> R) -> R {
        let (result, wakes) = {
            let mut device = self.0.lock();
            let result = f(&mut device);
            (result, std::mem::take(&mut device.wakes))
        };
        for wake in wakes {
            wake.deliver();
        }
        result
    }

    /// Number of batches that were submitted and are neither durable nor failed.
    pub fn n_unsynced(&self) -> usize {
        self.with(|device| device.n_pending())
    }

    /// Number of batches that were submitted and are neither written nor failed.
    pub fn n_unwritten(&self) -> usize {
        self.with(|device| device.n_unwritten())
    }

    /// The newest position that a power cut cannot take back.
    pub fn durable_position(&self) -> LogPosition {
        self.with(|device| device.durable_position())
    }

    /// Writes the oldest unwritten batch, without making it durable: what the end of the process can no
    /// longer take. That resolves its ticket if it was submitted with `submit_buffered`. Returns whether
    /// there was one. A batch for which a fault was armed is not written; it fails in its sync.
    pub fn write_next(&self) -> bool {
        self.with(Device::write_next)
    }

    /// As [`write_next`](Self::write_next), until nothing is unwritten or the next one is to fail.
    pub fn write_all(&self) {
        self.with(|device| while device.write_next() {});
    }

    /// Makes the oldest unsynced batch durable, or fails it if a fault was armed for it, and resolves
    /// its ticket. Returns whether there was one.
    pub fn sync_next(&self) -> bool {
        self.with(Device::sync_next)
    }

    /// As [`sync_next`](Self::sync_next), until nothing is unsynced.
    pub fn sync_all(&self) {
        self.with(|device| while device.sync_next() {});
    }

    /// Cuts the power. The open handle answers `Closed` from now on, outstanding tickets fail, and of
    /// the unsynced batches, buffered ones too, the first `keep` survive: a device may have written more
    /// than it said.
    pub fn crash(&self, keep: usize) {
        self.with(|device| device.crash(keep));
    }

    /// Ends the process that has the store open. As [`crash`](Self::crash), but everything that was
    /// written survives, and `keep` counts from there.
    pub fn kill(&self, keep: usize) {
        self.with(|device| device.kill(keep));
    }

    /// Makes a commit fail: the next one submitted if `after` is 0, the one after it if it is 1, and so
    /// on. The contract lets commits fail with `NoSpace` and `Io`; the batch may be on the disk
    /// nevertheless.
    pub fn fail_commit(&self, after: u64, kind: StoreErrorKind, batch: FailedBatch) {
        self.with(|device| device.faults.fail_commit(after, kind, batch));
    }

    /// Makes a `scan` or `get` fail, counted as in [`fail_commit`](Self::fail_commit). The contract lets
    /// them fail with `Retry`, `Io` and `Corrupt`. The `try_` forms are not affected.
    pub fn fail_read(&self, after: u64, kind: StoreErrorKind) {
        self.with(|device| device.faults.fail_read(after, kind));
    }

    /// Says which `try_scan` and `try_get` calls answer `WouldBlock`.
    pub fn block_reads(&self, block: BlockReads) {
        self.with(|device| device.faults.block_reads = block);
    }

    /// From now on scans complete only when they are released.
    pub fn hold_scans(&self, snapshot: SnapshotAt) {
        self.with(|device| device.faults.hold_scans = Some(snapshot));
    }

    /// Number of held scans.
    pub fn n_held_scans(&self) -> usize {
        self.with(|device| device.n_held())
    }

    /// Completes the oldest held scan. Returns whether there was one.
    pub fn release_scan(&self) -> bool {
        self.release_scan_at(0)
    }

    /// Completes the held scan at `index`, where 0 is the oldest. Returns whether there was one.
    pub fn release_scan_at(&self, index: usize) -> bool {
        self.with(|device| device.release(index))
    }

    /// Completes every held scan, oldest first, and holds no further ones.
    pub fn release_scans(&self) {
        self.with(|device| {
            device.faults.hold_scans = None;
            while device.release(0) {}
        });
    }

    /// Damages a row, so that every read that reaches it fails with `Corrupt` until it is written again.
    /// Returns whether there was such a row.
    pub fn damage_row(&self, table: Table, key: &[u8]) -> bool {
        self.with(|device| device.tamper(|tables| tables.damage(table, key)))
    }

    /// Replaces the value of a row behind the store's back: damage that no checksum finds.
    pub fn poke_row(&self, table: Table, key: &[u8], value: &[u8]) {
        self.with(|device| {
            device.tamper(|tables| {
                tables.put(table, key, value);
                true
            })
        });
    }

    /// Forgets the tombstones.
    pub fn compact(&self) {
        self.with(|device| {
            device.tamper(|tables| {
                tables.compact();
                true
            })
        });
    }
}
