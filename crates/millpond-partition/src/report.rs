//! What a partition says about itself and about one queue.

use std::sync::Arc;

use millpond_types::{QueueId, TopicId, UnixMillis};

use crate::QueueRef;

/// Why a queue is, or is not, being served at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueState {
    /// It holds nothing.
    Empty,
    /// Its head can be leased; so many queues of the topic come first.
    Ready {
        /// Queues ahead in the round.
        n_ahead: usize,
    },
    /// Everything it holds is leased; the first lease ends then.
    Leased {
        /// The nearest deadline.
        until: UnixMillis,
    },
    /// Its head is being read from storage.
    Loading,
    /// A change that concerns its head is on its way to storage.
    Committing,
    /// Its head could not be read; the next try is then.
    BackingOff {
        /// When the read is tried again.
        until: UnixMillis,
        /// What went wrong.
        error: String,
    },
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueReport {
    /// The queue.
    pub id: QueueId,
    /// Its topic.
    pub topic: TopicId,
    /// Its names, if known without a read.
    pub names: Option<Arc<QueueRef>>,
    /// Why it is, or is not, served.
    pub state: QueueState,
    /// Entries it holds, leased ones included.
    pub n_entries: u64,
    /// Entries leased.
    pub n_leased: u64,
    /// Entries in the in-memory window.
    pub n_cached: usize,
    /// When the entry at the head was accepted, if the head is known.
    pub head_enqueued_at: Option<UnixMillis>,
}

/// Counts since the partition was opened, and sizes now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries accepted.
    pub n_enqueued: u64,
    /// Leases granted.
    pub n_granted: u64,
    /// Entries acknowledged.
    pub n_acked: u64,
    /// Entries given back by their worker.
    pub n_nacked: u64,
    /// Leases that reached their deadline.
    pub n_expired: u64,
    /// Commits made durable.
    pub n_commits: u64,
    /// Bytes of those commits.
    pub n_commit_bytes: u64,
    /// Reads served from memory by the store.
    pub n_scans_in_memory: u64,
    /// Reads that had to wait for the store.
    pub n_scans_waited: u64,
    /// Reads that failed.
    pub n_scans_failed: u64,
    /// Rows that could not be decoded and were set aside.
    pub n_rows_corrupt: u64,
    /// Refills that ran out of room to remember changes made meanwhile.
    pub n_overlay_overflows: u64,
}

impl Counters {
    /// Adds another partition's counts.
    pub fn add(&mut self, other: &Self) {
        self.n_enqueued += other.n_enqueued;
        self.n_granted += other.n_granted;
        self.n_acked += other.n_acked;
        self.n_nacked += other.n_nacked;
        self.n_expired += other.n_expired;
        self.n_commits += other.n_commits;
        self.n_commit_bytes += other.n_commit_bytes;
        self.n_scans_in_memory += other.n_scans_in_memory;
        self.n_scans_waited += other.n_scans_waited;
        self.n_scans_failed += other.n_scans_failed;
        self.n_rows_corrupt += other.n_rows_corrupt;
        self.n_overlay_overflows += other.n_overlay_overflows;
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionReport {
    /// Counts since opening.
    pub counters: Counters,
    /// Queues that hold something.
    pub n_queues: usize,
    /// Entries in all of them.
    pub n_entries: u64,
    /// Entries leased.
    pub n_leased: u64,
    /// The deepest queues, deepest first.
    pub deepest: Vec<QueueReport>,
}
