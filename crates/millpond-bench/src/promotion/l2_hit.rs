//! What a promotion adds to a read that hits the store below the cache.
//!
//! * `none`: the window of ghosts is 0, so that no miss promotes.
//! * `inline`: the shipped default; the reader installs what it has read.
//! * `pool awake`: nothing is installed inline, and the worker stays inside its executor, yielding, until there is more.
//! * `pool parked`: the reader lets 100 µs pass before each pair of reads, in which the worker goes to sleep. Its peer
//!   `none, paced` does the same without promotions.
//! * `pool polling`: the worker looks once in a millisecond and is never woken.
//!
//! Every key is asked for twice in a row, and the second read is the measured one: it promotes. Far fewer values fit
//! into memory than there are keys, so that each install evicts. A pair that finds its value in
//! memory, or still in the pool, does not count; `passed over` says how many did. `reader` is the processor time of the thread that
//! reads, during the measured read; `other` is that of all other threads for each such read, but in `pool awake`
//! only what the install takes, since the worker yields the rest of the time. The clocks are in every arm alike.

mod arm;
mod pass;
mod rows;

use std::path::Path;

use self::arm::Arm;
use self::pass::{Pass, Taken};
use self::rows::Rows;
use super::Outcome;
use crate::measure::{Effort, median};
use crate::report::{Figure, Report};

const VALUES: [(&str, usize); 2] = [("4 KiB", 4 << 10), ("64 KiB", 64 << 10)];

pub(super) fn run(report: &mut Report, effort: Effort, dir: &Path, only: &str) -> Outcome<()> {
    let is_quick = effort.n_runs <= Effort::QUICK.n_runs;
    let (n_runs, n_reads) = if is_quick { (3, 1_024) } else { (5, 4_096) };
    for (size, value_bytes) in VALUES {
        let cases: Vec<_> = [1, 2]
            .map(|n_readers| (n_readers, format!("L2 hit, {size}, readers: {n_readers}")))
            .into_iter()
            .filter(|(_, case)| case.contains(only))
            .collect();
        if cases.is_empty() {
            continue;
        }
        let rows = Rows::new(dir, value_bytes)?;
        for (n_readers, case) in cases {
            let mut runs = Vec::new();
            for _ in 0..n_runs {
                let one = |arm| Pass { rows: &rows, arm, n_readers, n_reads }.run();
                runs.push(Arm::ALL.map(one).into_iter().collect::<Outcome<Vec<_>>>()?);
            }
            for (at, arm) in Arm::ALL.into_iter().enumerate() {
                print(report, &case, arm, at, &runs)?;
            }
        }
    }
    Ok(())
}

type Metric = (&'static str, &'static str, fn(&Taken) -> f64);

/// With the name of the difference to the peer.
const METRICS: [Metric; 6] = [
    ("p50", "p50 added", |taken| taken.p50_us),
    ("p99", "p99 added", |taken| taken.p99_us),
    ("p99.9", "p99.9 added", |taken| taken.p999_us),
    ("cpu", "cpu added", |taken| taken.reader_us + taken.other_us),
    ("cpu reader", "cpu reader added", |taken| taken.reader_us),
    ("cpu other", "cpu other added", |taken| taken.other_us),
];

fn print(report: &mut Report, case: &str, arm: Arm, at: usize, runs: &[Vec<Taken>]) -> Outcome<()> {
    let peer = arm.peer();
    let peer_at = peer.and_then(|peer| Arm::ALL.iter().position(|arm| *arm == peer));
    let of_runs = |value: &dyn Fn(&Vec<Taken>) -> f64| median(runs.iter().map(value).collect());
    let figure = |metric, value, unit, ratio: Option<f64>| Figure {
        bench: "promotion",
        case,
        subject: arm.name(),
        metric,
        value,
        unit,
        ratio,
        ratio_to: ratio.and(peer).map(Arm::name),
    };
    for (name, added, value) in METRICS {
        let ratio = peer_at.map(|peer| of_runs(&|run| value(&run[at]) / value(&run[peer])));
        let ratio = ratio.filter(|_| name != "cpu other");
        report.figure(&figure(name, of_runs(&|run| value(&run[at])), "µs", ratio))?;
        if let Some(peer) = peer_at {
            let more = of_runs(&|run| value(&run[at]) - value(&run[peer]));
            report.figure(&figure(added, more, "µs", None))?;
        }
    }
    if arm.promotes() {
        let n = of_runs(&|run| run[at].n_passed_over_per_1000);
        report.figure(&figure("passed over", n, "of 1000", None))?;
    }
    if arm.is_pooled() {
        let n_wakeups = of_runs(&|run| run[at].n_wakeups_per_1000);
        report.figure(&figure("wake-ups", n_wakeups, "of 1000", None))?;
    }
    Ok(())
}
