//! The limits of a partition and what it does with old leases.

use crate::payloads::Payloads;
use millpond_inbox::Limits;
use millpond_types::{EntryHead, EntryRank, Settings};

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

/// Limits of one partition. Each is a bound on memory or on delay, never on correctness. Where 0 would
/// stop the partition it counts as 1; [`check`](Self::check) tells what is refused.
#[derive(Debug, Clone)]
pub struct PartitionOptions {
    /// Commands that may wait for the loop; senders wait for room beyond that.
    pub mailbox_capacity: usize,
    /// Bytes of commands that may wait for the loop; senders wait for room beyond that. An entry counts with its
    /// encoded body, its key and some tens of bytes.
    ///
    /// A command comes in while fewer bytes wait, so that one of more bytes than this still passes. The loop
    /// takes commands over while what it holds itself, unhandled or waiting for a read of their queue, is less
    /// than this. So all that was accepted and not staged for a commit takes less than three times this and two
    /// of the largest commands.
    pub mailbox_bytes_max: usize,
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
    /// Bodies in memory. Partitions with clones of one share its bytes.
    pub payloads: Payloads,
    /// Window of each queue.
    pub inbox: Limits,
    /// What happens to leases of earlier owners.
    pub leases_at_open: LeasesAtOpen,
    /// What holds where no stored rule says anything. Only what can be said of any queue counts.
    pub defaults: Settings,
    #[cfg(test)]
    pub(crate) broken: Option<crate::core::Mutation>,
}

impl Default for PartitionOptions {
    fn default() -> Self {
        Self {
            mailbox_capacity: 4096,
            mailbox_bytes_max: 64 << 20,
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
            payloads: Payloads::default(),
            inbox: Limits::default(),
            leases_at_open: LeasesAtOpen::default(),
            defaults: Settings::default(),
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

    /// The same limits, where none of them stops the partition.
    pub(crate) fn workable(mut self) -> Self {
        for limit in [
            &mut self.mailbox_capacity,
            &mut self.mailbox_bytes_max,
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
