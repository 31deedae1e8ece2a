//! The queues of one dispatch domain, and what their owner says about them.

use std::num::NonZeroU32;

use crate::arena::{Arena, NONE, next_tag};
use crate::bands::Bands;
use crate::limits::{DomainId, Limits};
use crate::links::LinkTable;
use crate::queue::{Place, Queue, Turn};
use crate::rules::{Mutation, Rules};
use crate::{
    Band, Head, Invalid, QueueHandle, QueueOptions, Refused, ResourceId, SchedulerOptions, Weight,
};

/// Picks the next queue of one dispatch domain. See the [crate documentation](crate).
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) queues: Arena<Queue>,
    pub(crate) links: LinkTable,
    pub(crate) bands: Bands,
    pub(crate) quantum: NonZeroU32,
    /// How often the quantum was changed: a queue that has seen fewer changes has credit to be cut. Walking
    /// all queues at the change would take time in proportion to their number.
    pub(crate) n_quanta: u32,
    /// Turns that end before more queues are fetched.
    pub(crate) n_turns_fetched: usize,
    pub(crate) is_paused: bool,
    limits_tag: u32,
    pub(crate) domain: DomainId,
    /// The resource of the domain as a whole.
    pub(crate) leaf: u32,
    /// What the domain waits for or was promised.
    pub(crate) ticket: u32,
    pub(crate) is_waiting: bool,
    pub(crate) rules: Rules,
}

impl Scheduler {
    /// A domain without queues, subject to resources of `limits`. Every other call must get the same
    /// `limits`.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownResource`], [`Refused::Full`].
    pub fn new(options: SchedulerOptions, limits: &mut Limits) -> Result<Self, Refused> {
        Self::with_rules(options, limits, Rules::SHIPPED)
    }

    pub(crate) fn with_rules(
        options: SchedulerOptions,
        limits: &mut Limits,
        rules: Rules,
    ) -> Result<Self, Refused> {
        let SchedulerOptions { quantum, ageing, resource } = options;
        let leaf = known_or_none(limits, resource)?;
        let domain = limits.add_domain()?;
        limits.count_user(leaf, true);
        Ok(Self {
            queues: Arena::new(next_tag(), rules),
            links: LinkTable::new(),
            n_turns_fetched: 0,
            bands: Bands::new(ageing, rules),
            quantum: NonZeroU32::new(quantum).expect("the options refuse a quantum of 0"),
            n_quanta: 0,
            is_paused: false,
            limits_tag: limits.tag(),
            domain,
            leaf,
            ticket: NONE,
            is_waiting: false,
            rules,
        })
    }

    /// Gives back everything that its queues wait for or were promised. Permits that are out stay valid.
    /// Takes time in proportion to the number of queues.
    ///
    /// A scheduler that is dropped without it leaves its queues in the lines of `limits`, and others may wait
    /// behind them for ever.
    ///
    /// # Errors
    ///
    /// [`Refused::ForeignLimits`], and the scheduler is gone all the same.
    pub fn close(mut self, limits: &mut Limits) -> Result<(), Refused> {
        self.belongs_to(limits)?;
        let slots: Vec<u32> = self.queues.slots().collect();
        for slot in slots {
            self.leave(limits, slot);
            limits.count_user(self.queues[slot].leaf, false);
        }
        self.end_ticket(limits);
        limits.count_user(self.leaf, false);
        limits.remove_domain(self.domain);
        Ok(())
    }

    /// Its name among the schedulers that share the limits: what
    /// [`Limits::poll_woken`] gives.
    #[must_use]
    pub const fn domain(&self) -> DomainId {
        self.domain
    }

    /// Adds a queue without a head.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownResource`], [`Refused::ChargedTwice`], [`Refused::ForeignLimits`],
    /// [`Refused::Full`].
    pub fn add(
        &mut self,
        limits: &mut Limits,
        options: QueueOptions,
    ) -> Result<QueueHandle, Refused> {
        let leaf = self.leaf_for(limits, options.resource)?;
        if self.queues.is_full() {
            return Err(Refused::Full);
        }
        limits.count_user(leaf, true);
        let (slot, generation) = self.queues.insert(Queue::new(&options, leaf));
        self.links.reach(slot);
        Ok(QueueHandle { slot, generation })
    }

    /// Forgets a queue. Its permits stay out until they are released.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::ForeignLimits`].
    pub fn remove(&mut self, limits: &mut Limits, queue: QueueHandle) -> Result<(), Refused> {
        let slot = self.known_in(limits, queue)?;
        self.leave(limits, slot);
        limits.count_user(self.queues[slot].leaf, false);
        self.queues.remove(slot);
        Ok(())
    }

    /// Says what stands at the front of a queue. To be called whenever that changes; saying the same
    /// again changes nothing.
    ///
    /// A queue that gets a head takes its place behind all others of its band; if its turn had come and it was
    /// only the head that was missing, it is served before them. Without a head it loses its place and what
    /// was left of its turn.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::ForeignLimits`].
    pub fn set_head(
        &mut self,
        limits: &mut Limits,
        queue: QueueHandle,
        head: Head,
    ) -> Result<(), Refused> {
        let slot = self.known_in(limits, queue)?;
        if head == Head::None {
            self.leave(limits, slot);
            let queue = &mut self.queues[slot];
            queue.turn = Turn::Ahead;
            if !self.rules.lacks(Mutation::CreditBanked) {
                queue.credit = 0;
            }
        }
        let queue = &mut self.queues[slot];
        queue.set_head(head);
        match queue.place {
            Place::Out | Place::Loading => self.enter(slot),
            Place::Waiting if queue.cost > 0 => limits.reprice(queue.ticket, queue.cost),
            Place::Ring if self.rules.lacks(Mutation::JoinsTwice) => {
                self.bands.class_mut(queue.band).ring.push_back(
                    &mut self.links,
                    slot,
                    queue.weight,
                );
            }
            Place::Ring | Place::Due | Place::Waiting => {}
        }
        Ok(())
    }

    /// Takes a queue out until it is resumed. What was left of its turn, it keeps.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::ForeignLimits`].
    pub fn pause(&mut self, limits: &mut Limits, queue: QueueHandle) -> Result<(), Refused> {
        let slot = self.known_in(limits, queue)?;
        self.queues[slot].is_paused = true;
        if !self.rules.lacks(Mutation::PausedStays) {
            self.leave(limits, slot);
        }
        Ok(())
    }

    /// Lets a paused queue take its place again, behind the others.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`].
    pub fn resume(&mut self, queue: QueueHandle) -> Result<(), Refused> {
        let slot = self.known(queue)?;
        if std::mem::take(&mut self.queues[slot].is_paused) && self.queues[slot].place == Place::Out
        {
            self.enter(slot);
        }
        Ok(())
    }

    /// Nothing is picked until [`resume_all`](Self::resume_all). Queues keep their places.
    pub const fn pause_all(&mut self) {
        self.is_paused = true;
    }

    /// The domain goes on.
    pub const fn resume_all(&mut self) {
        self.is_paused = false;
    }

    /// Changes the weight of a queue. It counts from the queue's next quantum on; of the credit that is left,
    /// it keeps at most one quantum of the new weight, or what its head costs.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`].
    pub fn set_weight(&mut self, queue: QueueHandle, weight: Weight) -> Result<(), Refused> {
        let slot = self.known(queue)?;
        let before = std::mem::replace(&mut self.queues[slot].weight, weight.get());
        self.cut_credit(slot);
        let queue = &self.queues[slot];
        let class = self.bands.class_mut(queue.band);
        match queue.place {
            _ if self.rules.lacks(Mutation::TotalForgotten) => {}
            Place::Ring => class.ring.reweigh(before, weight.get()),
            Place::Due => class.due.reweigh(before, weight.get()),
            _ => {}
        }
        Ok(())
    }

    /// Changes how much a queue of weight 1 may use up in a turn, in units of cost. It counts from each queue's
    /// next quantum on; of the credit that is left, a queue keeps at most one new quantum, or what its
    /// head costs when it is looked at next.
    ///
    /// # Errors
    ///
    /// [`Invalid::Quantum`] for 0.
    pub fn set_quantum(&mut self, cost: u32) -> Result<(), Invalid> {
        let quantum = NonZeroU32::new(cost).ok_or(Invalid::Quantum)?;
        if quantum != self.quantum {
            self.quantum = quantum;
            self.n_quanta = self.n_quanta.wrapping_add(1);
        }
        Ok(())
    }

    /// Changes after how many picks a band that was passed over gets the next one; `None`: never, bands are
    /// strict. Picks in a row count from the time on at which there is an ageing.
    ///
    /// # Errors
    ///
    /// [`Invalid::Ageing`] for 0.
    pub fn set_ageing(&mut self, n_picks: Option<u32>) -> Result<(), Invalid> {
        let some = |n_picks| NonZeroU32::new(n_picks).ok_or(Invalid::Ageing);
        self.bands.set_ageing(n_picks.map(some).transpose()?);
        Ok(())
    }

    /// Moves a queue to another band, behind all queues there.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::ForeignLimits`].
    pub fn set_band(
        &mut self,
        limits: &mut Limits,
        queue: QueueHandle,
        band: Band,
    ) -> Result<(), Refused> {
        let slot = self.known_in(limits, queue)?;
        if self.queues[slot].band != band {
            self.replace(limits, slot, |queue| {
                queue.band = band;
                queue.turn = Turn::Ahead;
                queue.credit = 0;
            });
        }
        Ok(())
    }

    /// Makes a queue subject to another resource, or to none. Permits that are out count where they did.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::UnknownResource`], [`Refused::ChargedTwice`],
    /// [`Refused::ForeignLimits`].
    pub fn set_resource(
        &mut self,
        limits: &mut Limits,
        queue: QueueHandle,
        resource: Option<ResourceId>,
    ) -> Result<(), Refused> {
        let slot = self.known(queue)?;
        let leaf = self.leaf_for(limits, resource)?;
        let before = self.queues[slot].leaf;
        if before != leaf {
            self.replace(limits, slot, |queue| queue.leaf = leaf);
            limits.count_user(leaf, true);
            limits.count_user(before, false);
        }
        Ok(())
    }

    /// The innermost resource that a queue is subject to.
    ///
    /// # Errors
    ///
    /// [`Refused::UnknownQueue`], [`Refused::ForeignLimits`].
    pub fn resource(
        &self,
        limits: &Limits,
        queue: QueueHandle,
    ) -> Result<Option<ResourceId>, Refused> {
        let leaf = self.queues[self.known_in(limits, queue)?].leaf;
        Ok((leaf != NONE).then(|| limits.id_of(leaf)))
    }

    /// Queues of all kinds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.queues.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues of a band that could be served now, as far as their own state goes. Those that wait for a
    /// resource, or of which the head is being read, are not among them.
    #[must_use]
    pub const fn n_eligible(&self, band: Band) -> usize {
        self.bands.class(band).len()
    }

    /// Weight of the queues that [`n_eligible`](Self::n_eligible) counts: what the credits of consumers
    /// are to be divided by, among several schedulers.
    #[must_use]
    pub const fn eligible_weight(&self, band: Band) -> u64 {
        let class = self.bands.class(band);
        class.ring.weight() + class.due.weight()
    }

    /// Bytes of heap memory.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.queues.heap_bytes() + self.links.heap_bytes()
    }

    pub(crate) fn known(&self, queue: QueueHandle) -> Result<u32, Refused> {
        let found = self.queues.find(queue.slot, queue.generation);
        found.map(|_| queue.slot).ok_or(Refused::UnknownQueue)
    }

    pub(crate) const fn belongs_to(&self, limits: &Limits) -> Result<(), Refused> {
        if limits.tag() == self.limits_tag { Ok(()) } else { Err(Refused::ForeignLimits) }
    }

    /// Takes a queue out of the place it is in, with what was promised to it.
    pub(crate) fn leave(&mut self, limits: &mut Limits, slot: u32) {
        let queue = &mut self.queues[slot];
        let ticket = std::mem::replace(&mut queue.ticket, NONE);
        let place = std::mem::replace(&mut queue.place, Place::Out);
        let class = self.bands.class_mut(queue.band);
        match place {
            Place::Ring => class.ring.remove(&mut self.links, slot, queue.weight),
            Place::Due => class.due.remove(&mut self.links, slot, queue.weight),
            Place::Out | Place::Loading | Place::Waiting => {}
        }
        limits.cancel(ticket);
    }

    /// Gives a queue that is in no list its place, if it has anything to be served and may be.
    pub(crate) fn enter(&mut self, slot: u32) {
        let queue = &mut self.queues[slot];
        queue.place = Place::Out;
        if !queue.has_head || queue.is_paused {
            return;
        }
        let class = self.bands.class_mut(queue.band);
        if queue.turn == Turn::Ahead && !self.rules.lacks(Mutation::JoinsInFront) {
            queue.place = Place::Ring;
            class.ring.push_back(&mut self.links, slot, queue.weight);
        } else {
            queue.place = Place::Due;
            class.due.push_back(&mut self.links, slot, queue.weight);
        }
    }

    /// The quantum or the weight has changed, and the credit is of the one before.
    pub(crate) fn cut_credit(&mut self, slot: u32) {
        let queue = &mut self.queues[slot];
        let one_quantum = u64::from(self.quantum.get()) * u64::from(queue.weight);
        queue.credit = queue.credit.min(one_quantum.max(u64::from(queue.cost)));
        queue.n_quanta = self.n_quanta;
    }

    pub(crate) fn end_ticket(&mut self, limits: &mut Limits) {
        self.is_waiting = false;
        limits.cancel(std::mem::replace(&mut self.ticket, NONE));
    }

    pub(crate) fn known_in(&self, limits: &Limits, queue: QueueHandle) -> Result<u32, Refused> {
        self.belongs_to(limits)?;
        self.known(queue)
    }

    fn leaf_for(&self, limits: &Limits, resource: Option<ResourceId>) -> Result<u32, Refused> {
        self.belongs_to(limits)?;
        let leaf = known_or_none(limits, resource)?;
        if limits.overlap(leaf, self.leaf) { Err(Refused::ChargedTwice) } else { Ok(leaf) }
    }

    /// Changes a queue outside of its place, and gives it its place again.
    fn replace(&mut self, limits: &mut Limits, slot: u32, change: impl FnOnce(&mut Queue)) {
        let is_loading = self.queues[slot].place == Place::Loading;
        self.leave(limits, slot);
        change(&mut self.queues[slot]);
        if is_loading {
            self.queues[slot].place = Place::Loading;
        } else {
            self.enter(slot);
        }
    }
}

fn known_or_none(limits: &Limits, resource: Option<ResourceId>) -> Result<u32, Refused> {
    resource.map_or(Ok(NONE), |resource| limits.known(resource))
}
