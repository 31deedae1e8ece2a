//! One queue that is in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millpond_inbox::{Frontier, Inbox};
use millpond_scheduler::{Head, Permit, QueueHandle};
use millpond_types::{
    ActiveRow, EntryHead, EntryRank, LeaseRow, Priority, QueueId, Sequence, Stage, UnixMillis,
};
use millpond_wakeup::{DeadlineIndex, Handle};

use super::classes::ClassOf;
use super::configure::Naming;
use super::moves::Move;
use super::purge::Purge;
use super::queues::Slot;
use super::topics::TopicSlot;
use super::waits::Wait;

/// The window over a queue's ready rows.
pub(super) type Window = Inbox<EntryRank, EntryHead>;

/// What ends a lease, and whether that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseState {
    /// The grant is not durable yet.
    Granting,
    /// In force.
    Held,
    /// An ack, a nack or the return of an unreceived grant is not durable yet.
    Settling,
    /// Its end by the deadline is not durable yet.
    Expiring,
    /// Given back: the record only counts attempts.
    Released,
    /// As `Released`, by the deadline or by a new owner of the partition.
    Expired,
}

impl LeaseState {
    /// Whether nothing is left of the lease but its count of attempts.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Released | Self::Expired)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) row: LeaseRow,
    pub(super) state: LeaseState,
    /// Who has it, if that was said. Not stored.
    pub(super) holder: Option<Arc<str>>,
    /// What it takes up of the limits, while it is in force.
    pub(super) permit: Option<Permit>,
}

impl Lease {
    /// What the window keeps of the entry while nobody leases it.
    pub(super) fn head(&self) -> EntryHead {
        EntryHead {
            attempts: self.row.attempts,
            n_bytes: self.row.n_bytes,
            enqueued_at: self.row.enqueued_at,
            separate_body: self.row.separate_body,
            has_retry_floor: self.row.has_retry_floor,
        }
    }
}

/// How a queue without a known head comes to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Load {
    /// It does not: its head is known, it has none, or nobody has asked yet.
    #[default]
    Idle,
    /// In the list of those that will be wanted soon. Its turn may come before it is read.
    Ahead,
    /// In the list of those whose turn has come.
    Urgent,
    /// A read is in flight.
    Reading,
}

/// A queue that has work, or had it recently.
///
/// There may be millions, most of them with a single entry: whatever a queue needs only at times is in
/// [`Busy`].
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) topic: TopicSlot,
    /// Its place with the scheduler of its topic …
    pub(super) handle: QueueHandle,
    /// … and what that was told of its head.
    pub(super) shown: Shown,
    pub(super) window: Window,
    /// The row in `active`, as of the batch being staged.
    pub(super) stored: ActiveRow,
    /// The lowest rank among the entries staged and not yet in the window, in two parts, which take less room …
    lowest_entering: Sequence,
    lowest_entering_priority: Priority,
    /// … and how many they are.
    pub(super) n_entering: u32,
    /// Effects that wait for their commit. The queue stays in memory meanwhile.
    pub(super) n_effects: u32,
    pub(super) busy: Option<Box<Busy>>,
    /// Its one wakeup, at the first of its waits at the latest.
    pub(super) wake: Option<Handle>,
    /// Leases granted, modulo 2^32.
    pub(super) n_granted: u32,
    /// Which rules hold for it.
    pub(super) class: ClassOf,
    pub(super) load: Load,
    /// Counted among the topic's queues that may turn out to have a head.
    pub(super) counted: bool,
    /// Its turn came while its head was unknown: the scheduler waits to be told.
    pub(super) turn_due: bool,
    /// Memory could not serve the last scan: the next one may wait.
    pub(super) may_wait: bool,
    /// The row in `active` changed in the batch being staged.
    pub(super) dirty: bool,
    pub(super) in_idle: bool,
    /// Its window was used since the hand of the clock came by.
    pub(super) used: bool,
}

/// What was told of a head, in 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown(u32);

impl Shown {
    const UNKNOWN: u32 = u32::MAX;

    pub(super) fn head(self) -> Head {
        match self.0 {
            0 => Head::None,
            Self::UNKNOWN => Head::Unknown,
            cost => Head::Cost(cost),
        }
    }
}

impl From<Head> for Shown {
    fn from(head: Head) -> Self {
        Self(match head {
            Head::None => 0,
            Head::Unknown => Self::UNKNOWN,
            Head::Cost(cost) => cost.clamp(1, Self::UNKNOWN - 1),
        })
    }
}

/// What most queues do not have most of the time.
#[derive(Debug, Default)]
pub(super) struct Busy {
    pub(super) leases: BTreeMap<EntryRank, Lease>,
    /// Number of the read in flight.
    pub(super) reading: Option<u64>,
    /// Reads that failed in a row, until when the next one waits, and why.
    pub(super) n_failures: u32,
    pub(super) backing_off: Option<(UnixMillis, String)>,
    pub(super) purge: Option<Purge>,
    /// What it waits for that ends by itself.
    pub(super) waits: DeadlineIndex<Wait>,
    /// Until when it waits for the end of its head, if it does.
    pub(super) outlives_at: Option<UnixMillis>,
    /// Entries that go to another stage and whose rows are to be read for it.
    pub(super) moves: BTreeMap<(Stage, EntryRank), Move>,
    /// Dead letters of which the end is staged: until it is durable, their rows may still be read.
    pub(super) leaving_dead: BTreeSet<EntryRank>,
    /// Rows that could not be decoded and are passed over.
    pub(super) set_aside: BTreeSet<EntryRank>,
    /// Its names are to be read.
    pub(super) naming: Option<Naming>,
}

impl Busy {
    fn is_unused(&self) -> bool {
        self.leases.is_empty()
            && self.reading.is_none()
            && self.n_failures == 0
            && self.backing_off.is_none()
            && self.purge.is_none()
            && self.waits.is_empty()
            && self.moves.is_empty()
            && self.leaving_dead.is_empty()
            && self.set_aside.is_empty()
            && self.naming.is_none()
    }
}

impl Queue {
    pub(super) fn new(
        id: QueueId,
        (topic, handle): (TopicSlot, QueueHandle),
        class: ClassOf,
        stored: ActiveRow,
        window: Window,
    ) -> Self {
        Self {
            id,
            topic,
            handle,
            shown: Head::None.into(),
            window,
            stored,
            lowest_entering: Sequence(0),
            lowest_entering_priority: Priority(0),
            n_entering: 0,
            n_effects: 0,
            busy: None,
            wake: None,
            n_granted: 0,
            class,
            load: Load::Idle,
            counted: false,
            turn_due: false,
            may_wait: false,
            dirty: false,
            in_idle: false,
            used: false,
        }
    }

    pub(super) fn busy_mut(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// Gives back what is not needed any more.
    pub(super) fn release_unused(&mut self) {
        if let Some(busy) = &mut self.busy {
            if self.window.knows_whole_queue() {
                busy.n_failures = 0;
            }
            if self.stored.n_ready == 0 {
                busy.set_aside.clear();
            }
        }
        if self.busy.as_ref().is_some_and(|busy| busy.is_unused()) {
            self.busy = None;
        }
    }

    pub(super) fn lease(&self, rank: &EntryRank) -> Option<&Lease> {
        self.busy.as_ref()?.leases.get(rank)
    }

    pub(super) fn lease_mut(&mut self, rank: &EntryRank) -> Option<&mut Lease> {
        self.busy.as_mut()?.leases.get_mut(rank)
    }

    #[cfg(test)]
    pub(super) fn leases(&self) -> impl Iterator<Item = (&EntryRank, &Lease)> {
        self.busy.iter().flat_map(|busy| &busy.leases)
    }

    /// The lease in force that ends first.
    pub(super) fn first_lease(&self) -> Option<(EntryRank, &Lease)> {
        let busy = self.busy.as_ref()?;
        busy.waits.iter().find_map(|(_, wait)| match wait {
            Wait::LeaseEnds(rank) => Some((*rank, busy.leases.get(rank)?)),
            _ => None,
        })
    }

    /// Entries that nobody may be handed, because somebody has them.
    pub(super) fn n_leased(&self) -> usize {
        self.window.taken_len()
    }

    pub(super) fn purge(&self) -> Option<&Purge> {
        self.busy.as_ref()?.purge.as_ref()
    }

    pub(super) fn backing_off(&self) -> Option<&(UnixMillis, String)> {
        self.busy.as_ref()?.backing_off.as_ref()
    }

    /// Whether the window says neither what the head is nor that there is none.
    pub(super) fn head_is_unknown(&self) -> bool {
        self.window.is_empty() && !self.window.knows_whole_queue()
    }

    /// What the scheduler is to know of its head (P4).
    pub(super) fn head(&self, by_bytes: bool) -> Head {
        if self.purge().is_some() || self.class.is_unresolved() && self.backing_off().is_some() {
            return Head::None;
        }
        match self.window.peek() {
            Some(_) if self.class.is_unresolved() => Head::Unknown,
            Some((_, head)) if by_bytes => Head::Cost(head.n_bytes.max(1)),
            Some(_) => Head::Cost(1),
            None if self.window.knows_whole_queue() || self.backing_off().is_some() => Head::None,
            None => Head::Unknown,
        }
    }

    /// Whether it is known what a caller gets next.
    pub(super) fn is_servable(&self) -> bool {
        matches!(self.shown.head(), Head::Cost(_))
    }

    /// Whether its head, unknown now, may be known soon.
    pub(super) fn is_coming(&self) -> bool {
        let naming = self.busy.as_ref().is_some_and(|busy| busy.naming.is_some());
        matches!(self.load, Load::Urgent | Load::Reading) || naming
    }

    /// Nothing to do, nothing on its way: all that is known of it is that nothing is ready.
    pub(super) fn is_idle(&self) -> bool {
        self.stored.n_ready == 0
            && self.busy.is_none()
            && self.n_effects == 0
            && !self.dirty
            && self.shown.head() == Head::None
            && self.load == Load::Idle
            && self.window.is_known_empty()
    }

    pub(super) fn entering(&mut self, rank: EntryRank) {
        let lowest =
            if self.n_entering == 0 { rank } else { self.lowest_entering_rank().min(rank) };
        self.lowest_entering = lowest.sequence;
        self.lowest_entering_priority = lowest.priority;
        self.n_entering += 1;
    }

    /// The lowest rank that may be live (P3).
    pub(super) fn floor(&self) -> EntryRank {
        let known = self.known_floor();
        if self.n_entering > 0 { known.min(self.lowest_entering_rank()) } else { known }
    }

    pub(super) fn lowest_entering_rank(&self) -> EntryRank {
        EntryRank { priority: self.lowest_entering_priority, sequence: self.lowest_entering }
    }

    /// As [`floor`](Self::floor), without the entries on their way.
    pub(super) fn known_floor(&self) -> EntryRank {
        match self.window.floor() {
            Frontier::Start => self.stored.floor,
            Frontier::Before(rank) => rank,
            Frontier::After(rank) => {
                EntryRank { sequence: Sequence(rank.sequence.0.saturating_add(1)), ..rank }
            }
            Frontier::End => LAST_RANK,
        }
    }
}

pub(super) const LAST_RANK: EntryRank =
    EntryRank { priority: Priority(u8::MAX), sequence: Sequence(u64::MAX) };

/// Whom a grant names without a read.
pub(super) type Names = quick_cache::unsync::Cache<QueueId, Arc<crate::QueueRef>>;

const _: () = assert!(size_of::<Queue>() <= 192, "a million queues are in memory");
const _: () = assert!(size_of::<Slot>() == 4);
