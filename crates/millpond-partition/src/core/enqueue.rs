//! Accepting entries.

use std::sync::Arc;

use bytes::Bytes;
use millpond_inbox::Inbox;
use millpond_storage_api::Table;
use millpond_types::limits::INLINE_BODY_BYTES_MAX;
use millpond_types::{
    ActiveRow, DedupKey, DedupRow, DelayedKey, DelayedRow, EntryHead, EntryId, EntryRank, EntryRow,
    PayloadKey, QueueRow, Sequence, StoredBody, UnixMillis,
};

use super::bounds::Amount;
use super::dedup::Verdict;
use super::door::Seen;
use super::{Core, Effect, Mutation, Slot};
use crate::QueueRef;
use crate::command::{Accepted, NewEntry};
use crate::durability::Receipt;

/// Entries on their way to storage, and what their queue is told when they are there.
#[derive(Debug)]
pub(super) struct Arrivals {
    pub(super) accepted_at: UnixMillis,
    /// What became of each entry of the command, in order.
    pub(super) accepted: Vec<Accepted>,
    /// Lengths of the bodies of those that are new, in bytes.
    pub(super) sizes: Vec<u32>,
    /// Those that are not ready yet, in order.
    pub(super) delayed: Vec<(DelayedKey, DelayedRow)>,
    /// Keys that they have taken.
    pub(super) keys: Vec<(DedupKey, DedupRow)>,
}

impl Arrivals {
    /// Those that are new, with the lengths of their bodies.
    pub(super) fn new_ones(&self) -> impl Iterator<Item = (EntryId, u32)> {
        let new = self.accepted.iter().filter_map(|accepted| match accepted {
            Accepted::New(id) => Some(*id),
            Accepted::Duplicate { .. } => None,
        });
        new.zip(self.sizes.iter().copied())
    }
}

impl Core {
    pub(super) fn enqueue(
        &mut self,
        now: UnixMillis,
        names: &Arc<QueueRef>,
        entries: Vec<NewEntry>,
        seen: &Seen,
        reply: Receipt<Vec<Accepted>>,
    ) {
        let verdicts = self.judge_keys(now, names.id, &entries, seen);
        if let Err(full) = self.check_room(names, amount_of(&entries, &verdicts), None) {
            return reply.refuse(full);
        }
        self.stage_entries(now, names, entries, &verdicts, reply);
    }

    /// Stages what is to be accepted; there is room for it.
    pub(super) fn stage_entries(
        &mut self,
        now: UnixMillis,
        names: &Arc<QueueRef>,
        entries: Vec<NewEntry>,
        verdicts: &[Verdict],
        reply: Receipt<Vec<Accepted>>,
    ) {
        let n = entries.len();
        let mut arrivals = Arrivals {
            accepted_at: now,
            accepted: Vec::with_capacity(n),
            sizes: Vec::with_capacity(n),
            delayed: Vec::new(),
            keys: Vec::new(),
        };
        let mut slot = None;
        for (at, entry) in entries.into_iter().enumerate() {
            let of = match verdicts.get(at).unwrap_or(&Verdict::New { expired: None }) {
                Verdict::Duplicate(rank) => EntryId { queue: names.id, rank: *rank },
                Verdict::Repeats(first) => arrivals.accepted[*first].id(),
                Verdict::New { expired } => {
                    let slot = *slot.get_or_insert_with(|| self.queue_for_entry(names));
                    self.stage_entry(slot, entry, *expired, &mut arrivals);
                    continue;
                }
            };
            self.counters.n_duplicates += 1;
            arrivals.accepted.push(Accepted::Duplicate { of });
        }
        let Some(slot) = slot else {
            // Answered with this commit, so that the one it names is durable by then.
            let accepted = arrivals.accepted;
            return self.effects.push(Effect::Duplicates { accepted, reply });
        };
        self.counters.n_delayed += arrivals.delayed.len() as u64;
        self.counters.n_enqueued += arrivals.sizes.len() as u64;
        self.queues[slot].n_effects += 1;
        self.mark_dirty(slot);
        if self.is_broken(Mutation::ShowBeforeDurable) {
            for (id, n_bytes) in arrivals.new_ones() {
                self.with_window(slot, |window| window.insert(id.rank, new_head(now, n_bytes)));
            }
            self.touch(slot);
        }
        self.effects.push(Effect::Enqueued { slot, arrivals, reply });
    }

    fn stage_entry(
        &mut self,
        slot: Slot,
        entry: NewEntry,
        expired: Option<UnixMillis>,
        arrivals: &mut Arrivals,
    ) {
        let now = arrivals.accepted_at;
        let queue = self.queues[slot].id;
        let rank = EntryRank { priority: entry.priority, sequence: Sequence(self.next_sequence) };
        self.next_sequence += 1;
        let id = EntryId { queue, rank };
        let n_bytes = u32::try_from(entry.body.len()).expect("bodies are limited to 16 MiB");
        self.recount(slot, |row| row.n_bytes = row.n_bytes.saturating_add(n_bytes.into()));
        let due = self.due(now, entry.start);
        let row = self.stage_body(now, id, entry.body);
        match due {
            Some(due) => {
                let row = DelayedRow { priority: rank.priority, entry: row };
                arrivals.delayed.push((self.stage_delayed(slot, due, &row, rank), row));
            }
            None => self.stage_ready(slot, rank, &row),
        }
        if let Some(key) = entry.dedup {
            let window_ms = self.rules_of(slot).dedup_window_ms;
            let key = DedupKey { queue, key };
            let row = self.stage_key(now, &key, rank, window_ms, expired);
            arrivals.keys.push((key, row));
        }
        arrivals.accepted.push(Accepted::New(id));
        arrivals.sizes.push(n_bytes);
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
        let row = QueueRow { topic: names.topic.clone(), key: names.key.clone() };
        self.batch.put(Table::Queues, &names.id.0, &row.encode());
        self.add_queue(names.topic_id, names.id, Some(names), (ActiveRow::default(), window))
    }

    /// The commit of an enqueue is durable. Returns what its caller is told.
    pub(super) fn entries_arrived(&mut self, slot: Slot, mut arrivals: Arrivals) -> Vec<Accepted> {
        for (key, row) in std::mem::take(&mut arrivals.keys) {
            self.key_arrived(key, row);
        }
        let delayed = std::mem::take(&mut arrivals.delayed);
        let queue = &mut self.queues[slot];
        queue.n_effects -= 1;
        let n_ready = arrivals.sizes.len() - delayed.len();
        queue.n_entering -= u32::try_from(n_ready).expect("as many as entered");
        if let Some(purge) = queue.busy.as_mut().and_then(|busy| busy.purge.as_mut()) {
            // Neither what the purge concerns nor what stays is shown: the window knows nothing until the
            // purge is through.
            arrivals.new_ones().for_each(|(id, _)| purge.keep(id.rank));
        }
        // Those that wait stand in the order of the others.
        let mut waiting = delayed.iter().map(|(key, _)| key.sequence).peekable();
        for (id, n_bytes) in arrivals.new_ones() {
            if waiting.next_if_eq(&id.rank.sequence).is_some() {
                continue;
            }
            let head = new_head(arrivals.accepted_at, n_bytes);
            self.with_window(slot, |window| window.insert(id.rank, head));
        }
        self.touch(slot);
        delayed.into_iter().for_each(|(key, row)| self.delayed_arrived(key, row));
        arrivals.accepted
    }
}

/// What those that are to be accepted come to.
pub(super) fn amount_of(entries: &[NewEntry], verdicts: &[Verdict]) -> Amount {
    let is_new = |at| matches!(verdicts.get(at), None | Some(Verdict::New { .. }));
    let new = entries.iter().enumerate().filter(|(at, _)| is_new(*at));
    new.fold(Amount::default(), |sum, (_, entry)| {
        sum.plus(Amount::of_entry(entry.body.len() as u64))
    })
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
