//! Whose turn it is: what the scheduler of a topic is told of its queues, and what it says.

use millpond_scheduler::{Head, Heads, Permit, Pick, Picked, Scheduler, Take, Woken};
use millpond_types::{ActiveRow, QueueId, TopicId, UnixMillis};

use super::queues::Slot;
use super::topics::{Topic, TopicSlot};
use super::{Core, Mutation, Queue, Window};
use crate::QueueRef;
use crate::governor::nanos;

/// Heads of one topic that are read at a time for callers that wait: as many as a caller wants, but so
/// many at least, and at most.
const HEADS_AHEAD_MIN: usize = if cfg!(test) { 2 } else { 4 };
const HEADS_AHEAD: usize = if cfg!(test) { 2 } else { 64 };

/// Calls of the scheduler for one caller in one turn of the loop. Each looks at some dozens of queues.
const PICKS_MAX: usize = if cfg!(test) { 4 } else { 256 };

/// What a topic has for a caller.
#[derive(Debug)]
pub(super) enum Turn {
    Serve(Picked),
    /// Nothing, as things stand.
    Nothing,
    /// Not known yet: there was more to look at than one turn of the loop may.
    Unknown,
}

impl Core {
    /// Where a topic is in memory.
    pub(super) fn topic_for(&mut self, id: TopicId) -> TopicSlot {
        let (seat, now) = (&self.seat, self.looked_at);
        if let Some(slot) = self.topics.find(id) {
            return slot;
        }
        let slot = self.topics.add(id, |slot| seat.add_domain(now, id, slot));
        self.govern_topic(slot);
        slot
    }

    /// Forgets a topic that nobody needs.
    pub(super) fn tidy_topic(&mut self, slot: TopicSlot) {
        if let Some(topic) = self.topics.remove_unused(slot) {
            self.seat.remove_domain(topic.id, topic.scheduler);
        }
    }

    /// Takes a queue into memory. It must not be there.
    pub(super) fn add_queue(
        &mut self,
        topic: TopicId,
        id: QueueId,
        names: Option<&QueueRef>,
        (stored, window): (ActiveRow, Window),
    ) -> Slot {
        let at = self.topic_for(topic);
        let class = self.join_class(topic, id, names.map(|names| &names.key));
        let slot = self.queues.next_slot();
        let options = self.queue_options(class.number(), slot);
        let topic = &mut self.topics[at];
        topic.n_queues += 1;
        let limits = &mut self.seat.lock().limits;
        let room = "fewer queues are in memory than a scheduler may have";
        let handle = topic.scheduler.add(limits, options).expect(room);
        if !self.classes[class.number()].rules().paused_by.is_empty() {
            topic.scheduler.pause(limits, handle).expect("it was just added");
        }
        self.queues.insert(Queue::new(id, (at, handle), class, stored, window))
    }

    /// A queue leaves memory.
    pub(super) fn remove_queue(&mut self, slot: Slot) {
        let uncounted = self.is_broken(Mutation::DormantUncounted);
        let Some(queue) = self.queues.remove(slot) else { return };
        let topic = &mut self.topics[queue.topic];
        topic.n_queues -= 1;
        let added = "it was added when it came into memory";
        let mut state = self.seat.lock();
        let resource = topic.scheduler.resource(&state.limits, queue.handle).expect(added);
        topic.scheduler.remove(&mut state.limits, queue.handle).expect(added);
        drop(state);
        self.drop_own(queue.class.number(), resource);
        self.leave_class(queue.class.number());
        self.tidy_topic(queue.topic);
        if !uncounted {
            self.recall.left_memory(&queue.stored);
        }
    }

    /// Takes note of what has changed about a queue's head.
    pub(super) fn place(&mut self, slot: Slot) {
        self.show_head(slot);
        self.note_coming(slot);
    }

    /// Tells the scheduler, if it was told otherwise.
    fn show_head(&mut self, slot: Slot) {
        let queue = &mut self.queues[slot];
        let (topic, id) = (queue.topic, queue.id);
        let head = queue.head(self.topics[topic].by_bytes);
        // Asked for, and not found by the read that was made for it.
        let asks_again = queue.turn_due && head == Head::Unknown && !queue.is_coming();
        if queue.shown == head.into() && !asks_again {
            return;
        }
        queue.shown = head.into();
        queue.turn_due &= head == Head::Unknown && !asks_again;
        let handle = queue.handle;
        let Topic { id: topic_id, scheduler, .. } = &mut self.topics[topic];
        let mut state = self.seat.lock();
        let told = scheduler.set_head(&mut state.limits, handle, head);
        told.expect("it was added when it came into memory");
        self.seat.publish(&mut state, *topic_id, scheduler);
        drop(state);
        if head != Head::None {
            self.list_queue(id);
        }
        // Also when it has no head: it may have been the last that a caller could hope for.
        self.list_topic(topic);
    }

    /// The entry that a caller of a topic gets next. Heads that are unknown are asked for on the way, for a caller
    /// that wants so many entries.
    pub(super) fn next_turn(&mut self, now: UnixMillis, topic: TopicSlot, n_wanted: usize) -> Turn {
        let n_ahead = n_wanted.clamp(HEADS_AHEAD_MIN, HEADS_AHEAD);
        for _ in 0..PICKS_MAX {
            let may_read = self.topics[topic].n_loading < n_ahead;
            let heads = if may_read { Heads::Read } else { Heads::PassOver };
            let scheduler = &mut self.topics[topic].scheduler;
            let pick = scheduler.pick(nanos(now), &mut self.seat.lock().limits, heads);
            match pick.expect("its own limits") {
                Pick::Serve(picked) => {
                    let slot = Slot(picked.owner_slot);
                    if !self.head_is_over(now, slot) {
                        return Turn::Serve(picked);
                    }
                    self.give_turn_back(now, topic, picked);
                    if self.to_clear_left == 0 {
                        return Turn::Unknown;
                    }
                    self.to_clear_left -= 1;
                    self.clear_head(now, slot);
                }
                Pick::ReadHead { owner_slot, .. } => self.turn_came(Slot(owner_slot)),
                Pick::Again => {}
                Pick::Blocked | Pick::Paused | Pick::Idle => return Turn::Nothing,
            }
        }
        Turn::Unknown
    }

    /// The turn of a queue has come, and its head is to be read.
    fn turn_came(&mut self, slot: Slot) {
        self.queues[slot].turn_due = true;
        self.demand_head(slot);
        // Unless that is no use at the moment.
        self.place(slot);
    }

    /// The head of one queue, for a caller that wants that queue.
    pub(super) fn take_of(&mut self, now: UnixMillis, slot: Slot) -> Turn {
        self.clear_head(now, slot);
        let queue = &self.queues[slot];
        let (topic_at, handle, id) = (queue.topic, queue.handle, queue.id);
        let topic = &mut self.topics[topic_at];
        let take = topic.scheduler.take(nanos(now), &mut self.seat.lock().limits, handle);
        match take.expect("it was added when it came into memory") {
            Take::Serve(picked) => Turn::Serve(picked),
            Take::Waits | Take::Paused => {
                // The topic as a whole may be what waits.
                topic.held_up.insert(id);
                Turn::Nothing
            }
            Take::NoHead | Take::HeadUnknown => Turn::Nothing,
        }
    }

    /// Nobody took what was picked.
    pub(super) fn give_turn_back(&mut self, now: UnixMillis, topic: TopicSlot, picked: Picked) {
        let scheduler = &mut self.topics[topic].scheduler;
        let given = scheduler.give_back(nanos(now), &mut self.seat.lock().limits, picked);
        given.expect("it was picked from this scheduler");
    }

    /// A lease has ended: what it took up goes to others.
    pub(super) fn release(&mut self, permit: Option<Permit>) {
        let Some(permit) = permit.filter(|_| !self.is_broken(Mutation::PermitKept)) else { return };
        let released = self.seat.lock().limits.release(nanos(self.looked_at), permit);
        released.expect("each permit is released once");
    }

    /// What a lease takes up that is in force since before the queue came into memory.
    pub(super) fn adopt(&mut self, slot: Slot) -> Option<Permit> {
        let queue = &self.queues[slot];
        let scheduler = &mut self.topics[queue.topic].scheduler;
        let now_ns = nanos(self.looked_at);
        let adopted = scheduler.adopt(now_ns, &mut self.seat.lock().limits, queue.handle);
        adopted.expect("it was added when it came into memory")
    }

    /// When a limit that somebody waits for lets more through.
    pub(super) fn next_tokens(&self) -> Option<UnixMillis> {
        let deadline_ns = self.seat.lock().limits.next_deadline_ns()?;
        // Rounded up: at the millisecond before, there would be nothing yet.
        Some(UnixMillis(deadline_ns.div_ceil(1_000_000)))
    }

    /// Lists whoever waits for what was made available.
    pub(super) fn hear_of_limits(&mut self) {
        for slot in self.seat.take_woken() {
            if self.topics.get(slot).is_none() {
                continue;
            }
            loop {
                let scheduler = &mut self.topics[slot].scheduler;
                let woken = scheduler.poll_woken(&mut self.seat.lock().limits);
                match woken.expect("its own limits") {
                    Some(Woken::Queue { owner_slot, .. }) => {
                        let id = self.queues[Slot(owner_slot)].id;
                        self.list_queue(id);
                    }
                    Some(Woken::Domain) => {
                        let held_up = std::mem::take(&mut self.topics[slot].held_up);
                        held_up.into_iter().for_each(|id| self.list_queue(id));
                    }
                    None => break,
                }
            }
            let topic = &mut self.topics[slot];
            topic.woken = true;
            if !std::mem::replace(&mut topic.listed, true) {
                self.topics_to_serve.push(slot);
            }
        }
    }

    /// Callers of a topic were served: what waits there is another weight now.
    pub(super) fn publish(&mut self, slot: TopicSlot) {
        let Topic { id, scheduler, .. } = &self.topics[slot];
        self.seat.publish(&mut self.seat.lock(), *id, scheduler);
    }

    /// What was made available to a topic and nobody of it wants goes to others.
    pub(super) fn stand_back(&mut self, slot: TopicSlot) {
        let keeps = self.is_broken(Mutation::PromiseKept);
        let topic = &mut self.topics[slot];
        if topic.woken && topic.waiters.is_empty() && !keeps {
            let is_done = topic.scheduler.stand_back(&mut self.seat.lock().limits);
            topic.woken = !is_done.expect("its own limits");
        }
    }
}

/// Whatever it held of the limits goes to the other partitions.
impl Drop for Core {
    fn drop(&mut self) {
        let topics: Vec<(TopicId, Scheduler)> =
            self.topics.drain().map(|topic| (topic.id, topic.scheduler)).collect();
        for n in 0..self.queues.n_slots() {
            let Some((slot, _)) = self.queues.at(n) else { continue };
            let Some(busy) = &mut self.queues[slot].busy else { continue };
            for lease in busy.leases.values_mut() {
                if let Some(permit) = lease.permit.take() {
                    // It was released before if the partition failed in between.
                    let _ = self.seat.lock().limits.release(nanos(self.looked_at), permit);
                }
            }
        }
        topics.into_iter().for_each(|(id, scheduler)| self.seat.remove_domain(id, scheduler));
        self.seat.take_woken();
    }
}
