//! A terminal on which the program asks and somebody answers.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::fixture::Fixture;

/// A terminal: what the program writes to it, and who types.
pub(crate) struct Terminal {
    ours: File,
    theirs: File,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
        grantpt(&ours).expect("it is ours");
        unlockpt(&ours).expect("it is ours");
        let name = ptsname(&ours, Vec::new()).expect("it has a name");
        let name = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let theirs =
            OpenOptions::new().read(true).write(true).open(name).expect("it can be opened");
        Self { ours: ours.into(), theirs }
    }

    /// Runs a command on the terminal, with this typed ahead, and returns what the terminal shows.
    pub(crate) fn run(
        mut self,
        fixture: &Fixture,
        line: &str,
        typed: &str,
    ) -> (i32, String, String) {
        self.ours.write_all(typed.as_bytes()).expect("it takes a line");
        let end = || Stdio::from(self.theirs.try_clone().expect("files can be opened"));
        let mut command = fixture.command(line);
        command.stdin(end()).stderr(end()).stdout(Stdio::piped());
        let output = command.output().expect("the program starts");
        // Both keep the terminal open, and an open one has no end.
        drop((command, self.theirs));
        let mut shown = Vec::new();
        // Its end is an error on Linux.
        let _ = self.ours.read_to_end(&mut shown);
        let text = |bytes| String::from_utf8(bytes).expect("the program writes text");
        let code = output.status.code().expect("the program was not killed");
        (code, text(output.stdout), text(shown))
    }
}
