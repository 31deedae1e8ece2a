//! The limits of a partition and what it does with old leases.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use millpond_inbox::Limits;
use millpond_types::{EntryHead, EntryRank, Settings, TopicId, ms_rounded_up};
use millpond_wakeup::{BackoffError, BackoffPolicy};

/// What happens, when a partition is opened, to leases granted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeasesAtOpen {
    /// They stay in force until their deadline; their tokens are still honoured. Right when the workers
    /// live elsewhere and come back with their tokens.
    #[default]
    Keep,
    /// They end at once and their entries are ready again, with their attempts counted. Right when the
    /// workers lived in the process that is gone.
    Release,
}

/// What happens to entries whose attempts fail: by default they are ready again at once, without end.
///
/// ```
/// use std::time::Duration;
///
/// use millpond_partition::RetryPolicy;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = RetryPolicy::default()
///     .with_backoff(Duration::from_millis(100), Duration::from_secs(30))?
///     .with_attempts_max(5)?;
/// # assert_eq!(policy.attempts_max.map(|max| max.get()), Some(5));
/// assert!(policy.with_attempts_max(0).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryPolicy {
    /// How long a failed entry waits. Without, it is ready again at once, at its old place.
    ///
    /// The end of a lease by its deadline is a failed attempt too, but the lease was wait enough.
    pub backoff: Option<BackoffPolicy>,
    /// Most attempts of one entry; when the last one has failed it is set aside. Without, there is no end.
    pub attempts_max: Option<NonZeroU32>,
}

impl RetryPolicy {
    /// The same policy with a [back-off](BackoffPolicy): a random wait of at most `base` after the first failure,
    /// of at most twice that after each further one, and of at most `cap` ever. Parts of a millisecond count as
    /// a whole one.
    ///
    /// # Errors
    ///
    /// [`BackoffError::BaseAboveCap`].
    pub fn with_backoff(self, base: Duration, cap: Duration) -> Result<Self, BackoffError> {
        let backoff = Some(BackoffPolicy::new(ms_rounded_up(base), ms_rounded_up(cap))?);
        Ok(Self { backoff, ..self })
    }

    /// The same policy with a limit: an entry has at most so many attempts, and is then set aside.
    ///
    /// # Errors
    ///
    /// [`OptionsError::NoAttempts`]: each entry has at least one.
    pub fn with_attempts_max(self, n_attempts: u32) -> Result<Self, OptionsError> {
        let max = NonZeroU32::new(n_attempts).ok_or(OptionsError::NoAttempts)?;
        Ok(Self { attempts_max: Some(max), ..self })
    }

    /// Whether an entry that has had so many attempts may have no more.
    pub(crate) fn is_spent(&self, attempts: u32) -> bool {
        self.attempts_max.is_some_and(|max| attempts >= max.get())
    }
}

/// Limits of one partition. Each is a bound on memory or on delay, never on correctness. Where 0 would
/// stop the partition it counts as 1; [`check`](Self::check) tells what is refused.
#[derive(Debug, Clone)]
pub struct PartitionOptions {
    /// Commands that may wait for the loop; senders wait for room beyond that.
    pub mailbox_capacity: usize,
    /// Commands that one turn of the loop takes.
    pub commands_per_turn: usize,
    /// Commits submitted and not yet durable.
    pub commits_in_flight_max: usize,
    /// Bytes staged for one commit before the loop stops taking commands.
    pub batch_bytes_max: usize,
    /// Reads of storage at the same time.
    pub scans_in_flight_max: usize,
    /// Threads on which reads wait that memory could not serve. They start when they are first needed.
    pub refill_tasks_max: usize,
    /// Bytes that one read may return.
    pub scan_bytes_max: usize,
    /// Dead rows that a read on the loop's own thread may step over.
    pub scan_skip_max: u64,
    /// Reads started in one turn of the loop, so that a cold start with many queues keeps turns short.
    pub scans_per_turn: usize,
    /// Lease deadlines, and delayed entries that are due, handled in one turn.
    pub timers_per_turn: usize,
    /// Queues without work that stay in memory.
    pub idle_queues_max: usize,
    /// Queues of which the names are kept, so that a delivery need not read them.
    pub names_cached_max: usize,
    /// Bytes of entries in the windows of all queues together. One turn of the loop may exceed it; then
    /// the windows that were not used for longest shrink.
    pub window_bytes_max: usize,
    /// Most entries that all queues hold together, in whatever stage. No bound by default: what is not in a
    /// window costs no memory, and how much fits on its disk only the user knows.
    pub entries_max: Option<u64>,
    /// Most bytes of bodies that all queues hold together. No bound by default, for the same reason.
    pub bytes_max: Option<u64>,
    /// Callers that wait for work; the next is refused. Each takes some hundred bytes.
    pub lease_calls_max: usize,
    /// Window of each queue.
    pub inbox: Limits,
    /// What happens to leases of earlier owners.
    pub leases_at_open: LeasesAtOpen,
    /// What holds where no stored rule says anything. Only what can be said of any queue counts.
    pub defaults: Settings,
    /// What happens to entries whose attempts fail.
    pub retry: RetryPolicy,
    /// The same, for topics that differ.
    pub retry_of_topics: HashMap<TopicId, RetryPolicy>,
    #[cfg(test)]
    pub(crate) broken: Option<crate::core::Mutation>,
}

impl Default for PartitionOptions {
    fn default() -> Self {
        Self {
            mailbox_capacity: 4096,
            commands_per_turn: 4096,
            commits_in_flight_max: 2,
            batch_bytes_max: 8 << 20,
            scans_in_flight_max: 64,
            refill_tasks_max: 2,
            scan_bytes_max: 256 << 10,
            scan_skip_max: 1000,
            scans_per_turn: 128,
            timers_per_turn: 512,
            idle_queues_max: 1024,
            names_cached_max: 16_384,
            window_bytes_max: 64 << 20,
            entries_max: None,
            bytes_max: None,
            lease_calls_max: 65_536,
            inbox: Limits::default(),
            leases_at_open: LeasesAtOpen::default(),
            defaults: Settings::default(),
            retry: RetryPolicy::default(),
            retry_of_topics: HashMap::new(),
            #[cfg(test)]
            broken: None,
        }
    }
}

/// What no partition could work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Not even the head of one queue would fit.
    #[error(
        "windows may hold {window_bytes_max} bytes, and one entry takes {}",
        PartitionOptions::WINDOW_ENTRY_BYTES
    )]
    WindowBytesBelowOneEntry {
        /// The budget asked for.
        window_bytes_max: usize,
    },
    /// Entries that may not be tried even once could only be refused.
    #[error("an entry has at least 1 attempt")]
    NoAttempts,
}

impl PartitionOptions {
    /// What one entry takes in the window of its queue, in bytes.
    pub const WINDOW_ENTRY_BYTES: usize = size_of::<(EntryRank, EntryHead)>();

    /// Whether a partition can work with these limits.
    ///
    /// # Errors
    ///
    /// The limit that stops it, with its value.
    pub fn check(&self) -> Result<(), OptionsError> {
        let window_bytes_max = self.window_bytes_max;
        if window_bytes_max < Self::WINDOW_ENTRY_BYTES {
            return Err(OptionsError::WindowBytesBelowOneEntry { window_bytes_max });
        }
        Ok(())
    }

    /// What happens to failed entries of a topic.
    pub(crate) fn retry_of(&self, topic: TopicId) -> RetryPolicy {
        self.retry_of_topics.get(&topic).copied().unwrap_or(self.retry)
    }

    /// The same limits, where none of them stops the partition.
    pub(crate) fn workable(mut self) -> Self {
        for limit in [
            &mut self.mailbox_capacity,
            &mut self.commands_per_turn,
            &mut self.commits_in_flight_max,
            &mut self.batch_bytes_max,
            &mut self.scans_in_flight_max,
            &mut self.refill_tasks_max,
            &mut self.scan_bytes_max,
            &mut self.scans_per_turn,
            &mut self.lease_calls_max,
            &mut self.timers_per_turn,
        ] {
            *limit = (*limit).max(1);
        }
        self
    }
}
