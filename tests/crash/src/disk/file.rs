//! One file: its bytes, those of them that are durable, and the streams that were written to it.

use std::ops::Range;
use std::path::PathBuf;

use crate::random::Random;

/// Unit in which a torn write reaches the disk, in bytes.
const SECTOR_BYTES: usize = 512;

/// A file, by whatever names.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    /// What the kernel shows.
    pub(super) bytes: Vec<u8>,
    /// What is durable.
    pub(super) synced: Vec<u8>,
    /// Counts the changes.
    age: usize,
    /// Changes up to this age are durable.
    synced_age: usize,
    /// What was changed since, each with its age.
    dirty: Vec<(usize, Range<usize>)>,
    /// The newest stream that goes into it.
    pub(super) stream: Option<usize>,
}

/// What was written in sequence, from the beginning, through one opening of a file. A log file that is
/// used again for a later log holds one stream after the other.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// The name under which the file was opened.
    pub name: PathBuf,
    /// What was written.
    pub bytes: Vec<u8>,
    /// The syncs that ended well meanwhile.
    pub syncs: Vec<Sync>,
}

/// A sync of a file that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync {
    /// Which of all syncs it was, of files and of directories.
    pub number: usize,
    /// How much of the stream it made durable, in bytes.
    pub n_bytes: usize,
    /// The line in which it ended.
    pub line: usize,
}

/// What a sync of a file found when it began.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    age: usize,
    length: usize,
    /// Changed bytes with their offsets.
    changed: Vec<(usize, Vec<u8>)>,
}

impl File {
    pub(super) fn write_at(&mut self, offset: usize, written: &[u8]) {
        let end = offset + written.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(written);
        self.changed(offset..end);
    }

    pub(super) fn set_len(&mut self, length: usize) {
        let before = self.bytes.len();
        self.bytes.resize(length, 0);
        self.changed(before.min(length)..length);
    }

    pub(super) fn begin_sync(&self) -> Snapshot {
        let length = self.bytes.len();
        let changed = self.dirty.iter().map(|(_, range)| {
            let range = range.start.min(length)..range.end.min(length);
            (range.start, self.bytes[range].to_vec())
        });
        Snapshot { age: self.age, length, changed: changed.collect() }
    }

    pub(super) fn end_sync(&mut self, begun: Snapshot) {
        let Snapshot { age, length, changed } = begun;
        // A sync that began later and ended first has made the same durable, and more.
        if self.synced_age > age {
            return;
        }
        self.synced.resize(length, 0);
        for (offset, bytes) in changed {
            self.synced[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        self.synced_age = age;
        self.dirty.retain(|(changed_at, _)| *changed_at > age);
    }

    fn changed(&mut self, range: Range<usize>) {
        self.age += 1;
        self.dirty.push((self.age, range));
    }
}

/// The durable bytes with some of the changed sectors, up to a random length.
pub(super) fn torn(file: &File, random: &mut Random) -> Vec<u8> {
    let mut bytes = file.synced.clone();
    if let Some(longer) = file.bytes.len().checked_sub(bytes.len()) {
        bytes.resize(bytes.len() + random.below(longer + 1), 0);
    }
    let length = bytes.len().min(file.bytes.len());
    for (_, range) in &file.dirty {
        let mut start = range.start;
        while start < range.end.min(length) {
            let sector_end = (start / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let end = sector_end.min(range.end).min(length);
            if random.percent(70) {
                bytes[start..end].copy_from_slice(&file.bytes[start..end]);
            }
            start = end;
        }
    }
    bytes
}
