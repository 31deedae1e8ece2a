//! The subject: deficit round robin, without limits or with a tenant for every queue.

use std::collections::VecDeque;

use millpond_scheduler::{
    Head, Heads, Limit, Limits, Permit, Pick, QueueHandle, QueueOptions, Scheduler,
    SchedulerOptions, Weight,
};

use super::{Outcome, Subject};

const N_TENANTS: usize = 1_000;
/// Picks until a permit is released.
const N_HELD: usize = 64;

pub(super) struct Drr<const TENANTS: bool> {
    limits: Limits,
    scheduler: Scheduler,
    handles: Vec<QueueHandle>,
    held: VecDeque<Permit>,
}

impl<const TENANTS: bool> Subject for Drr<TENANTS> {
    fn new(weights: &[u32]) -> Outcome<Self> {
        let mut limits = Limits::new();
        let mut scheduler = Scheduler::new(SchedulerOptions::new(), &mut limits)?;
        let mut tenants = Vec::new();
        for _ in 0..if TENANTS { N_TENANTS.min(weights.len()) } else { 0 } {
            tenants.push(limits.add(0, Limit::none().concurrency(1_000), None)?);
        }
        // The handle is kept where an owner keeps the queue.
        let mut handles = Vec::with_capacity(weights.len());
        for (at, weight) in weights.iter().enumerate() {
            let options = QueueOptions {
                owner_slot: u32::try_from(at)?,
                weight: Weight::new(*weight)?,
                resource: tenants.get(at % N_TENANTS).copied(),
                ..QueueOptions::default()
            };
            handles.push(scheduler.add(&mut limits, options)?);
        }
        Ok(Self { limits, scheduler, handles, held: VecDeque::with_capacity(N_HELD + 1) })
    }

    fn fill(&mut self, queue: usize) -> Outcome<()> {
        self.scheduler.set_head(&mut self.limits, self.handles[queue], Head::Cost(1))?;
        Ok(())
    }

    fn pick(&mut self) -> Outcome<usize> {
        let Pick::Serve(picked) = self.scheduler.pick(0, &mut self.limits, Heads::Read)? else {
            return Err("there is always something to be picked".into());
        };
        self.held.extend(picked.permit);
        if self.held.len() > N_HELD
            && let Some(permit) = self.held.pop_front()
        {
            self.limits.release(0, permit)?;
        }
        Ok(picked.owner_slot as usize)
    }
}
