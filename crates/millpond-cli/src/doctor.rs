//! `millpond doctor`: whether this machine and this data directory are fit for durable queues.

mod machine;
mod place;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::Place;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_json};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// It works, and something should be done about it.
    Warn,
    /// An engine does not work here.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let (found, advice) = (found.into(), Some(advice.into()));
        Self { name, verdict: Verdict::Warn, found, advice }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(name, found, advice) }
    }
}

/// The worst verdict, and how it came about.
#[derive(Debug, Serialize)]
struct Diagnosis {
    data: PathBuf,
    verdict: Verdict,
    checks: Vec<Check>,
}

pub(crate) async fn run(place: &Place) -> Result<(), Failure> {
    let diagnosis = diagnose(&place.data).await;
    if place.json {
        print_json(&diagnosis)?;
    } else {
        print(&told(&diagnosis))?;
    }
    if diagnosis.verdict == Verdict::Fail {
        return Err(Failure::silent(Exit::Problem));
    }
    Ok(())
}

async fn diagnose(data: &Path) -> Diagnosis {
    let ground = place::ground(data);
    let mut checks = vec![place::directory(data, &ground)];
    let (engine, n_partitions) = place::engine(data).await;
    checks.extend(engine);
    checks.push(machine::file_system(&ground));
    checks.extend(machine::space(&ground));
    checks.push(machine::sync_latency(&ground));
    checks.push(machine::open_files(n_partitions));
    checks.push(machine::checksums());
    checks.push(machine::cores(n_partitions));
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
    Diagnosis { data: data.to_owned(), verdict, checks }
}

fn told(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for Check { name, verdict, found, advice } in &diagnosis.checks {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let _ = writeln!(text, "{word:<5} {name:<13} {found}");
        if let Some(advice) = advice {
            let _ = writeln!(text, "{:<19} → {advice}", "");
        }
    }
    let n = |wanted| diagnosis.checks.iter().filter(|check| check.verdict == wanted).count();
    let (n_warn, n_fail) = (n(Verdict::Warn), n(Verdict::Fail));
    let path = diagnosis.data.display();
    let _ = match (n_warn, n_fail) {
        (0, 0) => writeln!(text, "\n{path} is fit for work"),
        (_, 0) => writeln!(text, "\n{path} is fit for work; warnings: {n_warn}"),
        _ => writeln!(text, "\n{path} is NOT fit for work; failures: {n_fail}, warnings: {n_warn}"),
    };
    text
}

#[cfg(test)]
mod tests;
