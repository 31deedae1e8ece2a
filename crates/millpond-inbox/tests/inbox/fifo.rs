//! How many refills FIFO consumption costs. Counts, not times, so they are asserted exactly; where a bar
//! stands beside a count, the bar is the promise and the count what the rules give now.

use std::collections::BTreeSet;

use millpond_inbox::Limits;

use crate::{Window, fixed, limits, scan, start};

const DEQUEUES: usize = 1_000;

/// A queue, its window and the keys that were handed out and never seen again.
struct Fifo {
    store: BTreeSet<u32>,
    window: Window,
    next_key: u32,
    n_refills: usize,
}

impl Fifo {
    fn holding(depth: u32, limits: Limits) -> Self {
        let window = Window::new(true, limits);
        let mut fifo = Self { store: BTreeSet::new(), window, next_key: 0, n_refills: 0 };
        (0..depth).for_each(|_| fifo.enqueue());
        fifo
    }

    fn enqueue(&mut self) {
        self.store.insert(self.next_key);
        self.window.insert(self.next_key, "row");
        self.next_key += 1;
    }

    /// Takes and acknowledges one row. A refill that is wanted ends at once, as one served from memory does.
    fn dequeue(&mut self) {
        if self.window.refill_wanted().is_some() {
            let request = start(&mut self.window);
            let (rows, end) = scan(&self.store, &request);
            let _ = self.window.refill_finished(rows, end);
            self.n_refills += 1;
        }
        let (key, _) = self.window.take().expect("the queue is not empty");
        assert_eq!(self.store.pop_first(), Some(key), "I2");
        self.window.confirm(&key);
    }
}

/// Refills per 1000 dequeues at a depth that every enqueue restores.
fn refills_at_constant_depth(depth: u32, limits: Limits) -> usize {
    let mut fifo = Fifo::holding(depth, limits);
    for _ in 0..DEQUEUES {
        fifo.dequeue();
        fifo.enqueue();
    }
    fifo.n_refills
}

const DEPTHS: [u32; 5] = [2, 8, 24, 48, 500];

#[test]
fn a_queue_within_the_capacity_is_never_read_and_a_deeper_one_once_per_batch() {
    let refills = DEPTHS.map(|depth| refills_at_constant_depth(depth, Limits::default()));
    let bars = [0, 0, 0, 40, 42];
    assert!(refills.iter().zip(bars).all(|(n, bar)| *n <= bar), "{refills:?} against {bars:?}");
    // The first 24 rows need no refill, the next 60 come in batches of 4, 8, 16 and 32. From then on a
    // refill brings the whole queue of 48 (916 / 48 is 19.1), or 64 rows of the deeper one (14.3).
    assert_eq!(refills, [0, 0, 0, 24, 19]);
}

#[test]
fn a_batch_fixed_at_the_capacity_reads_a_deep_queue_once_per_window() {
    let refills = DEPTHS.map(|depth| refills_at_constant_depth(depth, fixed(24, 48, 0)));
    // (1000 − 24) / 24, rounded up: the least possible where each refill brings at most 24 and, at a constant
    // depth beyond the capacity, no insert lands in the window.
    assert_eq!(refills, [0, 0, 0, 41, 41]);
}

#[test]
fn a_queue_found_at_restart_costs_hardly_more() {
    // Nothing is known of the first 24 rows, which small batches or one more large one bring.
    let refills = [Limits::default(), fixed(24, 48, 0)].map(|limits| {
        let mut fifo = Fifo::holding(0, limits);
        fifo.store = (0..500).collect();
        fifo.next_key = 500;
        fifo.window = Window::new(false, limits);
        for _ in 0..DEQUEUES {
            fifo.dequeue();
            fifo.enqueue();
        }
        fifo.n_refills
    });
    assert_eq!(refills, [19, 42]);
}

#[test]
fn a_queue_fed_in_bursts_costs_no_more_than_one_that_stays_deep() {
    // Every burst fills the queue to its depth; the next one comes when it has run empty. The beginning of
    // each is inserted under a frontier of +∞ and needs no refill.
    let refills = DEPTHS.map(|depth| {
        let mut fifo = Fifo::holding(depth, Limits::default());
        for _ in 0..DEQUEUES {
            fifo.dequeue();
            if fifo.store.is_empty() {
                (0..depth).for_each(|_| fifo.enqueue());
            }
        }
        fifo.n_refills
    });
    assert_eq!(refills, [0, 0, 0, 24, 19]);
}

#[test]
fn prefetching_costs_what_the_documentation_of_limits_says() {
    let refills = |limits_at: fn(u8) -> Limits| {
        [0, 3, 6, 12].map(|mark| refills_at_constant_depth(500, limits_at(mark)))
    };
    assert_eq!(refills(|mark| limits(24, 48, mark)), [19, 20, 20, 23]);
    assert_eq!(refills(|mark| fixed(24, 48, mark)), [41, 47, 55, 83]);
}

/// Refills per 1000 dequeues where each scan ends only when the window has run empty.
fn refills_with_slow_scans(limits: Limits) -> usize {
    let mut fifo = Fifo::holding(500, limits);
    let mut in_flight = None;
    for _ in 0..DEQUEUES {
        if fifo.window.refill_wanted().is_some() {
            in_flight = Some(start(&mut fifo.window));
        }
        let (key, _) = fifo.window.take().expect("the prefetch ends before the window runs empty");
        assert_eq!(fifo.store.pop_first(), Some(key), "I2");
        fifo.window.confirm(&key);
        fifo.enqueue();
        if fifo.window.is_empty() {
            let request = in_flight.take().expect("the low mark was passed");
            let (rows, end) = scan(&fifo.store, &request);
            let _ = fifo.window.refill_finished(rows, end);
            fifo.n_refills += 1;
        }
    }
    fifo.n_refills
}

#[test]
fn a_prefetch_that_takes_as_long_as_its_mark_lasts_costs_nothing_extra() {
    assert_eq!(refills_with_slow_scans(limits(24, 48, 12)), 19);
    assert_eq!(refills_with_slow_scans(fixed(24, 48, 12)), 41);
}
