//! What the handle of a pool and its workers share.

use std::panic::{AssertUnwindSafe, catch_unwind};

use millpond_sync::Parker;

use crate::claims::{Claim, Claims, Stored};
use crate::exits::Exits;
use crate::gate::{Gate, Seen};
use crate::options::PoolOptions;
use crate::outcome::{Rejection, Scheduled};
use crate::request::{Executor, Request};
use crate::rules::{Mutation, Rules};
use crate::stats::{Counters, Stats, Terminal};
use crate::waiting::Waiting;

/// A request in the ring.
struct Entry<R> {
    request: R,
    claim: Stored,
}

/// See the module. It owns no thread and does not end by itself; the handle sees to that.
pub(crate) struct Shared<R> {
    pub(crate) gate: Gate,
    pub(crate) parkers: Box<[Parker]>,
    pub(crate) exits: Exits,
    waiting: Waiting<Entry<R>>,
    claims: Claims,
    counters: Counters,
    executor: Box<dyn Executor<R>>,
    pub(crate) rules: Rules,
}

impl<R: Request> Shared<R> {
    pub(crate) fn new(options: &PoolOptions, executor: Box<dyn Executor<R>>, rules: Rules) -> Self {
        Self {
            gate: Gate::new(),
            parkers: (0..options.workers).map(|_| Parker::new()).collect(),
            exits: Exits::new(),
            waiting: Waiting::new(options.slots, options.overflow, rules),
            claims: Claims::new(options.slots + options.workers, options.bytes_max, rules),
            counters: Counters::new(),
            executor,
            rules,
        }
    }

    pub(crate) fn schedule(&self, request: R) -> Scheduled<R> {
        // Code of the caller's, which may panic or schedule: before anything is held.
        let (key_hash, n_bytes) = (request.key_hash(), request.n_bytes());
        // Nobody who is late enters, so that the last one out is the last one soon.
        if self.gate.look().is_closed() {
            return self.reject(request, Rejection::Closed);
        }
        let lets_in = self.rules.lacks(Mutation::ClosedLetsIn);
        let scheduled = if self.gate.enter().is_closed() && !lets_in {
            self.reject(request, Rejection::Closed)
        } else {
            self.admit(request, key_hash, n_bytes)
        };
        let left = self.gate.leave();
        if left.is_closed() {
            if left.is_final() && !self.rules.lacks(Mutation::LastOutGoes) {
                self.last_out(left);
            }
        } else if !matches!(scheduled, Scheduled::Rejected { .. }) {
            self.wake_one(left);
        }
        scheduled
    }

    /// Everything that can refuse comes before the push, and nothing after it: whoever is evicted was evicted
    /// for somebody who is in.
    fn admit(&self, request: R, key_hash: u64, n_bytes: usize) -> Scheduled<R> {
        let claim = match self.claims.claim(key_hash, n_bytes) {
            Ok(claim) => claim,
            Err(why) => {
                if self.rules.lacks(Mutation::EvictsAndRejects) {
                    self.waiting.pop().map(|victim| self.end_unstarted(victim, Terminal::Evicted));
                }
                return self.reject(request, why);
            }
        };
        if !self.waiting.reserve() {
            return self.reject(request, Rejection::Full);
        }
        let counts_late = self.rules.lacks(Mutation::CountsLate);
        if !counts_late {
            self.counters.accepted();
        }
        let victim = self.waiting.push(Entry { request, claim: claim.store() });
        if counts_late {
            self.counters.accepted();
        }
        match victim {
            None => Scheduled::Queued,
            Some(victim) => {
                Scheduled::QueuedEvicting(self.end_unstarted(victim, Terminal::Evicted))
            }
        }
    }

    fn reject(&self, request: R, why: Rejection) -> Scheduled<R> {
        self.counters.rejected(why);
        Scheduled::Rejected { request, why }
    }

    /// Wakes one worker if one sleeps.
    fn wake_one(&self, mut seen: Seen) {
        if self.rules.lacks(Mutation::PushWakesNobody) {
            return;
        }
        if self.rules.lacks(Mutation::PushWakesAll) {
            seen.sleepers().for_each(|_| self.counters.woke());
            return self.wake_all(seen);
        }
        while let Some(worker) = seen.first_sleeper() {
            let before = self.gate.rise(worker);
            if before.is_asleep(worker) {
                self.counters.woke();
                return self.parkers[worker].unpark();
            }
            // Somebody else woke it, for something else.
            seen = before;
        }
    }

    /// What falls to whoever leaves a closed pool as the last one. Nothing comes in after this.
    fn last_out(&self, left: Seen) {
        if left.is_abandoned() {
            self.abandon_waiting();
        }
        self.wake_all(left);
    }

    /// Lets nobody in any more and wakes the workers, which see to what waits unless it is abandoned.
    pub(crate) fn close(&self, abandon: bool) {
        let before = self.gate.close(abandon);
        if abandon && !self.rules.lacks(Mutation::CloseStrands) {
            self.abandon_waiting();
        }
        self.wake_all(before);
    }

    /// They strike themselves off: each has to look whether it is the end, even if somebody wakes it twice.
    fn wake_all(&self, seen: Seen) {
        for worker in seen.sleepers() {
            self.parkers[worker].unpark();
        }
    }

    fn abandon_waiting(&self) {
        while let Some(entry) = self.waiting.pop() {
            self.abandon(entry);
        }
    }

    fn abandon(&self, entry: Entry<R>) {
        let request = self.end_unstarted(entry, Terminal::Abandoned);
        // A panic of one request's destructor must not strand the next.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(request)));
    }

    fn end_unstarted(&self, entry: Entry<R>, terminal: Terminal) -> R {
        if !self.rules.lacks(Mutation::UnstartedKeepsClaim) {
            drop(self.claims.resume(entry.claim));
        }
        self.counters.ended(terminal);
        entry.request
    }

    /// Sees to one request, if one waits.
    pub(crate) fn serve_one(&self) -> bool {
        let Some(entry) = self.waiting.pop() else { return false };
        // Best effort: what was taken out before the close goes on.
        if self.gate.look().is_abandoned() {
            self.abandon(entry);
        } else {
            self.run(entry);
        }
        true
    }

    fn run(&self, entry: Entry<R>) {
        self.counters.started();
        let running = Running {
            rules: self.rules,
            counters: &self.counters,
            claim: Some(self.claims.resume(entry.claim)),
            terminal: Terminal::Panicked,
        };
        let run = || running.run(&*self.executor, entry.request);
        if self.rules.lacks(Mutation::PanicEndsWorker) {
            return run();
        }
        if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
            // A payload is the executor's, and its destructor may panic too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        }
    }

    pub(crate) fn nothing_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.snapshot(self.claims.n_bytes())
    }
}

/// A request that is being run. Dropped by its end or by a panic, it gives back what the request held and then
/// counts the end, so that whoever sees the end can schedule the key again.
struct Running<'a> {
    rules: Rules,
    counters: &'a Counters,
    claim: Option<Claim<'a>>,
    terminal: Terminal,
}

impl Running<'_> {
    fn run<R: 'static>(mut self, executor: &dyn Executor<R>, request: R) {
        self.terminal = Terminal::Run(executor.run(request));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let ends_first = self.rules.lacks(Mutation::EndsBeforeRelease);
        if ends_first {
            self.counters.ended(self.terminal);
        }
        let claim = self.claim.take();
        if self.terminal == Terminal::Panicked && self.rules.lacks(Mutation::PanicKeepsClaim) {
            let _: Option<Stored> = claim.map(Claim::store);
        } else {
            drop(claim);
        }
        if !ends_first {
            self.counters.ended(self.terminal);
        }
    }
}
