//! Why a queue is not being served.

use crate::arena::NONE;
use crate::limits::{Kind, Limits};
use crate::queue::{Place, Queue};
use crate::{Band, QueueHandle, Refused, ResourceId, Scheduler};

/// Queues before one that are counted.
const BEFORE_MAX: usize = 1_000;

/// Who keeps a queue from being served on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PausedBy {
    /// The queue was paused.
    Queue,
    /// The domain was paused.
    Domain,
    /// A resource allows a concurrency of 0.
    Limit(ResourceId),
}

/// What a queue is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Explanation {
    /// It has no head.
    Idle,
    /// Its turn has come, and its owner reads the head.
    ReadingHead,
    /// It will be served when its turn comes.
    Eligible {
        /// Queues of its band that come before it; the first 1,000 are counted.
        n_before: usize,
        /// Whether there are more than were counted.
        and_more: bool,
    },
    /// A band before its own is served.
    BehindBand {
        /// The first such band.
        band: Band,
        /// Queues there that can be served.
        n_eligible: usize,
    },
    /// It is kept back on purpose.
    Paused {
        /// By whom.
        by: PausedBy,
    },
    /// It, or its domain, waits for a permit of a resource.
    WaitsForPermit {
        /// Which one: a resource of the queue or of the domain.
        resource: ResourceId,
        /// Permits of it that are out.
        n_held: u32,
        /// How many may be out; fewer than are out after it was lowered.
        limit: u32,
    },
    /// It, or its domain, waits for tokens of a resource.
    Throttled {
        /// Which one: a resource of the queue or of the domain.
        resource: ResourceId,
        /// When the first of those that wait there can go on. `None` while all tokens are promised to others,
        /// which have not come yet or wait for an outer resource.
        until_ns: Option<u64>,
    },
}

impl Scheduler {
    /// Why a queue is not being served. Looks at a bounded number of queues.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::ForeignLimits`].
    pub fn explain(&self, limits: &Limits, queue: QueueHandle) -> Result<Explanation, Refused> {
        self.explain_within(limits, queue, BEFORE_MAX)
    }

    /// As [`explain`](Self::explain), with at most so many queues counted that come before it: for explaining many
    /// queues.
    ///
    /// # Errors
    ///
    /// As [`explain`](Self::explain).
    pub fn explain_within(
        &self,
        limits: &Limits,
        queue: QueueHandle,
        n_before_max: usize,
    ) -> Result<Explanation, Refused> {
        self.belongs_to(limits)?;
        let slot = self.known(queue)?;
        let queue = &self.queues[slot];
        if queue.is_paused {
            return Ok(Explanation::Paused { by: PausedBy::Queue });
        }
        if !queue.has_head && queue.place == Place::Out {
            return Ok(Explanation::Idle);
        }
        if self.is_paused {
            return Ok(Explanation::Paused { by: PausedBy::Domain });
        }
        Ok(match queue.place {
            Place::Loading => Explanation::ReadingHead,
            Place::Waiting => self.explain_ticket(limits, queue.ticket),
            _ if self.is_waiting => self.explain_ticket(limits, self.ticket),
            _ => self.explain_turn(slot, queue, n_before_max),
        })
    }

    fn explain_ticket(&self, limits: &Limits, ticket: u32) -> Explanation {
        debug_assert_ne!(ticket, NONE, "whoever waits has a ticket");
        let (slot, kind) = limits.waits_for(ticket);
        let resource = limits.id_of(slot);
        match (kind, limits.permits_of(slot)) {
            (_, (_, Some(0))) => Explanation::Paused { by: PausedBy::Limit(resource) },
            (Kind::Permits, (n_held, limit)) => {
                let limit = limit.unwrap_or(u32::MAX);
                Explanation::WaitsForPermit { resource, n_held, limit }
            }
            (Kind::Tokens, _) => {
                Explanation::Throttled { resource, until_ns: limits.armed_ns(slot) }
            }
        }
    }

    fn explain_turn(&self, slot: u32, queue: &Queue, n_before_max: usize) -> Explanation {
        let n_eligible = |band: Band| self.n_eligible(band);
        let before = Band::ALL[..queue.band.index()].iter();
        if let Some(band) = before.copied().find(|band| n_eligible(*band) > 0) {
            return Explanation::BehindBand { band, n_eligible: n_eligible(band) };
        }
        let class = self.bands.class(queue.band);
        let turns = class.due.iter(&self.links).chain(class.ring.iter(&self.links));
        let counted = turns.take(n_before_max.saturating_add(1)).position(|other| other == slot);
        Explanation::Eligible {
            n_before: counted.unwrap_or(n_before_max),
            and_more: counted.is_none(),
        }
    }
}
