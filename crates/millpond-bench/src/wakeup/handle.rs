//! The subject: timers by handle.

use millpond_wakeup::{Due, Handle, Nanos, Timers};

use super::{Outcome, Subject, set};

/// Timers that one call takes out.
const BATCH: usize = 1_024;

pub(super) struct Handles {
    timers: Timers<u64>,
    /// By number of the timer.
    handles: Vec<Handle>,
    batch: Vec<Due<u64>>,
}

impl Handles {
    pub(super) fn new(n_timers: usize) -> Self {
        let batch = Vec::with_capacity(BATCH);
        Self { timers: Timers::new(n_timers), handles: Vec::with_capacity(n_timers), batch }
    }
}

impl Subject for Handles {
    fn insert(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        let handle = self.timers.insert(Nanos(deadline_ns), timer as u64);
        set(&mut self.handles, timer, handle.map_err(|rejected| rejected.kind)?);
        Ok(())
    }

    fn replace(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        self.timers
            .reset(self.handles[timer], Nanos(deadline_ns))
            .ok_or("a live handle is stale")?;
        Ok(())
    }

    fn cancel(&mut self, timer: usize) -> Outcome<()> {
        if self.timers.cancel(self.handles[timer]) != Some(timer as u64) {
            return Err("another timer was cancelled".into());
        }
        Ok(())
    }

    fn drain(&mut self, now_ns: u64, deliver: &mut impl FnMut(usize)) -> Outcome<()> {
        loop {
            let drained = self.timers.drain_due(Nanos(now_ns), BATCH, &mut self.batch);
            for due in self.batch.drain(..) {
                deliver(usize::try_from(due.value)?);
            }
            if !drained.more {
                return Ok(());
            }
        }
    }
}
