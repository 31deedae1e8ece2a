//! The files that a trace makes: what the kernel shows, and what a power cut would leave of it.
//!
//! A sync makes durable what was written before it *began*, and only once it has *ended*. Bytes reach the
//! disk by `fsync` or `fdatasync` of their file. For names there are three readings, from the kindest to
//! the harshest:
//!
//! | | a new name | a rename or removal |
//! |---|---|---|
//! | [`Names::Journal`] | at once | at once |
//! | [`Names::Ext4`] | by a sync of the file or of its directory | by a sync of the directory |
//! | [`Names::Posix`] | by a sync of the directory | by a sync of the directory |

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::image::Contents;
use crate::random::Random;
use crate::strace::{Arg, Call, Trace};

mod file;
mod names;

use file::{File, Snapshot, torn};
pub use file::{Stream, Sync};
pub use names::Names;
use names::{FileId, NameSpace, Node, SyncDirectory, Tree};

/// What becomes of bytes that were written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// They are gone.
    Cut,
    /// Any of their sectors may have reached the disk; the others are as they were, or zeros.
    Torn,
}

#[derive(Debug, Clone)]
enum Open {
    File { id: FileId, stream: Option<usize>, offset: usize, append: bool },
    Directory(PathBuf),
}

/// What a call that has not ended yet will do.
#[derive(Debug, Clone)]
enum InFlight {
    Write { fd: i32, id: FileId },
    SyncFile(SyncFile),
    SyncDirectory(SyncDirectory),
}

/// What a sync of a file found when it began.
#[derive(Debug, Clone)]
struct SyncFile {
    id: FileId,
    snapshot: Snapshot,
    names: Tree,
    /// The newest stream and its length.
    stream: Option<(usize, usize)>,
}

/// A line that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {call}: {why}")]
pub struct DiskError {
    /// The line, counted over all traces.
    pub line: usize,
    /// Name of the call.
    pub call: String,
    /// What is not understood.
    pub why: String,
}

/// Everything below one directory, and what was written to one file beside it.
#[derive(Debug, Clone)]
pub struct Disk {
    root: PathBuf,
    output: PathBuf,
    /// Lines followed so far.
    line: usize,
    n_syncs: usize,
    /// A sync that is to have no effect.
    ignored_sync: Option<usize>,
    files: Vec<File>,
    streams: Vec<Stream>,
    names: NameSpace,
    open: BTreeMap<i32, Open>,
    in_flight: BTreeMap<usize, InFlight>,
    said: Vec<(usize, Vec<u8>)>,
}

impl Disk {
    /// An empty directory `root`; what is written to `output` is kept with its lines.
    pub fn new(root: &Path, output: &Path) -> Self {
        Self {
            root: root.to_owned(),
            output: output.to_owned(),
            line: 0,
            n_syncs: 0,
            ignored_sync: None,
            files: Vec::new(),
            streams: Vec::new(),
            names: NameSpace::new(root),
            open: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// One sync, by its [number](Sync::number), will have no effect: a disk that lies.
    #[must_use]
    pub fn ignoring_sync(mut self, number: usize) -> Self {
        self.ignored_sync = Some(number);
        self
    }

    /// Follows one line of a trace.
    ///
    /// # Errors
    ///
    /// A call does something to a file below the root that this model does not know.
    pub fn step(&mut self, trace: &Trace, index: usize) -> Result<(), DiskError> {
        self.line += 1;
        let step = trace.steps[index];
        let numbers = [(step.began, true), (step.ended, false)];
        for (number, begins) in numbers.into_iter().filter_map(|(n, b)| n.map(|n| (n, b))) {
            let call = &trace.calls[number];
            let done = if begins { self.begin(number, call) } else { self.end(number, call) };
            done.map_err(|why| DiskError { line: self.line, call: call.name.clone(), why })?;
        }
        Ok(())
    }

    /// The process is gone: its descriptors are closed, its calls in flight never end.
    pub fn process_ended(&mut self) {
        self.open.clear();
        self.in_flight.clear();
    }

    /// Lines followed so far.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Everything that was ever written in sequence.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// What was written to the output, each `write` with the line in which it began.
    pub fn said(&self) -> &[(usize, Vec<u8>)] {
        &self.said
    }

    /// What the kernel shows: files with their bytes, directories without.
    pub fn contents(&self) -> Contents {
        self.tree(&self.names.now, |file| file.bytes.clone())
    }

    /// What a power cut leaves now.
    pub fn after_power_cut(&self, names: Names, tail: Tail, random: &mut Random) -> Contents {
        self.tree(self.names.durable(names), |file| match tail {
            Tail::Cut => file.synced.clone(),
            Tail::Torn => torn(file, random),
        })
    }

    /// The files of a tree, without those whose directories are not there.
    fn tree(&self, tree: &Tree, mut bytes_of: impl FnMut(&File) -> Vec<u8>) -> Contents {
        let mut contents = BTreeMap::new();
        // Parents come before their children.
        for (path, node) in tree {
            let parent = path.parent().unwrap_or(Path::new("/"));
            if parent != self.root && !contents.contains_key(parent) {
                continue;
            }
            let bytes = match node {
                Node::File(id) => Some(bytes_of(&self.files[*id])),
                Node::Directory => None,
            };
            contents.insert(path.clone(), bytes);
        }
        contents
    }

    fn begin(&mut self, number: usize, call: &Call) -> Result<(), String> {
        match (call.name.as_str(), &call.args[..]) {
            ("close", [Arg::Fd(fd, _), ..]) => {
                // From here on the number may be given to another file.
                self.open.remove(fd);
            }
            (
                "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2",
                [Arg::Fd(fd, path), Arg::Bytes(bytes), ..],
            ) => {
                if *path == self.output {
                    self.said.push((self.line, bytes.clone()));
                    return Ok(());
                }
                match self.open.get(fd) {
                    Some(Open::File { id, .. }) => {
                        self.in_flight.insert(number, InFlight::Write { fd: *fd, id: *id });
                    }
                    _ if self.is_ours(path) => return Err(format!("descriptor {fd} is not known")),
                    _ => {}
                }
            }
            ("fsync" | "fdatasync", [Arg::Fd(fd, path)]) => match self.open.get(fd) {
                Some(Open::File { id, .. }) => {
                    let sync = self.begin_sync_file(*id);
                    self.in_flight.insert(number, sync);
                }
                Some(Open::Directory(path)) => {
                    let sync = self.names.begin_sync(path.clone(), self.line);
                    self.in_flight.insert(number, InFlight::SyncDirectory(sync));
                }
                None if self.is_ours(path) => return Err(format!("descriptor {fd} is not known")),
                None => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, number: usize, call: &Call) -> Result<(), String> {
        let in_flight = self.in_flight.remove(&number);
        let Some(result) = call.result.filter(|result| *result >= 0) else { return Ok(()) };
        match (call.name.as_str(), &call.args[..], in_flight) {
            (_, _, Some(InFlight::Write { fd, id })) => self.end_write(fd, id, call, result),
            (_, _, Some(sync)) => self.end_sync(sync),
            ("openat", [Arg::Fd(_, at), Arg::Bytes(path), Arg::Text(flags), ..], _) => {
                let fd = i32::try_from(result).map_err(|_| "no descriptor")?;
                self.opened(&without_dots(&at.join(as_path(path))), flags, fd)
            }
            ("mkdir", [Arg::Bytes(path), ..], _) | ("mkdirat", [_, Arg::Bytes(path), ..], _) => {
                let path = self.absolute(call, path);
                self.when_ours(path, |disk, path| disk.names.now.insert(path, Node::Directory));
                Ok(())
            }
            ("unlink" | "rmdir", [Arg::Bytes(path)], _)
            | ("unlinkat", [_, Arg::Bytes(path), _], _) => {
                let path = self.absolute(call, path);
                self.when_ours(path, |disk, path| disk.names.now.remove(&path));
                Ok(())
            }
            ("rename", [Arg::Bytes(from), Arg::Bytes(to)], _)
            | ("renameat" | "renameat2", [_, Arg::Bytes(from), _, Arg::Bytes(to), ..], _) => {
                self.renamed(&self.absolute(call, from), &self.absolute(call, to))
            }
            ("ftruncate", [Arg::Fd(fd, _), Arg::Text(length)], _) => {
                let length = length.parse().map_err(|_| "no length")?;
                if let Some(Open::File { id, .. }) = self.open.get(fd) {
                    self.files[*id].set_len(length);
                }
                Ok(())
            }
            // Reserved space does not show: a file reads up to its size.
            ("fallocate", [Arg::Fd(fd, _), Arg::Text(mode), ..], _) => {
                match self.open.contains_key(fd) && !mode.contains("KEEP_SIZE") {
                    true => Err("it changes the size".to_owned()),
                    false => Ok(()),
                }
            }
            ("fcntl", [Arg::Fd(fd, _), Arg::Text(what), ..], _) => {
                match self.open.contains_key(fd) && what.starts_with("F_DUPFD") {
                    true => Err("a descriptor of a file is duplicated".to_owned()),
                    false => Ok(()),
                }
            }
            ("lseek", [Arg::Fd(fd, _), ..], _) => {
                if let Some(Open::File { offset, .. }) = self.open.get_mut(fd) {
                    *offset = usize::try_from(result).map_err(|_| "no offset")?;
                }
                Ok(())
            }
            // Not an order to the disk that anything may be built on.
            (
                "sync_file_range" | "close" | "write" | "pwrite64" | "writev" | "fsync"
                | "fdatasync",
                ..,
            ) => Ok(()),
            _ if call.args.iter().any(|arg| self.touches(arg)) => {
                Err("it is not modelled".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn opened(&mut self, path: &Path, flags: &str, fd: i32) -> Result<(), String> {
        let has = |flag: &str| flags.split('|').any(|set| set == flag);
        if path == self.root {
            self.open.insert(fd, Open::Directory(path.to_owned()));
            return Ok(());
        }
        if !self.is_ours(path) {
            return Ok(());
        }
        let id = match self.names.now.get(path) {
            Some(Node::Directory) => {
                self.open.insert(fd, Open::Directory(path.to_owned()));
                return Ok(());
            }
            Some(Node::File(id)) => *id,
            None if has("O_CREAT") => {
                self.files.push(File::default());
                self.names.now.insert(path.to_owned(), Node::File(self.files.len() - 1));
                self.files.len() - 1
            }
            None => return Err(format!("{} should not be there", path.display())),
        };
        if has("O_TRUNC") {
            self.files[id].set_len(0);
        }
        let stream = (has("O_WRONLY") || has("O_RDWR")).then(|| {
            self.streams.push(Stream { name: path.to_owned(), ..Stream::default() });
            self.streams.len() - 1
        });
        self.files[id].stream = stream.or(self.files[id].stream);
        self.open.insert(fd, Open::File { id, stream, offset: 0, append: has("O_APPEND") });
        Ok(())
    }

    fn renamed(&mut self, from: &Path, to: &Path) -> Result<(), String> {
        if !self.is_ours(from) && !self.is_ours(to) {
            return Ok(());
        }
        match self.names.now.remove(from) {
            Some(Node::File(id)) if self.is_ours(to) => {
                self.names.now.insert(to.to_owned(), Node::File(id));
                Ok(())
            }
            _ => Err("only files are renamed here".to_owned()),
        }
    }

    fn end_write(&mut self, fd: i32, id: FileId, call: &Call, result: i64) -> Result<(), String> {
        let Some(Arg::Bytes(bytes)) = call.args.get(1) else { return Err("no bytes".to_owned()) };
        let written = usize::try_from(result).ok().and_then(|n| bytes.get(..n));
        let written = written.ok_or("it wrote more than it was given")?;
        let positioned = match (call.name.as_str(), call.args.get(3)) {
            ("write" | "writev", _) => None,
            (_, Some(Arg::Text(offset))) => Some(offset.parse().map_err(|_| "no offset")?),
            _ => return Err("no offset".to_owned()),
        };
        let file = &mut self.files[id];
        match (positioned, self.open.get_mut(&fd)) {
            (Some(offset), _) => file.write_at(offset, written),
            (None, Some(Open::File { offset, append, stream, .. })) => {
                if *append {
                    *offset = file.bytes.len();
                }
                file.write_at(*offset, written);
                if let Some(stream) = stream.map(|stream| &mut self.streams[stream])
                    && stream.bytes.len() == *offset
                {
                    stream.bytes.extend_from_slice(written);
                }
                *offset += written.len();
            }
            _ => return Err("the file was closed during the write".to_owned()),
        }
        Ok(())
    }

    fn begin_sync_file(&self, id: FileId) -> InFlight {
        let file = &self.files[id];
        InFlight::SyncFile(SyncFile {
            id,
            snapshot: file.begin_sync(),
            names: self.names.of_file(id),
            stream: file.stream.map(|stream| (stream, self.streams[stream].bytes.len())),
        })
    }

    fn end_sync(&mut self, sync: InFlight) -> Result<(), String> {
        let number = self.n_syncs;
        self.n_syncs += 1;
        if self.ignored_sync == Some(number) {
            return Ok(());
        }
        match sync {
            InFlight::SyncFile(sync) => self.end_sync_file(number, sync),
            InFlight::SyncDirectory(sync) => self.names.end_sync(sync),
            InFlight::Write { .. } => {}
        }
        Ok(())
    }

    fn end_sync_file(&mut self, number: usize, sync: SyncFile) {
        let SyncFile { id, snapshot, names, stream } = sync;
        self.files[id].end_sync(snapshot);
        if let Some((stream, n_bytes)) = stream {
            self.streams[stream].syncs.push(Sync { number, n_bytes, line: self.line });
        }
        self.names.file_synced(id, names);
    }

    fn is_ours(&self, path: &Path) -> bool {
        path.starts_with(&self.root) && path != self.root
    }

    fn when_ours<T>(&mut self, path: PathBuf, change: impl FnOnce(&mut Self, PathBuf) -> T) {
        if self.is_ours(&path) {
            change(self, path);
        }
    }

    /// A path argument, beside the directory that stands before it.
    fn absolute(&self, call: &Call, path: &[u8]) -> PathBuf {
        let before = call.args.iter().take_while(|arg| **arg != Arg::Bytes(path.to_vec())).last();
        match before {
            Some(Arg::Fd(_, at)) => at.join(as_path(path)),
            _ => as_path(path),
        }
    }

    fn touches(&self, arg: &Arg) -> bool {
        match arg {
            Arg::Fd(fd, path) => self.open.contains_key(fd) || self.is_ours(path),
            Arg::Bytes(bytes) => self.is_ours(&as_path(bytes)),
            Arg::Text(_) => false,
        }
    }
}

/// Resolves `..`; there are no symbolic links below the root.
fn without_dots(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(resolved.pop()),
            Component::CurDir => {}
            part => resolved.push(part),
        }
    }
    resolved
}

fn as_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests;
