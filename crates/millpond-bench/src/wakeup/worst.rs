//! The longest single call, for deadlines of many kinds.

use std::time::Instant;

use millpond_wakeup::{Due, Handle, Nanos, Timers};

use super::{NS_PER_MS, Outcome, Random, SPREAD_NS};
use crate::measure::{Effort, count};
use crate::report::{Figure, Report};

const N_TIMERS: u64 = 1_000_000;
const N_TIMERS_QUICK: u64 = 200_000;
/// Runs of the same history, of which each call counts with its shortest.
const N_RUNS: usize = 4;
/// Timers that one drain takes out.
const BATCH: usize = 100;
/// When the timers are set.
const NOW_NS: u64 = 3_600_000 * NS_PER_MS;
const YEAR_NS: u64 = 365 * 86_400_000 * NS_PER_MS;

/// A deadline from a random number and the number of the timer.
type Deadline = fn(&mut Random, u64) -> u64;

const CASES: [(&str, Deadline); 9] = [
    ("worst call, 30 s", |random, _| NOW_NS + random.below(SPREAD_NS)),
    ("worst call, one deadline", |_, _| NOW_NS + SPREAD_NS),
    ("worst call, within 1 ms", |random, _| NOW_NS + random.below(NS_PER_MS)),
    ("worst call, past due", |random, _| random.below(NOW_NS)),
    ("worst call, ten years", |random, _| NOW_NS + random.below(10 * YEAR_NS)),
    ("worst call, ascending", |_, timer| NOW_NS + timer * 1_000),
    ("worst call, descending", |_, timer| NOW_NS + (N_TIMERS - timer) * 1_000),
    ("worst call, moved from far to near", |random, timer| {
        NOW_NS + random.below(1_000) + (1 - timer % 2) * YEAR_NS
    }),
    ("worst call, end of time", |_, _| u64::MAX),
];

/// What is timed.
#[derive(Debug, Clone, Copy)]
enum Call {
    Insert,
    Replace,
    Cancel,
    Pop,
    Drain,
}

const CALLS: [(&str, Call); 5] = [
    ("insert", Call::Insert),
    ("replace", Call::Replace),
    ("cancel", Call::Cancel),
    ("pop", Call::Pop),
    ("drain of 100", Call::Drain),
];

/// The times of one history, in nanoseconds, one list per kind of call.
#[derive(Debug, Default)]
struct Times {
    calls: [Vec<u32>; CALLS.len()],
}

impl Times {
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    fn time<T>(&mut self, call: Call, work: impl FnOnce() -> T) -> T {
        let from = Instant::now();
        let done = work();
        let ns = u32::try_from(from.elapsed().as_nanos()).unwrap_or(u32::MAX);
        self.calls[call as usize].push(ns);
        done
    }

    fn keep_shortest(&mut self, other: &Self) {
        for (times, others) in self.calls.iter_mut().zip(&other.calls) {
            times.iter_mut().zip(others).for_each(|(time, other)| *time = (*time).min(*other));
        }
    }
}

pub(super) fn run(report: &mut Report, effort: Effort, only: &str) -> Outcome<()> {
    let is_quick = effort.n_runs == Effort::QUICK.n_runs;
    let n_timers = if is_quick { N_TIMERS_QUICK } else { N_TIMERS };
    for (case, deadline) in CASES.into_iter().filter(|(name, _)| name.contains(only)) {
        let mut shortest = history(n_timers, deadline)?;
        for _ in 1..N_RUNS {
            shortest.keep_shortest(&history(n_timers, deadline)?);
        }
        for (metric, call) in CALLS {
            let worst = shortest.calls[call as usize].iter().max().copied().unwrap_or(0);
            report.figure(&Figure {
                bench: "wakeup",
                case,
                subject: "handle",
                metric,
                value: count(worst) / 1e3,
                unit: "µs",
                ratio: None,
                ratio_to: None,
            })?;
        }
    }
    Ok(())
}

/// Sets all timers, replaces half of them, cancels a quarter, and takes out what is left.
fn history(n_timers: u64, deadline: Deadline) -> Outcome<Times> {
    let n = usize::try_from(n_timers)?;
    let mut times = Times::default();
    let mut random = Random(3);
    let mut timers = Timers::new(n);
    let mut handles: Vec<Handle> = Vec::with_capacity(n);
    for timer in 0..n_timers {
        let when = Nanos(deadline(&mut random, timer));
        let inserted = times.time(Call::Insert, || timers.insert(when, timer));
        handles.push(inserted.map_err(|rejected| rejected.kind)?);
    }
    let order = random.shuffled(n);
    for index in &order[..n / 2] {
        let when = Nanos(deadline(&mut random, *index as u64 | 1));
        let handle = handles[*index];
        times.time(Call::Replace, || timers.reset(handle, when)).ok_or("a live handle is stale")?;
    }
    for index in &order[n / 4..n / 2] {
        let handle = handles[*index];
        times.time(Call::Cancel, || timers.cancel(handle)).ok_or("a live handle is stale")?;
    }
    let mut last = (Nanos::ZERO, None);
    let mut check = |due: &Due<u64>| {
        let this = (due.deadline, Some(due.revision));
        let is_later = std::mem::replace(&mut last, this) < this;
        if is_later { Ok(()) } else { Err("timers came out of order") }
    };
    let n_popped = timers.len() / 2;
    for _ in 0..n_popped {
        let due = times.time(Call::Pop, || timers.pop_due(Nanos::MAX)).ok_or("all are due")?;
        check(&due)?;
    }
    let mut batch = Vec::with_capacity(BATCH);
    while !timers.is_empty() {
        let drained = times.time(Call::Drain, || timers.drain_due(Nanos::MAX, BATCH, &mut batch));
        if drained.n_due != batch.len() || drained.more == timers.is_empty() {
            return Err("a drain miscounts".into());
        }
        batch.iter().try_for_each(&mut check)?;
        batch.clear();
    }
    Ok(times)
}
