//! What a partition says about itself and about one queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_types::{QueueId, QueueKey, Scope, TopicId, UnixMillis};

use crate::{FullOf, Latency, QueueRef};

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitOf {
    /// The queue's own.
    Queue,
    /// That of all queues whose keys begin so, together.
    Prefix(QueueKey),
    /// That of the whole topic.
    Topic,
}

/// Who keeps a queue from being served on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PausedBy {
    /// A rule, the most specific of those that pause it.
    Rule(Scope),
    /// A limit that allows no lease at all.
    LimitOfZero(LimitOf),
}

/// Why a queue is, or is not, being served at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueState {
    /// It holds nothing, or nothing but dead letters.
    Empty,
    /// Its head can be leased; so many queues of the topic come first.
    Ready {
        /// Queues that come before it, or how many of them were counted: 1,000 at most, and 100 in a report of many
        /// queues.
        n_ahead: usize,
    },
    /// Nothing of it is leased, on purpose. What is leased already stays leased.
    Paused {
        /// By whom.
        by: PausedBy,
    },
    /// As many entries are leased as a limit allows.
    AtLimit {
        /// Whose limit.
        of: LimitOf,
        /// Leases that count in it; more than the limit after that was lowered.
        n_leased: u32,
        /// The limit.
        limit: u32,
    },
    /// A limit lets no more through at the moment.
    Throttled {
        /// Whose limit.
        of: LimitOf,
        /// When the first of those that wait there can go on; `None` while what comes is meant for others.
        until: Option<UnixMillis>,
    },
    /// Its head can be leased, and queues of an earlier band come first.
    BehindBand {
        /// The earlier band.
        band: u8,
        /// Queues there that can be served.
        n_queues: usize,
    },
    /// Everything it holds is leased; the first lease ends then.
    Leased {
        /// The nearest deadline.
        until: UnixMillis,
        /// Who has that lease, if he said so and the partition was not reopened since.
        by: Option<Arc<str>>,
    },
    /// Nothing is ready: what it holds waits for its time. [`DelayedEntryKey`](millpond_types::DelayedEntryKey)
    /// tells where to read until when.
    Delayed,
    /// It has work, and its head is read when its turn comes.
    Cold,
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
    /// Everything it holds is being removed.
    Purging,
    /// Nothing that it holds can be decoded; `verify` tells what it is.
    SetAside {
        /// How much that is.
        n_entries: u64,
    },
}

impl QueueState {
    /// The [names](Self::name) of all states, in the order in which they are declared.
    pub const NAMES: [&'static str; 14] = [
        "empty",
        "ready",
        "paused",
        "at_limit",
        "throttled",
        "behind_band",
        "leased",
        "delayed",
        "cold",
        "loading",
        "committing",
        "unreadable",
        "purging",
        "set_aside",
    ];

    /// A stable lower-case name for labels and JSON.
    pub fn name(&self) -> &'static str {
        let number = match self {
            Self::Empty => 0,
            Self::Ready { .. } => 1,
            Self::Paused { .. } => 2,
            Self::AtLimit { .. } => 3,
            Self::Throttled { .. } => 4,
            Self::BehindBand { .. } => 5,
            Self::Leased { .. } => 6,
            Self::Delayed => 7,
            Self::Cold => 8,
            Self::Loading => 9,
            Self::Committing => 10,
            Self::BackingOff { .. } => 11,
            Self::Purging => 12,
            Self::SetAside { .. } => 13,
        };
        Self::NAMES[number]
    }
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
    /// Entries that are ready, leased ones included.
    pub n_entries: u64,
    /// Entries that wait for their time, after a delay or a failed attempt.
    pub n_delayed: u64,
    /// Entries set aside as dead letters.
    pub n_dead: u64,
    /// Bytes of the bodies of all of them: ready, waiting and dead.
    pub n_bytes: u64,
    /// The bound that keeps it from accepting anything more, if one does. What it holds is served all the same.
    pub full: Option<FullOf>,
    /// Entries leased.
    pub n_leased: u64,
    /// Entries in the in-memory window.
    pub n_cached: usize,
    /// Bytes of that window.
    pub window_bytes: usize,
    /// Entries that could not be decoded and are passed over.
    pub n_set_aside: usize,
    /// When the entry at the head was accepted, if the head is known.
    pub head_enqueued_at: Option<UnixMillis>,
    /// Leases granted since the queue came into memory, modulo 2^32: the difference of two reports is a rate.
    pub n_granted: u32,
    /// Its share of the topic's service relative to other queues.
    pub weight: u32,
    /// The band it is served in.
    pub band: u8,
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
    /// Entries not accepted because their key had been seen.
    pub n_duplicates: u64,
    /// Keys forgotten because their time had passed.
    pub n_keys_forgotten: u64,
    /// Requests refused because a bound would have been exceeded: enqueues, and callers that would wait.
    pub n_refused_full: u64,
    /// Entries removed by purges.
    pub n_purged: u64,
    /// Entries accepted that were not ready at once.
    pub n_delayed: u64,
    /// Entries that became ready by time: after a delay or a back-off.
    pub n_due: u64,
    /// Failed entries that had to wait.
    pub n_backed_off: u64,
    /// Entries that became dead letters, in their own queue or in another topic.
    pub n_died: u64,
    /// Those of them that went to another topic.
    pub n_forwarded: u64,
    /// Entries removed because they were older than their queue keeps them.
    pub n_outlived: u64,
    /// Dead letters made ready again.
    pub n_replayed: u64,
    /// Dead letters removed.
    pub n_dropped: u64,
    /// Heads read because a caller waited for them.
    pub n_refills_demanded: u64,
    /// Heads read before anybody waited for them.
    pub n_refills_ahead: u64,
    /// Reads served from memory by the store.
    pub n_scans_in_memory: u64,
    /// Reads that memory could not serve, or only in part.
    pub n_would_block: u64,
    /// Reads that waited for the store.
    pub n_scans_waited: u64,
    /// Reads that failed.
    pub n_scans_failed: u64,
    /// Rows that could not be decoded and were set aside.
    pub n_rows_corrupt: u64,
    /// Refills that ran out of room to remember changes made meanwhile.
    pub n_overlay_overflows: u64,
    /// Windows that gave memory back because all together held too much.
    pub n_windows_shrunk: u64,
    /// Queues brought back since the partition was opened.
    pub n_queues_recalled: u64,
    /// How long after their due time entries became ready.
    pub lateness: Latency,
    /// How long reads of heads took.
    pub refill_latency: Latency,
    /// How long the turns of the loop took.
    pub turns: Latency,
    /// How long commits took, from when they were submitted until the loop knew that they are durable.
    pub commits: Latency,
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
        self.n_duplicates += other.n_duplicates;
        self.n_keys_forgotten += other.n_keys_forgotten;
        self.n_refused_full += other.n_refused_full;
        self.n_purged += other.n_purged;
        self.n_delayed += other.n_delayed;
        self.n_due += other.n_due;
        self.n_backed_off += other.n_backed_off;
        self.n_died += other.n_died;
        self.n_forwarded += other.n_forwarded;
        self.n_outlived += other.n_outlived;
        self.n_replayed += other.n_replayed;
        self.n_dropped += other.n_dropped;
        self.lateness.add(&other.lateness);
        self.n_refills_demanded += other.n_refills_demanded;
        self.n_refills_ahead += other.n_refills_ahead;
        self.n_scans_in_memory += other.n_scans_in_memory;
        self.n_would_block += other.n_would_block;
        self.n_scans_waited += other.n_scans_waited;
        self.n_scans_failed += other.n_scans_failed;
        self.n_rows_corrupt += other.n_rows_corrupt;
        self.n_overlay_overflows += other.n_overlay_overflows;
        self.n_windows_shrunk += other.n_windows_shrunk;
        self.n_queues_recalled += other.n_queues_recalled;
        self.refill_latency.add(&other.refill_latency);
        self.turns.add(&other.turns);
        self.commits.add(&other.commits);
    }

    /// The part of the granted entries whose head was in memory when its turn came, from 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        if self.n_granted == 0 {
            return 1.0;
        }
        let n_missed = self.n_refills_demanded.min(self.n_granted);
        1.0 - n_missed as f64 / self.n_granted as f64
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionReport {
    /// Counts since opening.
    pub counters: Counters,
    /// Queues that hold something.
    pub n_queues: usize,
    /// Entries in all of them that are ready, leased ones included.
    pub n_entries: u64,
    /// Entries that wait for their time.
    pub n_delayed: u64,
    /// Dead letters.
    pub n_dead: u64,
    /// Bytes of the bodies of all entries, in whatever stage and whether or not they are back.
    pub n_bytes: u64,
    /// Entries leased.
    pub n_leased: u64,
    /// Queues in memory, those without work included.
    pub n_resident: usize,
    /// Bytes of the windows of all queues.
    pub window_bytes: usize,
    /// While a restart still brings queues back: what goes wrong with it, if something does. Until then
    /// the other numbers count what is back.
    pub recalling: Option<Option<String>>,
    /// How many queues in memory are in which [state](QueueState::name); those that hold nothing are left out.
    pub n_by_state: BTreeMap<&'static str, u64>,
    /// The deepest queues, deepest first.
    pub deepest: Vec<QueueReport>,
}
