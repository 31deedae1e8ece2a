//! The steps of owners that serve particular queues, and of those that start again.

use super::super::model::{ModelBucket, ModelResource};
use super::{Checked, DOMAIN, ModelPermit, N_QUEUES, PER_NS, RESOURCES, Step, World, limit_of};
use crate::{Explanation, Take, Woken};

impl World {
    pub(super) fn later_step(&mut self, step: Step) -> Checked {
        let (pick, amount) = (usize::from(step.pick), usize::from(step.amount));
        match step.kind {
            256..280 => self.take(pick % N_QUEUES),
            280..300 => self.hear(pick % 2, amount % 4),
            300..310 => self.adopt(pick % N_QUEUES),
            310..320 => self.rebase(pick, amount % N_QUEUES),
            _ => self.renew(pick % DOMAIN, amount),
        }
    }

    fn take(&mut self, at: usize) -> Checked {
        let queue = &self.queues[at];
        let (scheduler, handle, head) = (queue.scheduler, queue.handle, queue.head);
        let is_paused = queue.paused || self.paused[scheduler];
        let subject = &mut self.schedulers[scheduler];
        match subject.take(self.now_ns, &mut self.limits, handle).unwrap() {
            Take::Serve(picked) => {
                self.check_served(scheduler, &picked)?;
                if picked.owner_slot as usize != at {
                    return Err(format!("{picked:?} was taken instead of {at}"));
                }
                self.hold(picked)
            }
            Take::Waits if !is_paused && head.is_some_and(|cost| cost > 0) => {
                match subject.explain(&self.limits, handle).unwrap() {
                    Explanation::Paused { .. }
                    | Explanation::WaitsForPermit { .. }
                    | Explanation::Throttled { .. } => Ok(()),
                    other => Err(format!("a take waits, and the queue is {other:?}")),
                }
            }
            Take::Paused if is_paused => Ok(()),
            Take::NoHead if head.is_none() => Ok(()),
            Take::HeadUnknown if head == Some(0) => Ok(()),
            other => Err(format!("{other:?} of {:?}", self.queues[at])),
        }
    }

    /// Hears who was woken, so many at most.
    fn hear(&mut self, scheduler: usize, n_max: usize) -> Checked {
        for _ in 0..n_max {
            match self.schedulers[scheduler].poll_woken(&mut self.limits).unwrap() {
                None => break,
                Some(Woken::Domain) => {}
                Some(Woken::Queue { queue, owner_slot }) => {
                    let of = &self.queues[owner_slot as usize];
                    if (of.scheduler, of.handle) != (scheduler, queue) || of.head.is_none() {
                        return Err(format!("{of:?} was woken"));
                    }
                }
            }
        }
        Ok(())
    }

    fn adopt(&mut self, at: usize) -> Checked {
        let queue = &self.queues[at];
        let subject = &mut self.schedulers[queue.scheduler];
        let adopted = subject.adopt(self.now_ns, &mut self.limits, queue.handle).unwrap();
        let permit = adopted.ok_or("a queue of a limited domain has a permit")?;
        let resources = self.resources_of(&self.queues[at]);
        for at in &resources {
            self.resources[*at].n_held += 1;
        }
        self.held.push(ModelPermit { permit, picked: None, number: None, resources });
        Ok(())
    }

    /// A permit, of whatever queue, counts for this one.
    fn rebase(&mut self, pick: usize, at: usize) -> Checked {
        if self.held.is_empty() {
            return Ok(());
        }
        let queue = &self.queues[at];
        let resources = self.resources_of(queue);
        let n_held = self.held.len();
        let held = &mut self.held[pick % n_held];
        let subject = &mut self.schedulers[queue.scheduler];
        subject.rebase(self.now_ns, &mut self.limits, queue.handle, held.permit).unwrap();
        for at in &held.resources {
            self.resources[*at].n_held -= 1;
        }
        for at in &resources {
            self.resources[*at].n_held += 1;
        }
        (held.resources, held.number) = (resources, None);
        Ok(())
    }

    /// Another resource takes the place of one, with its tokens or with those that a restart leaves. Some of the
    /// queues follow.
    fn renew(&mut self, of: usize, amount: usize) -> Checked {
        let old = self.current[of];
        let parent = RESOURCES[of].0.map(|parent| self.current[parent]);
        let parent_id = parent.map(|at| self.ids[at]);
        let (base, now_ns) = (self.resources[old].rate, self.now_ns);
        let rate = base.filter(|_| !amount.is_multiple_of(7));
        let limit = limit_of(Some(2), rate);
        let (id, bucket) = if amount.is_multiple_of(3) {
            let since_ns = now_ns.saturating_sub(amount as u64 % 64);
            let id = self.limits.add_since(now_ns, limit, parent_id, since_ns).unwrap();
            let empty = |(n, burst)| ModelBucket::empty_since(n, PER_NS, burst, since_ns);
            (id, rate.map(empty))
        } else {
            let id = self.limits.replace(now_ns, self.ids[old], limit, parent_id).unwrap();
            let new = |(n, burst)| match &mut self.resources[old].bucket {
                Some(bucket) => bucket.hand_over(now_ns),
                None => ModelBucket::new(n, PER_NS, burst, now_ns),
            };
            (id, rate.map(new))
        };
        let new = ModelResource { parent, concurrency: Some(2), rate: base, bucket, n_held: 0 };
        self.current[of] = self.ids.len();
        self.ids.push(id);
        self.resources.push(new);
        for at in 0..N_QUEUES {
            if self.queues[at].resource == Some(old) && !(amount + at).is_multiple_of(4) {
                self.set_resource(at, Some(self.current[of]));
            }
        }
        Ok(())
    }
}
