//! Histories by handle.

use super::World;
use super::model::{Model, Op, Setup, Step, same};
use crate::rules::Rules;
use crate::{Due, Earlier, Handle, Nanos, RejectedKind, Replaced, Timers};

/// Handles that are remembered, whether their timers are live or not.
const KNOWN_MAX: usize = 4_096;

/// A handle, and the key of its timer when it was last set.
#[derive(Debug, Clone, Copy)]
struct Known {
    handle: Handle,
    value: u64,
    key: (Nanos, u64),
}

pub(super) struct HandleWorld {
    setup: Setup,
    rules: Rules,
    timers: Timers<u64>,
    /// Its handles are stale in `timers`.
    other: Timers<u64>,
    model: Model,
    now: Nanos,
    n_values: u64,
    known: Vec<Known>,
    batch: Vec<Due<u64>>,
}

impl World for HandleWorld {
    fn new(setup: Setup, rules: Rules) -> Self {
        Self {
            setup,
            rules,
            timers: Timers::with_rules(setup.capacity, rules),
            other: Timers::new(100_000),
            model: Model::default(),
            now: Nanos(5_000_000_000),
            n_values: 0,
            known: Vec::new(),
            batch: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step.op() {
            Op::Set => self.insert(step)?,
            Op::SetMany => self.many(step, Self::insert)?,
            Op::Replace => self.reset(step)?,
            Op::Earlier => self.reset_if_earlier(step)?,
            Op::Cancel => self.cancel(step)?,
            Op::CancelMany => self.many(step, Self::cancel)?,
            Op::Look => self.look(step)?,
            Op::Foreign => self.foreign(step)?,
            Op::Advance => self.now = Nanos(self.now.0 + step.elapsed()),
            Op::Pop => self.pop()?,
            Op::Drain => self.drain(usize::from(step.pick % 200))?,
            Op::TouchBatch => self.touch_batch()?,
            Op::Clear => self.clear(step)?,
            Op::Shutdown => self.shutdown(step)?,
        }
        same("next deadline", &self.timers.next_deadline(), &self.model.next_deadline())?;
        same("length", &self.timers.len(), &self.model.live.len())
    }

    fn audit(&self) -> Result<(), String> {
        self.timers.audit()
    }

    fn n_live(&self) -> usize {
        self.timers.len()
    }

    fn finish(mut self) -> Result<(u64, u64), String> {
        self.now = Nanos::MAX;
        self.drain(usize::MAX)?;
        same("left over", &(self.timers.len(), self.model.live.len()), &(0, 0))?;
        Ok(self.model.digests())
    }
}

impl HandleWorld {
    fn many(
        &mut self,
        mut step: Step,
        once: fn(&mut Self, Step) -> Result<(), String>,
    ) -> Result<(), String> {
        for _ in 0..step.pick % 64 {
            once(self, step)?;
            step.when = step.when.wrapping_add(16 * 977);
            step.pick = step.pick.wrapping_mul(31).wrapping_add(7);
        }
        Ok(())
    }

    fn insert(&mut self, step: Step) -> Result<(), String> {
        let (value, deadline) = (self.n_values, step.deadline(self.now));
        let live = self.model.live.len();
        match self.timers.insert(deadline, value) {
            Ok(handle) => {
                if live == self.setup.capacity {
                    return Err("an insert beyond the capacity".to_owned());
                }
                let key = (deadline, self.model.revision());
                self.model.live.insert(key, value);
                let known = Known { handle, value, key };
                if self.known.len() < KNOWN_MAX {
                    self.known.push(known);
                } else {
                    self.known[usize::from(step.pick) % KNOWN_MAX] = known;
                }
                self.n_values += 1;
                let revision = self.timers.get(handle).map(|timer| timer.revision.get());
                same("revision", &revision, &Some(key.1))
            }
            Err(rejected) => {
                same("value given back", &rejected.value, &value)?;
                same(
                    "reason",
                    &rejected.kind,
                    &RejectedKind::Capacity { live: self.setup.capacity },
                )?;
                same("live at a refusal", &live, &self.setup.capacity)
            }
        }
    }

    /// A handle, mostly of a live timer.
    fn pick(&self, step: Step) -> Option<usize> {
        let n_known = self.known.len();
        let first = usize::from(step.pick).checked_rem(n_known)?;
        if step.pick.is_multiple_of(4) {
            return Some(first);
        }
        let near = (0..8).map(|more| (first + more * 61) % n_known);
        near.clone().find(|index| self.is_live(&self.known[*index])).or(Some(first))
    }

    fn is_live(&self, known: &Known) -> bool {
        self.model.live.get(&known.key) == Some(&known.value)
    }

    fn reset(&mut self, step: Step) -> Result<(), String> {
        let Some(index) = self.pick(step) else { return Ok(()) };
        let (known, deadline) = (self.known[index], step.deadline(self.now));
        let subject = self.timers.reset(known.handle, deadline);
        if !self.is_live(&known) {
            return same("reset of a stale handle", &subject, &None);
        }
        self.moved(index, deadline, subject)
    }

    fn moved(
        &mut self,
        index: usize,
        deadline: Nanos,
        subject: Option<Replaced>,
    ) -> Result<(), String> {
        let Known { value, key, .. } = self.known[index];
        self.model.live.remove(&key);
        let revision = self.model.revision();
        self.model.live.insert((deadline, revision), value);
        self.known[index].key = (deadline, revision);
        let subject = subject.map(|replaced| (replaced.previous, replaced.revision.get()));
        same("replaced", &subject, &Some((key.0, revision)))
    }

    fn reset_if_earlier(&mut self, step: Step) -> Result<(), String> {
        let Some(index) = self.pick(step) else { return Ok(()) };
        let (known, deadline) = (self.known[index], step.deadline(self.now));
        let subject = self.timers.reset_if_earlier(known.handle, deadline);
        if !self.is_live(&known) {
            return same("reset of a stale handle", &subject, &None);
        }
        match subject {
            Some(Earlier::Moved(replaced)) if deadline < known.key.0 => {
                self.moved(index, deadline, Some(replaced))
            }
            Some(Earlier::Kept { deadline: kept, revision }) if deadline >= known.key.0 => {
                same("kept", &(kept, revision.get()), &known.key)
            }
            other => Err(format!("{deadline:?} over {:?} gave {other:?}", known.key)),
        }
    }

    fn cancel(&mut self, step: Step) -> Result<(), String> {
        let Some(index) = self.pick(step) else { return Ok(()) };
        let known = self.known[index];
        let expected = self.is_live(&known).then_some(known.value);
        if expected.is_some() {
            // Only then: after a shutdown, another timer may have the same deadline and revision.
            self.model.live.remove(&known.key);
        }
        same("cancelled", &self.timers.cancel(known.handle), &expected)
    }

    fn look(&mut self, step: Step) -> Result<(), String> {
        let Some(index) = self.pick(step) else { return Ok(()) };
        let known = self.known[index];
        let expected =
            self.is_live(&known).then_some((known.key.0, known.key.1, known.value, known.handle));
        let seen = self.timers.get(known.handle);
        let seen =
            seen.map(|timer| (timer.deadline, timer.revision.get(), *timer.value, timer.handle));
        same("seen", &seen, &expected)
    }

    /// Handles of another scheduler, and ones whose place does not exist here.
    fn foreign(&mut self, step: Step) -> Result<(), String> {
        let deadline = step.deadline(self.now);
        let Ok(handle) = self.other.insert(deadline, u64::MAX) else { return Ok(()) };
        same("foreign: seen", &self.timers.get(handle).is_some(), &false)?;
        same("foreign: reset", &self.timers.reset(handle, deadline), &None)?;
        same("foreign: cancelled", &self.timers.cancel(handle), &None)
    }

    fn pop(&mut self) -> Result<(), String> {
        let is_due = self.model.next_deadline().is_some_and(|deadline| deadline <= self.now);
        match self.timers.pop_due(self.now) {
            Some(due) if is_due => {
                self.model.deliver(&due)?;
                self.remember(vec![due])
            }
            None if !is_due => Ok(()),
            other => Err(format!("at {:?}: {other:?}", self.now)),
        }
    }

    fn drain(&mut self, budget: usize) -> Result<(), String> {
        let mut batch = Vec::new();
        let drained = self.timers.drain_due(self.now, budget, &mut batch);
        same("count of a batch", &drained.n_due, &batch.len())?;
        if batch.len() > budget {
            return Err(format!("{} for a budget of {budget}", batch.len()));
        }
        for due in &batch {
            if due.deadline > self.now {
                return Err(format!("{due:?} at {:?}", self.now));
            }
            self.model.deliver(due)?;
        }
        let more = self.model.next_deadline().is_some_and(|deadline| deadline <= self.now);
        same("more is due", &drained.more, &more)?;
        same(
            "a batch below its budget leaves nothing",
            &(drained.more && drained.n_due < budget),
            &false,
        )?;
        self.remember(batch)
    }

    fn remember(&mut self, batch: Vec<Due<u64>>) -> Result<(), String> {
        if !batch.is_empty() {
            self.batch = batch;
        }
        Ok(())
    }

    /// What was delivered is gone, whatever is done with its handle afterwards.
    fn touch_batch(&mut self) -> Result<(), String> {
        for due in &self.batch {
            same("delivered: seen", &self.timers.get(due.handle).is_some(), &false)?;
            same("delivered: cancelled", &self.timers.cancel(due.handle), &None)?;
            same("delivered: reset", &self.timers.reset(due.handle, self.now), &None)?;
        }
        Ok(())
    }

    fn clear(&mut self, step: Step) -> Result<(), String> {
        if !step.when.is_multiple_of(self.setup.rarely) {
            return Ok(());
        }
        let pending = self.timers.clear();
        same("cleared", &pending.len(), &self.model.live.len())?;
        for due in pending {
            self.model.deliver(&due)?;
        }
        same("left by a clear", &self.model.live.len(), &0)
    }

    fn shutdown(&mut self, step: Step) -> Result<(), String> {
        if !step.when.is_multiple_of(self.setup.rarely) {
            return Ok(());
        }
        for due in self.timers.shutdown() {
            self.model.deliver(&due)?;
        }
        same("left by a shutdown", &self.model.live.len(), &0)?;
        let refused =
            self.timers.insert(self.now, 1).map_err(|rejected| (rejected.value, rejected.kind));
        same("after a shutdown", &refused, &Err((1, RejectedKind::ShuttingDown)))?;
        same("a second shutdown", &self.timers.shutdown().len(), &0)?;
        // What follows is played on a new one, and all handles are known still.
        self.timers = Timers::with_rules(self.setup.capacity, self.rules);
        self.model.restart();
        Ok(())
    }
}
