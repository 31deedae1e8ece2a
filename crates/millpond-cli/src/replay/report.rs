//! What a replay found, for machines and for people.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use millpond::admin::PartitionCheck;
use serde::Serialize;

use super::ledger::{Samples, Settled, Violations};
use super::supervisor::{Ending, Outcome};
use super::workload::{Discipline, Workload};
use crate::clock::Micros;
use crate::output::{Column, count, duration_us, table};

/// Users in the table; the JSON form has all of them.
const USERS_SHOWN: usize = 10;
/// Longest duration that is told apart from longer ones: a day, in microseconds.
const DURATION_US_MAX: u64 = 86_400_000_000;

/// How a replay was done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Settings {
    pub(crate) log: String,
    pub(crate) speed: String,
    /// What every job takes; without, what the log says at that speed.
    pub(crate) run_ms: Option<u64>,
    pub(crate) discipline: Discipline,
    pub(crate) workers: usize,
    pub(crate) partitions: u16,
    pub(crate) topic: String,
    pub(crate) crash_after_acks: Option<u64>,
    pub(crate) engine: &'static str,
    pub(crate) sync_policy: &'static str,
}

impl Settings {
    /// What was replayed, and how.
    pub(crate) fn headline(&self, jobs: u64, users: usize) -> String {
        let Self { log, speed, workers, partitions, .. } = self;
        let run = self.run_ms.map_or_else(String::new, |ms| format!(" and {ms} ms per job"));
        let jobs = count(jobs);
        format!(
            "Replay of {log}: {jobs} jobs of {users} users, speed {speed}{run}, {workers} workers, \
             {partitions} partitions"
        )
    }
}

/// Everything that a replay found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) settings: Settings,
    /// `finished`, `interrupted` or `stalled`.
    pub(crate) ending: &'static str,
    /// Whether every promise was kept and everything was done.
    pub(crate) passed: bool,
    pub(crate) jobs: u64,
    pub(crate) users: usize,
    pub(crate) accepted: u64,
    pub(crate) acked: u64,
    pub(crate) redelivered: u64,
    /// Acknowledgements that came after the lease's end; the entry was delivered again.
    pub(crate) refused_acks: u64,
    /// Accepted, neither acknowledged nor lost.
    pub(crate) unfinished: u64,
    #[serde(flatten)]
    pub(crate) violations: Violations,
    pub(crate) crash: Option<CrashReport>,
    /// From the first job's due time to the last acknowledgement.
    pub(crate) wall_us: u64,
    pub(crate) jobs_per_second: f64,
    /// From the call of enqueue to its durable receipt.
    pub(crate) enqueue: Latency,
    /// From ready to a lease in a worker's hands.
    pub(crate) ready_to_leased: Latency,
    /// By user, most jobs first: from accepted to first leased.
    pub(crate) waiting: Vec<Waiting>,
    /// What `partition verify` says at the end.
    pub(crate) verified: Vec<PartitionCheck>,
}

/// The kill in the middle.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CrashReport {
    /// From the start of the replay.
    pub(crate) killed_at_us: u64,
    /// From the kill until the next process had the engine open and its entries counted.
    pub(crate) recovery_us: u64,
    #[serde(flatten)]
    pub(crate) settled: Settled,
}

/// A distribution of durations.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) n: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
    #[serde(skip)]
    pub(crate) histogram: Histogram<u64>,
}

/// How long the jobs of one user waited.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Waiting {
    pub(crate) user: String,
    #[serde(flatten)]
    pub(crate) wait: Latency,
}

impl Latency {
    fn of(samples_us: &[u64]) -> Self {
        let mut histogram = Histogram::new_with_bounds(1, DURATION_US_MAX, 3)
            .expect("the bounds are constants that the histogram allows");
        for sample in samples_us {
            histogram.saturating_record(*sample);
        }
        Self {
            n: histogram.len(),
            mean_us: histogram.mean(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
            histogram,
        }
    }

    fn row(&self) -> [String; 6] {
        let values = [self.p50_us, self.p99_us, self.p999_us, self.max_us].map(duration_us);
        let [p50, p99, p999, max] = values;
        [String::new(), count(self.n), p50, p99, p999, max]
    }
}

impl Report {
    pub(crate) fn new(
        settings: Settings,
        workload: &Workload,
        outcome: &Outcome,
        samples: &Samples,
        verified: Vec<PartitionCheck>,
    ) -> Self {
        let ledger = &outcome.ledger;
        let violations = ledger.violations();
        let n_problems: u64 = verified.iter().map(|check| check.n_problems).sum();
        let finished = outcome.ending == Ending::Finished;
        let ended_at = match samples.acked_at.last() {
            Some(last) if finished => *last,
            _ => outcome.ended_at,
        };
        let wall_us = ended_at.since(outcome.started_at);
        Self {
            ending: match outcome.ending {
                Ending::Finished => "finished",
                Ending::Interrupted(_) => "interrupted",
                Ending::Stalled => "stalled",
            },
            passed: finished
                && violations.total() == 0
                && n_problems == 0
                && ledger.n_acked() == ledger.n_jobs(),
            jobs: ledger.n_jobs(),
            users: workload.users.len(),
            accepted: ledger.n_accepted(),
            acked: ledger.n_acked(),
            redelivered: ledger.n_redelivered(),
            refused_acks: ledger.n_refused(),
            unfinished: ledger.n_accepted().saturating_sub(ledger.n_acked() + violations.lost),
            violations,
            crash: outcome.crash.as_ref().map(|crash| CrashReport {
                killed_at_us: crash.killed_at.since(outcome.started_at),
                recovery_us: crash.reopened_at.since(crash.killed_at),
                settled: crash.settled.clone(),
            }),
            wall_us,
            jobs_per_second: per_second(ledger.n_acked(), wall_us),
            enqueue: Latency::of(&samples.enqueue_us),
            ready_to_leased: Latency::of(&samples.ready_to_leased_us),
            waiting: waiting(workload, samples),
            verified,
            settings,
        }
    }

    /// The report for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{}\n\n", self.headline());
        text += &self.account();
        text.push('\n');
        text += &self.latencies();
        text.push('\n');
        text += &self.users_table();
        text += &self.verdict();
        text
    }

    /// What became of the jobs.
    pub(crate) fn account(&self) -> String {
        let mut text = self.counts();
        for example in &self.violations.examples {
            let _ = writeln!(text, "  {example}");
        }
        text += &self.crash_sentence();
        let _ = writeln!(
            text,
            "\n{} in {}, {} jobs/s; {}",
            self.ending,
            duration_us(self.wall_us),
            count(rounded(self.jobs_per_second)),
            self.settings.sync_policy,
        );
        text
    }

    pub(crate) fn headline(&self) -> String {
        let discipline = self.settings.discipline;
        format!("{}, {discipline}", self.settings.headline(self.jobs, self.users))
    }

    fn counts(&self) -> String {
        let Violations { lost, out_of_order, .. } = self.violations;
        let mut rows = vec![
            ("accepted", self.accepted),
            ("acked", self.acked),
            ("redelivered", self.redelivered),
            ("lost", lost),
            ("out of order", out_of_order),
        ];
        let rare = [
            ("unfinished", self.unfinished),
            ("refused acks", self.refused_acks),
            ("revived", self.violations.revived),
            ("duplicated", self.violations.duplicated),
            ("forgotten leases", self.violations.forgotten_leases),
            ("misplaced", self.violations.misplaced),
        ];
        rows.extend(rare.into_iter().filter(|(_, n)| *n > 0));
        let rows = rows.into_iter().map(|(name, n)| [name.to_owned(), count(n)]);
        table([Column::Text("entries"), Column::Number("")], rows)
    }

    fn crash_sentence(&self) -> String {
        let Some(crash) = &self.crash else { return String::new() };
        let Settled { accepted, acked, released, .. } = crash.settled;
        format!(
            "\nkill -9 after {}: open again in {}; {} leases released, {} receipts and {} \
             acknowledgements\nhad not been heard and were found durable\n",
            duration_us(crash.killed_at_us),
            duration_us(crash.recovery_us),
            count(released),
            count(accepted),
            count(acked),
        )
    }

    fn latencies(&self) -> String {
        let named = |name: &str, latency: &Latency| {
            let mut row = latency.row();
            name.clone_into(&mut row[0]);
            row
        };
        let rows = [named("enqueue", &self.enqueue), named("ready→leased", &self.ready_to_leased)];
        table(duration_columns("latency", "n"), rows)
    }

    fn users_table(&self) -> String {
        let rows = self.waiting.iter().take(USERS_SHOWN).map(|user| {
            let mut row = user.wait.row();
            row[0].clone_from(&user.user);
            row
        });
        let mut text = table(duration_columns("waiting by user", "jobs"), rows);
        let n_more = self.waiting.len().saturating_sub(USERS_SHOWN);
        if n_more > 0 {
            let _ = writeln!(text, "… and {n_more} more users");
        }
        text
    }

    pub(crate) fn verdict(&self) -> String {
        let n_problems: u64 = self.verified.iter().map(|check| check.n_problems).sum();
        let mut text = String::new();
        for problem in self.verified.iter().flat_map(|check| &check.problems) {
            let _ = writeln!(text, "partition verify: {problem}");
        }
        let store = if n_problems == 0 { "clean" } else { "NOT CLEAN" };
        let verdict = match (self.passed, self.ending) {
            (true, _) => "every promise was kept",
            (false, "interrupted") if self.violations.total() + n_problems == 0 => {
                "every promise was kept as far as it went"
            }
            (false, _) => "FAILED",
        };
        let _ = writeln!(text, "\nthe store is {store}; {verdict}");
        text
    }
}

fn duration_columns(name: &'static str, n: &'static str) -> [Column; 6] {
    let [p50, p99, p999, max] = ["p50", "p99", "p99.9", "max"].map(Column::Number);
    [Column::Text(name), Column::Number(n), p50, p99, p999, max]
}

fn waiting(workload: &Workload, samples: &Samples) -> Vec<Waiting> {
    let mut waits_us = vec![Vec::new(); workload.users.len()];
    for (task, wait_us) in workload.tasks.iter().zip(&samples.waits_us) {
        waits_us[task.user].extend(*wait_us);
    }
    let users = workload.users.iter().zip(&waits_us);
    let mut waiting: Vec<_> = users
        .map(|(user, waits)| Waiting { user: user.clone(), wait: Latency::of(waits) })
        .collect();
    waiting.sort_by(|a, b| (b.wait.n, &a.user).cmp(&(a.wait.n, &b.user)));
    waiting
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
fn per_second(n: u64, us: u64) -> f64 {
    if us == 0 { 0.0 } else { n as f64 * 1e6 / us as f64 }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is finite, not negative and far below 2^53"
)]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

/// Seconds from one time to another.
#[expect(clippy::cast_precision_loss, reason = "a picture shows few digits")]
pub(crate) fn seconds_between(from: Micros, to: Micros) -> f64 {
    to.since(from) as f64 / 1e6
}

#[cfg(test)]
pub(super) mod tests;
