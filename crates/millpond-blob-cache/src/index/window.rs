//! Keys that were asked for lately and are not resident: the ghosts of one shard.

use hashbrown::HashTable;

/// A bounded window over hashes, first in, first out, each with the number of its sightings. It costs 9 bytes and a
/// place in a table per ghost, and takes memory as it fills. Two keys with one hash are one ghost, which costs a
/// promotion too early.
#[derive(Debug)]
pub(super) struct Window {
    /// 0 is a place whose ghost has left.
    ring: Vec<u64>,
    /// Sightings of the ghost in the same place of the ring.
    sightings: Vec<u8>,
    n_max: usize,
    /// The oldest place, once the ring is full.
    at: usize,
    places: HashTable<u32>,
}

impl Window {
    pub(super) fn new(n_max: usize) -> Self {
        Self { ring: Vec::new(), sightings: Vec::new(), n_max, at: 0, places: HashTable::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Removes the ghost. Returns its sightings: 0 if it was not there.
    pub(super) fn take(&mut self, hash: u64) -> u8 {
        let hash = hash.max(1);
        let Ok(entry) = self.places.find_entry(hash, |place| self.ring[*place as usize] == hash)
        else {
            return 0;
        };
        let (place, _) = entry.remove();
        self.ring[place as usize] = 0;
        self.sightings[place as usize]
    }

    /// Adds a ghost, in place of the oldest one if the window is full.
    pub(super) fn remember(&mut self, hash: u64, n_sightings: u8) {
        let hash = hash.max(1);
        self.take(hash);
        let place = if self.ring.len() < self.n_max {
            self.ring.push(hash);
            self.sightings.push(n_sightings);
            self.ring.len() - 1
        } else if self.n_max > 0 {
            let place = self.at;
            self.at = (self.at + 1) % self.n_max;
            let oldest = self.ring[place];
            if oldest != 0 {
                self.take(oldest);
            }
            self.ring[place] = hash;
            self.sightings[place] = n_sightings;
            place
        } else {
            return;
        };
        let place = u32::try_from(place).expect("the options bound it");
        let ring = &self.ring;
        self.places.insert_unique(hash, place, |place| ring[*place as usize]);
    }

    /// Makes a window without an end: only a broken twin does.
    pub(super) fn grow(&mut self) {
        self.n_max = self.n_max.max(self.ring.len() + 1);
    }
}
