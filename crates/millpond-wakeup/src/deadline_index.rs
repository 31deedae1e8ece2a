//! Many deadlines behind one wakeup.

use std::collections::BTreeSet;

use crate::{Drained, Nanos};

/// The deadlines of one owner that waits for several things, of which it shows the earliest.
///
/// A queue waits for its delayed entries, its leases and its back-off, and there are a million queues. Each has
/// one of these and *one* wakeup, at the earliest deadline in it:
///
/// ```
/// use millpond_wakeup::{DeadlineIndex, Nanos, Wakeups};
///
/// let mut wakeups = Wakeups::new(1_000_000);
/// let (queue, mut leases) = (42_u64, DeadlineIndex::new());
///
/// // Whenever something is added, the wakeup may have to come earlier.
/// for (entry, deadline_ms) in [(1, 30), (2, 10), (3, 20)] {
///     leases.insert(Nanos::from_millis(deadline_ms), entry);
///     wakeups.set_if_earlier(queue, Nanos::from_millis(deadline_ms))?;
/// }
/// // Whenever something is removed, nothing has to be done: a wakeup that comes too early finds nothing due.
/// leases.remove(Nanos::from_millis(10), &2);
///
/// // Whenever the wakeup fires: take what is due, then wait for what is left.
/// let now = Nanos::from_millis(25);
/// let due = wakeups.pop_due(now).expect("the queue is due");
/// let mut expired = Vec::new();
/// let _ = leases.drain_due(now, 100, &mut expired);
/// assert_eq!(expired, [(Nanos::from_millis(20), 3)]);
/// if let Some(next) = leases.next_deadline() {
///     wakeups.set_if_earlier(due.value, next)?;
/// }
/// assert_eq!(wakeups.next_deadline(), Some(Nanos::from_millis(30)));
/// # Ok::<(), millpond_wakeup::Rejected<u64>>(())
/// ```
///
/// Order is `(deadline, key)`. It owns no heap memory while it holds one deadline or none.
#[derive(Debug, Clone)]
pub struct DeadlineIndex<K> {
    held: Held<K>,
}

impl<K> Default for DeadlineIndex<K> {
    fn default() -> Self {
        Self { held: Held::None }
    }
}

#[derive(Debug, Clone, Default)]
enum Held<K> {
    #[default]
    None,
    One(Nanos, K),
    /// At least two.
    #[expect(clippy::box_collection, reason = "keeps those small that hold one deadline or none")]
    Many(Box<BTreeSet<(Nanos, K)>>),
}

impl<K: Ord> DeadlineIndex<K> {
    /// An index that holds nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { held: Held::None }
    }

    /// Adds a deadline. False if the same key has the same deadline already. A key may have several.
    pub fn insert(&mut self, deadline: Nanos, key: K) -> bool {
        match std::mem::take(&mut self.held) {
            Held::None => self.held = Held::One(deadline, key),
            Held::One(first, only) => {
                if first == deadline && only == key {
                    self.held = Held::One(first, only);
                    return false;
                }
                self.held = Held::Many(Box::new(BTreeSet::from([(first, only), (deadline, key)])));
            }
            Held::Many(mut many) => {
                let is_new = many.insert((deadline, key));
                self.held = Held::Many(many);
                return is_new;
            }
        }
        true
    }

    /// Removes a deadline. False if it is not there.
    pub fn remove(&mut self, deadline: Nanos, key: &K) -> bool
    where
        K: Clone,
    {
        match &mut self.held {
            Held::One(first, only) if *first == deadline && only == key => self.pop().is_some(),
            Held::Many(many) => {
                let was_there = many.remove(&(deadline, key.clone()));
                self.shrink();
                was_there
            }
            _ => false,
        }
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        match &self.held {
            Held::None => None,
            Held::One(deadline, _) => Some(*deadline),
            Held::Many(many) => many.first().map(|(deadline, _)| *deadline),
        }
    }

    /// The deadlines, earliest first.
    pub fn iter(&self) -> impl Iterator<Item = (Nanos, &K)> {
        let (one, many) = match &self.held {
            Held::None => (None, None),
            Held::One(deadline, key) => (Some((*deadline, key)), None),
            Held::Many(many) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(deadline, key)| (*deadline, key)))
    }

    /// Takes out the first deadline, if it is due.
    pub fn pop_due(&mut self, now: Nanos) -> Option<(Nanos, K)> {
        if self.next_deadline()? > now {
            return None;
        }
        self.pop()
    }

    /// Moves what is due to the end of `batch`, in order, `budget` of them at most.
    pub fn drain_due(&mut self, now: Nanos, budget: usize, batch: &mut Vec<(Nanos, K)>) -> Drained {
        let mut n_due = 0;
        while n_due < budget {
            let Some(due) = self.pop_due(now) else { return Drained { n_due, more: false } };
            batch.push(due);
            n_due += 1;
        }
        Drained { n_due, more: self.next_deadline().is_some_and(|deadline| deadline <= now) }
    }

    /// Deadlines in it.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.held {
            Held::None => 0,
            Held::One(..) => 1,
            Held::Many(many) => many.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.held, Held::None)
    }

    fn pop(&mut self) -> Option<(Nanos, K)> {
        if let Held::Many(many) = &mut self.held {
            let first = many.pop_first();
            self.shrink();
            return first;
        }
        match std::mem::take(&mut self.held) {
            Held::One(deadline, key) => Some((deadline, key)),
            _ => None,
        }
    }

    /// Gives up the heap memory when one is left.
    fn shrink(&mut self) {
        if let Held::Many(many) = &mut self.held
            && many.len() <= 1
        {
            self.held =
                many.pop_first().map_or(Held::None, |(deadline, key)| Held::One(deadline, key));
        }
    }
}
