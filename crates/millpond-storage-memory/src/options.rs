//! How a handle on a [`MemoryDisk`](crate::MemoryDisk) behaves.

/// When submitted batches are written and become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// Within `submit`, so that tickets are resolved when it returns. What is submitted as buffered is
    /// written, and becomes durable with the next batch that is to be, with a checkpoint, or at the close.
    #[default]
    Automatic,
    /// When [`MemoryDisk::sync_next`](crate::MemoryDisk::sync_next) or
    /// [`MemoryDisk::sync_all`](crate::MemoryDisk::sync_all) says so. They write what they make durable;
    /// [`MemoryDisk::write_next`](crate::MemoryDisk::write_next) and
    /// [`MemoryDisk::write_all`](crate::MemoryDisk::write_all) only write.
    Stepped,
}

/// When submitted batches become visible to reads. The contract permits both ends and everything
/// between them, so code above a store must be right under each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Within `submit`, long before the ticket resolves.
    #[default]
    AtSubmit,
    /// When it is written, or else durable: together with the resolution of the ticket, at the latest.
    AtSync,
}

/// What the disk does about a second handle while one is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// The newer handle fences the older one, as on storage that several machines reach.
    #[default]
    Shared,
    /// The second open is refused, as on a locked directory.
    Exclusive,
}

/// Options of [`MemoryStore::open`](crate::MemoryStore::open).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryOptions {
    /// When batches are written and become durable.
    pub sync: SyncMode,
    /// When batches become visible.
    pub visibility: Visibility,
    /// What a second handle means.
    pub sharing: Sharing,
    /// Whether removed keys leave tombstones that scans must step over, as in an LSM, until
    /// [`MemoryDisk::compact`](crate::MemoryDisk::compact). Without them `skip_max` is never reached.
    pub tombstones: bool,
}
