//! Which timer a key has: a hash table that grows a little at a time.
//!
//! A table that doubles moves all its entries in one call, which takes tens of milliseconds at a million keys.
//! This is linear hashing (Litwin, 1980) over many small tables instead: when they are full on average, the
//! next one in turn is split in two. Entries remember their hash, so that no key is read for it.

use hashbrown::HashTable;

use crate::rules::{Mutation, Rules};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: u32,
    slot: u32,
}

impl Entry {
    /// Of a key with this hash. Hash functions mix their upper bits best.
    #[inline]
    const fn new(hash: u64, slot: u32) -> Self {
        Self { hash: (hash >> 32) as u32, slot }
    }

    /// For the small tables, which use the lowest bits and the highest seven.
    #[inline]
    const fn hash_in_table(self) -> u64 {
        (self.hash as u64) << 32 | self.hash as u64
    }
}

#[derive(Debug)]
pub(crate) struct Index {
    tables: Vec<HashTable<Entry>>,
    n_keys: usize,
    rules: Rules,
}

impl Index {
    #[inline]
    pub(crate) const fn new(rules: Rules) -> Self {
        Self { tables: Vec::new(), n_keys: 0, rules }
    }

    #[cfg(test)]
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.n_keys
    }

    /// The slot of the timer whose key has this hash and is the one.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let wanted = Entry::new(hash, 0);
        let table = self.tables.get(self.table_of(wanted))?;
        let is_it = |entry: &Entry| entry.hash == wanted.hash && is_it(entry.slot);
        table.find(wanted.hash_in_table(), is_it).map(|entry| entry.slot)
    }

    /// Adds a timer whose key is not in it.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        if self.n_keys >= self.tables.len() * self.rules.shape().table {
            self.split();
        }
        let entry = Entry::new(hash, slot);
        let table = self.table_of(entry);
        self.tables[table]
            .insert_unique(entry.hash_in_table(), entry, |entry| entry.hash_in_table());
        self.n_keys += 1;
    }

    /// Removes the timer whose key has this hash and is the one, and returns its slot.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let wanted = Entry::new(hash, 0);
        let table = self.table_of(wanted);
        let is_it = |entry: &Entry| entry.hash == wanted.hash && is_it(entry.slot);
        let found = self.tables.get_mut(table)?.find_entry(wanted.hash_in_table(), is_it).ok()?;
        self.n_keys -= 1;
        Some(found.remove().0.slot)
    }

    /// Bytes of heap memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        let tables: usize = self.tables.iter().map(HashTable::allocation_size).sum();
        self.tables.capacity() * size_of::<HashTable<Entry>>() + tables
    }

    #[inline]
    const fn table_of(&self, entry: Entry) -> usize {
        table_of(entry, self.tables.len())
    }

    /// Adds a table, and gives it the entries that belong there now. All come from one other table.
    fn split(&mut self) {
        let n_tables = self.tables.len() + 1;
        let mut added = HashTable::new();
        if let Some(mask) = (n_tables.next_power_of_two() / 2).checked_sub(1) {
            let source = &mut self.tables[(n_tables - 1) & mask];
            added.reserve(source.len() / 2, |entry: &Entry| entry.hash_in_table());
            for entry in source.extract_if(|entry| table_of(*entry, n_tables) == n_tables - 1) {
                added.insert_unique(entry.hash_in_table(), entry, |entry| entry.hash_in_table());
            }
            if self.rules.lacks(Mutation::SplitDropsKey) {
                let _ = added.extract_if(|_| true).next();
            }
        }
        self.tables.push(added);
    }
}

/// The low bits of the hash say which of `n_tables`; those that would be in a table that does not exist yet
/// are in the one that it will be split off from.
const fn table_of(entry: Entry, n_tables: usize) -> usize {
    /// The tables use these bits themselves, to tell their entries apart.
    const BITS_OF_TABLE: u32 = 11;
    let bits = entry.hash.rotate_right(BITS_OF_TABLE) as usize;
    let mask = n_tables.next_power_of_two() - 1;
    let table = bits & mask;
    if table < n_tables { table } else { table & (mask >> 1) }
}
