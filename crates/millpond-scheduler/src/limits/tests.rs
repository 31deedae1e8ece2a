//! Buckets against their definition, and what must be true of all limits at every moment.

use std::time::Duration;

use super::bucket::Bucket;
use super::line::{Kind, Stage};
use super::{Limits, NONE, ResourceId};
use crate::rules::Mutation;
use crate::tests::model::ModelBucket;
use crate::tests::{Random, variable, with};
use crate::{Band, Rate};

/// A bucket with takes and refunds is, at every moment, the bucket in which what was refunded was never
/// taken.
pub(crate) fn buckets_are_exact(broken: Option<Mutation>) -> Result<(), String> {
    let seed = variable("MILLPOND_SCHEDULER_SEED", 3);
    for round in 0..300 {
        one_bucket(seed + round, broken)
            .map_err(|why| format!("{why}; MILLPOND_SCHEDULER_SEED={}", seed + round))?;
    }
    Ok(())
}

/// What a resource, its rate, a waiter and a permit take.
pub(crate) const fn bytes() -> [usize; 4] {
    use super::{Arena, Held, Resource, Waiter};

    [
        Arena::<Resource>::place_bytes(),
        size_of::<super::resource::Throttle>(),
        Arena::<Waiter>::place_bytes(),
        Arena::<Held>::place_bytes(),
    ]
}

fn one_bucket(seed: u64, broken: Option<Mutation>) -> Result<(), String> {
    let mut random = Random(seed);
    let (n_tokens, per_ns) = (1 + random.below(7), 1 + u64::from(random.below(50)));
    let burst = 1 + random.below(12);
    let rate = Rate::new(n_tokens, Duration::from_nanos(per_ns), burst).unwrap();
    let mut bucket = Bucket::new(rate, 0, 1, with(broken));
    let mut model = ModelBucket::new(n_tokens, per_ns, burst, 0);
    let (mut now_ns, mut takes) = (0, Vec::new());
    for number in 1..=60_u64 {
        now_ns += u64::from(random.below(20));
        bucket.refill(now_ns);
        let amount = 1 + random.below(burst + 2);
        if random.below(3) == 0 && !takes.is_empty() {
            let (number, amount) = takes.swap_remove(random.below(60) as usize % takes.len());
            bucket.refund(u64::from(amount), number);
            model.refund(number);
        } else if bucket.has(u64::from(amount), 0) {
            bucket.take(u64::from(amount), number);
            model.take(number, now_ns, amount);
            takes.push((number, amount));
        } else {
            let ready_ns = bucket.ready_at_ns(u64::from(amount), 0).ok_or("never ready")?;
            let needed = i128::from(amount.min(burst)) * i128::from(per_ns);
            let is_exact = model.level(ready_ns) >= needed && model.level(ready_ns - 1) < needed;
            if !is_exact {
                return Err(format!("{amount} tokens are not ready at {ready_ns} ns just then"));
            }
        }
        let (level, expected) = (bucket.level(), model.level(now_ns));
        if level != expected {
            return Err(format!(
                "level {level}, and {expected} by definition, after {number} steps"
            ));
        }
    }
    Ok(())
}

impl Limits {
    /// What is in the bucket of a resource, in tokens times nanoseconds of its period.
    pub(crate) fn level(&self, id: ResourceId, now_ns: u64) -> Option<i128> {
        let throttle = self.resources[id.slot].throttle.as_ref()?;
        throttle.bucket.as_ref().map(|bucket| bucket.level_at(now_ns))
    }

    /// Lines, promises and deadlines agree with each other.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let mut promised = std::collections::BTreeMap::new();
        let mut n_waiting = std::collections::BTreeMap::new();
        for ticket in self.waiters.slots() {
            let waiter = &self.waiters[ticket];
            if waiter.stage == Stage::Waiting {
                let is_token = waiter.kind == Kind::Tokens;
                *n_waiting.entry((waiter.resource, is_token)).or_insert(0_u32) += 1;
            }
            for (n, slot) in self.chain(waiter.leaf).enumerate() {
                for (is_token, amount) in
                    [false, true].into_iter().zip(waiter.promised(n, self.rules))
                {
                    let key = (slot, is_token, waiter.band);
                    *promised.entry(key).or_insert(0_u64) += amount.unwrap_or(0);
                }
            }
        }
        for slot in self.resources.slots() {
            let resource = &self.resources[slot];
            let throttle = resource.throttle.as_ref().map(|throttle| &throttle.line);
            for (line, is_token) in [(Some(&resource.permits), false), (throttle, true)].into_iter()
            {
                let Some(line) = line else { continue };
                let expected = n_waiting.get(&(slot, is_token)).copied().unwrap_or(0);
                if line.n_waiting != expected {
                    return Err(format!("{} wait at {slot}, not {expected}", line.n_waiting));
                }
                for band in Band::ALL {
                    let expected = promised.get(&(slot, is_token, band)).copied().unwrap_or(0);
                    if line.promised[band.index()] != expected {
                        return Err(format!("{line:?} at {slot}: {expected} were promised"));
                    }
                }
            }
            let is_quiet = n_waiting.keys().all(|(of, _)| *of != slot)
                && promised.iter().all(|((of, ..), amount)| *of != slot || *amount == 0);
            let bucket = resource.throttle.as_ref().and_then(|of| of.bucket.as_ref());
            let is_full = bucket.is_none_or(|bucket| bucket.is_full(self.now_ns));
            let is_at_rest = self.is_at_rest(self.now_ns, self.id_of(slot)).unwrap();
            if is_at_rest != (is_quiet && is_full && resource.n_held == 0) {
                return Err(format!("at rest {is_at_rest}, and quiet {is_quiet}: {resource:?}"));
            }
            self.audit_l3(slot)?;
            if resource.armed_ns.is_some_and(|at_ns| !self.armed.contains(&(at_ns, slot))) {
                return Err(format!("resource {slot} is not armed as it says"));
            }
        }
        Ok(())
    }

    /// Nobody waits for what is there, unless the resource is due.
    fn audit_l3(&self, slot: u32) -> Result<(), String> {
        let resource = &self.resources[slot];
        let is_due = resource.armed_ns.is_some_and(|at_ns| at_ns <= self.now_ns);
        if let Some(band) = resource.permits.first_band()
            && resource.has_permit(resource.permits.promised_up_to(band))
            && !is_due
        {
            return Err(format!("permits of {slot} are there, and are waited for"));
        }
        let Some(throttle) = &resource.throttle else { return Ok(()) };
        let Some(band) = throttle.line.first_band() else { return Ok(()) };
        let n_promised = throttle.line.promised_up_to(band);
        let first = throttle.line.lists[band.index()].first().unwrap_or(NONE);
        let amount = self.waiters[first].amount();
        let Some(bucket) = &throttle.bucket else { return Err("no rate, and waiters".to_owned()) };
        if bucket.has(amount, n_promised) && !is_due {
            return Err(format!("tokens of {slot} are there, and are waited for"));
        }
        let ready_ns = bucket.ready_at_ns(amount, n_promised);
        if ready_ns.is_some() && resource.armed_ns.is_none() {
            return Err(format!("nobody will look at the bucket of {slot}"));
        }
        Ok(())
    }
}
