//! The queues that can be served, by band: those whose turn was interrupted, and the ring.

use std::num::NonZeroU32;

use crate::Band;
use crate::arena::Arena;
use crate::links::LinkTable;
use crate::queue::Queue;
use crate::ring::Ring;
use crate::rules::{Mutation, Rules};

#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) ring: Ring,
    /// Their turn came before that of the ring's front.
    pub(crate) due: Ring,
    /// Picks in a row from bands before it while it could have been served.
    n_passed: u32,
}

impl Class {
    pub(crate) const fn len(&self) -> usize {
        self.ring.len() as usize + self.due.len() as usize
    }

    /// The queue to look at next.
    fn front(&self) -> Option<u32> {
        self.due.front().or_else(|| self.ring.front())
    }

    /// The first queue whose head is known, among so many.
    fn first_known(&self, queues: &Arena<Queue>, links: &LinkTable, n_max: usize) -> Option<u32> {
        let mut slots = self.due.iter(links).chain(self.ring.iter(links)).take(n_max);
        slots.find(|slot| !queues[*slot].head_is_unknown())
    }
}

#[derive(Debug)]
pub(crate) struct Bands {
    classes: [Class; Band::COUNT],
    ageing: Option<NonZeroU32>,
    rules: Rules,
}

impl Bands {
    pub(crate) fn new(ageing: Option<NonZeroU32>, rules: Rules) -> Self {
        let class = |_| Class { ring: Ring::new(), due: Ring::new(), n_passed: 0 };
        Self { classes: Band::ALL.map(class), ageing, rules }
    }

    pub(crate) fn set_ageing(&mut self, ageing: Option<NonZeroU32>) {
        if self.rules.lacks(Mutation::AgeingFixed) {
            return;
        }
        if self.ageing.is_none() {
            self.classes.iter_mut().for_each(|class| class.n_passed = 0);
        }
        self.ageing = ageing;
    }

    pub(crate) const fn class(&self, band: Band) -> &Class {
        &self.classes[band.index()]
    }

    pub(crate) const fn class_mut(&mut self, band: Band) -> &mut Class {
        &mut self.classes[band.index()]
    }

    /// The queue to look at next.
    pub(crate) fn front(&self) -> Option<u32> {
        self.first(Class::front)
    }

    /// The queue to look at next if unknown heads are not to be read; looks at so many queues of each band.
    pub(crate) fn first_known(
        &self,
        queues: &Arena<Queue>,
        links: &LinkTable,
        n_max: usize,
    ) -> Option<u32> {
        self.first(|class| class.first_known(queues, links, n_max))
    }

    /// Notes from which band a pick came.
    pub(crate) fn picked(&mut self, band: Band) {
        if self.ageing.is_none() || self.rules.lacks(Mutation::NeverAged) {
            return;
        }
        self.classes[band.index()].n_passed = 0;
        for class in &mut self.classes[band.index() + 1..] {
            class.n_passed = if class.len() > 0 { class.n_passed + 1 } else { 0 };
        }
    }

    fn first(&self, front: impl Fn(&Class) -> Option<u32>) -> Option<u32> {
        let aged = self.ageing.and_then(|n_picks| {
            let is_aged = |class: &&Class| class.n_passed >= n_picks.get();
            self.classes.iter().filter(is_aged).find_map(&front)
        });
        if self.rules.lacks(Mutation::BandsReversed) {
            return self.classes.iter().rev().find_map(&front);
        }
        aged.or_else(|| self.classes.iter().find_map(&front))
    }
}
