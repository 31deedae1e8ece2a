//! A peer: every row of every queue in memory, in order, and the taken keys beside them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Key, Outcome, Subject, Value};
use crate::N_QUEUES;

#[derive(Clone, Default)]
struct Queue {
    rows: BTreeMap<Key, Value>,
    taken: BTreeSet<Key>,
}

pub(super) struct Maps {
    queues: Vec<Queue>,
}

impl Maps {
    pub(super) fn new() -> Self {
        Self { queues: vec![Queue::default(); N_QUEUES] }
    }
}

impl Subject for Maps {
    fn insert(&mut self, queue: usize, key: Key, value: Value) -> Outcome<()> {
        let queue = &mut self.queues[queue];
        // As an engine has to: a row that is taken must not come back by a late notification.
        if !queue.taken.contains(&key) {
            queue.rows.insert(key, value);
        }
        Ok(())
    }

    fn take(&mut self, queue: usize) -> Outcome<Option<(Key, Value)>> {
        let queue = &mut self.queues[queue];
        let Some((key, value)) = queue.rows.pop_first() else { return Ok(None) };
        queue.taken.insert(key);
        Ok(Some((key, value)))
    }

    fn confirm(&mut self, queue: usize, key: &Key) -> Outcome<()> {
        if self.queues[queue].taken.remove(key) {
            return Ok(());
        }
        Err("a row that was taken is not known as taken".into())
    }

    fn n_held(&self, queue: usize) -> usize {
        self.queues[queue].rows.len() + self.queues[queue].taken.len()
    }

    fn n_reads(&self) -> u64 {
        0
    }

    fn n_left(&mut self) -> Outcome<u64> {
        Ok(self.queues.iter().map(|queue| queue.rows.len() as u64).sum())
    }
}
