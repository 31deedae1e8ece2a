//! How a handle on a [`MemoryDisk`](crate::MemoryDisk) behaves.

/// When submitted batches become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// Within `submit`, so that tickets are resolved when it returns.
    #[default]
    Automatic,
    /// When [`MemoryDisk::sync_next`](crate::MemoryDisk::sync_next) or
    /// [`MemoryDisk::sync_all`](crate::MemoryDisk::sync_all) says so.
    Stepped,
}

/// When submitted batches become visible to reads. The contract permits both ends and everything
/// between them, so code above a store must be right under each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Within `submit`, long before the ticket resolves.
    #[default]
    AtSubmit,
    /// Together with the resolution of the ticket.
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
    /// When batches become durable.
    pub sync: SyncMode,
    /// When batches become visible.
    pub visibility: Visibility,
    /// What a second handle means.
    pub sharing: Sharing,
    /// Whether removed keys leave tombstones that scans must step over, as in an LSM, until
    /// [`MemoryDisk::compact`](crate::MemoryDisk::compact). Without them `skip_max` is never reached.
    pub tombstones: bool,
}
