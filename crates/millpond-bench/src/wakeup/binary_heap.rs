//! A peer: the heap of std. What was replaced or cancelled stays in it, and is passed over when it comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Outcome, Subject};

/// A timer that is not set.
const NOT_SET: u64 = 0;

pub(super) struct Heap {
    /// Deadline, number of the setting, timer.
    heap: BinaryHeap<Reverse<(u64, u64, u64)>>,
    /// The number of the setting that counts.
    settings: Vec<u64>,
    n_settings: u64,
}

impl Heap {
    pub(super) fn new(n_timers: usize) -> Self {
        Self { heap: BinaryHeap::new(), settings: vec![NOT_SET; n_timers], n_settings: NOT_SET }
    }
}

impl Subject for Heap {
    fn insert(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        self.n_settings += 1;
        self.settings[timer] = self.n_settings;
        self.heap.push(Reverse((deadline_ns, self.n_settings, timer as u64)));
        Ok(())
    }

    fn replace(&mut self, timer: usize, deadline_ns: u64) -> Outcome<()> {
        self.insert(timer, deadline_ns)
    }

    fn cancel(&mut self, timer: usize) -> Outcome<()> {
        self.settings[timer] = NOT_SET;
        Ok(())
    }

    fn drain(&mut self, now_ns: u64, deliver: &mut impl FnMut(usize)) -> Outcome<()> {
        while let Some(Reverse((deadline_ns, setting, timer))) = self.heap.peek().copied() {
            if deadline_ns > now_ns {
                break;
            }
            self.heap.pop();
            let timer = usize::try_from(timer)?;
            if self.settings[timer] == setting {
                self.settings[timer] = NOT_SET;
                deliver(timer);
            }
        }
        Ok(())
    }
}
