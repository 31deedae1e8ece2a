//! Rules: stored, put in force, and found out for queues that come into memory without their names.
//!
//! A rule of a topic or a prefix concerns queues by their keys, and a queue in memory does not carry its key.
//! Where the rules of a topic go by prefixes, a queue of which the names are not cached is *unresolved*: it has
//! its turns, and when one comes the names are read as its head would be, before anything of it is served.
//! Whatever has leases out is resolved at once, so that they count where they should.
//!
//! A change walks round all queues in memory, a few in every turn, and is answered at the end of the walk: from
//! then on nothing is granted by older rules.

use std::sync::Arc;

use millpond_storage_api::{
    Durable, LogPosition, ScanEnd, ScanRequest, ScanRows, StoreError, Table,
};
use millpond_types::{Quantum, QueueKey, QueueRow, Scope, SettingsRow, TopicId, UnixMillis};

use super::queues::Slot;
use super::reads::{Read, ReadJob, Reading, pause_ms};
use super::topics::TopicSlot;
use super::waits::Wait;
use super::{Core, Effect, Load, Mutation};
use crate::QueueRef;
use crate::command::{Message, Reply};

/// Slots that a walk passes in one turn of the loop.
const STEPS_PER_TURN: usize = if cfg!(test) { 2 } else { 4096 };

/// A change of rules on its way to all queues.
#[derive(Debug)]
pub(super) struct Walk {
    topic: TopicId,
    revision: u64,
    next: usize,
    reply: Reply<()>,
    position: Durable<()>,
}

/// The names of a queue are being read.
#[derive(Debug, Default)]
pub(super) struct Naming {
    may_wait: bool,
}

impl Walk {
    pub(super) fn refuse(self, error: &crate::PartitionError) {
        let _ = self.reply.send(Err(error.clone()));
    }
}

impl Core {
    /// Stages a rule.
    pub(super) fn configure(&mut self, row: SettingsRow, reply: Reply<()>) {
        let key = SettingsRow::key(&row.scope);
        let is_gone = row.settings.is_empty() && matches!(row.scope, Scope::Queue(..));
        if is_gone {
            self.batch.delete(Table::Settings, &key);
        } else if !self.is_broken(Mutation::RuleUnstored) {
            self.batch.put(Table::Settings, &key, &row.encode());
        }
        self.effects.push(Effect::Configured { row: Box::new(row), reply });
    }

    /// The commit of a rule is durable.
    pub(super) fn configured(
        &mut self,
        row: &SettingsRow,
        reply: Reply<()>,
        position: &Durable<LogPosition>,
    ) {
        self.seat.learn(self.looked_at, row, false);
        let topic = TopicId::derive(row.scope.topic());
        if let Scope::Queue(topic_name, key) = &row.scope {
            let names = QueueRef::new(topic_name.clone(), key.clone());
            if let Some(slot) = self.queues.find(&names.id) {
                self.resolve(slot, Some(key));
            }
            let _ = self.outbox.send(reply, Ok(position.attach(())));
            return;
        }
        if let Some(slot) = self.topics.find(topic) {
            self.govern_topic(slot);
        }
        // Leases of queues that a restart has not brought back count, too.
        for id in self.recall.leased() {
            self.park(id, Message::Unreceived(Vec::new()));
        }
        self.walks.push_back(Walk {
            topic,
            revision: row.revision,
            next: 0,
            reply,
            position: position.attach(()),
        });
    }

    /// Puts in force what the rules say of a topic as a whole.
    pub(super) fn govern_topic(&mut self, slot: TopicSlot) {
        let state = self.seat.lock();
        let topic = &mut self.topics[slot];
        let Some(rule) = state.rules.of_topic(topic.id) else { return };
        let (n, by_bytes) = match rule.quantum {
            None => (1, false),
            Some(Quantum::Entries(n)) => (n, false),
            Some(Quantum::Bytes(n)) => (n, true),
        };
        topic.by_bytes = by_bytes;
        let ageing = rule.ageing.value();
        let checked = "rules are checked before they are stored";
        topic.scheduler.set_quantum(n).expect(checked);
        topic.scheduler.set_ageing(ageing).expect(checked);
        if rule.paused == Some(true) {
            topic.scheduler.pause_all();
        } else {
            topic.scheduler.resume_all();
        }
        drop(state);
        let held_up = std::mem::take(&mut self.topics[slot].held_up);
        held_up.into_iter().for_each(|id| self.list_queue(id));
        self.list_topic(slot);
    }

    /// A step of the oldest walk. Whether it goes on.
    pub(super) fn advance_walks(&mut self) -> bool {
        let Some(mut walk) = self.walks.pop_front() else { return false };
        let n_slots = self.queues.n_slots();
        let until = (walk.next + STEPS_PER_TURN).min(n_slots);
        let topic = self.topics.find(walk.topic);
        for n in walk.next..until {
            let Some((slot, queue)) = self.queues.at(n) else { continue };
            if Some(queue.topic) == topic && !self.is_broken(Mutation::RuleForNewQueuesOnly) {
                let names = self.names.peek(&queue.id).cloned();
                self.resolve(slot, names.as_ref().map(|names| &names.key));
            }
        }
        walk.next = until;
        let is_through = until == n_slots;
        let queues = &self.queues;
        self.to_resolve.retain(|slot| {
            queues.get(*slot).is_some_and(|q| q.class.is_unresolved() && q.n_leased() > 0)
        });
        let counts_all = self.to_resolve.is_empty() && self.recall.leased().next().is_none();
        if is_through && counts_all {
            self.seat.walked(self.looked_at, walk.topic, walk.revision);
            let _ = walk.reply.send(Ok(walk.position));
            return !self.walks.is_empty();
        }
        self.walks.push_front(walk);
        // What is left is waited for.
        !is_through
    }

    /// Puts the rules in force that hold for a queue, as far as its key is known.
    pub(super) fn resolve(&mut self, slot: Slot, key: Option<&QueueKey>) {
        self.change_class(slot, key);
        self.note_unresolved(slot);
        let queue = &mut self.queues[slot];
        if let Some(busy) = queue.busy.as_mut().filter(|_| !queue.class.is_unresolved()) {
            busy.naming = None;
        }
        // Whoever waits looks again: it may have been paused, or have waited for what it needs no more.
        self.uncount_load(slot);
        self.touch(slot);
    }

    /// A queue with leases is resolved at once.
    pub(super) fn note_unresolved(&mut self, slot: Slot) {
        let queue = &self.queues[slot];
        let skips = self.is_broken(Mutation::LeasesUnresolved);
        if queue.class.is_unresolved() && queue.n_leased() > 0 && !skips {
            self.to_resolve.insert(slot);
            self.want_names(slot);
        }
    }

    /// Asks for the names of a queue, once.
    pub(super) fn want_names(&mut self, slot: Slot) {
        let busy = self.queues[slot].busy_mut();
        if busy.naming.is_none() && busy.backing_off.is_none() {
            busy.naming = Some(Naming::default());
            self.name_reads.push_back(slot);
            self.count_load(slot);
        }
    }

    pub(super) fn poll_names(&mut self) -> Option<ReadJob> {
        loop {
            let slot = self.name_reads.pop_front()?;
            let queue = self.queues.get(slot);
            let naming = queue.and_then(|queue| queue.busy.as_ref()?.naming.as_ref());
            let (Some(queue), Some(naming)) = (queue, naming) else { continue };
            let lower = queue.id.0.to_vec();
            let request = ScanRequest {
                table: Table::Queues,
                upper: Some([&lower[..], &[0]].concat()),
                lower,
                rows_max: 1,
                bytes_max: self.options.scan_bytes_max,
                skip_max: self.options.scan_skip_max,
            };
            let may_wait = naming.may_wait;
            return Some(self.start_read(
                Reading::Names(slot),
                Read::Rows(request),
                may_wait,
                true,
            ));
        }
    }

    pub(super) fn handle_names(
        &mut self,
        now: UnixMillis,
        slot: Slot,
        rows: &ScanRows,
        outcome: Result<ScanEnd, StoreError>,
    ) {
        let naming = self.queues[slot].busy.as_mut().and_then(|busy| busy.naming.take());
        let mut may_wait = naming.is_some_and(|naming| naming.may_wait);
        let end = match self.scan_end(rows, outcome, &mut may_wait) {
            Ok(end) => end,
            Err(error) => return self.naming_failed(now, slot, error.to_string()),
        };
        let row = rows.iter().next().map(|(_, row)| QueueRow::decode(row));
        let names = match row {
            None if end.is_none() => {
                self.queues[slot].busy_mut().naming = Some(Naming { may_wait });
                return self.name_reads.push_back(slot);
            }
            Some(Ok(row)) => Some(QueueRef::new(row.topic, row.key)),
            None | Some(Err(_)) => None,
        };
        if names.is_none() && self.queues[slot].n_effects > 0 {
            // They are on their way to storage; its next turn asks again.
            return self.naming_ended(slot);
        }
        let id = self.queues[slot].id;
        let names = names.filter(|names| names.id == id);
        if names.is_none() {
            // It is served by what is known of it, rather than not at all.
            tracing::error!(queue = %id, "the names of a queue are missing or damaged");
        }
        self.change_class(slot, names.as_ref().map(|names| &names.key));
        self.queues[slot].class = self.queues[slot].class.resolved();
        if let Some(names) = names {
            self.names.insert(id, names);
        }
        self.naming_ended(slot);
    }

    /// The names could not be read; the next try comes after a pause.
    pub(super) fn naming_failed(&mut self, now: UnixMillis, slot: Slot, error: String) {
        self.counters.n_scans_failed += 1;
        // It backs off as a whole.
        if self.queues[slot].load == Load::Reading {
            self.with_window(slot, |window| window.refill_failed());
        }
        self.cancel_load(slot);
        let queue = &mut self.queues[slot];
        let id = queue.id;
        tracing::warn!(queue = %id, error, "reading the names of a queue failed");
        let busy = queue.busy_mut();
        busy.naming = None;
        let until = now.plus(pause_ms(busy.n_failures, id));
        busy.n_failures += 1;
        busy.backing_off = Some((until, error));
        self.wait(slot, until, Wait::RetryLoad);
        self.naming_ended(slot);
    }

    fn naming_ended(&mut self, slot: Slot) {
        self.uncount_load(slot);
        self.touch(slot);
    }

    /// Takes over the rules that were found when the partition was opened, and the queues that have leases.
    pub(super) fn recover_rules(
        &mut self,
        now: UnixMillis,
        rules: &[SettingsRow],
        leased: Vec<(Arc<QueueRef>, millpond_types::ActiveRow)>,
    ) {
        self.looked_at = now;
        rules.iter().for_each(|row| self.seat.learn(now, row, true));
        for (names, row) in leased {
            self.names.insert(names.id, names.clone());
            self.bring_back(now, names.topic_id, names.id, row);
        }
    }
}
