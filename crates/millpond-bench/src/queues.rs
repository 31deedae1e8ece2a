//! A million queues on one disk: what they cost in memory, how soon a restart serves, and whether the
//! loop stays quick meanwhile; a queue of a million entries; and windows under a budget of bytes.
//!
//! A part that has to begin with nothing in memory runs in a process of its own: the program starts
//! itself with a step to do and reads the result from its standard output.

mod cold;
mod deep;
mod drain;
pub(crate) mod fill;
pub(crate) mod place;
mod population;
pub(crate) mod probe;
mod recall;
mod step;
pub(crate) mod turns;
mod watched;
mod window;

use std::path::Path;

use millpond::Options;

use crate::measure::Effort;
use crate::report::{Figure, Report};

pub(crate) use step::run_child;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Queues of a full run and of a quick one.
const N_QUEUES: usize = 1_000_000;
const N_QUEUES_QUICK: usize = 50_000;

/// What to measure.
#[derive(Debug, Clone, Copy)]
struct Plan<'a> {
    n_queues: usize,
    /// Repetitions of what is short.
    n_runs: usize,
    dir: &'a Path,
    /// Parts are chosen by their names.
    only: &'a str,
}

impl Plan<'_> {
    fn wants(&self, part: &str) -> bool {
        part.contains(self.only)
    }
}

/// Runs the parts whose names contain `only`.
pub(crate) fn run(
    report: &mut Report,
    effort: Effort,
    dir: &Path,
    only: &str,
    n_queues: Option<usize>,
) -> Result<(), Box<dyn std::error::Error>> {
    let is_quick = effort.n_runs == Effort::QUICK.n_runs;
    let n_queues = n_queues.unwrap_or(if is_quick { N_QUEUES_QUICK } else { N_QUEUES });
    if n_queues < 1_000 {
        return Err("the bench `queues` needs at least 1,000 queues".into());
    }
    let plan = Plan { n_queues, n_runs: if is_quick { 3 } else { 5 }, dir, only };
    let out = Figures::new(report, "queues");
    parts(out, plan).map_err(widened)
}

fn parts(mut out: Figures<'_>, plan: Plan<'_>) -> Outcome<()> {
    fill::part(&mut out, plan)?;
    deep::part(&mut out, plan)?;
    window::part(&mut out, plan)
}

pub(crate) fn widened(
    error: Box<dyn std::error::Error + Send + Sync>,
) -> Box<dyn std::error::Error> {
    error
}

/// Options of every engine here.
fn options(directory: &Path) -> Options {
    Options::new(directory).partitions(1)
}

/// Where figures of one case go.
pub(crate) struct Figures<'a> {
    report: &'a mut Report,
    bench: &'static str,
    case: String,
    subject: &'static str,
}

impl<'a> Figures<'a> {
    pub(crate) fn new(report: &'a mut Report, bench: &'static str) -> Self {
        Self { report, bench, case: String::new(), subject: "millpond" }
    }

    /// What the figures from now on are about; `millpond` at first.
    pub(crate) fn subject(&mut self, subject: &'static str) {
        self.subject = subject;
    }

    pub(crate) fn case(&mut self, case: impl Into<String>) {
        self.case = case.into();
    }

    pub(crate) fn add(&mut self, metric: &str, value: f64, unit: &str) -> Outcome<()> {
        self.figure(metric, value, unit, None)
    }

    /// A figure that should not exceed its bar.
    pub(crate) fn at_most(
        &mut self,
        metric: &str,
        value: f64,
        unit: &str,
        bar: f64,
    ) -> Outcome<()> {
        let name = format!("the bar, {bar} {unit}");
        self.figure(metric, value, unit, Some((value / bar, name.trim_end())))
    }

    /// A figure beside another one of the same run.
    pub(crate) fn beside(
        &mut self,
        metric: &str,
        value: f64,
        unit: &str,
        other: (f64, &str),
    ) -> Outcome<()> {
        self.figure(metric, value, unit, Some((value / other.0, other.1)))
    }

    /// A figure, with its ratio to something.
    pub(crate) fn figure(
        &mut self,
        metric: &str,
        value: f64,
        unit: &str,
        ratio: Option<(f64, &str)>,
    ) -> Outcome<()> {
        self.report.figure(&Figure {
            bench: self.bench,
            case: &self.case,
            subject: self.subject,
            metric,
            value,
            unit,
            ratio: ratio.map(|(ratio, _)| ratio),
            ratio_to: ratio.map(|(_, to)| to),
        })?;
        Ok(())
    }
}
