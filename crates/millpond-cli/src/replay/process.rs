//! The engine's process, seen from the one that started it.

use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::event::{Decoder, Record};
use super::instruction::Instruction;
use crate::failure::{Exit, Failure};

/// Name of the command that the process runs; not for users.
pub(crate) const HOST_COMMAND: &str = "replay-engine";
/// Room for one read, in bytes: what a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// The process and both pipes to it. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct EngineProcess {
    child: Child,
    instructions: Option<ChildStdin>,
    events: ChildStdout,
    decoder: Decoder,
    killed: bool,
}

impl EngineProcess {
    /// Starts this program once more.
    pub(crate) fn start() -> Result<Self, Failure> {
        let starting = |error| Failure::io("start the engine's process", &error);
        let mut child = Command::new(std::env::current_exe().map_err(starting)?)
            .arg(HOST_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C reaches the whole foreground group; this process decides when the engine closes.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(starting)?;
        let instructions = child.stdin.take();
        let events = child.stdout.take().expect("standard output was asked to be a pipe");
        Ok(Self { child, instructions, events, decoder: Decoder::default(), killed: false })
    }

    /// Gives instructions. A process that is gone hears none; its events say why it went.
    pub(crate) async fn tell(
        &mut self,
        instructions: impl IntoIterator<Item = Instruction>,
    ) -> Result<(), Failure> {
        let Some(pipe) = &mut self.instructions else { return Ok(()) };
        let mut text = Vec::new();
        for instruction in instructions {
            serde_json::to_writer(&mut text, &instruction)
                .map_err(|error| Failure::io("write instructions", &error.into()))?;
            text.push(b'\n');
        }
        match pipe.write_all(&text).await {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::io("instruct the engine's process", &error))
            }
            _ => Ok(()),
        }
    }

    /// Has the engine closed and the process end.
    pub(crate) fn close(&mut self) {
        self.instructions = None;
    }

    /// Kills exactly this process, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.killed = true;
        self.child.start_kill().map_err(|error| Failure::io("kill the engine's process", &error))
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed
    }

    /// Waits for more events; `false` at their end. Cancel safe.
    pub(crate) async fn fill(&mut self) -> Result<bool, Failure> {
        let buffer = &mut self.decoder.buffer;
        buffer.reserve(READ_BYTES);
        let read = self.events.read_buf(buffer).await;
        Ok(read.map_err(|error| Failure::io("hear from the engine's process", &error))? > 0)
    }

    /// The next event that has arrived.
    pub(crate) fn next_record(&mut self) -> Result<Option<Record>, Failure> {
        let next = self.decoder.next();
        next.map_err(|malformed| Failure::new(Exit::Stopped, malformed.to_string()))
    }

    /// How the process ended.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, Failure> {
        let status = self.child.wait().await;
        status.map_err(|error| Failure::io("wait for the engine's process", &error))
    }
}
