//! Who is inside, who sleeps, and whether the pool is closed, in one atomic.
//!
//! All of it changes by single read-modify-writes of one word, so every two changes have an order that both
//! sides know. That is what the two promises rest on:
//!
//! * A producer pushes before it leaves, and a worker enters itself as asleep before it looks at the ring for the
//!   last time. If the producer leaves first, the worker sees its request; if the worker is first, the producer
//!   sees the sleeper. No fence is needed.
//! * Whoever leaves a closed gate as the last one knows it, and so does whoever closes an empty one. After
//!   that moment nothing more comes in.

use millpond_sync::atomic::{AtomicU64, Ordering};

/// Most sleepers that a gate can tell apart.
pub(crate) const SLEEPERS_MAX: usize = 32;

const CLOSED: u64 = 1;
const ABANDONED: u64 = 1 << 1;
const SLEEPER_SHIFT: u32 = 2;
const SLEEPERS: u64 = ((1 << SLEEPERS_MAX) - 1) << SLEEPER_SHIFT;
/// The count of producers takes the bits above: 2^30 threads at the same time.
const PRODUCER: u64 = 1 << (SLEEPER_SHIFT as usize + SLEEPERS_MAX);

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU64);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A look from outside, out of date at once.
    pub(crate) fn look(&self) -> Seen {
        // Acquire pairs with `close`: whoever sees the pool abandoned sees why.
        Seen(self.0.load(Ordering::Acquire))
    }

    /// Counts a producer in, who must leave in any case; only where this says that the gate is open may it
    /// push.
    pub(crate) fn enter(&self) -> Seen {
        // Acquire pairs with the release of `close`.
        Seen(self.0.fetch_add(PRODUCER, Ordering::Acquire))
    }

    /// Counts a producer out. Gives what it leaves behind.
    pub(crate) fn leave(&self) -> Seen {
        // Release: what was pushed is seen by whoever changes the word next. Acquire: the last one out sees
        // what the others pushed.
        Seen(self.0.fetch_sub(PRODUCER, Ordering::AcqRel) - PRODUCER)
    }

    /// Enters a worker as asleep. It must look at the ring again before it sleeps.
    pub(crate) fn fall_asleep(&self, worker: usize) -> Seen {
        // Acquire pairs with `leave`; release pairs with the producer that wakes it.
        let sleeper = sleeper(worker);
        Seen(self.0.fetch_or(sleeper, Ordering::AcqRel) | sleeper)
    }

    /// Strikes a worker off, by itself or by who is about to wake it. Gives what was before.
    pub(crate) fn rise(&self, worker: usize) -> Seen {
        Seen(self.0.fetch_and(!sleeper(worker), Ordering::AcqRel))
    }

    /// Lets nobody in any more; with `abandon`, what waits is not to be started either. Gives what was before.
    pub(crate) fn close(&self, abandon: bool) -> Seen {
        let bits = if abandon { CLOSED | ABANDONED } else { CLOSED };
        // Acquire: where nobody is inside, everything that was pushed is visible.
        Seen(self.0.fetch_or(bits, Ordering::AcqRel))
    }
}

const fn sleeper(worker: usize) -> u64 {
    1 << (SLEEPER_SHIFT as usize + worker)
}

/// What stood in the gate at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen(u64);

impl Seen {
    pub(crate) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    pub(crate) fn is_abandoned(self) -> bool {
        self.0 & ABANDONED != 0
    }

    /// Closed and nobody inside: what is in the ring now is the last of it.
    pub(crate) fn is_final(self) -> bool {
        self.is_closed() && self.0 < PRODUCER
    }

    pub(crate) fn is_asleep(self, worker: usize) -> bool {
        self.0 & sleeper(worker) != 0
    }

    /// The workers that sleep, lowest first.
    pub(crate) fn sleepers(self) -> impl Iterator<Item = usize> {
        let asleep = self.0 & SLEEPERS;
        (0..SLEEPERS_MAX).filter(move |worker| asleep & sleeper(*worker) != 0)
    }

    pub(crate) fn first_sleeper(self) -> Option<usize> {
        let asleep = self.0 & SLEEPERS;
        (asleep != 0).then(|| (asleep.trailing_zeros() - SLEEPER_SHIFT) as usize)
    }
}
