//! Permits that are out: where they count, from when and until when.

use super::{Held, Limits, Permit, ResourceId};
use crate::Refused;
use crate::arena::NONE;
use crate::rules::Mutation;

impl Limits {
    /// The work that a pick stood for has ended, in whatever way. Wakes at most one that waits at each
    /// resource; [`poll_woken`](Self::poll_woken) names their schedulers.
    ///
    /// # Errors
    ///
    /// [`Refused::StalePermit`] if it was released or given back before.
    pub fn release(&mut self, now_ns: u64, permit: Permit) -> Result<(), Refused> {
        self.advance_clock(now_ns);
        self.end(permit, false)
    }

    /// A permit for work that is under way already, such as a lease that a restart finds: it counts in the
    /// resources of a domain and of a queue, and in all around them, whatever their limits are. It takes no
    /// tokens and waits for nothing. `None` if there is no resource to count in.
    ///
    /// This is for the time before there is a scheduler; later there is
    /// [`Scheduler::adopt`](crate::Scheduler::adopt).
    ///
    /// ```
    /// use millpond_scheduler::{Limit, Limits};
    ///
    /// let mut limits = Limits::new();
    /// let tenant = limits.add(0, Limit::none().concurrency(1), None)?;
    /// let leases = [limits.adopt(0, None, Some(tenant))?, limits.adopt(0, None, Some(tenant))?];
    /// assert_eq!(limits.usage(tenant)?.n_held, 2, "more than the limit, and both are true");
    /// for permit in leases.into_iter().flatten() {
    ///     limits.release(0, permit)?;
    /// }
    /// # Ok::<(), millpond_scheduler::Refused>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownResource`], [`Refused::ChargedTwice`] if the two have a resource in common,
    /// [`Refused::Full`].
    pub fn adopt(
        &mut self,
        now_ns: u64,
        domain: Option<ResourceId>,
        queue: Option<ResourceId>,
    ) -> Result<Option<Permit>, Refused> {
        let chains = self.known_chains(domain, queue)?;
        self.adopt_in(now_ns, chains)
    }

    /// A permit counts in other resources from now on: a rule was changed while the work is under way. Those it
    /// counted in are released, those it counts in now may go beyond their limits. No
    /// tokens are taken, and what its pick took is not given back any more.
    ///
    /// # Errors
    ///
    /// [`Refused::StalePermit`], [`Refused::UnknownResource`], [`Refused::ChargedTwice`].
    pub fn rebase(
        &mut self,
        now_ns: u64,
        permit: Permit,
        domain: Option<ResourceId>,
        queue: Option<ResourceId>,
    ) -> Result<(), Refused> {
        let chains = self.known_chains(domain, queue)?;
        self.rebase_to(now_ns, permit, chains)
    }

    /// As [`adopt`](Self::adopt), for the resources of a domain and of a queue that are known.
    pub(crate) fn adopt_in(
        &mut self,
        now_ns: u64,
        chains: [u32; 2],
    ) -> Result<Option<Permit>, Refused> {
        self.advance_clock(now_ns);
        let [domain_leaf, leaf] = chains;
        if chains == [NONE; 2] {
            return Ok(None);
        }
        if self.held.is_full() {
            return Err(Refused::Full);
        }
        self.count_held(chains);
        if self.rules.lacks(Mutation::AdoptCharged) {
            self.n_takes += 1;
            self.take_tokens(chains, 1);
        }
        let held = Held { leaf, domain_leaf, cost: 0, take: self.n_takes };
        let (slot, generation) = self.held.insert(held);
        Ok(Some(Permit { slot, generation }))
    }

    /// As [`rebase`](Self::rebase), to the resources of a domain and of a queue that are known.
    pub(crate) fn rebase_to(
        &mut self,
        now_ns: u64,
        permit: Permit,
        chains: [u32; 2],
    ) -> Result<(), Refused> {
        self.advance_clock(now_ns);
        let Permit { slot, generation } = permit;
        let Some(before) = self.held.find(slot, generation).copied() else {
            return Err(Refused::StalePermit);
        };
        let [domain_leaf, leaf] = chains;
        let is_broken = self.rules.lacks(Mutation::RebaseRefunds);
        let cost = if is_broken { before.cost } else { 0 };
        self.held[slot] = Held { leaf, domain_leaf, cost, ..before };
        // Counted before the others are released: a resource of both must not wake anybody.
        if self.rules.lacks(Mutation::RebaseReleasesFirst) {
            self.release_held(&before, false);
            self.count_held(chains);
        } else {
            self.count_held(chains);
            self.release_held(&before, false);
        }
        Ok(())
    }

    /// Nothing came of a pick: tokens go back to their buckets as well.
    pub(crate) fn give_back(&mut self, now_ns: u64, permit: Permit) -> Result<(), Refused> {
        self.advance_clock(now_ns);
        self.end(permit, true)
    }

    /// One more is out, in two chains of resources, whatever their limits are.
    pub(super) fn count_held(&mut self, chains: [u32; 2]) {
        for mut at in chains {
            while at != NONE {
                let resource = &mut self.resources[at];
                resource.n_held += 1;
                at = resource.parent;
            }
        }
    }

    /// Takes the tokens of a pick out of all buckets of two chains.
    pub(super) fn take_tokens(&mut self, chains: [u32; 2], cost: u32) {
        for mut at in chains {
            while at != NONE {
                let resource = &mut self.resources[at];
                let n_tokens = u64::from(resource.n_tokens(cost));
                if let Some(bucket) = resource.bucket() {
                    bucket.take(n_tokens, self.n_takes);
                }
                at = resource.parent;
            }
        }
    }

    fn known_chains(
        &self,
        domain: Option<ResourceId>,
        queue: Option<ResourceId>,
    ) -> Result<[u32; 2], Refused> {
        let known = |id: Option<ResourceId>| id.map_or(Ok(NONE), |id| self.known(id));
        let [domain, queue] = [known(domain)?, known(queue)?];
        if self.overlap(domain, queue) { Err(Refused::ChargedTwice) } else { Ok([domain, queue]) }
    }

    fn end(&mut self, permit: Permit, refund: bool) -> Result<(), Refused> {
        let Permit { slot, generation } = permit;
        let Some(held) = self.held.find(slot, generation).copied() else {
            return Err(Refused::StalePermit);
        };
        self.held.remove(slot);
        self.release_held(&held, refund);
        Ok(())
    }

    fn release_held(&mut self, held: &Held, refund: bool) {
        for mut at in [held.domain_leaf, held.leaf] {
            while at != NONE {
                let now_ns = self.now_ns;
                let resource = &mut self.resources[at];
                resource.n_held -= 1;
                let n_tokens = u64::from(resource.n_tokens(held.cost));
                if refund
                    && held.cost > 0
                    && let Some(bucket) = resource.bucket()
                {
                    bucket.refill(now_ns);
                    bucket.refund(n_tokens, held.take);
                }
                let parent = resource.parent;
                self.settle(at);
                at = parent;
            }
        }
    }
}
