//! What a log means for the engine: which queue each job goes to, when, and how long it runs.

use std::collections::HashMap;
use std::str::FromStr;

use serde::Serialize;

use super::swf;

/// How many seconds of the log pass in one second of the replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// Nothing waits: every job is due at once and takes no time.
    Max,
    Times(f64),
}

impl Speed {
    fn scaled_us(self, seconds: u64) -> u64 {
        match self {
            Self::Max => 0,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a time in microseconds needs no 53 bits, and the conversion saturates"
            )]
            Self::Times(speed) => (seconds as f64 * 1e6 / speed) as u64,
        }
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(Self::Times(speed)),
            _ => Err("a speed is a number above 0, or `max`".to_owned()),
        }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Times(speed) => speed.fmt(f),
        }
    }
}

/// Which queues the jobs go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Discipline {
    /// One queue per user: users take turns.
    Fair,
    /// One queue for all: first come, first served.
    Fifo,
}

impl std::fmt::Display for Discipline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fair => "one queue per user",
            Self::Fifo => "one queue for all",
        })
    }
}

/// What is made of the log's times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    pub(crate) speed: Speed,
    /// How long a worker is busy with each job, whatever the log says.
    pub(crate) run_us: Option<u64>,
}

/// Key of the queue that all users share.
const SHARED_QUEUE: &str = "all-users";

/// A job by its place in the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobIndex(pub(crate) u32);

impl JobIndex {
    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

/// One job, as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// Index of its queue.
    pub(crate) queue: usize,
    /// Index of its user.
    pub(crate) user: usize,
    /// When it is submitted, from the start of the replay.
    pub(crate) due_us: u64,
    /// How long a worker is busy with it.
    pub(crate) run_us: u64,
    /// The payload of its entry.
    pub(crate) payload: String,
}

/// A whole log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Workload {
    /// Keys of the queues.
    pub(crate) queues: Vec<String>,
    /// Names of the users, in order of first appearance.
    pub(crate) users: Vec<String>,
    /// In order of submission.
    pub(crate) tasks: Vec<Task>,
    /// Length of the log from the first submission to the last, in its own seconds.
    pub(crate) span_s: u64,
}

/// The log has more jobs than one replay can number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a replay takes at most {} jobs, the log has {n_jobs}", u32::MAX)]
pub(crate) struct TooManyJobs {
    n_jobs: usize,
}

#[derive(Serialize)]
struct Payload {
    number: u64,
    submit_s: u64,
    run_s: Option<u64>,
    processors: Option<u64>,
    user: Option<u64>,
    application: Option<u64>,
}

impl Workload {
    /// Plans a log. A job whose submit time is unknown is submitted with the job before it; one whose run
    /// time is unknown takes no time.
    pub(crate) fn plan(
        jobs: &[swf::Job],
        pace: Pace,
        discipline: Discipline,
    ) -> Result<Self, TooManyJobs> {
        let n_jobs = jobs.len();
        if u32::try_from(n_jobs).is_err() {
            return Err(TooManyJobs { n_jobs });
        }
        let mut before = 0;
        let mut timed: Vec<(u64, &swf::Job)> = Vec::with_capacity(n_jobs);
        for job in jobs {
            before = job.submit_s.unwrap_or(before);
            timed.push((before, job));
        }
        // Stable: jobs of the same second keep the order of the log.
        timed.sort_by_key(|(submit_s, _)| *submit_s);
        let start_s = timed.first().map_or(0, |(submit_s, _)| *submit_s);
        let mut workload = Self::default();
        let mut known = HashMap::new();
        for (submit_s, job) in timed {
            workload.span_s = submit_s - start_s;
            let user = *known.entry(job.user).or_insert_with(|| {
                workload.users.push(user_name(job.user));
                workload.users.len() - 1
            });
            let queue = if discipline == Discipline::Fair { user } else { 0 };
            let due_us = pace.speed.scaled_us(submit_s - start_s);
            let run_us = pace.run_us.unwrap_or(pace.speed.scaled_us(job.run_s.unwrap_or(0)));
            let payload = payload(submit_s, job);
            workload.tasks.push(Task { queue, user, due_us, run_us, payload });
        }
        workload.queues = match discipline {
            Discipline::Fair => workload.users.clone(),
            Discipline::Fifo => vec![SHARED_QUEUE.to_owned()],
        };
        Ok(workload)
    }

    /// The longest run of a job, in microseconds of the replay.
    pub(crate) fn longest_run_us(&self) -> u64 {
        self.tasks.iter().map(|task| task.run_us).max().unwrap_or(0)
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = JobIndex> + use<> {
        let n = u32::try_from(self.tasks.len()).expect("checked when it was planned");
        (0..n).map(JobIndex)
    }
}

fn user_name(user: Option<u64>) -> String {
    user.map_or_else(|| "user-unknown".to_owned(), |user| format!("user-{user}"))
}

fn payload(submit_s: u64, job: &swf::Job) -> String {
    let payload = Payload {
        number: job.number,
        submit_s,
        run_s: job.run_s,
        processors: job.n_processors,
        user: job.user,
        application: job.application,
    };
    serde_json::to_string(&payload).expect("numbers always have a JSON form")
}

#[cfg(test)]
mod tests;
