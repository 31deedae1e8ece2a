//! Running named steps, timing them, and summing up.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// What became of one step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    /// Not started, because an earlier step failed.
    Skipped,
}

/// A run of steps.
#[derive(Debug)]
pub(crate) struct Steps {
    keep_going: bool,
    done: Vec<(&'static str, Duration, Outcome)>,
}

impl Steps {
    /// With `keep_going`, a failed step stops only the steps that need its result.
    pub(crate) fn new(keep_going: bool) -> Self {
        Self { keep_going, done: Vec::new() }
    }

    /// Runs one step, unless an earlier failure stops it. Gives its result where it passed.
    pub(crate) fn run<T>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T>,
    ) -> Option<T> {
        if self.failed() && !self.keep_going {
            self.done.push((name, Duration::ZERO, Outcome::Skipped));
            return None;
        }
        println!("\n==> {name}");
        let started = Instant::now();
        let result = step();
        let took = started.elapsed();
        if let Err(error) = &result {
            println!("{name}: {error}");
        }
        let outcome = if result.is_ok() { Outcome::Passed } else { Outcome::Failed };
        self.done.push((name, took, outcome));
        result.ok()
    }

    /// Runs a step that needs what an earlier step gave.
    pub(crate) fn run_with<I, T>(
        &mut self,
        input: Option<&I>,
        name: &'static str,
        step: impl FnOnce(&I) -> Result<T>,
    ) -> Option<T> {
        if let Some(input) = input {
            self.run(name, || step(input))
        } else {
            self.done.push((name, Duration::ZERO, Outcome::Skipped));
            None
        }
    }

    /// Prints the summary, and fails if any step did.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n{}", self.summary());
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|(_, _, outcome)| *outcome == Outcome::Failed)
            .map(|(name, _, _)| *name)
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Error::failed(format!("failed: {}", failed.join(", "))))
        }
    }

    fn failed(&self) -> bool {
        self.done.iter().any(|(_, _, outcome)| *outcome == Outcome::Failed)
    }

    fn summary(&self) -> String {
        let total: Duration = self.done.iter().map(|(_, took, _)| *took).sum();
        let lines = self.done.iter().map(|(name, took, outcome)| {
            let verdict = match outcome {
                Outcome::Passed => "passed",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "not run",
            };
            format!("{name:<10} {verdict:<8} {:>7.1} s\n", took.as_secs_f64())
        });
        lines.collect::<String>() + &format!("{:<19} {:>7.1} s", "total", total.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_and_outcomes(steps: &Steps) -> Vec<(&'static str, Outcome)> {
        steps.done.iter().map(|(name, _, outcome)| (*name, *outcome)).collect()
    }

    #[test]
    fn the_first_failure_stops_the_rest() {
        let mut steps = Steps::new(false);
        assert_eq!(steps.run("one", || Ok(1)), Some(1));
        assert_eq!(steps.run("two", || Err::<(), _>(Error::failed("no"))), None);
        assert_eq!(steps.run("three", || Ok(3)), None);
        let expected =
            [("one", Outcome::Passed), ("two", Outcome::Failed), ("three", Outcome::Skipped)];
        assert_eq!(names_and_outcomes(&steps), expected);
        let error = steps.finish().expect_err("a step failed");
        assert_eq!(error.to_string(), "failed: two");
    }

    #[test]
    fn keeping_going_skips_only_what_needs_the_failed_step() {
        let mut steps = Steps::new(true);
        let library = steps.run("library", || Err::<(), _>(Error::failed("no")));
        steps.run_with(library.as_ref(), "link", |()| Ok(()));
        steps.run("fmt", || Ok(()));
        let expected =
            [("library", Outcome::Failed), ("link", Outcome::Skipped), ("fmt", Outcome::Passed)];
        assert_eq!(names_and_outcomes(&steps), expected);
        assert!(steps.summary().contains("library    FAILED"), "{}", steps.summary());
    }

    #[test]
    fn nothing_failed_is_a_success() {
        let mut steps = Steps::new(false);
        steps.run("one", || Ok(()));
        assert!(steps.finish().is_ok());
    }
}
