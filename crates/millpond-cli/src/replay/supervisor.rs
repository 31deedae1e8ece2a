//! Runs a replay: starts the engine's process, keeps the books, kills the process in the middle if asked
//! to, starts the next one on the same store, and says how it ended.

use std::os::unix::process::ExitStatusExt as _;

use indicatif::ProgressBar;

use super::event::{Event, Record};
use super::instruction::{Instruction, Setup, Submission};
use super::ledger::{Ledger, Settled};
use super::process::EngineProcess;
use super::workload::{JobIndex, Workload};
use crate::clock::{self, Micros};
use crate::failure::{Exit, Failure};
use crate::signals::Signals;

/// How long nothing may happen, when something should, until the replay counts as stuck.
const STALL_US: u64 = 60_000_000;

/// How a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every job was acknowledged, or lost.
    Finished,
    /// A signal came. The engine was closed.
    Interrupted(Exit),
    /// Work was left, and nothing happened any more.
    Stalled,
}

/// The kill in the middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) killed_at: Micros,
    /// When the next process had the engine open; the time of the kill until then.
    pub(crate) reopened_at: Micros,
    pub(crate) settled: Settled,
}

/// A replay that is over.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ledger: Ledger,
    pub(crate) ending: Ending,
    pub(crate) crash: Option<Crash>,
    /// When the first job was due.
    pub(crate) started_at: Micros,
    pub(crate) ended_at: Micros,
}

/// A replay that is going on.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    workload: &'a Workload,
    setup: Setup,
    /// Acknowledgements to be seen before the kill that is still to come.
    kill_after: Option<u64>,
    progress: ProgressBar,
    signals: Signals,
    ledger: Ledger,
    crash: Option<Crash>,
    started_at: Option<Micros>,
    heard_at: Micros,
    ending: Option<Ending>,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(
        workload: &'a Workload,
        setup: Setup,
        kill_after: Option<u64>,
        progress: ProgressBar,
    ) -> Result<Self, Failure> {
        Ok(Self {
            ledger: Ledger::new(workload.tasks.iter().map(|task| task.queue)),
            workload,
            setup,
            kill_after,
            progress,
            signals: Signals::listen()?,
            crash: None,
            started_at: None,
            heard_at: Micros::now(),
            ending: None,
        })
    }

    /// Runs it to its end.
    pub(crate) async fn run(mut self) -> Result<Outcome, Failure> {
        while self.ending.is_none() {
            self.live().await?;
        }
        let ended_at = Micros::now();
        if self.ending == Some(Ending::Stalled) {
            // What is left may be in the store, stuck, or gone: only a scan tells.
            self.live().await?;
        }
        self.progress.finish_and_clear();
        Ok(Outcome {
            started_at: self.started_at.unwrap_or(ended_at),
            ended_at,
            ledger: self.ledger,
            ending: self.ending.expect("the loop ran until it was there"),
            crash: self.crash,
        })
    }

    /// One life of the engine's process.
    async fn live(&mut self) -> Result<(), Failure> {
        let mut process = EngineProcess::start()?;
        process.tell([Instruction::Open(self.setup.clone())]).await?;
        self.heard_at = Micros::now();
        loop {
            tokio::select! {
                more = process.fill() => if !more? { break },
                exit = self.signals.next() => self.interrupted(exit, &mut process)?,
                () = clock::sleep_until(self.heard_at.plus(STALL_US)) => self.quiet(&mut process)?,
            }
            while let Some(record) = process.next_record()? {
                self.heard_at = Micros::now();
                self.heard(record, &mut process).await?;
            }
            self.progress.set_position(self.ledger.n_acked());
        }
        let status = process.wait().await?;
        let as_told = if process.is_killed() {
            // It may have finished by itself just before.
            status.signal().is_some() || status.success()
        } else {
            status.success() && self.ending.is_some()
        };
        if as_told {
            return Ok(());
        }
        let text = format!("the engine's process ended unexpectedly: {status}");
        Err(Failure::new(Exit::Stopped, text))
    }

    async fn heard(&mut self, record: Record, process: &mut EngineProcess) -> Result<(), Failure> {
        if let Event::Failed { code, text } = record.event {
            return Err(Failure::new(Exit::from_code(code), text));
        }
        let entered = self.ledger.enter(record.at, &record.event);
        entered.map_err(|unknown| Failure::new(Exit::Stopped, unknown.to_string()))?;
        if record.event == Event::Scanned {
            self.scanned(record.at, process).await?;
        }
        let kill_now = self.kill_after.is_some_and(|n_acks| self.ledger.n_acked() >= n_acks);
        if kill_now && self.ending.is_none() {
            self.kill_after = None;
            process.kill()?;
            let now = Micros::now();
            self.crash =
                Some(Crash { killed_at: now, reopened_at: now, settled: Settled::default() });
        } else if self.ledger.is_finished() && !process.is_killed() {
            self.end(Ending::Finished, process);
        }
        Ok(())
    }

    /// The store has said what it holds: decides what was in doubt, and lets the work go on.
    async fn scanned(&mut self, at: Micros, process: &mut EngineProcess) -> Result<(), Failure> {
        let (settled, to_enqueue) = self.ledger.settle(at);
        if let Some(crash) = &mut self.crash {
            crash.reopened_at = at;
            crash.settled = settled;
        }
        if self.ending.is_some() {
            return Ok(());
        }
        let started_at = *self.started_at.get_or_insert_with(Micros::now);
        let submissions = to_enqueue.into_iter().map(|job| {
            let task = &self.workload.tasks[job.at()];
            Instruction::Job(Submission {
                job: job.0,
                queue: task.queue,
                due: started_at.plus(task.due_us),
                payload: task.payload.clone(),
            })
        });
        process.tell(submissions.chain([Instruction::Begin])).await
    }

    fn end(&mut self, ending: Ending, process: &mut EngineProcess) {
        self.ending.get_or_insert(ending);
        process.close();
    }

    /// A signal closes the engine; one more kills its process.
    fn interrupted(&mut self, exit: Exit, process: &mut EngineProcess) -> Result<(), Failure> {
        if matches!(self.ending, Some(Ending::Interrupted(_))) {
            return process.kill();
        }
        self.ending = Some(Ending::Interrupted(exit));
        self.progress.set_message("closing");
        process.close();
        Ok(())
    }

    /// Nothing was heard for a while.
    fn quiet(&mut self, process: &mut EngineProcess) -> Result<(), Failure> {
        let now = Micros::now();
        self.heard_at = now;
        if self.ending.is_some() {
            return process.kill();
        }
        if !self.workload.indices().any(|job| self.is_expected_after(job, now)) {
            self.end(Ending::Stalled, process);
        }
        Ok(())
    }

    /// Whether the job is to be submitted later, or still runs.
    fn is_expected_after(&self, job: JobIndex, now: Micros) -> bool {
        let task = &self.workload.tasks[job.at()];
        let due_later = self.started_at.is_some_and(|start| start.plus(task.due_us) > now);
        let leased_at = self.ledger.leased_at(job);
        due_later || leased_at.is_some_and(|at| at.plus(task.run_us) > now)
    }
}
