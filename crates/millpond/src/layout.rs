//! The data directory: a manifest, a lock, one store per partition, and a socket.
//!
//! ```text
//! data/
//!   MILLPOND         format version, number of partitions, whether creation was completed
//!   LOCK             locked by the process that has the engine open
//!   partition-000/   one RocksDB each
//!   control.sock     present while a running engine answers the command line
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use millpond_partition::PartitionStore;
use millpond_storage_api::{OpenError, StoreRead};
use millpond_storage_rocksdb::{BudgetOptions, OpenMode, RocksBudget, RocksReader, RocksStore};
use millpond_types::FORMAT_VERSION;

use crate::engine::check_partitions;
use crate::{Error, Options};

const MANIFEST: &str = "MILLPOND";
const LOCK: &str = "LOCK";

/// A data directory that belongs to this process.
#[derive(Debug)]
pub(crate) struct Place {
    #[cfg_attr(not(feature = "control"), expect(dead_code, reason = "the socket lives there"))]
    pub(crate) directory: PathBuf,
    lock: Mutex<Option<File>>,
}

impl Place {
    /// Lets another process open the directory; to be called once the stores are closed.
    pub(crate) fn release(&self) {
        drop(self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }
}

/// What the manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Manifest {
    n_partitions: u16,
    /// Every partition was created; one that is missing now is lost, not new.
    complete: bool,
}

type Stores = Vec<Arc<dyn PartitionStore>>;

/// Opens or creates the directory and its stores. Blocks.
pub(crate) fn open(options: &Options) -> Result<(Place, Stores), Error> {
    let directory = options.directory.as_path();
    let io = |error| io_error(directory, &error);
    if options.create {
        create_directories(directory).map_err(io)?;
    } else if !directory.is_dir() {
        return Err(not_found(directory).into());
    }
    let known = read_manifest(directory)?;
    if known.is_none() {
        check_unused(directory)?;
        if !options.create {
            return Err(not_found(directory).into());
        }
    }
    let lock = lock(directory)?;
    let manifest = match read_manifest(directory)? {
        Some(manifest) => manifest,
        None => {
            let n_partitions = options.n_partitions.unwrap_or_else(one_per_core);
            check_partitions(n_partitions.into())?;
            let manifest = Manifest { n_partitions, complete: false };
            write_manifest(directory, manifest).map_err(io)?;
            manifest
        }
    };
    let budget = RocksBudget::new(BudgetOptions {
        cache_bytes: options.cache_bytes,
        write_buffer_bytes: options.write_buffer_bytes,
        ..BudgetOptions::default()
    });
    let mode = if manifest.complete { OpenMode::OpenExisting } else { OpenMode::Create };
    let mut stores: Stores = Vec::new();
    for index in 0..manifest.n_partitions {
        stores.push(Arc::new(RocksStore::open(partition_path(directory, index), &budget, mode)?));
    }
    if !manifest.complete {
        // Also where an earlier process made the directory and died before it synced.
        sync_parent(directory).map_err(io)?;
        write_manifest(directory, Manifest { complete: true, ..manifest }).map_err(io)?;
    }
    let place = Place { directory: directory.to_owned(), lock: Mutex::new(Some(lock)) };
    Ok((place, stores))
}

/// Opens the stores of a directory that no process has open, without changing anything. Blocks.
pub(crate) fn open_read_only(directory: &Path) -> Result<Vec<Arc<dyn StoreRead>>, Error> {
    let manifest = read_manifest(directory)?.ok_or_else(|| not_found(directory))?;
    let mut readers: Vec<Arc<dyn StoreRead>> = Vec::new();
    for index in 0..manifest.n_partitions {
        readers.push(Arc::new(RocksReader::open_read_only(partition_path(directory, index))?));
    }
    Ok(readers)
}

/// Whether a process has the directory open.
pub(crate) fn is_locked(directory: &Path) -> Result<bool, Error> {
    match File::open(directory.join(LOCK)) {
        Ok(file) => Ok(matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(directory, &error).into()),
    }
}

/// How many partitions the engine in a directory has; `None` if there is no engine.
pub(crate) fn n_partitions(directory: &Path) -> Result<Option<u16>, Error> {
    Ok(read_manifest(directory)?.map(|manifest| manifest.n_partitions))
}

pub(crate) fn partition_path(directory: &Path, index: u16) -> PathBuf {
    directory.join(format!("partition-{index:03}"))
}

fn one_per_core() -> u16 {
    let n = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(n).unwrap_or(u16::MAX).min(millpond_types::limits::PARTITIONS_MAX)
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join(LOCK))
        .map_err(|error| io_error(directory, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(OpenError::AlreadyOpen { path: directory.display().to_string() })
        }
        Err(TryLockError::Error(error)) => Err(io_error(directory, &error)),
    }
}

/// A new engine may only be created in a directory that holds nothing else.
fn check_unused(directory: &Path) -> Result<(), OpenError> {
    let entries = fs::read_dir(directory).map_err(|error| io_error(directory, &error))?;
    for entry in entries {
        let name = entry.map_err(|error| io_error(directory, &error))?.file_name();
        let ours = [LOCK, "MILLPOND.new", "lost+found"];
        if !ours.iter().any(|known| name == *known) {
            let why = format!("it holds {} and no {MANIFEST} file", name.display());
            return Err(unknown(directory, why));
        }
    }
    Ok(())
}

fn read_manifest(directory: &Path) -> Result<Option<Manifest>, OpenError> {
    let bytes = match fs::read(directory.join(MANIFEST)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(directory, &error)),
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| unknown(directory, format!("its {MANIFEST} file is not text")))?;
    parse_manifest(directory, &text).map(Some)
}

fn parse_manifest(directory: &Path, text: &str) -> Result<Manifest, OpenError> {
    let malformed = || unknown(directory, format!("its {MANIFEST} file is malformed"));
    let mut fields = text.lines().map(|line| line.split_once(' '));
    let mut field = |name: &str| match fields.next() {
        Some(Some((found, value))) if found == name => Ok(value),
        _ => Err(malformed()),
    };
    let format: u64 = field("format")?.parse().map_err(|_| malformed())?;
    if format > FORMAT_VERSION {
        let path = directory.display().to_string();
        return Err(OpenError::NewerFormat { path, found: format, supported: FORMAT_VERSION });
    }
    if (1..FORMAT_VERSION).contains(&format) {
        let path = directory.display().to_string();
        return Err(OpenError::OlderFormat { path, found: format, supported: FORMAT_VERSION });
    }
    let n_partitions = field("partitions")?.parse().map_err(|_| malformed())?;
    let complete = match field("state")? {
        "creating" => false,
        "complete" => true,
        _ => return Err(malformed()),
    };
    if format == 0 || check_partitions(usize::from(n_partitions)).is_err() {
        return Err(malformed());
    }
    Ok(Manifest { n_partitions, complete })
}

/// Replaces the manifest so that a crash leaves the old one or the new one.
fn write_manifest(directory: &Path, manifest: Manifest) -> io::Result<()> {
    let state = if manifest.complete { "complete" } else { "creating" };
    let n_partitions = manifest.n_partitions;
    let text = format!("format {FORMAT_VERSION}\npartitions {n_partitions}\nstate {state}\n");
    let new = directory.join("MILLPOND.new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, directory.join(MANIFEST))?;
    File::open(directory)?.sync_all()
}

/// Creates a directory and those above it so that a power cut takes none of them away again.
fn create_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_directories(parent)?;
    }
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        created => created?,
    }
    sync_parent(directory)
}

/// A directory's name is durable once the directory above it was synced.
fn sync_parent(directory: &Path) -> io::Result<()> {
    match File::open(directory.join("..")) {
        Ok(parent) => parent.sync_all(),
        // Whoever may not read it did not make the directory in it either.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

fn not_found(directory: &Path) -> OpenError {
    OpenError::NotFound { path: directory.display().to_string() }
}

fn unknown(directory: &Path, why: String) -> OpenError {
    OpenError::UnknownFormat { path: directory.display().to_string(), why }
}

fn io_error(directory: &Path, error: &io::Error) -> OpenError {
    let (path, why) = (directory.display().to_string(), error.to_string());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OpenError::NoSpace { path, why }
        }
        _ => OpenError::Io { path, why },
    }
}

#[cfg(test)]
mod tests;
