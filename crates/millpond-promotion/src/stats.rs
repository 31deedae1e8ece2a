//! What a pool counts.

use crate::outcome::Rejection;
use crate::request::Ended;

use millpond_sync::atomic::{AtomicU64, Ordering};

/// A snapshot of a pool's counts, whose equations hold in every snapshot, however many threads are at it:
///
/// * `n_submitted = n_accepted + n_rejected()`
/// * `n_accepted = n_ended() + n_waiting + n_in_flight`
///
/// Totals never shrink from one snapshot to a later one of the same thread. A call of
/// [`Pool::schedule`](crate::Pool::schedule) counts from the moment at which its outcome is certain. What is
/// just being queued counts as waiting, so `n_waiting` can exceed the slots by the producers that are at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that were scheduled, whatever became of them.
    pub n_submitted: u64,
    /// Requests that were queued.
    pub n_accepted: u64,
    /// Refused: [`Rejection::Full`].
    pub n_rejected_full: u64,
    /// Refused: [`Rejection::Bytes`].
    pub n_rejected_bytes: u64,
    /// Refused: [`Rejection::Duplicate`].
    pub n_rejected_duplicate: u64,
    /// Refused: [`Rejection::Closed`].
    pub n_rejected_closed: u64,
    /// Ended as [`Ended::Installed`].
    pub n_installed: u64,
    /// Ended as [`Ended::Stale`].
    pub n_stale: u64,
    /// Ended as [`Ended::AlreadyResident`].
    pub n_already_resident: u64,
    /// Ended as [`Ended::Failed`].
    pub n_failed: u64,
    /// Ended by a panic of the executor.
    pub n_panicked: u64,
    /// Ended by a newer request that took the place.
    pub n_evicted: u64,
    /// Ended by the close of the pool, before they were started.
    pub n_abandoned: u64,
    /// Requests that wait for a worker.
    pub n_waiting: u64,
    /// Requests that the executor runs.
    pub n_in_flight: u64,
    /// Calls of `schedule` that woke a worker, each one.
    pub n_wakeups: u64,
    /// Bytes of what waits and runs.
    pub n_bytes: usize,
}

impl Stats {
    /// Requests that were refused.
    pub const fn n_rejected(&self) -> u64 {
        self.n_rejected_full
            + self.n_rejected_bytes
            + self.n_rejected_duplicate
            + self.n_rejected_closed
    }

    /// Requests that an executor ran to an end.
    pub const fn n_completed(&self) -> u64 {
        self.n_installed + self.n_stale + self.n_already_resident + self.n_failed + self.n_panicked
    }

    /// Accepted requests that have ended in any way.
    pub const fn n_ended(&self) -> u64 {
        self.n_completed() + self.n_evicted + self.n_abandoned
    }
}

/// How an accepted request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terminal {
    Run(Ended),
    Panicked,
    Evicted,
    Abandoned,
}

/// The counters behind [`Stats`]. Those of producers and those of workers lie on different cache lines.
#[derive(Debug)]
pub(crate) struct Counters {
    producers: ProducerCounters,
    workers: WorkerCounters,
}

#[derive(Debug)]
#[repr(align(128))]
struct ProducerCounters {
    accepted: AtomicU64,
    full: AtomicU64,
    bytes: AtomicU64,
    duplicate: AtomicU64,
    closed: AtomicU64,
    evicted: AtomicU64,
    wakeups: AtomicU64,
}

#[derive(Debug)]
#[repr(align(128))]
struct WorkerCounters {
    started: AtomicU64,
    installed: AtomicU64,
    stale: AtomicU64,
    already_resident: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    abandoned: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let producers = ProducerCounters {
            accepted: zero(),
            full: zero(),
            bytes: zero(),
            duplicate: zero(),
            closed: zero(),
            evicted: zero(),
            wakeups: zero(),
        };
        let workers = WorkerCounters {
            started: zero(),
            installed: zero(),
            stale: zero(),
            already_resident: zero(),
            failed: zero(),
            panicked: zero(),
            abandoned: zero(),
        };
        Self { producers, workers }
    }

    /// Before the request is pushed, so that nobody can count its end first.
    pub(crate) fn accepted(&self) {
        // Relaxed: the push publishes it.
        self.producers.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rejected(&self, why: Rejection) {
        let counter = match why {
            Rejection::Full => &self.producers.full,
            Rejection::Bytes => &self.producers.bytes,
            Rejection::Duplicate => &self.producers.duplicate,
            Rejection::Closed => &self.producers.closed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Before the request runs.
    pub(crate) fn started(&self) {
        // Release pairs with the acquire in `snapshot`: whoever sees the start sees the acceptance.
        self.workers.started.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn ended(&self, terminal: Terminal) {
        let counter = match terminal {
            Terminal::Run(Ended::Installed) => &self.workers.installed,
            Terminal::Run(Ended::Stale) => &self.workers.stale,
            Terminal::Run(Ended::AlreadyResident) => &self.workers.already_resident,
            Terminal::Run(Ended::Failed) => &self.workers.failed,
            Terminal::Panicked => &self.workers.panicked,
            Terminal::Evicted => &self.producers.evicted,
            Terminal::Abandoned => &self.workers.abandoned,
        };
        // Release pairs with the acquire in `snapshot`: whoever sees the end sees acceptance and start.
        counter.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn woke(&self) {
        self.producers.wakeups.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads ends before starts and starts before acceptances, so each is contained in the next; what lies
    /// between them waits or runs.
    pub(crate) fn snapshot(&self, n_bytes: usize) -> Stats {
        let (producers, workers) = (&self.producers, &self.workers);
        // Acquire pairs with the release in `ended`.
        let end = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut stats = Stats {
            n_installed: end(&workers.installed),
            n_stale: end(&workers.stale),
            n_already_resident: end(&workers.already_resident),
            n_failed: end(&workers.failed),
            n_panicked: end(&workers.panicked),
            n_evicted: end(&producers.evicted),
            n_abandoned: end(&workers.abandoned),
            ..Stats::default()
        };
        // Acquire pairs with the release in `started`.
        let n_started = workers.started.load(Ordering::Acquire);
        stats.n_accepted = count(&producers.accepted);
        stats.n_in_flight = n_started - stats.n_completed();
        stats.n_waiting = stats.n_accepted - stats.n_ended() - stats.n_in_flight;
        stats.n_rejected_full = count(&producers.full);
        stats.n_rejected_bytes = count(&producers.bytes);
        stats.n_rejected_duplicate = count(&producers.duplicate);
        stats.n_rejected_closed = count(&producers.closed);
        stats.n_submitted = stats.n_accepted + stats.n_rejected();
        stats.n_wakeups = count(&producers.wakeups);
        stats.n_bytes = n_bytes;
        stats
    }
}
