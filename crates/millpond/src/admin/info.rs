//! What is told about an engine from outside.

use millpond_partition::{Counters, PartitionReport, PayloadStats, QueueReport};
use serde::{Deserialize, Serialize};

use super::HeldSetting;

/// One queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueInfo {
    /// Its topic.
    pub topic: String,
    /// Its key; bytes that are not text are escaped.
    pub key: String,
    /// Its id, in hexadecimal.
    pub id: String,
    /// The partition it lives in.
    pub partition: u16,
    /// Entries that are ready, leased ones included.
    pub n_entries: u64,
    /// Entries that wait for their time, after a delay or a failed attempt.
    pub n_delayed: u64,
    /// Dead letters.
    pub n_dead: u64,
    /// Entries leased.
    pub n_leased: u64,
    /// How long ago the entry at its head was accepted, its delays included, in milliseconds; absent if none is
    /// ready and free.
    pub head_waits_ms: Option<u64>,
    /// Leases granted since it came into memory, modulo 2^32: the difference of two looks is a rate. This and what
    /// follows is there when a running engine has the queue in memory, and told by [`Admin::explain`] and lists of
    /// at most [`Admin::RATED_MAX`] queues that are not [sorted by name](super::Order::Name).
    ///
    /// [`Admin::explain`]: super::Admin::explain
    /// [`Admin::RATED_MAX`]: super::Admin::RATED_MAX
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_granted: Option<u32>,
    /// Its share of the topic's service relative to other queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The band it is served in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<u8>,
}

impl QueueInfo {
    /// What only the loop knows.
    pub(super) fn add_turns(&mut self, report: &QueueReport) {
        self.n_granted = Some(report.n_granted);
        self.weight = Some(report.weight);
        self.band = Some(report.band);
    }

    /// Everything it holds: ready, leased, delayed and dead.
    pub fn n_held(&self) -> u64 {
        self.n_entries.saturating_add(self.n_delayed).saturating_add(self.n_dead)
    }
}

/// Queues, sorted as was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueList {
    /// The queues.
    pub queues: Vec<QueueInfo>,
    /// Which queues were not looked at, in one sentence; absent if all were.
    pub incomplete: Option<String>,
}

/// Why a queue is, or is not, being served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The queue.
    #[serde(flatten)]
    pub queue: QueueInfo,
    /// One word. Something is ready, and is kept back: `paused`, `at_limit`, `throttled`, `behind_band`. It is not:
    /// `ready`, `leased` if all of that is, `cold`, `loading` or `unreadable` by what is known of the head,
    /// `committing`, or `stopped` in an engine that is not running. Nothing is ready: `delayed` or `backing_off` by
    /// what becomes ready first, `dead` for dead letters alone, or `empty`. In any case: `purging`, and `set_aside`
    /// when what is left cannot be decoded.
    pub state: String,
    /// One sentence.
    pub reason: String,
    /// What is true besides, a sentence each: other rules that pause it, and the bound that keeps it from accepting
    /// more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The limit that keeps it back, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitInfo>,
    /// What holds for it, and whose rule says so. Of an engine that is not running, without the options with which
    /// it was opened.
    #[serde(default)]
    pub rules: Vec<HeldSetting>,
    /// What the engine keeps of it in memory; absent when the engine is not running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowInfo>,
    /// How its partition is doing; absent when the engine is not running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
    /// Who holds the lease that ends first, if everything ready is leased and its holder said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased_by: Option<String>,
    /// The leases in force, nearest deadline first; at most 100.
    pub leases: Vec<LeaseInfo>,
    /// The entries that wait for their time, nearest first; at most 10.
    pub delayed: Vec<DelayedInfo>,
}

/// A limit that keeps a queue back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitInfo {
    /// Whose it is: `queue`, `prefix` and the prefix, or `topic`.
    pub of: String,
    /// Entries leased under it, if it is one on concurrency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_leased: Option<u32>,
    /// How many may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_leased_max: Option<u32>,
    /// When the first that wait for it can go on, if it is one on the rate, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// What an entry waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// The end of a [delay](crate::Entry::delay).
    Delay,
    /// A [date](crate::Entry::run_at).
    Date,
    /// Its next attempt.
    BackOff,
}

/// An entry that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayedInfo {
    /// The entry's sequence.
    pub sequence: u64,
    /// What it waits for.
    pub waits_for: WaitsFor,
    /// Attempts it has had.
    pub n_attempts: u32,
    /// When it becomes ready, in milliseconds since 1970.
    pub due_at_ms: u64,
    /// Milliseconds until then; 0 when it is due.
    pub due_in_ms: u64,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterInfo {
    /// Its priority, the first part of its name.
    pub priority: u8,
    /// Its sequence, the second part of its name.
    pub sequence: u64,
    /// Why it was set aside, in one word: `attempts_spent` or `rejected`.
    pub cause: String,
    /// What its last worker said about it; mostly empty.
    pub reason: String,
    /// Attempts it had.
    pub n_attempts: u32,
    /// When it was accepted, in milliseconds since 1970.
    pub enqueued_at_ms: u64,
    /// When it was set aside, in milliseconds since 1970.
    pub died_at_ms: u64,
    /// Size of its headers and payload together, in bytes.
    pub n_body_bytes: u64,
}

/// A dead letter with its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterContent {
    /// What is known of it.
    #[serde(flatten)]
    pub letter: DeadLetterInfo,
    /// Its headers, in order.
    pub headers: Vec<HeaderInfo>,
    /// Its payload.
    pub payload: Content,
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderInfo {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Content,
}

/// Bytes of a user's: text where they are text. In JSON a string, or an object with their hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// They are UTF-8.
    Text(String),
    /// They are not.
    Binary {
        /// Two digits for each byte.
        hex: String,
    },
}

impl Content {
    pub(super) fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary { hex: hex(bytes) },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(digit.into(), 16).expect("it is below 16")).collect()
}

/// The part of a queue that is in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowInfo {
    /// Entries, those next to be leased.
    pub n_entries: u64,
    /// Its size in bytes.
    pub n_bytes: u64,
    /// Entries that were found to be undecodable, and are passed over.
    pub n_set_aside: u64,
    /// When more is read, in one or two words: `not needed`, `when low`, `on its turn`, `under way`,
    /// `after a pause`, `after the purge`.
    pub refill: String,
}

/// A lease in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// The entry's sequence.
    pub sequence: u64,
    /// The fencing token, as `epoch.number`.
    pub token: String,
    /// Which attempt it is.
    pub attempt: u32,
    /// Milliseconds until its deadline; 0 when it is over and not yet noticed.
    pub ends_in_ms: u64,
}

/// One partition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionInfo {
    /// The partition.
    pub partition: u16,
    /// Queues that hold something.
    pub n_queues: u64,
    /// Entries in them that are ready, leased ones included.
    pub n_entries: u64,
    /// Entries that wait for their time.
    pub n_delayed: u64,
    /// Dead letters.
    pub n_dead: u64,
    /// Entries leased.
    pub n_leased: u64,
    /// How it is doing; absent when the engine is not running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// How the payload cache of a running engine serves. Counts are since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PayloadInfo {
    /// Payloads above a kilobyte that were in memory when they were leased.
    pub n_hits: u64,
    /// Those that were read from storage.
    pub n_misses: u64,
    /// Payloads that were kept.
    pub n_installed: u64,
    /// Payloads that were not, because they were overtaken by a change.
    pub n_overtaken: u64,
    /// Payloads that were not, because there was no room for their like.
    pub n_refused: u64,
    /// Payloads that left to make room.
    pub n_evicted: u64,
    /// Payloads being read to be kept, now.
    pub n_pending: u64,
    /// Payloads in memory, now.
    pub n_entries: u64,
    /// Their bytes, with keys and overhead.
    pub n_bytes: u64,
}

impl PayloadInfo {
    pub(crate) fn new(stats: &PayloadStats) -> Self {
        Self {
            n_hits: stats.n_hits,
            n_misses: stats.n_misses,
            n_installed: stats.n_installed,
            n_overtaken: stats.n_stale + stats.n_already_resident,
            n_refused: stats.n_refused,
            n_evicted: stats.n_evicted,
            n_pending: stats.n_pending as u64,
            n_entries: stats.n_entries as u64,
            n_bytes: stats.bytes as u64,
        }
    }

    /// The part of the payloads that were in memory, from 0 to 1; `None` before the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn hit_ratio(&self) -> Option<f64> {
        let n_lookups = self.n_hits + self.n_misses;
        (n_lookups > 0).then(|| self.n_hits as f64 / n_lookups as f64)
    }
}

/// What a running partition keeps in memory, and how well that serves. Counts and times are since it was
/// opened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// Queues in memory, those without work included.
    pub n_resident: u64,
    /// Leases granted.
    #[serde(default)]
    pub n_granted: u64,
    /// Bytes of entries in the windows of all queues.
    pub window_bytes: u64,
    /// The most they may be.
    pub window_bytes_max: u64,
    /// The part of the granted entries whose head was in memory when its turn came, from 0 to 1.
    pub hit_rate: f64,
    /// Heads read because a caller waited for them.
    pub n_refills_demanded: u64,
    /// Heads read before anybody waited for them.
    pub n_refills_ahead: u64,
    /// Median time to read a head, in microseconds.
    pub refill_p50_us: u64,
    /// Time within which 99 of 100 heads were read, in microseconds.
    pub refill_p99_us: u64,
    /// Longest time to read a head, in microseconds.
    pub refill_max_us: u64,
    /// The part of the reads that memory could not serve, or not wholly, from 0 to 1.
    pub would_block_rate: f64,
    /// Refills that ran out of room to remember changes made meanwhile.
    pub n_overlay_overflows: u64,
    /// Rows found that cannot be decoded, and are passed over.
    pub n_set_aside: u64,
    /// Whether a restart still brings queues back: until then the sizes are those of what is back.
    pub recalling: bool,
    /// What keeps them from coming back at the moment, if something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall_failure: Option<String>,
}

impl Activity {
    pub(super) fn new(report: &PartitionReport, window_bytes_max: usize) -> Self {
        let counters = &report.counters;
        let refill_us = |part| micros(counters.refill_latency.quantile(part));
        Self {
            n_resident: report.n_resident as u64,
            n_granted: counters.n_granted,
            window_bytes: report.window_bytes as u64,
            window_bytes_max: window_bytes_max as u64,
            hit_rate: counters.hit_rate(),
            n_refills_demanded: counters.n_refills_demanded,
            n_refills_ahead: counters.n_refills_ahead,
            refill_p50_us: refill_us(0.5),
            refill_p99_us: refill_us(0.99),
            refill_max_us: micros(counters.refill_latency.max()),
            would_block_rate: would_block_rate(counters),
            n_overlay_overflows: counters.n_overlay_overflows,
            n_set_aside: counters.n_rows_corrupt,
            recalling: report.recalling.is_some(),
            recall_failure: report.recalling.clone().flatten(),
        }
    }
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Every read asks memory first.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 15 digits")]
fn would_block_rate(counters: &Counters) -> f64 {
    let n_reads = counters.n_scans_in_memory + counters.n_would_block;
    if n_reads == 0 { 0.0 } else { counters.n_would_block as f64 / n_reads as f64 }
}

/// What a verification found in one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCheck {
    /// The partition.
    pub partition: u16,
    /// Queues with work.
    pub n_queues: u64,
    /// Entries.
    pub n_entries: u64,
    /// Lease records.
    pub n_leases: u64,
    /// Rows read.
    pub n_rows: u64,
    /// Rules that were broken.
    pub n_problems: u64,
    /// The first of them, in words.
    pub problems: Vec<String>,
}

/// What a purge removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeInfo {
    /// The topic.
    pub topic: String,
    /// The queue's key; bytes that are not text are escaped.
    pub key: String,
    /// Entries removed: ready, leased, delayed and dead ones.
    pub n_entries: u64,
    /// How many of them were leased.
    pub n_leased: u64,
}

/// What became of dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLettersDone {
    /// The topic.
    pub topic: String,
    /// The queue's key; bytes that are not text are escaped.
    pub key: String,
    /// How many were replayed or dropped.
    pub n_done: u64,
}
