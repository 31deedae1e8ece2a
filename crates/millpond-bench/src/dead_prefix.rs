//! What each guard against dead rows is worth: the same read with it and without it.
//!
//! A queue is consumed at its head, so tombstones gather exactly where the next read starts. Every case
//! builds its stores anew, alternating with and without; a figure is the median over these stores of the
//! median of a few reads in each. Reads are warm and on the bench's thread (`try_scan` without a budget)
//! where nothing else is said. No figure contains a sync but those of `purge, per queue`, where many
//! commits share one. A quick run leaves out the million.

mod bounds;
mod checksums;
mod filters;
mod head;
mod purge;
mod world;

use std::path::Path;
use std::time::Duration;

use crate::measure::{Effort, median};
use crate::report::{Comparison, Report};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const BENCH: &str = "dead-prefix";
/// Stores built for each side of a case.
const N_STORES: usize = 5;
/// Reads of each kind in one store.
const N_READS: usize = 5;

pub(crate) fn run(report: &mut Report, effort: Effort, dir: &Path, only: &str) -> Outcome<()> {
    println!("{BENCH}: reads; no sync is in any figure but `purge, per queue`\n");
    report.comparison_heading();
    let mut table = Table { report, only };
    head::run(&mut table, effort, dir)?;
    filters::run(&mut table, dir)?;
    bounds::run(&mut table, dir)?;
    purge::run(&mut table, dir)?;
    checksums::run(&mut table, dir)
}

/// Where the parts of the bench report.
struct Table<'a> {
    report: &'a mut Report,
    only: &'a str,
}

impl Table<'_> {
    fn wants(&self, case: &str) -> bool {
        case.contains(self.only)
    }

    /// Measures `metrics` (name and unit) with and without `subject`. Each call of `with` and `without`
    /// gives one figure for each of them.
    fn compare(
        &mut self,
        case: &str,
        subject: &str,
        metrics: &[(&str, &str)],
        with: impl Fn() -> Outcome<Vec<f64>>,
        without: impl Fn() -> Outcome<Vec<f64>>,
    ) -> Outcome<()> {
        let (mut withs, mut withouts) = (Vec::new(), Vec::new());
        for _ in 0..N_STORES {
            withs.push(with()?);
            withouts.push(without()?);
        }
        for (index, &(metric, unit)) in metrics.iter().enumerate() {
            let of = |runs: &[Vec<f64>]| median(runs.iter().map(|run| run[index]).collect());
            self.report.comparison(&Comparison {
                bench: BENCH,
                case,
                subject,
                metric,
                unit,
                with: of(&withs),
                without: of(&withouts),
            })?;
        }
        Ok(())
    }
}

fn medians(values: impl Iterator<Item = Outcome<f64>>) -> Outcome<f64> {
    Ok(median(values.collect::<Outcome<_>>()?))
}

fn median_of(mut read: impl FnMut() -> Outcome<f64>) -> Outcome<f64> {
    medians((0..N_READS).map(|_| read()))
}

fn us(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}
