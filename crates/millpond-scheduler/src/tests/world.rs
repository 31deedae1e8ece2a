//! Two schedulers that share limits, beside the model.

mod later;

use std::time::Duration;

use super::model::{ModelBucket, ModelResource};
use crate::rules::Rules;
use crate::{
    Band, Explanation, Head, Heads, Limit, Limits, Permit, Pick, Picked, QueueHandle, QueueOptions,
    Rate, Refused, ResourceId, Scheduler, SchedulerOptions, Weight,
};

/// Steps have kinds below this.
pub(super) const KINDS: u16 = 330;
const N_QUEUES: usize = 10;
/// The resource of both domains.
const DOMAIN: usize = 4;
/// Parent, concurrency, tokens per 100 ns and burst.
type Shape = (Option<usize>, Option<u32>, Option<(u32, u32)>);
/// A plan; two tenants in it; a queue of the first tenant; the domains.
const RESOURCES: [Shape; 5] = [
    (None, Some(6), None),
    (Some(0), Some(2), None),
    (Some(0), Some(3), Some((5, 2))),
    (Some(1), Some(1), None),
    (None, Some(4), Some((20, 5))),
];
const PER_NS: u64 = 100;

/// One step, as numbers: any three of them mean something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) kind: u16,
    pub(super) pick: u16,
    pub(super) amount: u16,
}

#[derive(Debug)]
struct ModelQueue {
    scheduler: usize,
    handle: QueueHandle,
    /// `Some(0)`: unknown.
    head: Option<u32>,
    paused: bool,
    resource: Option<usize>,
}

#[derive(Debug)]
struct ModelPermit {
    permit: Permit,
    /// What it was picked or taken for, unless it was adopted.
    picked: Option<Picked>,
    /// Of its take; `None` if nothing is given back.
    number: Option<u64>,
    resources: Vec<usize>,
}

pub(super) struct World {
    limits: Limits,
    schedulers: [Scheduler; 2],
    paused: [bool; 2],
    /// Those in [`RESOURCES`] first; then what has replaced them.
    ids: Vec<ResourceId>,
    resources: Vec<ModelResource>,
    /// What stands for each in [`RESOURCES`] now.
    current: [usize; RESOURCES.len()],
    queues: Vec<ModelQueue>,
    held: Vec<ModelPermit>,
    ageing: bool,
    n_picks: u64,
    now_ns: u64,
}

type Checked = Result<(), String>;

impl World {
    pub(super) fn new(ageing: bool, rules: Rules) -> Self {
        let mut limits = Limits::with_rules(rules);
        let mut ids: Vec<ResourceId> = Vec::new();
        let mut resources = Vec::new();
        for (parent, concurrency, rate) in RESOURCES {
            let limit = limit_of(concurrency, rate);
            ids.push(limits.add(0, limit, parent.map(|parent| ids[parent])).unwrap());
            let bucket = rate.map(|(n_tokens, burst)| ModelBucket::new(n_tokens, PER_NS, burst, 0));
            resources.push(ModelResource { parent, concurrency, rate, bucket, n_held: 0 });
        }
        let options = SchedulerOptions::new().resource(ids[DOMAIN]).quantum(3).unwrap();
        let options = if ageing { options.ageing(3).unwrap() } else { options };
        let schedulers =
            [0, 1].map(|_| Scheduler::with_rules(options, &mut limits, rules).unwrap());
        let mut world = Self {
            limits,
            schedulers,
            paused: [false; 2],
            ids,
            resources,
            current: [0, 1, 2, 3, DOMAIN],
            queues: Vec::new(),
            held: Vec::new(),
            ageing,
            n_picks: 0,
            now_ns: 0,
        };
        for number in 0..N_QUEUES {
            let queue = world.new_queue(number, number % 5);
            world.queues.push(queue);
        }
        world
    }

    fn new_queue(&mut self, number: usize, choice: usize) -> ModelQueue {
        let scheduler = number % 2;
        let resource = self.resource_of(choice);
        let options = QueueOptions {
            owner_slot: u32::try_from(number).unwrap(),
            weight: Weight::new(1 + u32::try_from(choice).unwrap()).unwrap(),
            band: Band::ALL[choice % 3],
            resource: resource.map(|at| self.ids[at]),
        };
        let handle = self.schedulers[scheduler].add(&mut self.limits, options).unwrap();
        ModelQueue { scheduler, handle, head: None, paused: false, resource }
    }

    pub(super) fn step(&mut self, step: Step) -> Checked {
        let (pick, amount) = (usize::from(step.pick), usize::from(step.amount));
        let at = pick % N_QUEUES;
        let ModelQueue { scheduler, handle, .. } = self.queues[at];
        let limits = &mut self.limits;
        let subject = &mut self.schedulers[scheduler];
        match step.kind {
            0..70 => {
                let heads = if amount % 4 == 0 { Heads::PassOver } else { Heads::Read };
                self.pick(pick % 2, heads).map(drop)?;
            }
            70..115 => {
                let head = [None, Some(0), Some(1), Some(2), Some(9)][amount % 5];
                self.set_head(at, head);
            }
            115..140 => self.end_one(pick, amount % 4 == 0)?,
            140..155 => {
                subject.pause(limits, handle).unwrap();
                self.queues[at].paused = true;
            }
            155..180 => {
                subject.resume(handle).unwrap();
                self.queues[at].paused = false;
            }
            180..190 => {
                self.paused[scheduler] = amount % 3 == 0;
                if self.paused[scheduler] { subject.pause_all() } else { subject.resume_all() }
            }
            190..198 => {
                let weight = Weight::new(1 + u32::from(step.amount % 5)).unwrap();
                subject.set_weight(handle, weight).unwrap();
            }
            198..206 => subject.set_band(limits, handle, Band::ALL[amount % 4]).unwrap(),
            206..214 => {
                let resource = self.resource_of(amount % 5);
                self.set_resource(at, resource);
            }
            214..222 => {
                subject.remove(limits, handle).unwrap();
                if subject.remove(limits, handle) != Err(Refused::UnknownQueue) {
                    return Err("a queue was removed twice".to_owned());
                }
                self.queues[at] = self.new_queue(at, amount % 5);
            }
            222..232 => self.change_limit(self.current[pick % RESOURCES.len()], amount),
            232..244 => {
                self.now_ns += u64::from(step.amount % 64);
                self.limits.advance(self.now_ns);
            }
            244..248 => {
                let mut stands = 0..100;
                while !self.schedulers[pick % 2].stand_back(&mut self.limits).unwrap() {
                    stands.next().ok_or("there is always something promised")?;
                }
            }
            248..256 => self.nobody_is_stranded()?,
            256.. => self.later_step(step)?,
        }
        Ok(())
    }

    fn set_head(&mut self, at: usize, head: Option<u32>) {
        let told = match head {
            None => Head::None,
            Some(0) => Head::Unknown,
            Some(cost) => Head::Cost(cost),
        };
        let queue = &mut self.queues[at];
        self.schedulers[queue.scheduler].set_head(&mut self.limits, queue.handle, told).unwrap();
        queue.head = head;
    }

    /// Changes the concurrency, and sometimes lifts the rate; that of the domains stays, so that there is an
    /// end to picking.
    fn change_limit(&mut self, at: usize, amount: usize) {
        let rate = self.resources[at].rate.filter(|_| at == DOMAIN || !amount.is_multiple_of(7));
        let concurrency = [None, Some(0), Some(1), Some(2), Some(5)][amount % 5];
        self.limits.change(self.now_ns, self.ids[at], limit_of(concurrency, rate)).unwrap();
        let resource = &mut self.resources[at];
        resource.concurrency = concurrency;
        match (&mut resource.bucket, rate) {
            (Some(bucket), Some(_)) => bucket.forget_takes(self.now_ns),
            (bucket, rate) => {
                let new = |(n, burst)| ModelBucket::new(n, PER_NS, burst, self.now_ns);
                *bucket = rate.map(new);
            }
        }
    }

    fn set_resource(&mut self, at: usize, resource: Option<usize>) {
        let queue = &mut self.queues[at];
        let id = resource.map(|at| self.ids[at]);
        let subject = &mut self.schedulers[queue.scheduler];
        subject.set_resource(&mut self.limits, queue.handle, id).unwrap();
        queue.resource = resource;
    }

    fn resource_of(&self, choice: usize) -> Option<usize> {
        choice.checked_sub(1).map(|of| self.current[of])
    }

    fn chain(&self, leaf: Option<usize>) -> Vec<usize> {
        std::iter::successors(leaf, |at| self.resources[*at].parent).collect()
    }

    /// Everything that a pick of the queue would be charged to.
    fn resources_of(&self, queue: &ModelQueue) -> Vec<usize> {
        let mut resources = self.chain(Some(DOMAIN));
        resources.extend(self.chain(queue.resource));
        resources
    }

    /// One pick; whether to go on.
    fn pick(&mut self, scheduler: usize, heads: Heads) -> Result<bool, String> {
        let subject = &mut self.schedulers[scheduler];
        let pick = subject.pick(self.now_ns, &mut self.limits, heads).unwrap();
        let picked = match pick {
            Pick::Serve(picked) => picked,
            Pick::ReadHead { owner_slot, .. } => {
                let queue = &self.queues[owner_slot as usize];
                if queue.head != Some(0) || heads == Heads::PassOver {
                    return Err(format!("the head of {queue:?} was asked for"));
                }
                return Ok(true);
            }
            Pick::Again => return Ok(true),
            Pick::Blocked | Pick::Paused | Pick::Idle => return Ok(false),
        };
        self.check_served(scheduler, &picked)?;
        self.check_band(scheduler, heads, &picked)?;
        self.hold(picked)?;
        Ok(true)
    }

    /// Counts what a pick or a take holds.
    fn hold(&mut self, picked: Picked) -> Checked {
        let number = self.n_picks;
        self.n_picks += 1;
        let resources = self.resources_of(&self.queues[picked.owner_slot as usize]);
        for at in &resources {
            let resource = &mut self.resources[*at];
            resource.n_held += 1;
            if let Some(bucket) = &mut resource.bucket {
                bucket.take(number, self.now_ns, 1);
            }
        }
        let permit = picked.permit.ok_or("a queue of a limited domain has a permit")?;
        self.held.push(ModelPermit {
            permit,
            picked: Some(picked),
            number: Some(number),
            resources,
        });
        Ok(())
    }

    fn check_served(&self, scheduler: usize, picked: &Picked) -> Checked {
        let queue = &self.queues[picked.owner_slot as usize];
        if queue.head != Some(picked.cost) || picked.cost == 0 || queue.handle != picked.queue {
            return Err(format!("{picked:?} was picked from {queue:?}"));
        }
        if queue.paused || self.paused[scheduler] {
            return Err(format!("{queue:?} was picked, and is paused"));
        }
        if let Some(at) = self.short_of(queue) {
            return Err(format!("{queue:?} was picked, and resource {at} has nothing left"));
        }
        Ok(())
    }

    fn check_band(&self, scheduler: usize, heads: Heads, picked: &Picked) -> Checked {
        let queue = &self.queues[picked.owner_slot as usize];
        let band = self.schedulers[scheduler].queues[picked.queue.slot].band;
        let before = Band::ALL[..band.index()].iter();
        let n_before: usize = before.map(|band| self.schedulers[scheduler].n_eligible(*band)).sum();
        if n_before > 0 && heads == Heads::Read && !self.ageing {
            return Err(format!("{queue:?} was picked, and {n_before} are in bands before it"));
        }
        Ok(())
    }

    fn short_of(&self, queue: &ModelQueue) -> Option<usize> {
        self.resources_of(queue).into_iter().find(|at| self.resources[*at].lacks(self.now_ns))
    }

    /// Releases a permit, or gives a pick back.
    fn end_one(&mut self, pick: usize, gives_back: bool) -> Checked {
        if self.held.is_empty() {
            return Ok(());
        }
        let ModelPermit { permit, picked, number, resources } =
            self.held.swap_remove(pick % self.held.len());
        let given_back = picked.filter(|_| gives_back);
        for at in resources {
            let resource = &mut self.resources[at];
            resource.n_held -= 1;
            if let (Some(bucket), Some(number), Some(_)) =
                (&mut resource.bucket, number, &given_back)
            {
                bucket.refund(number);
            }
        }
        if let Some(picked) = given_back {
            let subject = &mut self.schedulers[picked.owner_slot as usize % 2];
            subject.give_back(self.now_ns, &mut self.limits, picked).unwrap();
        } else {
            self.limits.release(self.now_ns, permit).unwrap();
        }
        match self.limits.release(self.now_ns, permit) {
            Err(Refused::StalePermit) => Ok(()),
            other => Err(format!("a permit was released twice: {other:?}")),
        }
    }

    /// Picks until there is nothing to be picked. Then every queue lacks something.
    fn nobody_is_stranded(&mut self) -> Checked {
        let mut n_done = 0;
        for turn in 0..2_000 {
            if n_done == 4 {
                break;
            }
            n_done = if self.pick(turn % 2, Heads::Read)? { 0 } else { n_done + 1 };
            self.answer_reads();
        }
        if n_done < 4 {
            return Err("there is always something to be picked".to_owned());
        }
        for queue in &self.queues {
            let is_kept = queue.paused || self.paused[queue.scheduler] || queue.head.is_none();
            if !is_kept && self.short_of(queue).is_none() {
                return Err(format!("{queue:?} is stranded"));
            }
            let subject = &self.schedulers[queue.scheduler];
            let why = subject.explain(&self.limits, queue.handle).map_err(|why| why.to_string())?;
            let is_plausible = match why {
                Explanation::Idle => queue.head.is_none(),
                Explanation::Paused { .. }
                | Explanation::WaitsForPermit { .. }
                | Explanation::Throttled { .. } => true,
                _ => false,
            };
            if !is_plausible {
                return Err(format!("{queue:?} is {why:?}"));
            }
        }
        Ok(())
    }

    /// All heads that are being read turn out to cost 1.
    fn answer_reads(&mut self) {
        for at in 0..N_QUEUES {
            let ModelQueue { scheduler, handle, head, .. } = self.queues[at];
            let explained = self.schedulers[scheduler].explain(&self.limits, handle);
            if explained == Ok(Explanation::ReadingHead) || head == Some(0) {
                self.set_head(at, Some(1));
            }
        }
    }

    /// Compares all that can be seen with the model.
    pub(super) fn audit(&self) -> Checked {
        for (id, resource) in self.ids.iter().zip(&self.resources) {
            let usage = self.limits.usage(*id).unwrap();
            if (usage.n_held, usage.concurrency) != (resource.n_held, resource.concurrency) {
                return Err(format!("{usage:?}, and {resource:?} in the model"));
            }
            let expected = resource.bucket.as_ref().map(|bucket| bucket.level(self.now_ns));
            let level = self.limits.level(*id, self.now_ns);
            let is_full = resource.bucket.as_ref().is_none_or(|of| Some(of.full()) == level);
            let is_at_rest = self.limits.is_at_rest(self.now_ns, *id).unwrap();
            if is_at_rest && (resource.n_held > 0 || !is_full) {
                return Err(format!("{id:?} is at rest: {usage:?}, and its level is {level:?}"));
            }
            if level != expected {
                return Err(format!("level {level:?} of {id:?}, and {expected:?} in the model"));
            }
        }
        if self.limits.n_permits() != self.held.len() {
            return Err(format!("{} permits are out", self.limits.n_permits()));
        }
        self.limits.audit()?;
        self.schedulers.iter().try_for_each(Scheduler::audit)
    }

    /// Everything is released and resumed: every queue is served, and nothing is left behind.
    pub(super) fn finish(mut self) -> Checked {
        while !self.held.is_empty() {
            self.end_one(0, false)?;
        }
        self.audit()?;
        for at in 0..self.ids.len() {
            self.change_limit(at, 2);
        }
        for at in 0..N_QUEUES {
            self.queues[at].paused = false;
            let ModelQueue { scheduler, handle, .. } = self.queues[at];
            self.schedulers[scheduler].resume(handle).unwrap();
            self.set_head(at, Some(1));
        }
        self.paused = [false; 2];
        self.schedulers.iter_mut().for_each(Scheduler::resume_all);
        let (mut n_served, mut n_idle) = (0, 0);
        for turn in 0..4_000 {
            if n_served == N_QUEUES {
                break;
            }
            n_idle = if self.pick(turn % 2, Heads::Read)? { 0 } else { n_idle + 1 };
            if let Some(picked) = self.held.last().and_then(|served| served.picked.as_ref()) {
                n_served += 1;
                let at = picked.owner_slot as usize;
                self.set_head(at, None);
                self.end_one(0, false)?;
            } else if n_idle > 3 {
                let deadline_ns = self.limits.next_deadline_ns();
                self.now_ns = deadline_ns.ok_or("nothing to be picked, and nothing to wait for")?;
                n_idle = 0;
            }
            self.audit()?;
        }
        if n_served < N_QUEUES {
            return Err(format!("{n_served} of {N_QUEUES} queues were served at the end"));
        }
        for scheduler in self.schedulers {
            scheduler.close(&mut self.limits).unwrap();
        }
        self.limits.audit()?;
        for id in self.ids.into_iter().rev() {
            self.limits.remove(id).map_err(|why| format!("at the end: {why}"))?;
        }
        Ok(())
    }
}

fn limit_of(concurrency: Option<u32>, rate: Option<(u32, u32)>) -> Limit {
    let mut limit = Limit::none();
    if let Some(n_permits) = concurrency {
        limit = limit.concurrency(n_permits);
    }
    match rate {
        Some((n_tokens, burst)) => {
            let per = Duration::from_nanos(PER_NS);
            limit.rate(Rate::new(n_tokens, per, burst).unwrap())
        }
        None => limit,
    }
}
