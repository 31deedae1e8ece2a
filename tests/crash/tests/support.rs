//! What several tests need.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use millpond_crash_tests::check::{Check, Checked};
use millpond_crash_tests::disk::Disk;
use millpond_crash_tests::image::read_tree;
use millpond_crash_tests::strace::{self, Trace};
use millpond_crash_tests::worker::{Work, Worker, WorkerOptions};
use millpond_crash_tests::{Event, Oracle, Violation};

/// A number from the environment.
///
/// # Panics
///
/// When the variable holds something else.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} must be a number: {text}")),
        Err(_) => default,
    }
}

/// The seed of this run, printed so that a failure can be replayed.
pub(crate) fn seed() -> u64 {
    let seed = number("MILLPOND_SEED", 20_260);
    println!("replay with MILLPOND_SEED={seed}");
    seed
}

/// The program of a worker.
pub(crate) fn worker() -> Command {
    Command::new(worker_path())
}

pub(crate) fn worker_path() -> PathBuf {
    env!("CARGO_BIN_EXE_millpond-crash-worker").into()
}

/// A directory for one store and what belongs to it.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

/// Lets a worker say everything it has to say, and its oracle judge it.
pub(crate) fn listen(worker: &mut Worker, oracle: &mut Oracle) -> Result<Vec<Event>, Violation> {
    let mut events = Vec::new();
    while let Some(event) = worker.next_event() {
        oracle.apply(&event)?;
        events.push(event);
    }
    Ok(events)
}

/// Runs a check to its end, and says what rightly came late.
pub(crate) fn check(check: &Check<'_>, oracle: Oracle) -> Result<Checked, Violation> {
    let checked = runtime().block_on(check.run(oracle))?;
    for late in &checked.late {
        println!("rightly late: {late}");
    }
    Ok(checked)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started")
}

/// A load that does not end by itself.
pub(crate) fn endless(directory: &Path, seed: u64, life: u16) -> WorkerOptions {
    WorkerOptions::endless(directory, seed, life)
}

/// Lives of one store, traced, with the files that they made followed line by line.
pub(crate) struct Traced {
    pub(crate) place: tempfile::TempDir,
    pub(crate) lives: Vec<Trace>,
}

impl Traced {
    /// Runs workers, one after the other, on a store in [`root`](Self::root)`/data`.
    pub(crate) fn run(lives: &[WorkerOptions]) -> Self {
        let mut traced = Self { place: scratch(), lives: Vec::new() };
        std::fs::create_dir(traced.root()).expect("a new directory");
        for life in lives {
            let life = WorkerOptions { directory: traced.root().join("data"), ..life.clone() };
            traced.live(&life);
        }
        traced
    }

    /// As strace shows it: without symbolic links.
    fn path(&self) -> PathBuf {
        self.place.path().canonicalize().expect("it was just created")
    }

    /// The directory in which everything happens.
    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    fn output(&self) -> PathBuf {
        self.path().join("events")
    }

    fn live(&mut self, options: &WorkerOptions) {
        let trace = self.path().join("trace");
        let output = File::options().create(true).append(true).open(self.output());
        let mut command = strace::command(&trace);
        command.arg(worker_path()).arg(options.to_argument());
        command.stdout(output.expect("a new file")).stdin(Stdio::null());
        let status = command.status().expect("strace is installed");
        assert!(status.success(), "the traced worker ended with {status}");
        let text = std::fs::read_to_string(&trace).expect("strace wrote a trace");
        self.lives.push(Trace::parse(&text).expect("the trace can be read"));
    }

    pub(crate) fn new_disk(&self) -> Disk {
        Disk::new(&self.root(), &self.output())
    }

    /// Follows all lives and calls `look` after each line.
    pub(crate) fn follow(&self, disk: &mut Disk, mut look: impl FnMut(&Disk)) {
        for trace in &self.lives {
            for index in 0..trace.steps.len() {
                disk.step(trace, index).expect("the trace can be followed");
                look(disk);
            }
            disk.process_ended();
        }
    }

    /// The files at the end, which must be, byte by byte, those that are there: nothing was overlooked.
    pub(crate) fn at_the_end(&self) -> Disk {
        let mut disk = self.new_disk();
        self.follow(&mut disk, |_| {});
        let found = read_tree(&self.root()).expect("the directory can be read");
        let modelled = disk.contents();
        let names = |tree: &BTreeMap<PathBuf, _>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&modelled), "files that the trace does not explain");
        for (path, bytes) in &found {
            assert!(modelled[path] == *bytes, "{} differs from what was traced", path.display());
        }
        disk
    }
}

/// Two lives of a store: one that ends abruptly, and one that recovers and closes.
pub(crate) fn two_lives(seed: u64, n_calls: u64) -> [WorkerOptions; 2] {
    let work = Work::Load { n_tasks: 3, n_calls };
    let first = WorkerOptions { work, n_partitions: 2, ..endless(Path::new(""), seed, 1) };
    let second = WorkerOptions { life: 2, seed: seed ^ 1, ..first.clone() };
    [WorkerOptions { abrupt_end: true, ..first }, second]
}
