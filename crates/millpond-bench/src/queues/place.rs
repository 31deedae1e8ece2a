//! Copies of a data directory, and files that the operating system has forgotten.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::Outcome;

/// Copies the directory of a closed engine. Sorted files never change, so they are linked.
pub(super) fn copy(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let (source, target) = (file.path(), to.join(file.file_name()));
        if file.file_type()?.is_dir() {
            copy(&source, &target)?;
        } else if source.extension().is_some_and(|kind| kind == "sst" || kind == "blob") {
            fs::hard_link(&source, &target)?;
        } else if file.file_type()?.is_file() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Writes every file back and takes it out of the page cache. It needs no privilege, and leaves the cache
/// of everybody else alone.
pub(super) fn evict(directory: &Path) -> Outcome<()> {
    for path in files(directory)? {
        let file = File::open(path)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Bytes of all files.
pub(crate) fn n_bytes(directory: &Path) -> Outcome<u64> {
    files(directory)?.iter().map(|path| Ok(fs::metadata(path)?.len())).sum()
}

/// Bytes of RocksDB's log files, of which the next open replays what is not in sorted files.
pub(super) fn n_log_bytes(directory: &Path) -> Outcome<u64> {
    let files = files(directory)?;
    let logs = files.iter().filter(|path| path.extension().is_some_and(|kind| kind == "log"));
    logs.map(|path| Ok(fs::metadata(path)?.len())).sum()
}

fn files(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in fs::read_dir(directory)? {
        let file = file?;
        if file.file_type()?.is_dir() {
            found.append(&mut files(&file.path())?);
        } else if file.file_type()?.is_file() {
            found.push(file.path());
        }
    }
    Ok(found)
}
