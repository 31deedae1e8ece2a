//! Which keys have a request: a fixed table of fingerprints that no lock guards.
//!
//! A cell is one word with five lanes of twelve bits. A key belongs to one cell and has one fingerprint there, so
//! inserting it is a single compare-and-swap of the word that was searched: two threads cannot both insert the
//! same key, and nobody has to look again. With four cells per request a key that has none is refused, for
//! want of a lane or for sharing a fingerprint, less than once in ten thousand times, even when the pool is full.

use millpond_sync::atomic::{AtomicU64, Ordering};

use crate::rules::{Mutation, Rules};

const LANE_BITS: u32 = 12;
const LANE: u64 = (1 << LANE_BITS) - 1;
const N_LANES: u32 = 64 / LANE_BITS;
const CELLS_PER_REQUEST: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Keys {
    cells: Box<[AtomicU64]>,
    rules: Rules,
}

/// The lane that a key has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    cell: u32,
    shift: u32,
}

/// Why a key gets no lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoLane {
    /// It has one.
    Taken,
    /// Its cell has none left.
    Full,
}

impl Keys {
    /// A table for so many keys at the same time.
    pub(crate) fn new(n_keys: usize, rules: Rules) -> Self {
        let n_cells = n_keys * CELLS_PER_REQUEST;
        Self { cells: (0..n_cells).map(|_| AtomicU64::new(0)).collect(), rules }
    }

    /// Takes a lane for the key with this hash.
    pub(crate) fn insert(&self, key_hash: u64) -> Result<Mark, NoLane> {
        let (index, fingerprint) = self.place(key_hash);
        let cell = &self.cells[index];
        let mut word = cell.load(Ordering::Relaxed);
        loop {
            let shift = free_lane(word, fingerprint)?;
            let marked = word | fingerprint << shift;
            if self.rules.lacks(Mutation::InsertInTwoSteps) {
                cell.fetch_or(fingerprint << shift, Ordering::Acquire);
                return Ok(Mark { cell: u32_of(index), shift });
            }
            // Acquire pairs with the release in `remove`: what the last request of the key did is visible.
            match cell.compare_exchange_weak(word, marked, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(Mark { cell: u32_of(index), shift }),
                Err(changed) => word = changed,
            }
        }
    }

    /// Gives a lane back.
    pub(crate) fn remove(&self, mark: Mark) {
        self.cells[mark.cell as usize].fetch_and(!(LANE << mark.shift), Ordering::Release);
    }

    /// Cell and fingerprint of a key; a fingerprint is never 0, which says that a lane is free.
    pub(crate) fn place(&self, key_hash: u64) -> (usize, u64) {
        let hash = mix(key_hash);
        // The high bits choose the cell and the low ones are the fingerprint, so the two are independent.
        let index = (u128::from(hash) * self.cells.len() as u128) >> 64;
        let index = usize::try_from(index).expect("below the number of cells");
        (index, hash % LANE + 1)
    }
}

/// The shift of a free lane of `word`.
fn free_lane(word: u64, fingerprint: u64) -> Result<u32, NoLane> {
    let mut free = None;
    for shift in (0..N_LANES).map(|lane| lane * LANE_BITS) {
        match word >> shift & LANE {
            0 => free = free.or(Some(shift)),
            other if other == fingerprint => return Err(NoLane::Taken),
            _ => {}
        }
    }
    free.ok_or(NoLane::Full)
}

/// The finalizer of MurmurHash3: every bit of the result depends on every bit of the hash.
const fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn u32_of(index: usize) -> u32 {
    u32::try_from(index).expect("the options bound the number of cells")
}
