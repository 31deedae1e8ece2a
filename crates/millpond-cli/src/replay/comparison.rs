//! Two replays of one log beside each other: one queue for all users, and one for each.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::report::{Latency, Report};
use super::workload::{Discipline, Workload};
use crate::output::{Column, count, duration_us, table};

/// Users in the table; the JSON form has all of them.
const USERS_SHOWN: usize = 10;
/// From so many times shorter waits on, the heaviest user is said to delay the others no longer.
const TIMES_MIN: f64 = 2.0;
/// One replay may take so many times as long as the other. Beyond that the machine was not the same for both, and
/// waits differ for that reason too.
const UNEVEN_MAX: f64 = 1.25;

/// Both replays, and what users waited in them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// Whether every promise was kept and everything was done, in both.
    pub(crate) passed: bool,
    /// The user with most jobs.
    pub(crate) heaviest: Option<UserWaits>,
    pub(crate) others: Option<Others>,
    /// Whether the replays took about as long, so that waits can be compared.
    pub(crate) even: bool,
    /// Most jobs first.
    pub(crate) users: Vec<UserWaits>,
    pub(crate) fifo: Report,
    pub(crate) fair: Report,
}

/// How long the jobs of one user waited, from accepted to first leased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UserWaits {
    pub(crate) user: String,
    pub(crate) jobs: u64,
    pub(crate) fifo: Quantiles,
    pub(crate) fair: Quantiles,
}

/// In microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// All users but the heaviest: the median over them of their p99.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Others {
    pub(crate) users: usize,
    pub(crate) fifo_p99_us: u64,
    pub(crate) fair_p99_us: u64,
    /// How many times shorter it is with one queue per user.
    pub(crate) times_shorter: f64,
}

impl Comparison {
    pub(crate) fn new(workload: &Workload, fifo: Report, fair: Report) -> Self {
        let users = users(workload, &fifo, &fair);
        Self {
            passed: fifo.passed && fair.passed,
            heaviest: users.first().cloned(),
            others: Others::of(users.get(1..).unwrap_or_default()),
            even: is_even(fifo.wall_us, fair.wall_us),
            users,
            fifo,
            fair,
        }
    }

    /// The comparison for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        for report in [&self.fifo, &self.fair] {
            let _ = write!(text, "\n{}\n{}", report.settings.discipline, report.account());
        }
        text.push('\n');
        text += &self.users_table();
        let _ = writeln!(text, "\n{}", self.sentence());
        for report in [&self.fifo, &self.fair] {
            let _ = write!(text, "\n{}: {}", report.settings.discipline, report.verdict().trim());
        }
        text.push('\n');
        text
    }

    pub(crate) fn headline(&self) -> String {
        let headline = self.fair.settings.headline(self.fair.jobs, self.fair.users);
        format!("{headline}, once {} and once {}", Discipline::Fifo, Discipline::Fair)
    }

    /// Whether the heaviest user delays the others, and by how much.
    pub(crate) fn sentence(&self) -> String {
        let (Some(heaviest), Some(others)) = (&self.heaviest, self.others) else {
            return "There are not two users whose waiting could be compared.".to_owned();
        };
        let Others { users, fifo_p99_us, fair_p99_us, times_shorter } = others;
        let [fifo, fair] = [fifo_p99_us, fair_p99_us].map(duration_us);
        let [own_fifo, own_fair] =
            [heaviest.fifo, heaviest.fair].map(|own| duration_us(own.p99_us));
        let (jobs, all) = (count(heaviest.jobs), count(self.fair.jobs));
        let who = format!("the heaviest user, {} with {jobs} of {all} jobs,", heaviest.user);
        let figures = format!(
            "the median over the other {users} users of p99 waiting is {fair} instead of {fifo}"
        );
        let own = format!("its own p99 is {own_fair} instead of {own_fifo}");
        if !self.even {
            let [fifo, fair] = [&self.fifo, &self.fair].map(|report| duration_us(report.wall_us));
            return format!(
                "The replays took {fifo} and {fair}: the machine, or the partitions in use, served one better \
                 than the other,\nand this says little of {who}:\nwith one queue per user, {figures};\n{own}.\n\
                 Repeat it with longer jobs and more workers, when the machine is quiet, with --partitions 1."
            );
        }
        if times_shorter >= TIMES_MIN {
            let times = times(times_shorter);
            return format!(
                "With one queue per user, {who} no longer delays the others:\n{figures}, {times} \
                 shorter;\n{own}."
            );
        }
        format!(
            "Here {who} is hardly what the others wait for:\nwith one queue per user, {figures};\n{own}.\n\
             With fewer workers, longer jobs or a higher speed, queues would be longer."
        )
    }

    fn users_table(&self) -> String {
        let [fifo_p50, fifo_p99] = ["one queue p50", "p99"].map(Column::Number);
        let [fair_p50, fair_p99] = ["own queues p50", "p99"].map(Column::Number);
        let name = Column::Text("waiting by user");
        let columns = [name, Column::Number("jobs"), fifo_p50, fifo_p99, fair_p50, fair_p99];
        let rows = self.users.iter().take(USERS_SHOWN).map(|user| {
            let UserWaits { user, jobs, fifo, fair } = user;
            let [fifo_p50, fifo_p99, fair_p50, fair_p99] =
                [fifo.p50_us, fifo.p99_us, fair.p50_us, fair.p99_us].map(duration_us);
            [user.clone(), count(*jobs), fifo_p50, fifo_p99, fair_p50, fair_p99]
        });
        let mut text = table(columns, rows);
        let n_more = self.users.len().saturating_sub(USERS_SHOWN);
        if n_more > 0 {
            let _ = writeln!(text, "… and {n_more} more users");
        }
        text
    }
}

impl Quantiles {
    /// `None` if nobody knows how long any of them waited.
    fn of(wait: &Latency) -> Option<Self> {
        (wait.n > 0).then_some(Self { p50_us: wait.p50_us, p99_us: wait.p99_us })
    }
}

impl Others {
    fn of(users: &[UserWaits]) -> Option<Self> {
        let p99 = |wait: fn(&UserWaits) -> Quantiles| {
            median(users.iter().map(|user| wait(user).p99_us).collect())
        };
        let (fifo_p99_us, fair_p99_us) = (p99(|user| user.fifo)?, p99(|user| user.fair)?);
        let times_shorter = ratio(fifo_p99_us, fair_p99_us);
        Some(Self { users: users.len(), fifo_p99_us, fair_p99_us, times_shorter })
    }
}

/// Those of whom both replays know how long they waited.
fn users(workload: &Workload, fifo: &Report, fair: &Report) -> Vec<UserWaits> {
    let mut jobs = vec![0; workload.users.len()];
    workload.tasks.iter().for_each(|task| jobs[task.user] += 1);
    let by_name = |report: &Report| -> HashMap<String, Option<Quantiles>> {
        let waiting = report.waiting.iter();
        waiting.map(|row| (row.user.clone(), Quantiles::of(&row.wait))).collect()
    };
    let (fifo, fair) = (by_name(fifo), by_name(fair));
    let known = |(user, jobs): (&String, u64)| {
        let (fifo, fair) = ((*fifo.get(user)?)?, (*fair.get(user)?)?);
        Some(UserWaits { user: user.clone(), jobs, fifo, fair })
    };
    let mut users: Vec<_> = workload.users.iter().zip(jobs).filter_map(known).collect();
    users.sort_by(|a, b| (b.jobs, &a.user).cmp(&(a.jobs, &b.user)));
    users
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(lower.midpoint(upper))
}

fn is_even(a_us: u64, b_us: u64) -> bool {
    ratio(a_us.max(b_us), a_us.min(b_us)) <= UNEVEN_MAX
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is shown with few digits")]
fn ratio(a: u64, b: u64) -> f64 {
    a.max(1) as f64 / b.max(1) as f64
}

/// `7.7 times`, `130 times`.
pub(crate) fn times(ratio: f64) -> String {
    if ratio < 9.95 { format!("{ratio:.1} times") } else { format!("{ratio:.0} times") }
}

#[cfg(test)]
mod tests;
