//! The socket on which a running engine answers: one question per line, one answer per line, in JSON.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::admin::{Answer, Question, View, answer};
use crate::{Engine, Error, ErrorKind};

const SOCKET: &str = "control.sock";
/// Longest question, in bytes: a queue key of 1 KiB as a list of numbers, and names.
const QUESTION_BYTES_MAX: u64 = 16 << 10;
/// Connections answered at the same time.
const CONNECTIONS_MAX: usize = 16;

/// The listening end. Dropping it stops it and removes the socket.
#[derive(Debug)]
pub(crate) struct Server {
    task: JoinHandle<()>,
    path: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // Gone already if somebody tidied up; a socket without a listener is recognised anyway.
        let _ = fs::remove_file(&self.path);
    }
}

impl Engine {
    /// Starts answering. An engine that cannot answer still runs: the failure is only logged.
    pub(crate) fn listen(&self) {
        let Some(place) = &self.0.place else { return };
        match bind(&place.directory) {
            Ok(listener) => {
                // Weak, so that listening does not keep an engine alive that nobody uses.
                let engine = std::sync::Arc::downgrade(&self.0);
                let task = tokio::spawn(serve(listener, engine));
                let server = Server { task, path: place.directory.join(SOCKET) };
                *self.control() = Some(server);
            }
            Err(error) => tracing::warn!(%error, "no control socket"),
        }
    }

    pub(crate) fn stop_listening(&self) {
        drop(self.control().take());
    }

    fn control(&self) -> std::sync::MutexGuard<'_, Option<Server>> {
        self.0.control.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Binds the socket so that at no moment anybody but the owner can reach it: it is made in a private
/// directory, closed to others, and then moved into place over whatever a crash left there.
fn bind(directory: &Path) -> io::Result<UnixListener> {
    let private = private_directory(directory)?;
    let bound = bind_in(&private, directory);
    let removed = fs::remove_dir_all(&private);
    let listener = bound?;
    removed?;
    Ok(listener)
}

fn bind_in(private: &Path, directory: &Path) -> io::Result<UnixListener> {
    let new = private.join(SOCKET);
    let listener = short_path(&new, |path| UnixListener::bind(path))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(&new, directory.join(SOCKET))?;
    Ok(listener)
}

fn private_directory(directory: &Path) -> io::Result<PathBuf> {
    let private = directory.join(format!(".control-{}", std::process::id()));
    match fs::remove_dir_all(&private) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    Ok(private)
}

/// Socket addresses hold about 100 bytes of path; a longer one is reached through its open directory.
fn short_path<T>(path: &Path, f: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return f(path) };
    if path.as_os_str().len() < 100 || !cfg!(target_os = "linux") {
        return f(path);
    }
    let directory = fs::File::open(parent)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&directory);
    f(&Path::new("/proc/self/fd").join(fd.to_string()).join(name))
}

async fn serve(listener: UnixListener, engine: std::sync::Weak<crate::engine::Inner>) {
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control socket stops");
                return;
            }
        };
        let engine = engine.clone();
        tokio::spawn(async move {
            let Some(inner) = engine.upgrade() else { return };
            if let Err(error) = converse(stream, Engine(inner)).await {
                tracing::debug!(%error, "a control connection ended");
            }
            drop(slot);
        });
    }
}

async fn converse(stream: UnixStream, engine: Engine) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let view = View::Running(engine);
    loop {
        let mut line = String::new();
        (&mut stream).take(QUESTION_BYTES_MAX).read_line(&mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        let answer = match serde_json::from_str::<Question>(&line) {
            Ok(question) => answer(&view, question).await.unwrap_or_else(|error| as_answer(&error)),
            Err(error) => as_answer(&Error::invalid(format!("malformed question: {error}"))),
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        stream.get_mut().write_all(&text).await?;
    }
}

fn as_answer(error: &Error) -> Answer {
    Answer::Error { kind: error.kind().name().to_owned(), text: error.to_string() }
}

/// Connects to the engine in a directory.
pub(crate) async fn connect(directory: &Path) -> io::Result<UnixStream> {
    let socket = directory.join(SOCKET);
    let stream = short_path(&socket, |path| std::os::unix::net::UnixStream::connect(path))?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Asks the running engine in a directory.
pub(crate) async fn ask(directory: &Path, question: &Question) -> Result<Answer, Error> {
    let lost = |error: io::Error| {
        Error::new(ErrorKind::Closed, format!("the engine stopped answering: {error}"))
    };
    let mut stream = BufReader::new(connect(directory).await.map_err(lost)?);
    let mut text = serde_json::to_vec(question).map_err(|error| lost(error.into()))?;
    text.push(b'\n');
    stream.get_mut().write_all(&text).await.map_err(lost)?;
    let mut line = String::new();
    stream.read_line(&mut line).await.map_err(lost)?;
    match serde_json::from_str(&line).map_err(|error| lost(error.into()))? {
        Answer::Error { kind, text } => Err(Error::new(kind_named(&kind), text)),
        answer => Ok(answer),
    }
}

fn kind_named(name: &str) -> ErrorKind {
    let kinds = [
        ErrorKind::InvalidInput,
        ErrorKind::NotFound,
        ErrorKind::Full,
        ErrorKind::Corrupt,
        ErrorKind::Closed,
        ErrorKind::NoSpace,
        ErrorKind::Io,
        ErrorKind::Retry,
    ];
    kinds.into_iter().find(|kind| kind.name() == name).unwrap_or(ErrorKind::Io)
}
