//! The subject: an inbox per queue over an ordered map that stands for storage.

use std::collections::BTreeMap;
use std::ops::Bound;

use millpond_inbox::{Inbox, Limits, RefillEnd};

use super::{Key, Outcome, Subject, Value};
use crate::N_QUEUES;

pub(super) struct Windows {
    inboxes: Vec<Inbox<Key, Value>>,
    stores: Vec<BTreeMap<Key, Value>>,
    n_refills: u64,
}

impl Windows {
    pub(super) fn new() -> Self {
        let inbox = || Inbox::new(true, Limits::default());
        Self {
            inboxes: (0..N_QUEUES).map(|_| inbox()).collect(),
            stores: vec![BTreeMap::new(); N_QUEUES],
            n_refills: 0,
        }
    }

    /// Serves the scan that the inbox wants, if any.
    fn refill(&mut self, queue: usize) {
        let inbox = &mut self.inboxes[queue];
        let Some(request) = inbox.refill_wanted() else { return };
        let rows_max = request.rows_max;
        let lower = request.from.lower_bound().map_or(Bound::Unbounded, |bound| bound.cloned());
        inbox.refill_started(request);
        let left = self.stores[queue].range((lower, Bound::Unbounded));
        let rows: Vec<(Key, Value)> =
            left.take(rows_max).map(|(key, value)| (*key, *value)).collect();
        let end = match rows.last() {
            Some((after, _)) if rows.len() == rows_max => RefillEnd::Truncated { after: *after },
            _ => RefillEnd::Exhausted,
        };
        let _ = inbox.refill_finished(rows, end);
        self.n_refills += 1;
    }
}

impl Subject for Windows {
    fn stored(&mut self, queue: usize, key: Key, value: Value) {
        self.stores[queue].insert(key, value);
    }

    fn removed(&mut self, queue: usize, key: &Key) {
        self.stores[queue].remove(key);
    }

    fn insert(&mut self, queue: usize, key: Key, value: Value) -> Outcome<()> {
        self.inboxes[queue].insert(key, value);
        Ok(())
    }

    fn take(&mut self, queue: usize) -> Outcome<Option<(Key, Value)>> {
        self.refill(queue);
        Ok(self.inboxes[queue].take())
    }

    fn confirm(&mut self, queue: usize, key: &Key) -> Outcome<()> {
        if self.inboxes[queue].confirm(key) {
            return Ok(());
        }
        Err("a row that was taken is not known as taken".into())
    }

    fn n_held(&self, queue: usize) -> usize {
        self.inboxes[queue].len() + self.inboxes[queue].taken_len()
    }

    fn n_reads(&self) -> u64 {
        self.n_refills
    }

    fn n_left(&mut self) -> Outcome<u64> {
        let mut n_left = 0;
        for queue in 0..N_QUEUES {
            while self.take(queue)?.is_some() {
                n_left += 1;
            }
        }
        Ok(n_left)
    }
}
