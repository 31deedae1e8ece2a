//! What can be made to go wrong.

use std::collections::BTreeMap;

use millpond_storage_api::{StoreError, StoreErrorKind};

/// Whether a batch whose commit failed is on the disk nevertheless. A failed sync says neither yes nor
/// no, so both must be survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedBatch {
    /// It is gone.
    Lost,
    /// It is there after the next open, although its ticket failed.
    Survives,
}

/// Which reads memory cannot serve. The `try_` forms answer `WouldBlock` for those; the others never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockReads {
    /// None.
    #[default]
    Never,
    /// All, before their first row.
    Always,
    /// Every n-th call, before its first row; 0 and 1 mean all.
    EveryNth(u64),
    /// Scans, after this many rows, which are kept.
    AfterRows(usize),
}

/// When a held scan looks at the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotAt {
    /// When it is called: its result is old by the time it is released.
    Start,
    /// When it is released.
    Release,
}

/// Armed faults and the counters that trigger them.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    commits: BTreeMap<u64, (StoreErrorKind, FailedBatch)>,
    n_commits: u64,
    reads: BTreeMap<u64, StoreErrorKind>,
    n_reads: u64,
    pub(crate) block_reads: BlockReads,
    n_try_reads: u64,
    pub(crate) hold_scans: Option<SnapshotAt>,
}

impl Faults {
    pub(crate) fn fail_commit(&mut self, after: u64, kind: StoreErrorKind, batch: FailedBatch) {
        self.commits.insert(self.n_commits + after, (kind, batch));
    }

    pub(crate) fn fail_read(&mut self, after: u64, kind: StoreErrorKind) {
        self.reads.insert(self.n_reads + after, kind);
    }

    /// Counts a commit and says whether it must fail.
    pub(crate) fn on_commit(&mut self) -> Option<(StoreError, FailedBatch)> {
        let armed = self.commits.remove(&self.n_commits);
        self.n_commits += 1;
        armed.map(|(kind, batch)| (StoreError::new(kind, "injected: the commit failed"), batch))
    }

    /// Counts a waiting read and says whether it must fail.
    pub(crate) fn on_read(&mut self) -> Option<StoreError> {
        let armed = self.reads.remove(&self.n_reads);
        self.n_reads += 1;
        armed.map(|kind| StoreError::new(kind, "injected: the read failed"))
    }

    /// Counts a non-blocking read and says how many rows of it are in memory; `None` is all.
    pub(crate) fn on_try_read(&mut self) -> Option<usize> {
        self.n_try_reads += 1;
        match self.block_reads {
            BlockReads::Never => None,
            BlockReads::Always => Some(0),
            BlockReads::EveryNth(n) => self.n_try_reads.is_multiple_of(n.max(1)).then_some(0),
            BlockReads::AfterRows(n_rows) => Some(n_rows),
        }
    }
}
