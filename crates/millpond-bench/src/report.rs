//! Figures as a table and as JSON lines.

use std::fs::File;
use std::io::{self, Write as _};
use std::process::Command;

use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure<'a> {
    pub(crate) bench: &'a str,
    pub(crate) case: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) metric: &'a str,
    pub(crate) value: f64,
    pub(crate) unit: &'a str,
    /// Against `ratio_to`, in the same run.
    pub(crate) ratio: Option<f64>,
    pub(crate) ratio_to: Option<&'a str>,
}

/// The same work with and without something.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison<'a> {
    pub(crate) bench: &'a str,
    pub(crate) case: &'a str,
    /// What makes the difference.
    pub(crate) subject: &'a str,
    pub(crate) metric: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) with: f64,
    pub(crate) without: f64,
}

#[derive(Debug, Serialize)]
struct Header {
    machine: String,
    cores: usize,
    rustc: String,
    commit: String,
    fsync_policy: &'static str,
}

/// Where figures go.
#[derive(Debug)]
pub(crate) struct Report {
    json: Option<File>,
}

impl Report {
    /// Starts with the line that says what was measured where.
    pub(crate) fn new(json: Option<File>) -> io::Result<Self> {
        let mut report = Self { json };
        let header = Header {
            machine: cpu(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            rustc: output("rustc", &["--version"]),
            commit: output("git", &["rev-parse", "--short", "HEAD"]),
            fsync_policy: "engine, queues, delays, fairness: fdatasync before every receipt, every peer too; inbox, promotion, scheduler, wakeup, coherence, hit-ratio: no sync",
        };
        println!(
            "{} · {} cores · {} · commit {}\nfsync policy: {}\n",
            header.machine, header.cores, header.rustc, header.commit, header.fsync_policy
        );
        report.line(&header)?;
        Ok(report)
    }

    /// What the columns of [`figure`](Self::figure) are.
    pub(crate) fn figure_heading(&self) {
        println!(
            "{:<8} {:<34} {:<14} {:<18} {:>12} {:<8} ratio",
            "bench", "case", "subject", "metric", "value", "unit"
        );
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, figure: &Figure<'_>) -> io::Result<()> {
        let ratio = match (figure.ratio, figure.ratio_to) {
            (Some(ratio), Some(to)) => format!("{ratio:.2} of {to}"),
            _ => String::new(),
        };
        println!(
            "{:<8} {:<34} {:<14} {:<18} {:>12.2} {:<8} {ratio}",
            figure.bench, figure.case, figure.subject, figure.metric, figure.value, figure.unit
        );
        self.line(figure)
    }

    /// What the columns of [`comparison`](Self::comparison) are.
    pub(crate) fn comparison_heading(&self) {
        println!(
            "{:<36} {:<20} {:<22} {:<4} {:>10} {:>10} {:>8}",
            "case", "subject", "metric", "unit", "with", "without", "ratio"
        );
    }

    /// Adds a comparison; its ratio is what the metric grows by without the subject.
    pub(crate) fn comparison(&mut self, comparison: &Comparison<'_>) -> io::Result<()> {
        let Comparison { case, subject, metric, unit, with, without, .. } = comparison;
        let ratio = match without / with {
            ratio if ratio.is_finite() => format!("{ratio:.2}"),
            _ => "–".to_owned(),
        };
        println!(
            "{case:<36} {subject:<20} {metric:<22} {unit:<4} {with:>10.1} {without:>10.1} {ratio:>8}"
        );
        self.line(comparison)
    }

    /// Adds an object to the JSON lines only.
    pub(crate) fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        if let Some(file) = &mut self.json {
            serde_json::to_writer(&mut *file, value)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    output
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
