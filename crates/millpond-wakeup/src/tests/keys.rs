//! Histories by key.

use std::collections::HashMap;

use super::World;
use super::model::{Model, Op, Setup, Step, same};
use crate::rules::Rules;
use crate::{Due, Handle, Nanos, Rejected, RejectedKind, Set, SetOutcome, Wakeups};

pub(super) struct KeyWorld {
    setup: Setup,
    rules: Rules,
    wakeups: Wakeups<u64>,
    model: Model,
    /// The live setting of a key.
    keys: HashMap<u64, (Nanos, u64)>,
    /// The last handle of a key, stale or not.
    handles: HashMap<u64, Handle>,
    now: Nanos,
    batch: Vec<Due<u64>>,
}

impl World for KeyWorld {
    fn new(setup: Setup, rules: Rules) -> Self {
        Self {
            setup,
            rules,
            wakeups: Wakeups::with_rules(setup.capacity, rules),
            model: Model::default(),
            keys: HashMap::new(),
            handles: HashMap::new(),
            now: Nanos(5_000_000_000),
            batch: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let key = self.key(step);
        match step.op() {
            Op::Set | Op::Replace => self.set(step, key)?,
            Op::SetMany => {
                for more in 0..u32::from(step.pick % 64) {
                    let when = step.when.wrapping_add(more * 16 * 977);
                    let step = Step { when, ..step };
                    self.set(step, self.key(step))?;
                }
            }
            Op::Earlier => self.set_if_earlier(step, key)?,
            Op::Foreign => self.reset(step, key)?,
            Op::Cancel => self.cancel(key)?,
            Op::CancelMany => self.cancel_handle(key)?,
            Op::Look => self.look(key)?,
            Op::Advance => self.now = Nanos(self.now.0 + step.elapsed()),
            Op::Pop => self.pop()?,
            Op::Drain => self.drain(usize::from(step.pick % 200))?,
            Op::TouchBatch => self.touch_batch(step)?,
            Op::Clear => self.clear(step)?,
            Op::Shutdown => self.shutdown(step)?,
        }
        same("next deadline", &self.wakeups.next_deadline(), &self.model.next_deadline())?;
        same("length", &self.wakeups.len(), &self.model.live.len())
    }

    fn audit(&self) -> Result<(), String> {
        self.wakeups.audit()
    }

    fn n_live(&self) -> usize {
        self.wakeups.len()
    }

    fn finish(mut self) -> Result<(u64, u64), String> {
        self.now = Nanos::MAX;
        self.drain(usize::MAX)?;
        same("left over", &(self.wakeups.len(), self.keys.len()), &(0, 0))?;
        Ok(self.model.digests())
    }
}

impl KeyWorld {
    fn key(&self, step: Step) -> u64 {
        (u64::from(step.pick) * 7 + u64::from(step.when % 7)) % self.setup.n_keys
    }

    fn set(&mut self, step: Step, key: u64) -> Result<(), String> {
        let deadline = step.deadline(self.now);
        let subject = if step.pick.is_multiple_of(8) && deadline >= self.now {
            self.wakeups.set_after(self.now, key, deadline.saturating_since(self.now))
        } else {
            self.wakeups.set(key, deadline)
        };
        self.was_set(key, deadline, subject)
    }

    fn set_if_earlier(&mut self, step: Step, key: u64) -> Result<(), String> {
        let deadline = step.deadline(self.now);
        let subject = self.wakeups.set_if_earlier(key, deadline);
        let Some((current, revision)) =
            self.keys.get(&key).copied().filter(|live| live.0 <= deadline)
        else {
            return self.was_set(key, deadline, subject);
        };
        let set = subject.map_err(|rejected| format!("{rejected}"))?;
        same("kept", &set.outcome, &SetOutcome::Kept { deadline: current })?;
        same("revision of what was kept", &set.revision.get(), &revision)
    }

    fn was_set(
        &mut self,
        key: u64,
        deadline: Nanos,
        subject: Result<Set, Rejected<u64>>,
    ) -> Result<(), String> {
        let previous = self.keys.get(&key).copied();
        let set = match subject {
            Ok(set) => set,
            Err(rejected) => {
                same(
                    "live at a refusal",
                    &(previous, self.keys.len()),
                    &(None, self.setup.capacity),
                )?;
                same("key given back", &rejected.value, &key)?;
                let live = self.setup.capacity;
                return same("reason", &rejected.kind, &RejectedKind::Capacity { live });
            }
        };
        let revision = self.model.revision();
        same("revision", &set.revision.get(), &revision)?;
        let outcome = match previous {
            Some(live) => {
                self.model.live.remove(&live);
                same("handle of a key", &self.handles.get(&key), &Some(&set.handle))?;
                SetOutcome::Replaced { previous: live.0 }
            }
            None => SetOutcome::Inserted,
        };
        same("outcome", &set.outcome, &outcome)?;
        self.model.live.insert((deadline, revision), key);
        self.keys.insert(key, (deadline, revision));
        self.handles.insert(key, set.handle);
        same("within the capacity", &(self.keys.len() <= self.setup.capacity), &true)
    }

    fn reset(&mut self, step: Step, key: u64) -> Result<(), String> {
        let Some(handle) = self.handles.get(&key).copied() else { return Ok(()) };
        let deadline = step.deadline(self.now);
        let subject = self.wakeups.reset(handle, deadline);
        let Some((previous, _)) = self.keys.get(&key).copied() else {
            return same("reset of a stale handle", &subject, &None);
        };
        let replaced = subject.ok_or("the handle of a live key was stale")?;
        same("previous", &replaced.previous, &previous)?;
        let outcome = SetOutcome::Replaced { previous };
        self.was_set(key, deadline, Ok(Set { handle, revision: replaced.revision, outcome }))
    }

    fn forget(&mut self, key: u64) -> bool {
        let live = self.keys.remove(&key);
        live.is_some_and(|live| self.model.live.remove(&live).is_some())
    }

    fn cancel(&mut self, key: u64) -> Result<(), String> {
        let expected = self.forget(key);
        same("cancelled", &self.wakeups.cancel(&key), &expected)
    }

    fn cancel_handle(&mut self, key: u64) -> Result<(), String> {
        let Some(handle) = self.handles.get(&key).copied() else { return Ok(()) };
        let expected = self.forget(key).then_some(key);
        same("cancelled by handle", &self.wakeups.cancel_handle(handle), &expected)
    }

    fn look(&mut self, key: u64) -> Result<(), String> {
        let live = self.keys.get(&key).copied();
        let expected = live.map(|(deadline, revision)| (deadline, revision, key));
        let view =
            |timer: crate::Timer<'_, u64>| (timer.deadline, timer.revision.get(), *timer.value);
        same("seen", &self.wakeups.get(&key).map(view), &expected)?;
        let Some(handle) = self.handles.get(&key) else { return Ok(()) };
        same("seen by handle", &self.wakeups.get_handle(*handle).map(view), &expected)
    }

    fn pop(&mut self) -> Result<(), String> {
        let is_due = self.model.next_deadline().is_some_and(|deadline| deadline <= self.now);
        let due = self.wakeups.pop_due(self.now);
        same("something is due", &due.is_some(), &is_due)?;
        due.map_or(Ok(()), |due| self.delivered(vec![due]))
    }

    fn drain(&mut self, budget: usize) -> Result<(), String> {
        let mut batch = Vec::new();
        let drained = self.wakeups.drain_due(self.now, budget, &mut batch);
        same("count of a batch", &(drained.n_due, batch.len() <= budget), &(batch.len(), true))?;
        self.delivered(batch)?;
        let more = self.model.next_deadline().is_some_and(|deadline| deadline <= self.now);
        same("more is due", &drained.more, &more)
    }

    fn delivered(&mut self, batch: Vec<Due<u64>>) -> Result<(), String> {
        for due in &batch {
            self.model.deliver(due)?;
            same("delivered in time", &(due.deadline <= self.now), &true)?;
            self.keys.remove(&due.value);
        }
        if !batch.is_empty() {
            self.batch = batch;
        }
        Ok(())
    }

    /// A delivery is current until its key is set anew; a cancel comes too late and says so.
    fn touch_batch(&mut self, step: Step) -> Result<(), String> {
        for due in std::mem::take(&mut self.batch) {
            let key = due.value;
            let superseded = self.keys.contains_key(&key);
            same("current", &self.wakeups.is_current(&key, due.revision), &!superseded)?;
            same("stale handle", &self.wakeups.cancel_handle(due.handle), &None)?;
            if superseded {
                continue;
            }
            same("late cancel", &self.wakeups.cancel(&key), &false)?;
            if key.is_multiple_of(2) && self.keys.len() < self.setup.capacity {
                self.set(step, key)?;
                same("after a new setting", &self.wakeups.is_current(&key, due.revision), &false)?;
            }
        }
        Ok(())
    }

    fn clear(&mut self, step: Step) -> Result<(), String> {
        if !step.when.is_multiple_of(self.setup.rarely) {
            return Ok(());
        }
        for due in self.wakeups.clear() {
            self.model.deliver(&due)?;
        }
        self.keys.clear();
        same("left by a clear", &self.model.live.len(), &0)
    }

    fn shutdown(&mut self, step: Step) -> Result<(), String> {
        if !step.when.is_multiple_of(self.setup.rarely) {
            return Ok(());
        }
        for due in self.wakeups.shutdown() {
            self.model.deliver(&due)?;
        }
        self.keys.clear();
        same("left by a shutdown", &self.model.live.len(), &0)?;
        let refused =
            self.wakeups.set(1, self.now).map_err(|rejected| (rejected.value, rejected.kind));
        same("after a shutdown", &refused, &Err((1, RejectedKind::ShuttingDown)))?;
        same("a second shutdown", &self.wakeups.shutdown().len(), &0)?;
        self.wakeups = Wakeups::with_rules(self.setup.capacity, self.rules);
        self.model.restart();
        // Its revisions mean nothing to the new one.
        self.batch.clear();
        Ok(())
    }
}
