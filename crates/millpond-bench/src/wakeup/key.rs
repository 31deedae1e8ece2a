//! The subject: timers by key.

use millpond_wakeup::{Due, Nanos, SetOutcome, Wakeups};

use super::{Outcome, Subject};

/// Timers that one call takes out.
const BATCH: usize = 1_024;

pub(super) struct Keys {
    wakeups: Wakeups<u64>,
    batch: Vec<Due<u64>>,
}

impl Keys {
    pub(super) fn new(n_timers: usize) -> Self {
        Self { wakeups: Wakeups::new(n_timers), batch: Vec::with_capacity(BATCH) }
    }
}

impl Subject for Keys {
    fn insert(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let set = self.wakeups.set(timer as u64, Nanos(deadline_ns));
        if set.map_err(|rejected| rejected.kind)?.outcome != SetOutcome::Inserted {
            return Err("the key was set before".into());
        }
        Ok(())
    }

    fn replace(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let set = self.wakeups.set(timer as u64, Nanos(deadline_ns));
        if set.map_err(|rejected| rejected.kind)?.outcome == SetOutcome::Inserted {
            return Err("the key was not set before".into());
        }
        Ok(())
    }

    fn cancel(&mut self, timer: usize) -> Outcome<()> {
        if !self.wakeups.cancel(&(timer as u64)) {
            return Err("the key was not set".into());
        }
        Ok(())
    }

    fn drain(&mut self, now_ns: u64, deliver: &mut impl FnMut(usize)) -> Outcome<()> {
        loop {
            let drained = self.wakeups.drain_due(Nanos(now_ns), BATCH, &mut self.batch);
            for due in self.batch.drain(..) {
                deliver(usize::try_from(due.value)?);
            }
            if !drained.more {
                return Ok(());
            }
        }
    }
}
