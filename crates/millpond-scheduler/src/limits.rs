//! Resources that queues and domains share, with exact accounts.
//!
//! A resource has permits, tokens, or both, and at most one parent: whoever is subject to it is subject to
//! everything around it. Who is short of something waits at the first resource of its chain that lacks it.
//!
//! L1 to L5 are those of the [crate documentation](crate#limits). For L3 a resource is *settled* after
//! everything that can have made something available there: whoever can be served, not counting promises to its
//! band and those before it, is woken, or the resource is armed for the time at which it can be.

mod acquire;
mod bucket;
mod line;
mod permits;
mod renew;
mod resource;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeSet, VecDeque};

pub(crate) use acquire::{Denied, Request};
pub(crate) use line::Kind;
use line::{Line, List, Stage, Waiter};
use resource::Resource;

use crate::arena::{Arena, NONE, next_tag};
use crate::config::Limit;
use crate::rules::{Mutation, Rules};
use crate::{Band, Refused};

/// Resources in a chain, at most.
pub(crate) const DEPTH_MAX: u8 = 4;
/// Who is woken at one resource at a time; the others follow with the next call.
const WAKES_MAX: usize = 64;
/// Resources that are looked at in one call because their time has come.
const DUE_MAX: usize = 64;

/// Names a resource of one [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResourceId {
    pub(crate) slot: u32,
    generation: u32,
}

/// Names a scheduler among those that share a [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DomainId {
    slot: u32,
    generation: u32,
}

/// What a pick holds of its resources until it is released: 8 bytes, to be kept beside the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permit {
    slot: u32,
    generation: u32,
}

/// How a resource is used at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Permits that are out.
    pub n_held: u32,
    /// How many may be out, unless that is not limited. Fewer than are out after a limit was lowered.
    pub concurrency: Option<u32>,
    /// Queues and domains that wait here and were not woken.
    pub n_waiting: u32,
    /// Permits promised to queues and domains that were woken and have not come yet.
    pub n_promised: u64,
    /// Whole tokens in the bucket, unless there is no rate.
    pub n_tokens: Option<u32>,
}

/// A pick that holds permits.
#[derive(Debug, Clone, Copy)]
struct Held {
    leaf: u32,
    domain_leaf: u32,
    /// 0 if nothing was taken from the buckets of these chains.
    cost: u32,
    take: u64,
}

#[derive(Debug)]
struct Domain {
    /// Who was woken, and the scheduler has not heard of it.
    woken: List,
    /// Who was told so, and has neither come nor gone away.
    told: List,
    is_listed: bool,
}

/// All resources that some schedulers share. See the [crate documentation](crate#limits).
#[derive(Debug)]
pub struct Limits {
    tag: u32,
    resources: Arena<Resource>,
    waiters: Arena<Waiter>,
    held: Arena<Held>,
    domains: Arena<Domain>,
    woken_domains: VecDeque<DomainId>,
    /// When which resource is to be looked at.
    armed: BTreeSet<(u64, u32)>,
    now_ns: u64,
    n_takes: u64,
    rules: Rules,
}

impl Limits {
    /// Without any resource.
    #[must_use]
    pub fn new() -> Self {
        Self::with_rules(Rules::SHIPPED)
    }

    pub(crate) fn with_rules(rules: Rules) -> Self {
        let tag = next_tag();
        Self {
            tag,
            resources: Arena::new(tag, rules),
            waiters: Arena::new(tag, rules),
            held: Arena::new(tag, rules),
            domains: Arena::new(tag, rules),
            woken_domains: VecDeque::new(),
            armed: BTreeSet::new(),
            now_ns: 0,
            n_takes: 0,
            rules,
        }
    }

    /// Adds a resource, inside another one or not: a queue inside its tenant, a tenant inside its plan.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownResource`] for the parent, [`Refused::TooDeep`], [`Refused::Full`].
    pub fn add(
        &mut self,
        now_ns: u64,
        limit: Limit,
        parent: Option<ResourceId>,
    ) -> Result<ResourceId, Refused> {
        self.advance_clock(now_ns);
        let parent = parent.map_or(Ok(NONE), |parent| self.known(parent))?;
        let depth = if parent == NONE { 1 } else { self.resources[parent].depth + 1 };
        if depth > DEPTH_MAX {
            return Err(Refused::TooDeep);
        }
        if self.resources.is_full() {
            return Err(Refused::Full);
        }
        let mut resource = Resource::new(parent, depth);
        resource.set(limit, self.now_ns, self.n_takes + 1, self.rules);
        if parent != NONE {
            self.resources[parent].n_users += 1;
        }
        let (slot, generation) = self.resources.insert(resource);
        Ok(ResourceId { slot, generation })
    }

    /// Puts another limit in force at once. Permits that are out stay out: below them, nothing more is given
    /// until enough were released. A bucket keeps its tokens, as many as the new burst allows; what was
    /// taken from it before is not refunded any more.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownResource`].
    pub fn change(&mut self, now_ns: u64, id: ResourceId, limit: Limit) -> Result<(), Refused> {
        self.advance_clock(now_ns);
        let slot = self.known(id)?;
        self.resources[slot].set(limit, self.now_ns, self.n_takes + 1, self.rules);
        self.settle(slot);
        Ok(())
    }

    /// Forgets a resource that nothing uses.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownResource`], [`Refused::InUse`].
    pub fn remove(&mut self, id: ResourceId) -> Result<(), Refused> {
        let slot = self.known(id)?;
        let Resource { n_held, n_users, parent, armed_ns, .. } = self.resources[slot];
        if n_held > 0 || n_users > 0 {
            return Err(Refused::InUse { n_permits: n_held, n_users });
        }
        if let Some(armed_ns) = armed_ns {
            self.armed.remove(&(armed_ns, slot));
        }
        self.resources.remove(slot);
        if parent != NONE {
            self.resources[parent].n_users -= 1;
        }
        Ok(())
    }

    /// A scheduler that should pick, because something it waits for was promised to it. One that wants nothing
    /// at the moment must [stand back](crate::Scheduler::stand_back), so that others get it.
    pub fn poll_woken(&mut self) -> Option<DomainId> {
        while let Some(id) = self.woken_domains.pop_front() {
            if self.domains.find(id.slot, id.generation).is_some() {
                let domain = &mut self.domains[id.slot];
                domain.is_listed = false;
                if !domain.woken.is_empty() {
                    return Some(id);
                }
            }
        }
        None
    }

    /// When the next bucket will have what somebody waits for: the time to call [`advance`](Self::advance).
    /// `None` if nobody waits for tokens. The value may lie in the past: then there is more to do at once.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.armed.first().map(|(armed_ns, _)| *armed_ns)
    }

    /// Wakes those for whom time has brought tokens, a bounded number per call. A pick does it too.
    pub fn advance(&mut self, now_ns: u64) {
        self.advance_clock(now_ns);
        for _ in 0..DUE_MAX {
            let Some((armed_ns, slot)) = self.armed.first().copied() else { break };
            if armed_ns > self.now_ns {
                break;
            }
            self.settle(slot);
        }
    }

    /// How a resource is used.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownResource`].
    pub fn usage(&self, id: ResourceId) -> Result<Usage, Refused> {
        let resource = &self.resources[self.known(id)?];
        let throttle = resource.throttle.as_ref();
        let n_throttled = throttle.map_or(0, |throttle| throttle.line.n_waiting);
        let bucket = throttle.and_then(|throttle| throttle.bucket.as_ref());
        Ok(Usage {
            n_held: resource.n_held,
            concurrency: resource.concurrency(),
            n_waiting: resource.permits.n_waiting + n_throttled,
            n_promised: resource.permits.promised_up_to(Band::LAST),
            n_tokens: bucket.map(bucket::Bucket::n_tokens),
        })
    }

    /// Permits that are out, of whatever resources.
    #[must_use]
    pub const fn n_permits(&self) -> usize {
        self.held.len()
    }

    pub(crate) const fn tag(&self) -> u32 {
        self.tag
    }

    pub(crate) fn known(&self, id: ResourceId) -> Result<u32, Refused> {
        let found = self.resources.find(id.slot, id.generation);
        found.map(|_| id.slot).ok_or(Refused::UnknownResource)
    }

    pub(crate) fn id_of(&self, slot: u32) -> ResourceId {
        ResourceId { slot, generation: self.resources.generation(slot) }
    }

    /// A queue or a domain is subject to a resource from now on, or no longer.
    pub(crate) fn count_user(&mut self, slot: u32, comes: bool) {
        if slot != NONE {
            let n_users = &mut self.resources[slot].n_users;
            *n_users = if comes { *n_users + 1 } else { *n_users - 1 };
        }
    }

    /// Whether two chains have a resource in common.
    pub(crate) fn overlap(&self, a: u32, b: u32) -> bool {
        self.chain(a).any(|slot| self.chain(b).any(|other| other == slot))
    }

    pub(crate) fn add_domain(&mut self) -> Result<DomainId, Refused> {
        if self.domains.is_full() {
            return Err(Refused::Full);
        }
        let domain = Domain { woken: List::EMPTY, told: List::EMPTY, is_listed: false };
        let (slot, generation) = self.domains.insert(domain);
        Ok(DomainId { slot, generation })
    }

    /// None of its queues waits any more.
    pub(crate) fn remove_domain(&mut self, id: DomainId) {
        self.domains.remove(id.slot);
    }

    /// The next of a domain that was woken: its ticket and its queue, [`NONE`] for the domain itself.
    pub(crate) fn next_woken(&mut self, id: DomainId) -> Option<(u32, u32)> {
        let Domain { woken, told, .. } = &mut self.domains[id.slot];
        let ticket = woken.first()?;
        woken.remove(&mut self.waiters, ticket);
        told.push_back(&mut self.waiters, ticket);
        let waiter = &mut self.waiters[ticket];
        waiter.stage = Stage::Told;
        Some((ticket, waiter.queue))
    }

    /// One of those that were told, in the order in which they were.
    pub(crate) fn first_told(&self, id: DomainId) -> Option<(u32, u32)> {
        let ticket = self.domains[id.slot].told.first()?;
        Some((ticket, self.waiters[ticket].queue))
    }

    /// Whether a pick would hear of more.
    pub(crate) fn has_news(&self, id: DomainId) -> bool {
        !self.domains[id.slot].woken.is_empty()
            || self.next_deadline_ns().is_some_and(|armed_ns| armed_ns <= self.now_ns)
    }

    fn advance_clock(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// From a resource to the outermost around it.
    fn chain(&self, leaf: u32) -> impl Iterator<Item = u32> + '_ {
        let some = |slot: u32| (slot != NONE).then_some(slot);
        std::iter::successors(some(leaf), move |slot| some(self.resources[*slot].parent))
    }

    /// Restores L3 at a resource.
    fn settle(&mut self, slot: u32) {
        let mut n_left = WAKES_MAX;
        let mut next_ns = None;
        if let Some(bucket) = self.resources[slot].bucket() {
            bucket.refill(self.now_ns);
        }
        for kind in [Kind::Permits, Kind::Tokens] {
            while let Some(ticket) = self.next_to_wake(slot, kind) {
                if n_left == 0 {
                    next_ns = Some(self.now_ns);
                    break;
                }
                n_left -= 1;
                self.wake(ticket);
            }
        }
        self.arm(slot, next_ns.or_else(|| self.tokens_ready_at_ns(slot)));
    }

    /// The one whose turn it is, if what it waits for is there.
    fn next_to_wake(&self, slot: u32, kind: Kind) -> Option<u32> {
        let resource = &self.resources[slot];
        let (line, bucket) = match kind {
            Kind::Permits => (&resource.permits, None),
            Kind::Tokens => {
                let throttle = resource.throttle.as_ref()?;
                (&throttle.line, throttle.bucket.as_ref())
            }
        };
        let (ticket, band) = self.front(line)?;
        let n_promised = line.promised_up_to(band);
        let is_there = match (kind, bucket) {
            (Kind::Permits, _) => {
                let wakes_all = self.rules.lacks(Mutation::WakesAll);
                resource.has_permit(if wakes_all { 0 } else { n_promised })
                    && !self.rules.lacks(Mutation::WakesNobody)
            }
            (Kind::Tokens, Some(bucket)) => bucket.has(self.waiters[ticket].amount(), n_promised),
            (Kind::Tokens, None) => true,
        };
        is_there.then_some(ticket)
    }

    fn front(&self, line: &Line) -> Option<(u32, Band)> {
        let band = line.first_band()?;
        let list = &line.lists[band.index()];
        let first = if self.rules.lacks(Mutation::WakesLast) { list.last() } else { list.first() };
        first.map(|ticket| (ticket, band))
    }

    fn tokens_ready_at_ns(&self, slot: u32) -> Option<u64> {
        let throttle = self.resources[slot].throttle.as_ref()?;
        let (ticket, band) = self.front(&throttle.line)?;
        let n_promised = throttle.line.promised_up_to(band);
        let amount = self.waiters[ticket].amount();
        let armed = throttle.bucket.as_ref()?.ready_at_ns(amount, n_promised);
        armed.filter(|_| !self.rules.lacks(Mutation::NeverArmed))
    }

    fn arm(&mut self, slot: u32, at_ns: Option<u64>) {
        let before = std::mem::replace(&mut self.resources[slot].armed_ns, at_ns);
        if before == at_ns {
            return;
        }
        if let Some(before) = before {
            self.armed.remove(&(before, slot));
        }
        if let Some(at_ns) = at_ns {
            self.armed.insert((at_ns, slot));
        }
    }

    fn wake(&mut self, ticket: u32) {
        let Waiter { domain, resource, band, kind, .. } = self.waiters[ticket];
        let amount = self.waiters[ticket].amount();
        let line = self.resources[resource].line_mut(kind);
        line.lists[band.index()].remove(&mut self.waiters, ticket);
        line.n_waiting -= 1;
        line.promised[band.index()] += amount;
        self.waiters[ticket].stage = Stage::Woken;
        self.waiters[ticket].n_steps += 1;
        let woken = &mut self.domains[domain];
        woken.woken.push_back(&mut self.waiters, ticket);
        if !std::mem::replace(&mut woken.is_listed, true) {
            let generation = self.domains.generation(domain);
            self.woken_domains.push_back(DomainId { slot: domain, generation });
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
