//! Who wakes a driver, and when: the part of it that runs between threads.
//!
//! * **D1** A driver that sleeps has said until when, under the lock, before it sleeps. Whoever changes the
//!   scheduler compares that with the earliest deadline afterwards, under the same lock, and wakes the driver
//!   if it would sleep too long, or for nothing.
//! * **D2** A deadline that moves away wakes nobody: the driver wakes once at the old one and looks again.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll, Waker};

use millpond_sync::{Arc, Mutex, MutexGuard};

use super::mutation::Mutation;
use crate::{Due, Nanos, Pending, Schedule};

/// The clock and the one alarm of a driver: tokio's, or what stands in for it under a model.
pub(super) trait Alarm {
    fn now(&self) -> Nanos;

    /// Sets the alarm, or switches it off. It may go off early.
    fn set(&mut self, deadline: Option<Nanos>);

    /// Ready when it goes off. Otherwise the waker is woken then, if the alarm is set.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// A driver that sleeps.
struct Sleeper {
    until: Option<Nanos>,
    waker: Waker,
}

struct State<S: Schedule> {
    schedule: S,
    sleeper: Option<Sleeper>,
    n_handles: usize,
    /// What was pending when the driver was dropped.
    left: Option<Pending<S::Value>>,
    #[cfg(test)]
    broken: Option<Mutation>,
}

impl<S: Schedule> State<S> {
    /// Whether no timer will ever fire again.
    fn has_ended(&self) -> bool {
        self.schedule.is_shut_down() || (self.n_handles == 0 && self.schedule.is_empty())
    }

    fn oversleeps(&self, until: Option<Nanos>) -> bool {
        if self.is_broken(Mutation::EverythingWakes) {
            return true;
        }
        match (self.schedule.next_deadline(), until) {
            (Some(next), Some(until)) => {
                next < until && !self.is_broken(Mutation::EarlierWakesNobody)
            }
            (Some(_), None) => !self.is_broken(Mutation::FirstWakesNobody),
            (None, Some(_)) => !self.is_broken(Mutation::RemovalWakesNobody),
            (None, None) => self.has_ended() && !self.is_broken(Mutation::EndWakesNobody),
        }
    }

    #[cfg(test)]
    fn is_broken(&self, rule: Mutation) -> bool {
        self.broken == Some(rule)
    }

    #[cfg(not(test))]
    const fn is_broken(&self, _rule: Mutation) -> bool {
        false
    }
}

/// A scheduler that a driver and its handles share.
pub(super) struct Shared<S: Schedule> {
    state: Mutex<State<S>>,
}

/// Without what is in it: that may be a million timers, behind a lock.
impl<S: Schedule> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl<S: Schedule> Shared<S> {
    /// With one handle.
    pub(super) fn new(schedule: S) -> Arc<Self> {
        let state = State {
            schedule,
            sleeper: None,
            n_handles: 1,
            left: None,
            #[cfg(test)]
            broken: None,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub(super) fn read<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&self.state.lock().schedule)
    }

    /// Changes the scheduler and wakes the driver if it has to know.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut S) -> R) -> R {
        change(&mut self.changing().schedule)
    }

    pub(super) fn add_handle(&self) {
        self.state.lock().n_handles += 1;
    }

    pub(super) fn remove_handle(&self) {
        self.changing().n_handles -= 1;
    }

    /// Shuts down and returns what is pending.
    pub(super) fn shutdown(&self) -> Pending<S::Value> {
        let mut state = self.changing();
        let pending = state.schedule.shutdown();
        state.left.take().unwrap_or(pending)
    }

    /// Shuts down and keeps what is pending for a handle that asks for it.
    pub(super) fn abandon(&self) {
        let mut state = self.changing();
        if !state.schedule.is_shut_down() {
            let pending = state.schedule.shutdown();
            state.left = Some(pending);
        }
    }

    #[cfg(test)]
    pub(super) fn break_rule(&self, broken: Option<Mutation>) {
        self.state.lock().broken = broken;
    }

    fn changing(&self) -> Changing<'_, S> {
        Changing { state: Some(self.state.lock()) }
    }
}

/// The lock while something changes. A guard, because a change that panics halfway has to wake the driver, too.
struct Changing<'a, S: Schedule> {
    state: Option<MutexGuard<'a, State<S>>>,
}

impl<S: Schedule> Deref for Changing<'_, S> {
    type Target = State<S>;

    fn deref(&self) -> &State<S> {
        self.state.as_ref().expect("only a drop takes the lock out")
    }
}

impl<S: Schedule> DerefMut for Changing<'_, S> {
    fn deref_mut(&mut self) -> &mut State<S> {
        self.state.as_mut().expect("only a drop takes the lock out")
    }
}

impl<S: Schedule> Drop for Changing<'_, S> {
    fn drop(&mut self) {
        let Some(mut state) = self.state.take() else { return };
        let until = state.sleeper.as_ref().map(|sleeper| sleeper.until);
        let must_wake = until.is_some_and(|until| state.oversleeps(until));
        let sleeper = if must_wake { state.sleeper.take() } else { None };
        drop(state);
        // Outside the lock, so that the driver does not run into it.
        if let Some(sleeper) = sleeper {
            sleeper.waker.wake();
        }
    }
}

/// The driver's side.
#[derive(Debug)]
pub(super) struct Receiver<S: Schedule, A> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) alarm: A,
    /// What the alarm is set to.
    alarm_at: Option<Nanos>,
}

impl<S: Schedule, A: Alarm> Receiver<S, A> {
    pub(super) fn new(shared: Arc<Shared<S>>, alarm: A) -> Self {
        Self { shared, alarm, alarm_at: None }
    }

    /// Moves what is due to `batch` and says how much; `None` when nothing will ever be due again.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        batch: &mut Vec<Due<S::Value>>,
        budget: usize,
    ) -> Poll<Option<usize>> {
        loop {
            let now = self.alarm.now();
            let mut state = self.shared.state.lock();
            let replaced = state.sleeper.take();
            let drained = state.schedule.drain_due(now, budget, batch);
            let has_ended = state.has_ended();
            let until = state.schedule.next_deadline();
            let sleeps = drained.n_due == 0 && !drained.more && !has_ended;
            if sleeps {
                if state.is_broken(Mutation::SayTooLate) {
                    drop(state);
                    state = self.shared.state.lock();
                }
                state.sleeper = Some(Sleeper { until, waker: context.waker().clone() });
            }
            drop(state);
            drop(replaced);
            if drained.n_due > 0 {
                return Poll::Ready(Some(drained.n_due));
            }
            if has_ended {
                return Poll::Ready(None);
            }
            if drained.more {
                // The scheduler has put off work. Others on this thread come first.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.sleep(context, until).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn sleep(&mut self, context: &mut Context<'_>, until: Option<Nanos>) -> Poll<()> {
        if self.alarm_at != until || self.is_broken(Mutation::ResetAlways) {
            self.alarm.set(until);
            self.alarm_at = until;
        }
        let rang = self.alarm.poll(context);
        if rang.is_ready() && !self.is_broken(Mutation::RingOnce) {
            // Once it has gone off it must be set again, be it to the same time.
            self.alarm.set(None);
            self.alarm_at = None;
        }
        rang
    }

    #[cfg(test)]
    fn is_broken(&self, rule: Mutation) -> bool {
        self.shared.state.lock().is_broken(rule)
    }

    #[cfg(not(test))]
    const fn is_broken(&self, _rule: Mutation) -> bool {
        false
    }
}

impl<S: Schedule, A> Drop for Receiver<S, A> {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}
