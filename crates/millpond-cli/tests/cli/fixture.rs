//! A directory of its own for every test, and the program.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with logs and data, gone at the end.
pub(crate) struct Fixture(TempDir);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the exit code, and that one sentence says why.
    pub(crate) fn assert_refused(&self, code: i32, sentence: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.starts_with("millpond: "), "{self:?}");
        assert!(self.stderr.contains(sentence), "{sentence:?} is not in {self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "one sentence: {self:?}");
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes text");
        let code = output.status.code().expect("the program was not killed");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("the directory is writable");
    }

    /// The program, in the directory.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        command.args(line.split_whitespace()).current_dir(&self.0);
        command.env_remove("MILLPOND_DATA").env_remove("MILLPOND_LOG").stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, line: &str) -> Ended {
        self.command(line).output().expect("the program starts").into()
    }

    /// Runs a command that succeeds, and reads its JSON.
    pub(crate) fn json(&self, line: &str) -> Value {
        let ended = self.run(line);
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
        ended.json()
    }
}

/// A log of jobs that `n_users` users submit in turn, one per second, each running for a second.
pub(crate) fn log(n_jobs: u64, n_users: u64) -> String {
    let mut text = "; a generated log\n".to_owned();
    for job in 1..=n_jobs {
        let _ = writeln!(text, "{}", line(job, job, 1, job % n_users));
    }
    text
}

/// One line of a log.
pub(crate) fn line(number: u64, submit_s: u64, run_s: u64, user: u64) -> String {
    format!("{number} {submit_s} -1 {run_s} 4 -1 -1 -1 -1 -1 -1 {user} 1 1 -1 -1 -1 -1")
}
