//! Leases of many queues that are extended, given back or expire, with one wakeup per queue.
//!
//! ```text
//! cargo run -p millpond-wakeup --example lease_expiry
//! ```
//!
//! Each queue keeps its leases in a [`DeadlineIndex`] and shows the scheduler the earliest one only. A wakeup
//! may come too early, because the lease it was set for is gone or extended; then nothing is due, and it is
//! set anew. It never comes too late.

use std::collections::{BTreeMap, HashMap};

use millpond_wakeup::{DeadlineIndex, Due, Nanos, Rejected, Wakeups};

const LEASE_MS: u64 = 50;
const N_QUEUES: u64 = 20;
const EXPIRIES_PER_TURN: usize = 16;

type QueueId = u64;
type EntryId = u64;

#[derive(Default)]
struct Queue {
    expires: HashMap<EntryId, Nanos>,
    by_deadline: DeadlineIndex<EntryId>,
}

struct Leases {
    queues: BTreeMap<QueueId, Queue>,
    wakeups: Wakeups<QueueId>,
    due: Vec<Due<QueueId>>,
}

impl Leases {
    /// Leases an entry, or extends its lease: in both cases from now on.
    fn lease(&mut self, now: Nanos, id: QueueId, entry: EntryId) -> Result<(), Rejected<QueueId>> {
        let deadline = Nanos::from_millis(now.as_millis() + LEASE_MS);
        let queue = self.queues.entry(id).or_default();
        if let Some(before) = queue.expires.insert(entry, deadline) {
            queue.by_deadline.remove(before, &entry);
        }
        queue.by_deadline.insert(deadline, entry);
        // The one wakeup of the queue moves only where this is its earliest deadline.
        self.wakeups.set_if_earlier(id, deadline).map(|_| ())
    }

    /// Ends a lease before its time. The wakeup stays: it will find nothing due.
    fn give_back(&mut self, id: QueueId, entry: EntryId) -> bool {
        let Some(queue) = self.queues.get_mut(&id) else { return false };
        let deadline = queue.expires.remove(&entry);
        deadline.is_some_and(|deadline| queue.by_deadline.remove(deadline, &entry))
    }

    /// What has expired, within the budget of one turn.
    fn handle_timeout(
        &mut self,
        now: Nanos,
        expired: &mut Vec<(Nanos, EntryId)>,
    ) -> Result<(), Rejected<QueueId>> {
        let _ = self.wakeups.drain_due(now, EXPIRIES_PER_TURN, &mut self.due);
        for Due { value: id, .. } in self.due.drain(..) {
            let Some(queue) = self.queues.get_mut(&id) else { continue };
            let first = expired.len();
            let _ = queue.by_deadline.drain_due(now, EXPIRIES_PER_TURN, expired);
            for (_, entry) in &expired[first..] {
                queue.expires.remove(entry);
            }
            // What is left gets the next wakeup; where the budget was too small, that is due at once.
            if let Some(next) = queue.by_deadline.next_deadline() {
                self.wakeups.set(id, next)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn main() -> Result<(), Rejected<QueueId>> {
    let mut leases =
        Leases { queues: BTreeMap::new(), wakeups: Wakeups::new(10_000), due: Vec::new() };
    // What the leases must do, the slow way.
    let mut model: HashMap<EntryId, u64> = HashMap::new();
    let (mut n_given_back, mut n_extended, mut n_expired) = (0, 0, 0);
    let mut entry = 0;
    for ms in 0..2_000 {
        let now = Nanos::from_millis(ms);
        if ms < 1_000 {
            entry += 1;
            leases.lease(now, entry % N_QUEUES, entry)?;
            model.insert(entry, ms + LEASE_MS);
            // Of three entries one is forgotten, one is given back, and one is extended once.
            if let Some(id) = entry.checked_sub(20).filter(|id| id % 3 == 1) {
                assert!(leases.give_back(id % N_QUEUES, id) && model.remove(&id).is_some());
                n_given_back += 1;
            }
            if let Some(id) = entry.checked_sub(40).filter(|id| id % 3 == 2) {
                leases.lease(now, id % N_QUEUES, id)?;
                model.insert(id, ms + LEASE_MS);
                n_extended += 1;
            }
        }
        let mut expired = Vec::new();
        leases.handle_timeout(now, &mut expired)?;
        for (deadline, id) in expired {
            assert_eq!(deadline, now, "{id} expires in time");
            assert_eq!(model.remove(&id), Some(ms), "{id} was to expire now");
            n_expired += 1;
        }
        assert!(model.values().all(|deadline_ms| *deadline_ms > ms), "nothing is overdue");
        assert!(leases.wakeups.len() <= leases.queues.len(), "one wakeup per queue");
    }
    println!(
        "{entry} leases: {n_given_back} given back, {n_extended} extensions, {n_expired} expired"
    );
    assert!(model.is_empty() && n_given_back > 300 && n_extended > 300);
    assert_eq!(n_given_back + n_expired, entry);
    Ok(())
}
