//! Saying that RocksDB is being compiled, and how far it is.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often a line is printed where lines cannot be overwritten.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// One updating line on a terminal, a line now and then elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    printed: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), printed: None, terminal: stderr().is_terminal() }
    }

    /// Reports that `done` of `total` files are compiled.
    pub(crate) fn report(&mut self, done: usize, total: usize) {
        let now = Instant::now();
        let line = line(done, total, now - self.started);
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            // Progress that cannot be shown must not stop the build.
            let _ = stderr().flush();
        } else if self.printed.is_none_or(|printed| now - printed >= LOG_EVERY) {
            self.printed = Some(now);
            eprintln!("{line}");
        }
    }

    /// Ends the line and gives how long it took.
    pub(crate) fn finish(self) -> Duration {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
        self.started.elapsed()
    }
}

/// What one report says.
fn line(done: usize, total: usize, elapsed: Duration) -> String {
    let clock = format!("{}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60);
    match done {
        0 => format!("rocksdb: preparing to compile {total} files, {clock}"),
        _ => format!("rocksdb: {done} of {total} files compiled, {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_long() {
        let elapsed = Duration::from_secs(125);
        assert_eq!(line(0, 343, elapsed), "rocksdb: preparing to compile 343 files, 2:05");
        assert_eq!(line(17, 343, elapsed), "rocksdb: 17 of 343 files compiled, 2:05");
    }
}
