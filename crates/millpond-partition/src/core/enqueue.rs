//! Accepting entries.

use std::sync::Arc;

use millpond_inbox::Inbox;
use millpond_storage_api::Table;
use millpond_types::limits::INLINE_BODY_BYTES_MAX;
use millpond_types::{
    ActiveRow, EntryHead, EntryId, EntryKey, EntryRank, EntryRow, PayloadKey, QueueRow, Sequence,
    Stage, StoredBody, UnixMillis,
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
        let mut separate = Vec::new();
        for entry in entries {
            let rank =
                EntryRank { priority: entry.priority, sequence: Sequence(self.next_sequence) };
            self.next_sequence += 1;
            let id = EntryId { queue: names.id, rank };
            let is_separate = entry.body.len() > INLINE_BODY_BYTES_MAX;
            self.stage_rows(now, id, entry, is_separate);
            if is_separate {
                separate.resize(ids.len(), false);
                separate.push(true);
            }
            ids.push(id);
            self.queues[slot].entering(rank);
        }
        self.counters.n_enqueued += ids.len() as u64;
        self.queues[slot].n_effects += 1;
        self.mark_dirty(slot);
        let head = EntryHead { attempts: 0, enqueued_at: now, separate_body: false };
        if self.is_broken(Mutation::ShowBeforeDurable) {
            for id in &ids {
                self.with_window(slot, |window| window.insert(id.rank, head));
            }
            self.touch(slot);
        }
        self.effects.push(Effect::Enqueued { slot, head, ids, separate, reply });
    }

    fn stage_rows(&mut self, now: UnixMillis, id: EntryId, entry: NewEntry, separate: bool) {
        let body = if separate {
            let key = PayloadKey { queue: id.queue, sequence: id.rank.sequence };
            self.batch.put(Table::Payloads, &key.encode(), &entry.body);
            let n_bytes = u32::try_from(entry.body.len()).expect("bodies are limited to 16 MiB");
            StoredBody::Separate { n_bytes }
        } else {
            StoredBody::Inline(entry.body)
        };
        self.row_buffer.clear();
        EntryRow { attempts: 0, enqueued_at: now, body }.encode_into(&mut self.row_buffer);
        let key = EntryKey { queue: id.queue, stage: Stage::Ready, rank: id.rank };
        self.batch.put(Table::Entries, &key.encode(), &self.row_buffer);
    }

    /// The queue, in memory; created with its `queues` row if it is not.
    fn queue_for_entry(&mut self, names: &Arc<QueueRef>) -> Slot {
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
        head: EntryHead,
        ids: &[EntryId],
        separate: &[bool],
    ) {
        let queue = &mut self.queues[slot];
        queue.n_effects -= 1;
        queue.n_entering -= u32::try_from(ids.len()).expect("as many as entered");
        if let Some(purge) = queue.busy.as_mut().and_then(|busy| busy.purge.as_mut()) {
            // Neither what the purge concerns nor what stays is shown: the window knows nothing until the
            // purge is through.
            ids.iter().for_each(|id| purge.keep(id.rank));
        }
        for (index, id) in ids.iter().enumerate() {
            let separate_body = separate.get(index).copied().unwrap_or(false);
            let head = EntryHead { separate_body, ..head };
            self.with_window(slot, |window| window.insert(id.rank, head));
        }
        self.touch(slot);
    }
}
