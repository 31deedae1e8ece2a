//! What the models report, and what to make of it.

use super::sources::Model;
use crate::error::{Error, Result};

/// One line `loom-model name=… executions=… bound=… complete|incomplete`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) executions: u64,
    /// Preemptions per execution, or `none`.
    pub(super) bound: String,
    pub(super) complete: bool,
}

impl Run {
    /// Finds a report in a line of output: the test runner may have begun the line with the test's name.
    ///
    /// # Errors
    ///
    /// Where the line starts like a report and does not go on like one.
    pub(super) fn parse(line: &str) -> Result<Option<Self>> {
        let Some((_, report)) = line.split_once("loom-model ") else { return Ok(None) };
        let words: Vec<&str> = report.split_whitespace().collect();
        Self::from_words(&words)
            .map(Some)
            .ok_or_else(|| Error::failed(format!("a model reported something strange: {line}")))
    }

    fn from_words(words: &[&str]) -> Option<Self> {
        let &[name, executions, bound, verdict] = words else { return None };
        Some(Self {
            name: name.strip_prefix("name=")?.to_owned(),
            executions: executions.strip_prefix("executions=")?.parse().ok()?,
            bound: bound.strip_prefix("bound=")?.to_owned(),
            complete: match verdict {
                "complete" => true,
                "incomplete" => false,
                _ => return None,
            },
        })
    }
}

/// What is wrong with these runs of the models that were to run.
pub(super) fn judge(expected: &[&Model], runs: &[Run]) -> Vec<String> {
    let mut problems = Vec::new();
    if runs.is_empty() {
        problems.push("no model ran".to_owned());
    }
    for run in runs.iter().filter(|run| !run.complete) {
        problems.push(format!(
            "model {} is incomplete: stopped after {} executions",
            run.name, run.executions
        ));
    }
    for model in expected.iter().filter(|model| !model.is_broken_twin()) {
        if !runs.iter().any(|run| run.name == model.name) {
            problems.push(format!(
                "model {} in {} did not run: its test belongs in a module called `models`",
                model.name, model.file
            ));
        }
    }
    problems
}

/// The runs as a table for people.
pub(super) fn table(runs: &[Run]) -> String {
    let width = runs.iter().map(|run| run.name.len()).max().unwrap_or_default().max("model".len());
    let mut table = format!("{:<width$} {:>12} {:>6}  search\n", "model", "executions", "bound");
    for run in runs {
        let verdict = if run.complete { "complete" } else { "INCOMPLETE" };
        let Run { name, executions, bound, .. } = run;
        table.push_str(&format!("{name:<width$} {executions:>12} {bound:>6}  {verdict}\n"));
    }
    let n_complete = runs.iter().filter(|run| run.complete).count();
    table + &format!("{n_complete} of {} models complete", runs.len())
}
