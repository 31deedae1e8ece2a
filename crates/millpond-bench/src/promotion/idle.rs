//! What threads cost that have nothing to do, as the system counts it.

use std::fs;
use std::time::Duration;

use super::start::Polling;
use super::{Outcome, install, pool};
use crate::measure::{Effort, count, median};
use crate::report::{Figure, Report};

pub(super) const CASE: &str = "idle";

/// Of all threads with a name, since they were started.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    n_threads: usize,
    n_switches: u64,
    cpu_ns: u64,
}

pub(super) fn run(report: &mut Report, effort: Effort) -> Outcome<()> {
    let watched = effort.run * 6;
    let _pool = pool(install)?;
    let _polling = Polling::idle();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // Threads name themselves, and those of other cases end, in their own time.
    pass(effort.run);
    for _ in 0..effort.n_runs.min(3) {
        let before = (spent("millpond-pool")?, spent("polling")?);
        pass(watched);
        let after = (spent("millpond-pool")?, spent("polling")?);
        ours.push(rates(before.0, after.0, watched)?);
        theirs.push(rates(before.1, after.1, watched)?);
    }
    for (subject, rates) in [("pool", ours), ("polling", theirs)] {
        let of = |value: fn(&(f64, f64)) -> f64| median(rates.iter().map(value).collect());
        for (metric, value, unit) in [
            ("context switches", of(|rate| rate.0), "/s"),
            ("processor", of(|rate| rate.1), "µs/s"),
        ] {
            let case = CASE;
            let bench = "promotion";
            let (ratio, ratio_to) = (None, None);
            let figure = Figure { bench, case, subject, metric, value, unit, ratio, ratio_to };
            report.figure(&figure)?;
        }
    }
    Ok(())
}

/// Switches per second, and microseconds of processor time per second.
fn rates(before: Spent, after: Spent, watched: Duration) -> Outcome<(f64, f64)> {
    if (before.n_threads, after.n_threads) != (1, 1) {
        return Err(format!("one thread each, not {before:?} and {after:?}").into());
    }
    let n_switches = after.n_switches - before.n_switches;
    let cpu_us = count(after.cpu_ns - before.cpu_ns) / 1e3;
    Ok((count(n_switches) / watched.as_secs_f64(), cpu_us / watched.as_secs_f64()))
}

fn spent(name: &str) -> Outcome<Spent> {
    let mut spent = Spent::default();
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let status = fs::read_to_string(task.join("status"))?;
        let field = |field: &str| {
            status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().trim()
        };
        if !field("Name:").starts_with(name) {
            continue;
        }
        spent.n_threads += 1;
        spent.n_switches += field("voluntary_ctxt_switches:").parse::<u64>()?
            + field("nonvoluntary_ctxt_switches:").parse::<u64>()?;
        let schedstat = fs::read_to_string(task.join("schedstat"))?;
        spent.cpu_ns += schedstat.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(spent)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark lets time pass")]
fn pass(time: Duration) {
    std::thread::sleep(time);
}
