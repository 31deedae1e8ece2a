//! Resources that are made again: after a restart, for another rule, or because they were forgotten.

use super::{Limits, ResourceId};
use crate::config::Limit;
use crate::rules::Mutation;
use crate::{Band, Refused};

impl Limits {
    /// As [`add`](Self::add), but the bucket was empty at `empty_since_ns` and has been filling since. That
    /// is what can be said after a restart, when nobody knows what was taken before: it lets
    /// through what the rate allows, and never more.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond_scheduler::{Limit, Limits, Rate};
    ///
    /// let mut limits = Limits::new();
    /// let rate = Rate::new(10, Duration::from_secs(1), 100)?;
    /// let id = limits.add_since(3_000_000_000, Limit::none().rate(rate), None, 1_000_000_000)?;
    /// assert_eq!(limits.usage(id)?.n_tokens, Some(20), "of two seconds");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_since(
        &mut self,
        now_ns: u64,
        limit: Limit,
        parent: Option<ResourceId>,
        empty_since_ns: u64,
    ) -> Result<ResourceId, Refused> {
        let id = self.add(now_ns, limit, parent)?;
        let (now_ns, take) = (self.now_ns, self.n_takes + 1);
        if let Some(bucket) = self.resources[id.slot].bucket()
            && !self.rules.lacks(Mutation::RestartsFull)
        {
            bucket.empty_since(empty_since_ns, now_ns, take);
        }
        Ok(id)
    }

    /// Adds a resource that takes the place of another one, which may have another parent. It takes over the
    /// tokens and the debt, as many as [`change`](Self::change) would keep. The old one goes on without tokens,
    /// at its rate, until nothing uses it and it is [removed](Self::remove); permits that are out count
    /// there until they are released or [rebased](Self::rebase).
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownResource`] for both, [`Refused::TooDeep`], [`Refused::Full`].
    pub fn replace(
        &mut self,
        now_ns: u64,
        old: ResourceId,
        limit: Limit,
        parent: Option<ResourceId>,
    ) -> Result<ResourceId, Refused> {
        let old = self.known(old)?;
        let id = self.add(now_ns, limit, parent)?;
        let (now_ns, take) = (self.now_ns, self.n_takes + 1);
        if let Some(rate) = limit.rate
            && let Some(bucket) = self.resources[old].bucket()
        {
            let heir = bucket.hand_over(now_ns, rate, take);
            *self.resources[id.slot].bucket().expect("it was made with a rate") = heir;
            // Whoever waits for tokens there waits longer.
            self.settle(old);
        }
        Ok(id)
    }

    /// Whether a resource could be forgotten and made again without anybody noticing: no permit is out,
    /// nobody waits or was promised anything, and the bucket is full. Queues, domains and resources below it may
    /// still name it.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownResource`].
    pub fn is_at_rest(&self, now_ns: u64, id: ResourceId) -> Result<bool, Refused> {
        let resource = &self.resources[self.known(id)?];
        let now_ns = now_ns.max(self.now_ns);
        let throttle = resource.throttle.as_ref();
        let bucket = throttle.and_then(|throttle| throttle.bucket.as_ref());
        let is_full = bucket.is_none_or(|bucket| bucket.is_full(now_ns))
            || self.rules.lacks(Mutation::RestsWhileFilling);
        let lines = [Some(&resource.permits), throttle.map(|throttle| &throttle.line)];
        let is_quiet = lines
            .into_iter()
            .flatten()
            .all(|line| line.n_waiting == 0 && line.promised_up_to(Band::LAST) == 0);
        Ok(resource.n_held == 0 && is_quiet && is_full)
    }
}
