//! Whether a queue that floods delays the others, and whether queues get their shares.
//!
//! `flood`: 999 quiet queues get an entry now and then, each at its own time whether or not earlier ones were
//! served. First they are alone; then another queue of the same topic has a backlog that never ends and
//! producers that refill it as fast as their receipts come; then the same entries of all go through one
//! queue, first in first out, for contrast. Consumers and their credits are the same throughout. In the cases
//! named `no work` an entry is done at once, so that the machine is what the flood saturates; in the others an
//! entry takes a while, so that it is the consumers.
//!
//! `shares`: backlogged queues, all but one of them in the same partition. What is counted is who was served
//! among the first so many entries; no time is in these figures.
//!
//! What a pick itself costs, among ten queues or a million, is in the bench `scheduler`.
//!
//! All entries must come exactly once, as their first attempt, from the queue they were put in.

mod consumers;
mod entry;
mod flood;
mod shares;
mod stamps;
mod world;

use std::path::Path;
use std::time::Duration;

use crate::measure::Effort;
use crate::queues::{Figures, Outcome, widened};
use crate::report::Report;

/// Runs the cases whose names contain `only`.
pub(crate) fn run(
    report: &mut Report,
    effort: Effort,
    dir: &Path,
    only: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let is_quick = effort.n_runs == Effort::QUICK.n_runs;
    let mut out = Figures::new(report, "fairness");
    parts(&mut out, dir, only, is_quick).map_err(widened)
}

fn parts(out: &mut Figures<'_>, dir: &Path, only: &str, is_quick: bool) -> Outcome<()> {
    flood::part(out, dir, only, is_quick)?;
    shares::part(out, dir, only)
}

/// What needs time, and what comes at a time.
#[expect(clippy::disallowed_methods, reason = "work and open loops go by the clock")]
async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
