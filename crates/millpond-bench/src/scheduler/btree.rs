//! A peer: weighted fair queueing. The queue whose next entry finishes first, in virtual time, goes first.

use std::collections::BTreeSet;

use super::{Outcome, Subject};

/// Virtual time that an entry takes at weight 1; a multiple of every weight.
const ENTRY: u64 = 12;

pub(super) struct VirtualTime {
    weights: Vec<u32>,
    /// Finishing times.
    order: BTreeSet<(u64, u32)>,
}

impl Subject for VirtualTime {
    fn new(weights: &[u32]) -> Outcome<Self> {
        Ok(Self { weights: weights.to_vec(), order: BTreeSet::new() })
    }

    fn fill(&mut self, queue: usize) -> Outcome<()> {
        self.order.insert((ENTRY / u64::from(self.weights[queue]), u32::try_from(queue)?));
        Ok(())
    }

    fn pick(&mut self) -> Outcome<usize> {
        let (finish, queue) = self.order.pop_first().ok_or("every queue has work")?;
        let weight = self.weights[queue as usize];
        self.order.insert((finish + ENTRY / u64::from(weight), queue));
        Ok(queue as usize)
    }
}
