//! A peer: a queue of numbers. Each pick looks at the queue and puts its number behind the others.

use std::collections::VecDeque;

use super::{Outcome, Subject};

pub(super) struct Fifo {
    /// Weight and picks: something to look at, as large as what another scheduler keeps.
    queues: Vec<[u32; 8]>,
    ring: VecDeque<u32>,
}

impl Subject for Fifo {
    const IS_WEIGHTED: bool = false;

    fn new(weights: &[u32]) -> Outcome<Self> {
        let queues = weights.iter().map(|weight| [*weight, 0, 0, 0, 0, 0, 0, 0]).collect();
        Ok(Self { queues, ring: VecDeque::new() })
    }

    fn fill(&mut self, queue: usize) -> Outcome<()> {
        self.ring.push_back(u32::try_from(queue)?);
        Ok(())
    }

    fn pick(&mut self) -> Outcome<usize> {
        let queue = self.ring.pop_front().ok_or("every queue has work")?;
        self.queues[queue as usize][1] += 1;
        self.ring.push_back(queue);
        Ok(queue as usize)
    }
}
