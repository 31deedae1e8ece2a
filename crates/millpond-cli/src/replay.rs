//! `millpond replay`: a real job log through durable queues, with exact books across a `kill -9`.

pub(crate) mod host;
pub(crate) mod process;
pub(crate) mod workload;

mod comparison;
mod event;
mod instruction;
mod ledger;
mod order;
mod picture;
mod report;
mod supervisor;
mod swf;

use std::fs;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use millpond::admin::{Admin, Order};
use millpond::{ErrorKind, limits};
use serde::Serialize;

use crate::args::ReplayArguments;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::output;
use comparison::Comparison;
use instruction::Setup;
use report::{Report, Settings};
use supervisor::{Ending, Supervisor};
use swf::LogError;
use workload::{Discipline, Pace, Workload};

/// What a lease lasts beyond the longest run of a job, in milliseconds: no healthy worker comes late.
const LEASE_MARGIN_MS: u64 = 60_000;

/// Replays a log and reports; twice, if both disciplines are asked for, one after the other.
pub(crate) async fn replay(arguments: &ReplayArguments) -> Result<(), Failure> {
    let jobs = read(arguments)?;
    let plan = |discipline| plan(arguments, &jobs, discipline);
    if !(arguments.fair && arguments.fifo) {
        let discipline = if arguments.fifo { Discipline::Fifo } else { Discipline::Fair };
        let workload = plan(discipline)?;
        check(arguments, &workload)?;
        let replayed = run(arguments, &workload, discipline).await?;
        replayed.publish(arguments)?;
        return replayed.exit();
    }
    let workload = plan(Discipline::Fifo)?;
    check(arguments, &workload)?;
    let fifo = run(arguments, &workload, Discipline::Fifo).await?;
    // What a broken promise leaves behind would be taken for somebody else's.
    if fifo.ending != Ending::Finished || !fifo.report.passed {
        fifo.publish(arguments)?;
        return fifo.exit();
    }
    let workload = plan(Discipline::Fair)?;
    let fair = run(arguments, &workload, Discipline::Fair).await?;
    if fair.ending != Ending::Finished {
        fair.publish(arguments)?;
        return fair.exit();
    }
    let comparison = Comparison::new(&workload, fifo.report, fair.report);
    let draw = || picture::draw_comparison(&comparison);
    publish(arguments, &comparison, &comparison.to_text(), draw)?;
    if comparison.passed { Ok(()) } else { Err(Failure::silent(Exit::Problem)) }
}

/// One replay, over.
struct Replayed {
    report: Report,
    curves: picture::Curves,
    ending: Ending,
}

impl Replayed {
    fn publish(&self, arguments: &ReplayArguments) -> Result<(), Failure> {
        let draw = || picture::draw(&self.report, &self.curves);
        publish(arguments, &self.report, &self.report.to_text(), draw)
    }

    fn exit(&self) -> Result<(), Failure> {
        match self.ending {
            Ending::Interrupted(exit) if self.report.violations.total() == 0 => {
                Err(Failure::silent(exit))
            }
            _ if self.report.passed => Ok(()),
            _ => Err(Failure::silent(Exit::Problem)),
        }
    }
}

async fn run(
    arguments: &ReplayArguments,
    workload: &Workload,
    discipline: Discipline,
) -> Result<Replayed, Failure> {
    check_store(arguments).await?;
    let setup = Setup {
        directory: arguments.data.clone(),
        n_partitions: arguments.partitions,
        topic: arguments.topic.clone(),
        queues: workload.queues.clone(),
        run: format!("{}-{}", clock::unix_ms(), std::process::id()),
        n_workers: arguments.workers,
        lease_ms: lease_ms(workload)?,
        run_us: workload.tasks.iter().map(|task| task.run_us).collect(),
    };
    let progress = progress_bar(workload.tasks.len() as u64).with_message(discipline.to_string());
    let supervisor = Supervisor::new(workload, setup, arguments.crash_after, progress)?;
    let outcome = supervisor.run().await?;

    let admin = Admin::connect(&arguments.data).await?;
    let verified = admin.verify().await?;
    let settings = settings(arguments, admin.n_partitions(), discipline);
    let samples = outcome.ledger.samples();
    let report = Report::new(settings, workload, &outcome, &samples, verified);
    let curves = picture::Curves::new(&outcome, &samples);
    Ok(Replayed { report, curves, ending: outcome.ending })
}

fn read(arguments: &ReplayArguments) -> Result<Vec<swf::Job>, Failure> {
    let path = arguments.log.display();
    swf::read_file(&arguments.log).map_err(|error| match error {
        LogError::Open(source) | LogError::Read { source, .. } => {
            Failure::io(&format!("read {path}"), &source)
        }
        other => Failure::new(Exit::BadLog, format!("{path}: {other}")),
    })
}

fn plan(
    arguments: &ReplayArguments,
    jobs: &[swf::Job],
    discipline: Discipline,
) -> Result<Workload, Failure> {
    let pace = Pace { speed: arguments.speed, run_us: arguments.run_ms.map(|ms| ms * 1000) };
    let path = arguments.log.display();
    Workload::plan(jobs, pace, discipline)
        .map_err(|error| Failure::new(Exit::Usage, format!("{path}: {error}")))
}

/// What can be known to go wrong before anything starts.
fn check(arguments: &ReplayArguments, workload: &Workload) -> Result<(), Failure> {
    check_kill(arguments.crash_after, workload)?;
    lease_ms(workload)?;
    check_outputs(arguments)
}

/// A kill that cannot come in the middle would prove nothing.
fn check_kill(after: Option<u64>, workload: &Workload) -> Result<(), Failure> {
    let n_jobs = workload.tasks.len() as u64;
    match after {
        Some(after) if after >= n_jobs => {
            let text = format!(
                "--crash-after {after}: the log has {n_jobs} jobs, so the kill must come after fewer \
                 acknowledgements"
            );
            Err(Failure::new(Exit::Usage, text))
        }
        _ => Ok(()),
    }
}

fn lease_ms(workload: &Workload) -> Result<u64, Failure> {
    let lease_ms = workload.longest_run_us().div_ceil(1000).saturating_add(LEASE_MARGIN_MS);
    if lease_ms <= limits::LEASE_MS_MAX {
        return Ok(lease_ms);
    }
    let run = output::duration_us(workload.longest_run_us());
    let text =
        format!("at this --speed a job would run for {run}, and a lease lasts at most 7 days");
    Err(Failure::new(Exit::Usage, text))
}

/// A report that cannot be written should not be noticed after the replay.
fn check_outputs(arguments: &ReplayArguments) -> Result<(), Failure> {
    let files = [&arguments.json, &arguments.svg].into_iter().flatten();
    for path in files.filter(|path| !is_stdout(path)) {
        let opened = fs::OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| Failure::io(&format!("write {}", path.display()), &error))?;
    }
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A replay needs its topic for itself: other entries would be leased by its workers.
async fn check_store(arguments: &ReplayArguments) -> Result<(), Failure> {
    let path = arguments.data.display();
    let admin = match Admin::connect(&arguments.data).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        admin => admin?,
    };
    if admin.is_running() {
        let text = format!("another process has the engine in {path} open");
        return Err(Failure::new(Exit::AlreadyOpen, text));
    }
    if let Some(wanted) = arguments.partitions.filter(|wanted| *wanted != admin.n_partitions()) {
        let has = admin.n_partitions();
        let text = format!("--partitions {wanted}: the engine in {path} was created with {has}");
        return Err(Failure::new(Exit::Usage, text));
    }
    let topic = arguments.topic.as_str();
    if admin.queues(Some(topic), Order::Deepest, 1).await?.queues.is_empty() {
        return Ok(());
    }
    let text = format!("topic `{topic}` in {path} is not empty: name another --data or --topic");
    Err(Failure::new(Exit::Usage, text))
}

/// Shown on a terminal, and nowhere else.
fn progress_bar(n_jobs: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} acked {per_sec} {msg}");
    ProgressBar::new(n_jobs).with_style(style.expect("the template is constant"))
}

fn settings(arguments: &ReplayArguments, partitions: u16, discipline: Discipline) -> Settings {
    let name = arguments.log.file_name().unwrap_or(arguments.log.as_os_str());
    Settings {
        log: name.display().to_string(),
        speed: arguments.speed.to_string(),
        run_ms: arguments.run_ms,
        discipline,
        workers: arguments.workers,
        partitions,
        topic: arguments.topic.clone(),
        crash_after_acks: arguments.crash_after,
        engine: concat!("millpond ", env!("CARGO_PKG_VERSION")),
        sync_policy: "every receipt, lease and acknowledgement was synced to disk first",
    }
}

fn publish(
    arguments: &ReplayArguments,
    report: &impl Serialize,
    text: &str,
    draw: impl FnOnce() -> Result<String, Failure>,
) -> Result<(), Failure> {
    let write = |path: &Path, text: &str| {
        fs::write(path, text)
            .map_err(|error| Failure::io(&format!("write {}", path.display()), &error))
    };
    if let Some(path) = &arguments.svg {
        write(path, &draw()?)?;
    }
    match &arguments.json {
        Some(path) if is_stdout(path) => output::print_json(report),
        Some(path) => {
            write(path, &output::json(report)?)?;
            output::print(text)
        }
        None => output::print(text),
    }
}
