//! Which entries have come, and which entry a payload is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use millpond::{Bytes, Delivery};

use crate::queues::Outcome;

pub(super) const TOPIC: &str = "bench";

const PAYLOAD_BYTES: usize = 64;

/// An entry's payload says which one it is, and when it is due, in milliseconds since 1970.
pub(super) fn payload(number: usize, due_ms: u64) -> Bytes {
    let mut bytes = [0x5A; PAYLOAD_BYTES];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes[8..16].copy_from_slice(&due_ms.to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

pub(super) fn key(queue: usize) -> String {
    format!("tenant-{queue:07}")
}

/// A bit per entry, kept in a file between processes.
#[derive(Debug)]
pub(super) struct Ledger {
    bits: Vec<AtomicU64>,
    n: AtomicUsize,
    file: PathBuf,
}

impl Ledger {
    /// What earlier processes noted about `n_entries` entries.
    pub(super) fn open(dir: &Path, n_entries: usize) -> Outcome<Self> {
        let file = dir.join("came");
        let bytes = if file.exists() { fs::read(&file)? } else { Vec::new() };
        let mut words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| word.try_into().map(u64::from_be_bytes))
            .collect::<Result<_, _>>()?;
        words.resize(n_entries.div_ceil(64), 0);
        let n = words.iter().map(|word| word.count_ones() as usize).sum();
        let bits = words.into_iter().map(AtomicU64::new).collect();
        Ok(Self { bits, n: AtomicUsize::new(n), file })
    }

    /// How many have come.
    pub(super) fn n(&self) -> usize {
        // Relaxed: a count; whoever reads it late asks once more, in vain.
        self.n.load(Ordering::Relaxed)
    }

    /// Notes a delivery, which must be the first of its entry, and says when it was due.
    pub(super) fn note(&self, delivery: &Delivery, n_per_queue: usize) -> Outcome<u64> {
        let bytes = delivery.payload();
        let word = |at: usize| bytes.get(at..at + 8).and_then(|b| b.first_chunk::<8>());
        let (number, due) = word(0).zip(word(8)).ok_or("a payload lost bytes")?;
        let (number, due_ms) =
            (usize::try_from(u64::from_be_bytes(*number))?, u64::from_be_bytes(*due));
        let is_whole = *bytes == payload(number, due_ms);
        if !is_whole || delivery.queue_key().as_bytes() != key(number / n_per_queue).as_bytes() {
            return Err("an entry came from another queue, or damaged".into());
        }
        let word = self.bits.get(number / 64).ok_or("an entry came that nobody enqueued")?;
        // Relaxed: each bit has one writer, unless something is wrong, and then this sees it.
        let before = word.fetch_or(1 << (number % 64), Ordering::Relaxed);
        if before & (1 << (number % 64)) != 0 {
            return Err(format!("entry {number} came twice").into());
        }
        self.n.fetch_add(1, Ordering::Relaxed);
        Ok(due_ms)
    }

    /// For the next process.
    pub(super) fn save(&self) -> Outcome<()> {
        let words = self.bits.iter().map(|word| word.load(Ordering::Relaxed).to_be_bytes());
        Ok(fs::write(&self.file, words.flatten().collect::<Vec<u8>>())?)
    }
}
