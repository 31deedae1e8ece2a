//! The parent's side of a worker process.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use serde::{Deserialize, Serialize};

use crate::Event;
use crate::event::Leases;

/// Nobody read the worker's events.
pub const EXIT_NO_LISTENER: u8 = 3;
/// The engine stopped during the load.
pub const EXIT_STOPPED: u8 = 4;
/// The engine could not be opened.
pub const EXIT_REFUSED: u8 = 5;

/// What a worker does once the engine is open.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Tasks of [`load`](crate::load).
    Load {
        /// Tasks at the same time.
        n_tasks: u8,
        /// Calls of each.
        n_calls: u64,
    },
    /// Nothing, until standard input ends.
    Hold,
}

/// The argument of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerOptions {
    /// The store.
    pub directory: PathBuf,
    /// Partitions of a new store.
    pub n_partitions: u16,
    /// What becomes of old leases.
    pub leases: Leases,
    /// Decides what the load does.
    pub seed: u64,
    /// Number of this life of the store; no two may be equal.
    pub life: u16,
    /// What to do.
    pub work: Work,
    /// To lie about receipts.
    pub early_receipts: bool,
    /// To exit at the end without closing the engine.
    pub abrupt_end: bool,
}

impl WorkerOptions {
    /// A load that does not end by itself, on a store with leases kept.
    pub fn endless(directory: &Path, seed: u64, life: u16) -> Self {
        Self {
            directory: directory.to_owned(),
            n_partitions: 1,
            leases: Leases::Keep,
            seed,
            life,
            work: Work::Load { n_tasks: 4, n_calls: u64::MAX },
            early_receipts: false,
            abrupt_end: false,
        }
    }

    /// As the worker wants it.
    ///
    /// # Panics
    ///
    /// When the directory is not UTF-8.
    pub fn to_argument(&self) -> String {
        serde_json::to_string(self).expect("plain data and a UTF-8 path")
    }
}

/// A running worker. Dropped, it is killed: no test leaves one behind.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    events: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts `command`, which must end up as a worker with these options, and listens to it.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(mut command: Command, options: &WorkerOptions) -> Self {
        command.arg(options.to_argument());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the worker can be started");
        let events = BufReader::new(child.stdout.take().expect("it was asked for"));
        Self { child, events }
    }

    /// The next event; `None` when the worker has ended. A line that it was writing when it died was
    /// not said.
    ///
    /// # Panics
    ///
    /// When a line is not an event.
    pub fn next_event(&mut self) -> Option<Event> {
        let mut line = Vec::new();
        self.events.read_until(b'\n', &mut line).expect("a pipe can be read");
        let events = Event::parse_lines(&line).expect("workers write events");
        events.into_iter().next()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`. What it wrote before can still be read.
    ///
    /// # Panics
    ///
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
    }

    /// Asks it to end, as Ctrl-C does.
    ///
    /// # Panics
    ///
    /// When it cannot be signalled.
    pub fn interrupt(&self) {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        let id = rustix::process::Pid::from_raw(id).expect("process ids are not 0");
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it is our child");
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it has ended. Its events must have been read, or the pipe may stop it.
    ///
    /// # Panics
    ///
    /// When it cannot be waited for.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
