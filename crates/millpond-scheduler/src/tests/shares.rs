//! Who gets how much, over many picks.

use std::collections::VecDeque;

use super::{Random, variable, with};
use crate::rules::Mutation;
use crate::{
    Band, Head, Heads, Limit, Limits, Pick, Picked, QueueHandle, QueueOptions, ResourceId,
    Scheduler, SchedulerOptions, Take, Weight,
};

pub(super) type Checked = Result<(), String>;

pub(super) const N_PICKS: usize = 20_000;
/// Calls that a pick may take: it looks at 64 queues in each, and there are fewer.
const AGAIN_MAX: usize = 100;

/// What a queue does between its turns.
type Trick = fn(&mut Bench, usize);

pub(super) struct Bench {
    pub(super) limits: Limits,
    pub(super) scheduler: Scheduler,
    pub(super) handles: Vec<QueueHandle>,
    weights: Vec<u32>,
}

impl Bench {
    pub(super) fn new(options: SchedulerOptions, broken: Option<Mutation>) -> Self {
        let mut limits = Limits::with_rules(with(broken));
        let scheduler = Scheduler::with_rules(options, &mut limits, with(broken)).unwrap();
        Self { limits, scheduler, handles: Vec::new(), weights: Vec::new() }
    }

    pub(super) fn add(&mut self, weight: u32, band: Band, resource: Option<ResourceId>) -> usize {
        let at = self.handles.len();
        let options = QueueOptions {
            owner_slot: u32::try_from(at).unwrap(),
            weight: Weight::new(weight).unwrap(),
            band,
            resource,
        };
        self.handles.push(self.scheduler.add(&mut self.limits, options).unwrap());
        self.weights.push(weight);
        self.set(at, Head::Cost(1));
        at
    }

    pub(super) fn set(&mut self, at: usize, head: Head) {
        self.scheduler.set_head(&mut self.limits, self.handles[at], head).unwrap();
    }

    pub(super) fn pick(&mut self) -> Option<Picked> {
        for _ in 0..AGAIN_MAX {
            match self.scheduler.pick(0, &mut self.limits, Heads::Read).unwrap() {
                Pick::Serve(picked) => return Some(picked),
                Pick::Again => {}
                _ => return None,
            }
        }
        None
    }

    pub(super) fn take(&mut self, at: usize) -> Take {
        self.scheduler.take(0, &mut self.limits, self.handles[at]).unwrap()
    }

    pub(super) fn must_pick(&mut self) -> Result<Picked, String> {
        self.pick().ok_or_else(|| "there is something to be picked".to_owned())
    }

    /// Every share is within so much of what the weights say.
    fn check(&self, served: &[u64], tolerance: impl Fn(u32) -> u64) -> Checked {
        let total: u64 = served.iter().sum();
        let weight: u64 = self.weights.iter().map(|weight| u64::from(*weight)).sum();
        for (at, (served, of)) in served.iter().zip(&self.weights).enumerate() {
            let due = total * u64::from(*of) / weight;
            if served.abs_diff(due) > tolerance(*of) + 1 {
                return Err(format!(
                    "queue {at} got {served} of {total}, and {due} were its share"
                ));
            }
        }
        Ok(())
    }
}

/// At every moment, every share is within one quantum of its weight; also after the weights have changed.
pub(super) fn follow_weights(broken: Option<Mutation>) -> Checked {
    let mut random = Random(variable("MILLPOND_SCHEDULER_SEED", 5));
    let mut bench = Bench::new(SchedulerOptions::new(), broken);
    for _ in 0..50 {
        bench.add(1 + random.below(10), Band::FIRST, None);
    }
    let mut served = vec![0; bench.handles.len()];
    for _ in 0..N_PICKS {
        served[bench.must_pick()?.owner_slot as usize] += 1;
        bench.check(&served, u64::from)?;
    }
    for at in 0..bench.handles.len() {
        bench.weights[at] = 1 + random.below(10);
        let weight = Weight::new(bench.weights[at]).unwrap();
        bench.scheduler.set_weight(bench.handles[at], weight).unwrap();
    }
    let total = bench.weights.iter().copied().map(u64::from).sum();
    if bench.scheduler.eligible_weight(Band::FIRST) != total {
        return Err("the total is not that of the weights".to_owned());
    }
    served.fill(0);
    for _ in 0..N_PICKS {
        served[bench.must_pick()?.owner_slot as usize] += 1;
        // What was left of the turn that a change of weight met comes on top.
        bench.check(&served, |weight| u64::from(weight) + 10)?;
    }
    Ok(())
}

/// The same where entries differ in cost, some of them costing more than a quantum.
pub(super) fn follow_weights_by_cost(broken: Option<Mutation>) -> Checked {
    const QUANTUM: u32 = 100;
    const COST_MAX: u32 = 250;
    let mut random = Random(variable("MILLPOND_SCHEDULER_SEED", 6));
    let mut bench = Bench::new(SchedulerOptions::new().quantum(QUANTUM).unwrap(), broken);
    for _ in 0..20 {
        bench.add(1 + random.below(5), Band::FIRST, None);
    }
    let mut served = vec![0; bench.handles.len()];
    for _ in 0..N_PICKS {
        let Picked { owner_slot, cost, .. } = bench.must_pick()?;
        served[owner_slot as usize] += u64::from(cost);
        bench.set(owner_slot as usize, Head::Cost(1 + random.below(COST_MAX)));
        // A queue ends its turn short of its quantum by less than an entry.
        bench.check(&served, |weight| u64::from(QUANTUM * weight + 2 * COST_MAX))?;
    }
    Ok(())
}

/// The same among the queues of a tenant that share a few permits, one of which is released at a time.
pub(super) fn follow_weights_under_a_limit(broken: Option<Mutation>) -> Checked {
    for n_permits in [1, 3] {
        let mut bench = Bench::new(SchedulerOptions::new(), broken);
        let plan = bench.limits.add(0, Limit::none().concurrency(n_permits), None).unwrap();
        let tenant = bench.limits.add(0, Limit::none(), Some(plan)).unwrap();
        for weight in [1, 2, 3, 5, 8] {
            bench.add(weight, Band::FIRST, Some(tenant));
        }
        let mut served = vec![0; bench.handles.len()];
        let mut held = VecDeque::new();
        for _ in 0..N_PICKS {
            while let Some(picked) = bench.pick() {
                served[picked.owner_slot as usize] += 1;
                held.extend(picked.permit);
                if held.len() > n_permits as usize {
                    return Err(format!("{} permits of {n_permits} are out", held.len()));
                }
            }
            let oldest = held.pop_front().ok_or("all permits are out")?;
            bench.limits.release(0, oldest).unwrap();
            // Two turns of a queue can be under way: its next may begin before the last entry was settled.
            bench.check(&served, |weight| u64::from(2 * weight) + 8)?;
        }
    }
    Ok(())
}

/// Whatever a queue does between its turns, it gets no more than one that stays.
pub(super) fn coming_back_gains_nothing(broken: Option<Mutation>) -> Checked {
    let tricks: [(&str, Trick); 4] = [
        ("runs empty", |bench, at| {
            bench.set(at, Head::None);
            bench.set(at, Head::Cost(1));
        }),
        ("is paused", |bench, at| {
            bench.scheduler.pause(&mut bench.limits, bench.handles[at]).unwrap();
            bench.scheduler.resume(bench.handles[at]).unwrap();
        }),
        ("moves to and fro", |bench, at| {
            for band in [Band::LAST, Band::FIRST] {
                bench.scheduler.set_band(&mut bench.limits, bench.handles[at], band).unwrap();
            }
        }),
        ("has dear entries, and runs empty", |bench, at| {
            bench.set(at, Head::None);
            bench.set(at, Head::Cost(3));
        }),
    ];
    for (what, trick) in tricks {
        let mut bench = Bench::new(SchedulerOptions::new().quantum(2).unwrap(), broken);
        for _ in 0..5 {
            bench.add(2, Band::FIRST, None);
        }
        let mut served = [0; 5];
        for number in 0..N_PICKS {
            let Picked { owner_slot, cost, .. } = bench.must_pick()?;
            served[owner_slot as usize] += u64::from(cost);
            if owner_slot == 0 || number % 7 == 0 {
                trick(&mut bench, 0);
            }
            let [trickster, others @ ..] = served;
            if others.into_iter().any(|other| trickster > other + 8) {
                return Err(format!("a queue that {what} gets {trickster}, the others {others:?}"));
            }
        }
    }
    Ok(())
}

/// A queue that is blocked in its turn goes on with it, and with nothing more.
pub(super) fn being_blocked_costs_nothing(broken: Option<Mutation>) -> Checked {
    let mut bench = Bench::new(SchedulerOptions::new(), broken);
    let own = bench.limits.add(0, Limit::none().concurrency(1), None).unwrap();
    bench.add(4, Band::FIRST, Some(own));
    bench.add(4, Band::FIRST, None);
    bench.add(4, Band::FIRST, None);
    let mut served = vec![0; 3];
    let mut held = None;
    for _ in 0..N_PICKS {
        let picked = bench.must_pick()?;
        // The permit comes back once the queue was blocked.
        if picked.owner_slot != 0
            && let Some(permit) = held.take()
        {
            bench.limits.release(0, permit).unwrap();
        }
        served[picked.owner_slot as usize] += 1;
        held = picked.permit.or(held);
        bench.check(&served, |weight| u64::from(weight) + 1)?;
    }
    Ok(())
}

/// A backlogged queue is served once per round, whatever the others do.
pub(super) fn nobody_starves(broken: Option<Mutation>) -> Checked {
    const N_QUEUES: u32 = 20;
    const WEIGHT_MAX: u32 = 5;
    let mut random = Random(variable("MILLPOND_SCHEDULER_SEED", 8));
    let mut bench = Bench::new(SchedulerOptions::new(), broken);
    let tenant = bench.limits.add(0, Limit::none().concurrency(3), None).unwrap();
    for at in 0..N_QUEUES {
        bench.add(1, Band::FIRST, (at % 4 == 1).then_some(tenant));
    }
    let mut held = VecDeque::new();
    let mut n_since = 0;
    for _ in 0..N_PICKS {
        let other = 1 + random.below(N_QUEUES - 1) as usize;
        let handle = bench.handles[other];
        match random.below(8) {
            0 => bench.set(other, Head::None),
            1 | 2 => bench.set(other, Head::Cost(1)),
            3 => bench.scheduler.pause(&mut bench.limits, handle).unwrap(),
            4 | 5 => bench.scheduler.resume(handle).unwrap(),
            6 => {
                let weight = Weight::new(1 + random.below(WEIGHT_MAX)).unwrap();
                bench.scheduler.set_weight(handle, weight).unwrap();
            }
            _ => {
                if let Some(permit) = held.pop_front() {
                    bench.limits.release(0, permit).unwrap();
                }
            }
        }
        let picked = bench.must_pick()?;
        held.extend(picked.permit);
        n_since = if picked.owner_slot == 0 { 0 } else { n_since + 1 };
        // A round, and the turns that were interrupted before it.
        if n_since > 2 * N_QUEUES * WEIGHT_MAX {
            return Err(format!("a queue was not served for {n_since} picks"));
        }
    }
    Ok(())
}

/// A band that can be served waits no longer than its ageing says, and one pick for each other band.
pub(super) fn aged_bands_are_served(broken: Option<Mutation>) -> Checked {
    const AGEING: usize = 7;
    let options = SchedulerOptions::new().ageing(u32::try_from(AGEING).unwrap()).unwrap();
    let mut bench = Bench::new(options, broken);
    for band in [0, 0, 1, 2, 2, 3] {
        bench.add(1, Band::new(band).unwrap(), None);
    }
    let bands = [0, 0, 1, 2, 2, 3];
    let mut last = [0; Band::COUNT];
    for number in 1..=N_PICKS {
        last[bands[bench.must_pick()?.owner_slot as usize]] = number;
        if let Some(band) = last.iter().position(|last| number - last > AGEING + Band::COUNT) {
            return Err(format!("band {band} was passed over for too long"));
        }
    }
    // Sooner, once it was changed; and never, once there is none.
    bench.scheduler.set_ageing(Some(2)).unwrap();
    for number in N_PICKS + 1..=2 * N_PICKS {
        last[bands[bench.must_pick()?.owner_slot as usize]] = number;
        let is_new = number > N_PICKS + AGEING + Band::COUNT;
        if is_new && last.iter().any(|last| number - last > 2 + Band::COUNT) {
            return Err("a band was passed over for longer than the new ageing".to_owned());
        }
    }
    bench.scheduler.set_ageing(None).unwrap();
    for _ in 0..100 {
        if bands[bench.must_pick()?.owner_slot as usize] != 0 {
            return Err("a band was served before the first".to_owned());
        }
    }
    // Without ageing the first band has everything.
    let mut strict = Bench::new(SchedulerOptions::new(), broken);
    let (first, second) = (Band::FIRST, Band::LAST);
    strict.add(1, second, None);
    strict.add(1, first, None);
    for _ in 0..100 {
        if strict.must_pick()?.owner_slot != 1 {
            return Err("a band was served before the first".to_owned());
        }
    }
    Ok(())
}

/// k released permits wake the k that came first, and nobody else can have them.
pub(super) fn releases_wake_as_many(broken: Option<Mutation>) -> Checked {
    const N_PERMITS: u32 = 8;
    let mut bench = Bench::new(SchedulerOptions::new(), broken);
    let tenant = bench.limits.add(0, Limit::none().concurrency(N_PERMITS), None).unwrap();
    for _ in 0..20 {
        bench.add(1, Band::FIRST, Some(tenant));
    }
    let mut held = VecDeque::new();
    while let Some(picked) = bench.pick() {
        held.extend(picked.permit);
        bench.set(picked.owner_slot as usize, Head::None);
    }
    let mut other =
        Scheduler::with_rules(SchedulerOptions::new(), &mut bench.limits, with(broken)).unwrap();
    let options = QueueOptions { resource: Some(tenant), ..QueueOptions::default() };
    let newcomer = other.add(&mut bench.limits, options).unwrap();
    other.set_head(&mut bench.limits, newcomer, Head::Cost(1)).unwrap();
    let mut next = N_PERMITS;
    for (n_released, n_waiting) in [(1_u32, 12_u32), (3, 11), (5, 8)] {
        let usage = bench.limits.usage(tenant).unwrap();
        let n_newcomers = usage.n_waiting.saturating_sub(n_waiting);
        if usage.n_waiting < n_waiting || n_newcomers > 1 {
            return Err(format!("{} wait, not {n_waiting}", usage.n_waiting));
        }
        for permit in held.drain(..n_released as usize) {
            bench.limits.release(0, permit).unwrap();
        }
        let after = bench.limits.usage(tenant).unwrap();
        if (usage.n_waiting - after.n_waiting, after.n_promised)
            != (n_released, u64::from(n_released))
        {
            return Err(format!("{n_released} released permits: {after:?}"));
        }
        if other.pick(0, &mut bench.limits, Heads::Read) != Ok(Pick::Idle) {
            return Err("a newcomer took what was promised to others".to_owned());
        }
        for _ in 0..n_released {
            let picked = bench.must_pick()?;
            if picked.owner_slot != next {
                return Err(format!("{} was woken, and {next} came first", picked.owner_slot));
            }
            next += 1;
            held.extend(picked.permit);
            bench.set(picked.owner_slot as usize, Head::None);
        }
    }
    // What is promised to a queue that goes away goes to the next: here to the newcomer.
    for permit in held.drain(..2) {
        bench.limits.release(0, permit).unwrap();
    }
    for waiting in next..20 {
        bench.set(waiting as usize, Head::None);
    }
    match other.pick(0, &mut bench.limits, Heads::Read) {
        Ok(Pick::Serve(_)) => Ok(()),
        pick => Err(format!("what others left went to nobody: {pick:?}")),
    }
}

/// A promise to a low band, which may not be served for long, keeps no higher one waiting.
pub(super) fn a_high_band_takes_what_a_low_one_was_promised(broken: Option<Mutation>) -> Checked {
    let mut bench = Bench::new(SchedulerOptions::new(), broken);
    let tenant = bench.limits.add(0, Limit::none().concurrency(1), None).unwrap();
    let low = bench.add(1, Band::LAST, Some(tenant));
    let permit = bench.must_pick()?.permit.ok_or("it is subject to a limit")?;
    if bench.pick().is_some() {
        return Err("there was one permit".to_owned());
    }
    let busy = bench.add(1, Band::FIRST, None);
    bench.limits.release(0, permit).unwrap();
    if bench.must_pick()?.owner_slot as usize != busy {
        return Err("a low band was served".to_owned());
    }
    let high = bench.add(1, Band::FIRST, Some(tenant));
    let served = [bench.must_pick()?.owner_slot, bench.must_pick()?.owner_slot];
    if !served.contains(&u32::try_from(high).unwrap()) {
        return Err(format!("{served:?} were served, not {high}: {low} holds the permit"));
    }
    bench.scheduler.audit().and_then(|()| bench.limits.audit())?;
    Ok(())
}

/// As many queues as no cache holds, which are fetched some turns ahead: the order is the same.
#[test]
fn many_queues_have_their_turns() {
    const N_QUEUES: u32 = 20_000;
    let mut bench = Bench::new(SchedulerOptions::new(), None);
    for _ in 0..N_QUEUES {
        bench.add(1, Band::FIRST, None);
    }
    for round in 0..3 {
        for at in 0..N_QUEUES {
            assert_eq!(bench.must_pick().unwrap().owner_slot, at, "round {round}");
        }
    }
}
