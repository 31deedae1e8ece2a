//! No call does work in proportion to the number of timers, whatever the deadlines are. Work is counted, in
//! timers that were touched in buckets; the rest is a search and a few writes.

use super::Source;
use crate::rules::Shape;
use crate::{Handle, Nanos, Timers};

const N_TIMERS: usize = 60_000;
const NOW: u64 = 3_600_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A full bucket is read once and written once.
const TOUCHED_MAX: usize = 2 * Shape::SHIPPED.bucket;

type Deadline = fn(&mut Source, u64) -> u64;

const KINDS: [(&str, Deadline); 9] = [
    ("30 s", |source, _| NOW + source.next() % (30 * SECOND)),
    ("one deadline", |_, _| NOW + SECOND),
    ("within 1 ms", |source, _| NOW + source.next() % 1_000_000),
    ("past due", |source, _| source.next() % NOW),
    ("years", |source, _| NOW + source.next() % (1 << 60)),
    ("ascending", |_, timer| NOW + timer),
    ("descending", |_, timer| NOW - timer),
    ("far and near", |source, timer| NOW + source.next() % 1_000 + (timer % 2) * (1 << 60)),
    ("end of time", |_, _| u64::MAX),
];

/// The most that one call touched.
struct Most {
    timers: Timers<u64>,
    n_touched: usize,
}

impl Most {
    fn call<T>(&mut self, call: impl FnOnce(&mut Timers<u64>) -> T) -> T {
        let before = self.timers.n_touched();
        let done = call(&mut self.timers);
        self.n_touched = self.n_touched.max(self.timers.n_touched() - before);
        done
    }
}

fn most_touched(deadline: Deadline) -> usize {
    let mut source = Source(11);
    let mut most = Most { timers: Timers::new(N_TIMERS), n_touched: 0 };
    let insert = |timer| {
        let when = Nanos(deadline(&mut source, timer));
        most.call(|timers| timers.insert(when, timer)).expect("there is room")
    };
    let handles: Vec<Handle> = (0..).take(N_TIMERS).map(insert).collect();
    // Postponed over and over: to the end, and back.
    for (timer, handle) in (0..).zip(&handles).filter(|(timer, _)| timer % 3 != 0) {
        most.call(|timers| timers.reset(*handle, Nanos::MAX)).expect("it is live");
        let when = Nanos(deadline(&mut source, timer));
        most.call(|timers| timers.reset(*handle, when)).expect("it is live");
    }
    for handle in handles.iter().step_by(2) {
        most.call(|timers| timers.cancel(*handle)).expect("it is live");
    }
    while most.call(|timers| timers.pop_due(Nanos::MAX)).is_some() {}
    assert!(most.timers.is_empty());
    most.n_touched
}

#[test]
fn no_call_touches_more_than_a_few_buckets() {
    for (kind, deadline) in KINDS {
        let n_touched = most_touched(deadline);
        println!("{kind}: {n_touched} of {N_TIMERS} timers touched in one call at most");
        assert!(n_touched <= TOUCHED_MAX, "{kind}: {n_touched}");
    }
}
