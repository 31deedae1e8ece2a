//! Accepting entries.

use std::sync::Arc;

use bytes::Bytes;
use millpond_inbox::Inbox;
use millpond_storage_api::Table;
use millpond_types::limits::INLINE_BODY_BYTES_MAX;
use millpond_types::{
    ActiveRow, DelayedKey, DelayedRow, EntryHead, EntryId, EntryRank, EntryRow, PayloadKey,
    QueueRow, Sequence, StoredBody, UnixMillis,
};

use super::{Core, Effect, Mutation, Queue, Slot};
use crate::QueueRef;
use crate::command::{NewEntry, Reply};

impl Core {
    pub(super) fn enqueue(
        &mut self,
        now: UnixMillis,
        names: &Arc<QueueRef>,
        entries: Vec<NewEntry>,
        reply: Reply<Vec<EntryId>>,
    ) {
        let slot = self.queue_for_entry(names);
        let mut ids = Vec::with_capacity(entries.len());
        let (mut sizes, mut delayed) = (Vec::with_capacity(entries.len()), Vec::new());
        for entry in entries {
            let rank =
                EntryRank { priority: entry.priority, sequence: Sequence(self.next_sequence) };
            self.next_sequence += 1;
            let id = EntryId { queue: names.id, rank };
            sizes.push(u32::try_from(entry.body.len()).expect("bodies are limited to 16 MiB"));
            let due = self.due(now, entry.start);
            let row = self.stage_body(now, id, entry.body);
            match due {
                Some(due) => {
                    let row = DelayedRow { priority: rank.priority, entry: row };
                    delayed.push((self.stage_delayed(slot, due, &row, rank), row));
                }
                None => self.stage_ready(slot, rank, &row),
            }
            ids.push(id);
        }
        self.counters.n_delayed += delayed.len() as u64;
        self.counters.n_enqueued += ids.len() as u64;
        self.queues[slot].n_effects += 1;
        self.mark_dirty(slot);
        if self.is_broken(Mutation::ShowBeforeDurable) {
            for (id, n_bytes) in ids.iter().zip(&sizes) {
                self.with_window(slot, |window| window.insert(id.rank, new_head(now, *n_bytes)));
            }
            self.touch(slot);
        }
        let accepted_at = now;
        self.effects.push(Effect::Enqueued { slot, accepted_at, ids, sizes, delayed, reply });
    }

    /// The row of a new entry; its body is staged if it has a row of its own.
    pub(super) fn stage_body(&mut self, now: UnixMillis, id: EntryId, body: Bytes) -> EntryRow {
        let body = if body.len() > INLINE_BODY_BYTES_MAX {
            let key = PayloadKey { queue: id.queue, sequence: id.rank.sequence };
            self.batch.put(Table::Payloads, &key.encode(), &body);
            let n_bytes = u32::try_from(body.len()).expect("bodies are limited to 16 MiB");
            StoredBody::Separate { n_bytes }
        } else {
            StoredBody::Inline(body)
        };
        EntryRow { attempts: 0, enqueued_at: now, retry_floor_ms: 0, body }
    }

    /// The queue, in memory; created with its `queues` row if it is not.
    pub(super) fn queue_for_entry(&mut self, names: &Arc<QueueRef>) -> Slot {
        if self.names.get(&names.id).is_none() {
            self.names.insert(names.id, names.clone());
        }
        if let Some(slot) = self.queues.find(&names.id) {
            return slot;
        }
        // Every queue with work is in memory, or was looked for before this, so it is known to be empty.
        let window = Inbox::new(true, self.options.inbox);
        let topic = self.topics.find_or_add(names.topic_id);
        let queue = Queue::new(names.id, topic, ActiveRow::default(), window);
        let row = QueueRow { topic: names.topic.clone(), key: names.key.clone() };
        self.batch.put(Table::Queues, &names.id.0, &row.encode());
        self.add_queue(topic, queue)
    }

    /// The commit of an enqueue is durable.
    pub(super) fn entries_arrived(
        &mut self,
        slot: Slot,
        accepted_at: UnixMillis,
        ids: &[EntryId],
        sizes: &[u32],
        delayed: Vec<(DelayedKey, DelayedRow)>,
    ) {
        let queue = &mut self.queues[slot];
        queue.n_effects -= 1;
        let n_ready = ids.len() - delayed.len();
        queue.n_entering -= u32::try_from(n_ready).expect("as many as entered");
        if let Some(purge) = queue.busy.as_mut().and_then(|busy| busy.purge.as_mut()) {
            // Neither what the purge concerns nor what stays is shown: the window knows nothing until the
            // purge is through.
            ids.iter().for_each(|id| purge.keep(id.rank));
        }
        // Those that wait stand in the order of the others.
        let mut waiting = delayed.iter().map(|(key, _)| key.sequence).peekable();
        for (id, n_bytes) in ids.iter().zip(sizes) {
            if waiting.next_if_eq(&id.rank.sequence).is_some() {
                continue;
            }
            let head = new_head(accepted_at, *n_bytes);
            self.with_window(slot, |window| window.insert(id.rank, head));
        }
        self.touch(slot);
        delayed.into_iter().for_each(|(key, row)| self.delayed_arrived(key, row));
    }
}

/// What the window keeps of an entry that was just accepted.
fn new_head(accepted_at: UnixMillis, n_bytes: u32) -> EntryHead {
    EntryHead {
        attempts: 0,
        n_bytes,
        enqueued_at: accepted_at,
        separate_body: n_bytes as usize > INLINE_BODY_BYTES_MAX,
        has_retry_floor: false,
    }
}
