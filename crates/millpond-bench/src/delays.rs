//! Entries that wait for their time, and leases that all end at the same moment.
//!
//! `waiting`: many entries are enqueued with due times in a window after the fill, half of them as delays
//! and half as dates. The engine is closed while all wait, and dies in the middle of the window. Each entry must
//! come once and never early; memory is compared with that of an empty engine with the same budgets.
//! `expiry`: many leases of one queue, and one lease of each of many queues, end at once, while somebody
//! enqueues.

mod deliver;
mod expiry;
mod fill;
mod lateness;
mod ledger;
mod step;

use std::path::Path;

use millpond::Options;

use crate::measure::{Effort, count};
use crate::queues::{Figures, Outcome, widened};
use crate::report::Report;
use fill::Filled;
use step::{Step, in_child};

pub(crate) use step::run_child;

/// Entries of a full run and of a quick one.
const N_ENTRIES: usize = 10_000_000;
const N_ENTRIES_QUICK: usize = 100_000;
/// Entries of each queue.
const N_PER_QUEUE: usize = 100;
/// Leases that end at once, in a full run and in a quick one.
const N_LEASES: usize = 1_000_000;
const N_LEASES_QUICK: usize = 50_000;

/// Memory of the stores: the same for every engine here, the empty one included.
const CACHE_BYTES: usize = 16 << 20;
const WRITE_BUFFER_BYTES: usize = 16 << 20;

/// Memory beyond the empty engine should stay below this, in MiB.
const GROWTH_MIB_MAX: f64 = 64.0;

/// Options of every engine here.
fn options(directory: &Path) -> Options {
    Options::new(directory)
        .partitions(1)
        .cache_bytes(CACHE_BYTES)
        .write_buffer_bytes(WRITE_BUFFER_BYTES)
        .control_socket(false)
}

/// Runs the parts whose names contain `only`.
pub(crate) fn run(
    report: &mut Report,
    effort: Effort,
    dir: &Path,
    only: &str,
    n_entries: Option<usize>,
) -> Result<(), Box<dyn std::error::Error>> {
    let is_quick = effort.n_runs == Effort::QUICK.n_runs;
    let n_entries = n_entries.unwrap_or(if is_quick { N_ENTRIES_QUICK } else { N_ENTRIES });
    let n_leases = if is_quick { N_LEASES_QUICK } else { N_LEASES };
    let mut out = Figures::new(report, "delays");
    if "waiting".contains(only) {
        waiting(&mut out, dir, n_entries).map_err(widened)?;
    }
    if "expiry".contains(only) {
        for n_queues in [1, n_leases] {
            expiry::part(&mut out, dir, n_leases, n_queues).map_err(widened)?;
        }
    }
    Ok(())
}

fn waiting(out: &mut Figures<'_>, dir: &Path, n_entries: usize) -> Outcome<()> {
    let n_queues = n_entries.div_ceil(N_PER_QUEUE);
    let n_entries = n_queues * N_PER_QUEUE;
    let place = tempfile::tempdir_in(dir)?;
    let dir = || place.path().to_owned();
    let filled: Filled = in_child(&Step::Fill { dir: dir(), n_queues })?;
    out.case(format!("waiting, {n_entries} entries, {n_queues} queues"));
    filled.report(out, n_entries)?;
    let mut after = 0;
    for (upto, when) in [(n_entries / 2, "after a close"), (n_entries, "after a kill")] {
        let is_last = upto == n_entries;
        let step = Step::Deliver { dir: dir(), filled: filled.clone(), upto, is_last };
        let delivered: deliver::Delivered = in_child(&step)?;
        out.case(format!("delivery {when}, {} entries", upto - after));
        delivered.report(out, &filled, upto - after)?;
        after = upto;
    }
    Ok(())
}

/// A growth of memory, in MiB.
fn grown_mib(now: usize, before: usize) -> f64 {
    (count(now) - count(before)) / f64::from(1 << 20)
}
