//! Queues for which the same rules hold, and what follows from the rules for each of them.

use std::collections::HashMap;
use std::sync::Arc;

use millpond_scheduler::{Band, Limit, QueueOptions, ResourceId, Weight};
use millpond_types::{QueueId, QueueKey, Settings, TopicId};
use slab::Slab;

use super::queues::Slot;
use super::topics::Topic;
use super::{Core, Mutation};
use crate::QueueRef;
use crate::governor::{Matching, Resolved, limit, nanos};
use crate::rules::Effective;

/// Which class a queue belongs to.
pub(super) type ClassNumber = u32;

/// The class of a queue, and whether its key has to be known before anything of it is served, because rules
/// go by it: then the class is only a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClassOf(u32);

impl ClassOf {
    const UNRESOLVED: u32 = 1 << 31;

    pub(super) fn new(number: ClassNumber, is_unresolved: bool) -> Self {
        debug_assert!(
            number < Self::UNRESOLVED,
            "fewer classes than queues, and those fit into memory"
        );
        Self(if is_unresolved { number | Self::UNRESOLVED } else { number })
    }

    pub(super) fn number(self) -> ClassNumber {
        self.0 & !Self::UNRESOLVED
    }

    pub(super) fn is_unresolved(self) -> bool {
        self.0 & Self::UNRESOLVED != 0
    }

    /// The same class, for good.
    pub(super) fn resolved(self) -> Self {
        Self(self.number())
    }
}

/// One class.
#[derive(Debug)]
pub(super) struct Class {
    of: (TopicId, Matching),
    rules: Arc<Effective>,
    /// The limit that each of its queues has for itself.
    own: Option<Limit>,
    shared: Option<ResourceId>,
    since_ns: u64,
    n_queues: usize,
}

/// All classes that have queues in memory.
#[derive(Debug, Default)]
pub(super) struct Classes {
    classes: Slab<Class>,
    numbers: HashMap<(TopicId, Matching), ClassNumber>,
}

impl Classes {
    fn add_queue(
        &mut self,
        of: (TopicId, Matching),
        resolve: impl FnOnce(&(TopicId, Matching)) -> Resolved,
    ) -> ClassNumber {
        let number = *self.numbers.entry(of).or_insert_with_key(|of| {
            let Resolved { rules, shared, since_ns } = resolve(of);
            let own = limit(rules.concurrency, rules.rate);
            let rules = Arc::new(rules);
            let class = Class { of: of.clone(), rules, own, shared, since_ns, n_queues: 0 };
            u32::try_from(self.classes.insert(class)).expect("fewer classes than queues")
        });
        self.classes[number as usize].n_queues += 1;
        number
    }

    fn remove_queue(&mut self, number: ClassNumber) {
        let class = &mut self.classes[number as usize];
        class.n_queues -= 1;
        if class.n_queues == 0 {
            let class = self.classes.remove(number as usize);
            self.numbers.remove(&class.of);
        }
    }
}

impl std::ops::Index<ClassNumber> for Classes {
    type Output = Class;

    fn index(&self, number: ClassNumber) -> &Class {
        &self.classes[number as usize]
    }
}

impl Class {
    pub(super) fn rules(&self) -> &Arc<Effective> {
        &self.rules
    }

    fn weight(&self) -> Weight {
        Weight::new(self.rules.weight).expect("rules are checked before they are stored")
    }

    fn band(&self) -> Band {
        Band::new(self.rules.band).expect("rules are checked before they are stored")
    }
}

impl Core {
    /// What the rules say of a queue that is in memory.
    pub(super) fn rules_of(&self, slot: Slot) -> &Arc<Effective> {
        self.classes[self.queues[slot].class.number()].rules()
    }

    /// What the rules say of any queue.
    pub(super) fn rules_for(&self, names: &QueueRef) -> Arc<Effective> {
        let slot =
            self.queues.find(&names.id).filter(|slot| !self.queues[*slot].class.is_unresolved());
        if let Some(slot) = slot {
            return self.rules_of(slot).clone();
        }
        let state = self.seat.lock();
        let matching = state.rules.matching(names.topic_id, names.id, Some(&names.key));
        let resolved = state.rules.resolve(names.topic_id, &matching, &self.options.defaults);
        Arc::new(resolved.rules)
    }

    /// Counts a queue in its class.
    pub(super) fn join_class(
        &mut self,
        topic: TopicId,
        id: QueueId,
        key: Option<&QueueKey>,
    ) -> ClassOf {
        let state = self.seat.lock();
        let matching = state.rules.matching(topic, id, key);
        let unresolved = key.is_none() && state.rules.go_by_key(topic);
        // Without any rule all topics are alike.
        let of = if matching.is_none() { TopicId([0; 16]) } else { topic };
        let defaults: &Settings = &self.options.defaults;
        let number = self.classes.add_queue((of, matching), |(_, matching)| {
            state.rules.resolve(topic, matching, defaults)
        });
        ClassOf::new(number, unresolved)
    }

    pub(super) fn leave_class(&mut self, number: ClassNumber) {
        self.classes.remove_queue(number);
    }

    /// What the scheduler is told of a new queue, with a resource of its own if it has limits of its own.
    pub(super) fn queue_options(&self, number: ClassNumber, slot: Slot) -> QueueOptions {
        let class = &self.classes[number];
        let resource = match class.own {
            None => class.shared,
            Some(own) => {
                let now_ns = nanos(self.looked_at);
                let limits = &mut self.seat.lock().limits;
                let added = limits.add_since(now_ns, own, class.shared, class.since_ns);
                Some(added.expect("fewer queues are in memory than there may be resources"))
            }
        };
        QueueOptions { owner_slot: slot.0, weight: class.weight(), band: class.band(), resource }
    }

    /// A queue that leaves memory takes its own resource along.
    pub(super) fn drop_own(&self, number: ClassNumber, resource: Option<ResourceId>) {
        if let Some(resource) = resource.filter(|_| self.classes[number].own.is_some()) {
            let removed = self.seat.lock().limits.remove(resource);
            removed.expect("no lease is out, and nobody else is subject to it");
        }
    }

    /// Whether nobody would notice if the queue's own limits began anew.
    pub(super) fn is_at_rest(&self, slot: Slot) -> bool {
        let queue = &self.queues[slot];
        if self.classes[queue.class.number()].own.is_none()
            || self.is_broken(Mutation::BucketForgotten)
        {
            return true;
        }
        let Some(topic) = self.topics.get(queue.topic) else { return true };
        let now_ns = nanos(self.looked_at);
        let limits = &self.seat.lock().limits;
        let resource = topic.scheduler.resource(limits, queue.handle).ok().flatten();
        resource.is_none_or(|own| limits.is_at_rest(now_ns, own).unwrap_or(true))
    }

    /// Puts the rules in force that hold for a queue now, for its leases too.
    pub(super) fn change_class(&mut self, slot: Slot, key: Option<&QueueKey>) {
        let queue = &self.queues[slot];
        let (topic_at, id, handle) = (queue.topic, queue.id, queue.handle);
        let before = queue.class.number();
        let class_of = self.join_class(self.topics[topic_at].id, id, key);
        let added = "it was added when it came into memory";
        let now_ns = nanos(self.looked_at);
        let class = &self.classes[class_of.number()];
        let unpublished = self.is_broken(Mutation::ChangeUnpublished);
        let Topic { id: topic_id, scheduler, .. } = &mut self.topics[topic_at];
        let mut state = self.seat.lock();
        let limits = &mut state.limits;
        scheduler.set_weight(handle, class.weight()).expect(added);
        scheduler.set_band(limits, handle, class.band()).expect(added);
        if class.rules.paused_by.is_empty() {
            scheduler.resume(handle).expect(added);
        } else {
            scheduler.pause(limits, handle).expect(added);
        }
        let old = scheduler.resource(limits, handle).expect(added);
        let old_own = old.filter(|_| self.classes[before].own.is_some());
        let room = "fewer queues are in memory than there may be resources";
        let resource = match (class.own, old_own) {
            (None, _) => class.shared,
            (Some(own), Some(old)) => {
                Some(limits.replace(now_ns, old, own, class.shared).expect(room))
            }
            (Some(own), None) => {
                Some(limits.add_since(now_ns, own, class.shared, class.since_ns).expect(room))
            }
        };
        scheduler.set_resource(limits, handle, resource).expect(added);
        if let Some(busy) = &mut self.queues[slot].busy {
            for permit in busy.leases.values_mut().filter_map(|lease| lease.permit) {
                scheduler.rebase(now_ns, limits, handle, permit).expect("it is out");
            }
        }
        if let Some(own) = old_own {
            limits.remove(own).expect("the queue and its leases have another one now");
        }
        if !unpublished {
            self.seat.publish(&mut state, *topic_id, scheduler);
        }
        drop(state);
        let queue = &mut self.queues[slot];
        queue.class = class_of;
        self.leave_class(before);
    }
}
