//! The queues of a partition that are in memory: a slab of pages, and an index from id to slot.
//!
//! With a million queues neither may grow in one step: a vector that doubles takes twice the memory and
//! copies all of it, and a hash table that doubles visits every queue, within one turn of the loop. So the
//! slab consists of pages, which are also given back when their last queue leaves, and the index of many
//! small tables, each of which grows on its own.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

use hashbrown::HashTable;
use millpond_types::QueueId;

use super::queue::Queue;

/// Where a queue is in memory, as long as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(super) u32);

const PAGE_QUEUES: usize = if cfg!(test) { 2 } else { 256 };
const N_SHARDS: usize = if cfg!(test) { 4 } else { 256 };

#[derive(Debug)]
struct Page {
    cells: Box<[Cell]>,
    n_used: usize,
    first_free: Option<usize>,
}

#[derive(Debug)]
enum Cell {
    Free { next: Option<usize> },
    Used(Queue),
}

/// The set itself.
#[derive(Debug)]
pub(super) struct QueueSet {
    pages: Vec<Option<Page>>,
    /// Pages with a free cell, present or not; the lowest is filled first, so that the last run empty.
    with_room: BTreeSet<usize>,
    shards: Box<[HashTable<Slot>]>,
    len: usize,
}

impl Page {
    fn new() -> Self {
        let next = |at: usize| (at + 1 < PAGE_QUEUES).then_some(at + 1);
        let cells = (0..PAGE_QUEUES).map(|at| Cell::Free { next: next(at) }).collect();
        Self { cells, n_used: 0, first_free: Some(0) }
    }
}

fn slot_at(page: usize, at: usize) -> Slot {
    Slot(u32::try_from(page * PAGE_QUEUES + at).expect("fewer than 2^32 queues"))
}

fn split(slot: Slot) -> (usize, usize) {
    let at = slot.0 as usize;
    (at / PAGE_QUEUES, at % PAGE_QUEUES)
}

/// An id is a hash already. Its first bytes chose the partition, so others choose shard and bucket.
fn hash(id: &QueueId) -> u64 {
    u64::from_le_bytes(*id.0.last_chunk::<8>().expect("a queue id has 16 bytes"))
}

fn shard(id: &QueueId) -> usize {
    usize::from(id.0[7]) % N_SHARDS
}

impl QueueSet {
    pub(super) fn new() -> Self {
        let shards = (0..N_SHARDS).map(|_| HashTable::new()).collect();
        Self { pages: Vec::new(), with_room: BTreeSet::new(), shards, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One more than the highest slot that was ever used: for going round all queues in steps.
    pub(super) fn n_slots(&self) -> usize {
        self.pages.len() * PAGE_QUEUES
    }

    /// The queue at the n-th slot, if there is one.
    pub(super) fn at(&self, n: usize) -> Option<(Slot, &Queue)> {
        let slot = Slot(u32::try_from(n).ok()?);
        self.get(slot).map(|queue| (slot, queue))
    }

    pub(super) fn find(&self, id: &QueueId) -> Option<Slot> {
        self.shards[shard(id)].find(hash(id), |slot| self[*slot].id == *id).copied()
    }

    /// Where the next queue will be.
    pub(super) fn next_slot(&self) -> Slot {
        let page_at = self.with_room.first().copied().unwrap_or(self.pages.len());
        let page = self.pages.get(page_at).and_then(Option::as_ref);
        let at = page.and_then(|page| page.first_free).unwrap_or(0);
        slot_at(page_at, at)
    }

    /// Adds a queue whose id is not in the set.
    pub(super) fn insert(&mut self, queue: Queue) -> Slot {
        let id = queue.id;
        let page_at = match self.with_room.first() {
            Some(page) => *page,
            None => {
                self.pages.push(None);
                self.with_room.insert(self.pages.len() - 1);
                self.pages.len() - 1
            }
        };
        let page = self.pages[page_at].get_or_insert_with(Page::new);
        let at = page.first_free.expect("a page in `with_room` has a free cell");
        let slot = slot_at(page_at, at);
        let Cell::Free { next } = std::mem::replace(&mut page.cells[at], Cell::Used(queue)) else {
            unreachable!("the list of free cells holds only free cells")
        };
        page.first_free = next;
        page.n_used += 1;
        if next.is_none() {
            self.with_room.remove(&page_at);
        }
        let Self { pages, shards, .. } = self;
        shards[shard(&id)].insert_unique(hash(&id), slot, |slot| hash(&used(pages, *slot).id));
        self.len += 1;
        slot
    }

    /// Removes a queue; its slot may be used again at once.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Queue> {
        let id = self.get(slot)?.id;
        let Self { pages, shards, .. } = self;
        let table = &mut shards[shard(&id)];
        if let Ok(entry) = table.find_entry(hash(&id), |other| *other == slot) {
            entry.remove();
        }
        if table.capacity() > 64 && table.len() < table.capacity() / 8 {
            table.shrink_to(2 * table.len(), |slot| hash(&used(pages, *slot).id));
        }
        let (page_at, at) = split(slot);
        let page = pages[page_at].as_mut()?;
        let free = Cell::Free { next: page.first_free };
        let Cell::Used(queue) = std::mem::replace(&mut page.cells[at], free) else { return None };
        page.first_free = Some(at);
        page.n_used -= 1;
        self.with_room.insert(page_at);
        if page.n_used == 0 {
            pages[page_at] = None;
            while pages.last().is_some_and(Option::is_none) {
                pages.pop();
                self.with_room.remove(&pages.len());
            }
        }
        self.len -= 1;
        Some(queue)
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.get(slot).is_some()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Queue> {
        let (page, at) = split(slot);
        match self.pages.get(page)?.as_ref()?.cells.get(at)? {
            Cell::Used(queue) => Some(queue),
            Cell::Free { .. } => None,
        }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Queue> {
        let (page, at) = split(slot);
        match self.pages.get_mut(page)?.as_mut()?.cells.get_mut(at)? {
            Cell::Used(queue) => Some(queue),
            Cell::Free { .. } => None,
        }
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Queue)> {
        (0..self.n_slots()).filter_map(|n| self.at(n))
    }
}

fn used(pages: &[Option<Page>], slot: Slot) -> &Queue {
    let (page, at) = split(slot);
    match pages[page].as_ref().map(|page| &page.cells[at]) {
        Some(Cell::Used(queue)) => queue,
        _ => unreachable!("the index holds only slots in use"),
    }
}

impl Index<Slot> for QueueSet {
    type Output = Queue;

    fn index(&self, slot: Slot) -> &Queue {
        self.get(slot).expect("whoever holds a slot keeps its queue in memory")
    }
}

impl IndexMut<Slot> for QueueSet {
    fn index_mut(&mut self, slot: Slot) -> &mut Queue {
        self.get_mut(slot).expect("whoever holds a slot keeps its queue in memory")
    }
}

#[cfg(test)]
mod tests;
