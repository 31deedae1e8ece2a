//! A store, its owner and an inbox, in one world that a random history plays in.
//!
//! A commit is visible to scans at once; the inbox hears of it later, in order (`pending`). A refill may
//! take its snapshot at any time between start and finish and may stop anywhere. `staged` keys are taken
//! or reserved and not durable yet. Keys come back after they departed, with a new value.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::inbox::Inbox;
use crate::mutation::Mutation;
use crate::{Frontier, Limits, RefillEnd, RefillRequest};

type Key = u16;
/// How many rows were ever written before this one, so that no two rows of a key are alike.
type Value = u32;
type Checked = Result<(), TestCaseError>;

#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) limits: Limits,
    pub(super) rows: BTreeSet<Key>,
}

/// What a truncated scan reports as its end.
#[derive(Debug, Clone, Copy)]
pub(super) enum EndKind {
    /// Its last row, even if none follows.
    AtLastRow,
    /// Skipped keys between its last row and the next.
    BeforeNextRow,
    /// Its last row, and exhaustion as soon as nothing follows.
    Sure,
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    Enqueue(Key),
    Take,
    Commit(u16),
    Abandon(u16),
    Reserve(u16),
    /// A committed departure and an arrival in one batch.
    Rekey(u16, Key),
    /// Asks for a refill request and keeps it, possibly until it is stale.
    Ask,
    Start,
    Snapshot {
        n_rows: u16,
        end: EndKind,
    },
    Finish,
    Fail,
    Notify,
    Shrink(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Insert(Key, Value),
    Confirm(Key),
}

impl Event {
    fn key(&self) -> Key {
        match self {
            Self::Insert(key, _) | Self::Confirm(key) => *key,
        }
    }
}

type Scanned = (Vec<(Key, Value)>, RefillEnd<Key>);

struct Scan {
    request: RefillRequest<Key>,
    scanned: Option<Scanned>,
}

pub(super) struct World {
    inbox: Inbox<Key, Value>,
    store: BTreeMap<Key, Value>,
    staged: BTreeMap<Key, Value>,
    pending: VecDeque<Event>,
    asked: Option<RefillRequest<Key>>,
    scan: Option<Scan>,
    n_written: Value,
}

fn pick<T: Copy>(from: &[T], pick: u16) -> Option<T> {
    (!from.is_empty()).then(|| from[usize::from(pick) % from.len()])
}

impl World {
    pub(super) fn new(setup: &Setup, broken: Option<Mutation>) -> Self {
        let mut inbox = Inbox::new(setup.rows.is_empty(), setup.limits);
        inbox.broken = broken;
        let store: BTreeMap<Key, Value> = setup.rows.iter().copied().zip(0..).collect();
        let n_written = Value::try_from(store.len()).expect("as many rows as keys at most");
        Self {
            inbox,
            store,
            staged: BTreeMap::new(),
            pending: VecDeque::new(),
            asked: None,
            scan: None,
            n_written,
        }
    }

    pub(super) fn step(&mut self, op: &Op) -> Checked {
        let n_items = self.inbox.len();
        match *op {
            Op::Enqueue(key) => self.enqueue(key),
            Op::Take => self.take()?,
            Op::Commit(nth) => {
                self.commit(nth);
            }
            Op::Abandon(nth) => self.abandon(nth),
            Op::Reserve(nth) => self.reserve(nth)?,
            Op::Rekey(nth, key) => {
                if !self.store.contains_key(&key) && self.commit(nth) {
                    self.enqueue(key);
                }
            }
            Op::Ask => self.asked = self.inbox.refill_wanted(),
            Op::Start => self.start(),
            Op::Snapshot { n_rows, end } => self.snapshot(usize::from(n_rows), end),
            Op::Finish => self.finish(),
            Op::Fail => {
                prop_assert_eq!(self.inbox.refill_failed(), self.scan.take().is_some());
            }
            Op::Notify => self.notify(),
            Op::Shrink(n_items_max) => {
                self.inbox.shrink_to(n_items_max);
            }
        }
        if !matches!(op, Op::Finish) {
            let n_items_max = n_items.max(self.inbox.limits().capacity());
            prop_assert!(self.inbox.len() <= n_items_max, "I4: an insert raised it above C");
        }
        self.check()
    }

    /// Lets every notification arrive and takes everything: each live row comes once, in order.
    pub(super) fn drain(mut self) -> Checked {
        while !self.pending.is_empty() {
            self.notify();
            self.check()?;
        }
        let live = self.untaken();
        let mut drained = Vec::new();
        let mut n_refills = 0;
        while !self.inbox.is_known_empty() {
            if let Some((key, value)) = self.inbox.take() {
                drained.push((key, value));
                self.staged.insert(key, value);
            } else {
                self.start();
                let scan = self.scan.as_ref();
                let n_rows = scan.map(|scan| scan.request.rows_max);
                let n_rows = n_rows.expect("an empty window that may have more wants a refill");
                self.snapshot(n_rows, EndKind::Sure);
                self.finish();
                n_refills += 1;
                prop_assert!(n_refills < 1_000, "refills make no progress");
            }
            self.check()?;
        }
        prop_assert_eq!(drained, live, "lost or repeated at quiescence");
        Ok(())
    }

    fn untaken(&self) -> Vec<(Key, Value)> {
        let untaken = self.store.iter().filter(|(key, _)| !self.staged.contains_key(key));
        untaken.map(|(key, value)| (*key, *value)).collect()
    }

    fn is_pending(&self, key: Key) -> bool {
        self.pending.iter().any(|event| event.key() == key)
    }

    fn enqueue(&mut self, key: Key) {
        if self.store.contains_key(&key) {
            return;
        }
        self.n_written += 1;
        self.store.insert(key, self.n_written);
        self.pending.push_back(Event::Insert(key, self.n_written));
    }

    fn take(&mut self) -> Checked {
        if let Some((key, value)) = self.inbox.take() {
            prop_assert_eq!(self.store.get(&key), Some(&value), "a dead row was handed out");
            prop_assert!(!self.staged.contains_key(&key), "a leased row was handed out");
            let missed = self.untaken().into_iter().find(|(k, _)| *k < key && !self.is_pending(*k));
            prop_assert_eq!(missed, None, "I2: not the minimum");
            self.staged.insert(key, value);
        }
        Ok(())
    }

    fn commit(&mut self, nth: u16) -> bool {
        let staged: Vec<Key> = self.staged.keys().copied().collect();
        let Some(key) = pick(&staged, nth) else { return false };
        self.staged.remove(&key);
        self.store.remove(&key);
        self.pending.push_back(Event::Confirm(key));
        true
    }

    fn abandon(&mut self, nth: u16) {
        let staged: Vec<(Key, Value)> = self.staged.iter().map(|(k, v)| (*k, *v)).collect();
        if let Some((key, value)) = pick(&staged, nth) {
            self.staged.remove(&key);
            self.inbox.restore(key, value);
        }
    }

    fn reserve(&mut self, nth: u16) -> Checked {
        // A key whose previous row's departure was not confirmed is still taken for that row.
        let free = |key: Key| !self.pending.contains(&Event::Confirm(key));
        let rows: Vec<_> = self.untaken().into_iter().filter(|(key, _)| free(*key)).collect();
        if let Some((key, value)) = pick(&rows, nth) {
            if let Some(cached) = self.inbox.reserve(key) {
                prop_assert_eq!(cached, value);
            }
            self.staged.insert(key, value);
        }
        Ok(())
    }

    fn start(&mut self) {
        if self.scan.is_some() {
            return;
        }
        if let Some(request) = self.asked.take().or_else(|| self.inbox.refill_wanted()) {
            self.inbox.refill_started(request.clone());
            self.scan = Some(Scan { request, scanned: None });
        }
    }

    fn snapshot(&mut self, n_rows: usize, end: EndKind) {
        let Some(scan) = self.scan.as_mut().filter(|scan| scan.scanned.is_none()) else { return };
        let from = scan.request.from.lower_bound().expect("no request starts at the end");
        let mut left = self.store.range((from, Bound::Unbounded)).map(|(k, v)| (*k, *v));
        let rows: Vec<_> = left.by_ref().take(n_rows).collect();
        let last = rows.last().map(|(key, _)| *key);
        let next = left.next().map(|(key, _)| key);
        let skipped = next.and_then(|key| key.checked_sub(1));
        let skipped = skipped.filter(|key| !scan.request.from.covers(key));
        let end = match (end, last, next) {
            (EndKind::Sure, _, None) | (_, None, None) => RefillEnd::Exhausted,
            (EndKind::BeforeNextRow, ..) if skipped > last => {
                RefillEnd::Truncated { after: skipped.expect("greater than an option") }
            }
            (_, Some(after), _) => RefillEnd::Truncated { after },
            (_, None, Some(_)) => RefillEnd::Nothing,
        };
        scan.scanned = Some((rows, end));
    }

    fn finish(&mut self) {
        if self.scan.as_ref().is_some_and(|scan| scan.scanned.is_some())
            && let Some((rows, end)) = self.scan.take().and_then(|scan| scan.scanned)
        {
            let _ = self.inbox.refill_finished(rows, end);
        }
    }

    fn notify(&mut self) {
        match self.pending.pop_front() {
            Some(Event::Insert(key, value)) => {
                self.inbox.insert(key, value);
            }
            Some(Event::Confirm(key)) => {
                self.inbox.confirm(&key);
            }
            None => {}
        }
    }

    fn check(&self) -> Checked {
        let inbox = &self.inbox;
        let items: Vec<(Key, Value)> = inbox.iter().map(|(key, value)| (*key, *value)).collect();
        prop_assert!(items.is_sorted_by(|a, b| a.0 < b.0), "items are not sorted");
        let limits = inbox.limits();
        prop_assert!(items.len() <= limits.items_max(), "I4: items");
        let refill = inbox.busy.as_ref().and_then(|busy| busy.refill.as_ref());
        let n_changes = refill.map_or(0, |refill| refill.overlay.len());
        prop_assert!(n_changes <= limits.overlay_max(), "I4: overlay");

        // I1, in the form that holds at every moment: nothing but live, untaken rows below `cov`, and all
        // of those whose notifications have arrived.
        let all = self.untaken();
        let (known, beyond) = all.split_at(all.partition_point(|(key, _)| inbox.cov.covers(key)));
        let extra = items.iter().find(|item| known.binary_search(item).is_err());
        prop_assert_eq!(extra, None, "I1: a row too many");
        let mut missing = known.iter().filter(|row| items.binary_search(row).is_err());
        prop_assert_eq!(
            missing.find(|(key, _)| !self.is_pending(*key)),
            None,
            "I1: a row is missing"
        );
        if self.pending.is_empty() {
            prop_assert_eq!(&items, known, "I1");
            prop_assert!(items.is_empty() || items.first() == all.first(), "I2: not the minimum");
            prop_assert!(
                !inbox.knows_whole_queue() || beyond.is_empty(),
                "I3: not the whole queue"
            );
        }
        self.check_taken_and_floor()
    }

    fn check_taken_and_floor(&self) -> Checked {
        let inbox = &self.inbox;
        let unconfirmed = self.pending.iter().filter_map(|event| match event {
            Event::Confirm(key) => Some(*key),
            Event::Insert(..) => None,
        });
        let taken: BTreeSet<Key> = self.staged.keys().copied().chain(unconfirmed).collect();
        prop_assert_eq!(inbox.taken_len(), taken.len());
        prop_assert!(taken.iter().all(|key| inbox.is_taken(key)));

        let floor = inbox.floor();
        let below = self.store.keys().find(|key| floor.covers(key) && !self.is_pending(**key));
        prop_assert_eq!(below, None, "a live row lies below the floor {:?}", floor);

        let wants = inbox.refill_wanted().is_some();
        let in_flight = inbox.refill_in_flight();
        prop_assert_eq!(in_flight, self.scan.is_some());
        let stuck = inbox.is_empty() && inbox.cov != Frontier::End && !in_flight && !wants;
        prop_assert!(!stuck, "nothing would ever bring the next row");
        if inbox.is_empty() && taken.is_empty() && !in_flight {
            prop_assert!(inbox.heap_bytes() == 0 && inbox.busy.is_none(), "idle memory");
        }
        Ok(())
    }
}
