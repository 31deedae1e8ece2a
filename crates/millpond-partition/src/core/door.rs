//! Commands that wait at the door of their queue, because storage has to say whether a key was seen.
//!
//! Memory knows the keys of entries that are staged or on their way to storage; about all others storage is
//! asked. The command waits meanwhile, and so does whatever comes after it and must keep its order: what
//! brings entries into the same queue, and purges. Other commands pass, and other queues flow.
//!
//! * **T1** What storage said of a key holds until the command that asked is carried out: whoever could bring
//!   the same key into the queue waits behind it, or was carried out before storage was asked.
//! * **T2** A command that comes to stand behind others asks anew, so that T1 does not rest on the ways by which it
//!   may have come there.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use millpond_types::{DedupKey, DedupRow, QueueId, UnixMillis};

use super::reads::{Read, ReadJob, Reading};
use super::recall::queue_of;
use super::{Core, Mutation};
use crate::PartitionError;
use crate::command::{Message, NewEntry};

/// Keys that storage is asked about at a time.
const KEYS_PER_READ: usize = if cfg!(test) { 2 } else { 256 };

/// What storage said of the keys of a command.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Entries whose keys were asked for, from the first.
    n_checked: usize,
    rows: HashMap<Bytes, DedupRow>,
}

/// Those who wait at one queue, in order.
#[derive(Debug, Default)]
struct Line {
    commands: VecDeque<Message>,
    /// What is being asked: the keys, and how far each of the first commands is then checked.
    keys: Vec<Bytes>,
    checked: Vec<usize>,
    may_wait: bool,
}

/// All who wait.
#[derive(Debug, Default)]
pub(super) struct Door {
    lines: HashMap<QueueId, Line>,
    n_waiting: usize,
    /// Queues of which the first command has something to ask.
    wanted: VecDeque<QueueId>,
}

impl Seen {
    pub(super) fn row(&self, key: &Bytes) -> Option<&DedupRow> {
        self.rows.get(key)
    }
}

impl Door {
    pub(super) fn n_waiting(&self) -> usize {
        self.n_waiting
    }

    pub(super) fn wants_read(&self) -> bool {
        !self.wanted.is_empty()
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Message> + use<> {
        self.n_waiting = 0;
        std::mem::take(&mut self.lines).into_values().flat_map(|line| line.commands)
    }
}

/// The queue at whose door a command has to keep its order.
pub(super) fn door_of(message: &Message) -> Option<QueueId> {
    match message {
        Message::Enqueue { queue, .. } | Message::AckAndEnqueue { queue, .. } => Some(queue.id),
        Message::Purge { id, .. } => Some(*id),
        _ => None,
    }
}

fn entries_of(message: &mut Message) -> Option<(&[NewEntry], &mut Seen)> {
    match message {
        Message::Enqueue { entries, seen, .. } | Message::AckAndEnqueue { entries, seen, .. } => {
            Some((entries, seen))
        }
        _ => None,
    }
}

impl Core {
    /// Lets a command wait behind those that wait at its queue, if there are any.
    pub(super) fn stand_behind(&mut self, mut message: Message) -> Option<Message> {
        let unordered = self.is_broken(Mutation::DoorUnordered);
        let line = door_of(&message).and_then(|id| self.door.lines.get_mut(&id));
        let Some(line) = line.filter(|_| !unordered) else { return Some(message) };
        if let Some((_, seen)) = entries_of(&mut message) {
            *seen = Seen::default();
        }
        line.commands.push_back(message);
        self.door.n_waiting += 1;
        None
    }

    /// The same for a command that needs no other queue before.
    pub(super) fn stand_behind_first(&mut self, message: Message) -> Option<Message> {
        if door_of(&message) == queue_of(&message) {
            self.stand_behind(message)
        } else {
            Some(message)
        }
    }

    /// Lets a command wait until the queue is known into which it brings entries, if it is another than that
    /// of its lease.
    pub(super) fn park_for_target(
        &mut self,
        message: Message,
        found: Option<QueueId>,
    ) -> Option<Message> {
        match &message {
            Message::AckAndEnqueue { queue, .. }
                if found != Some(queue.id) && !self.is_broken(Mutation::TargetTakenForEmpty) =>
            {
                let id = queue.id;
                self.park_unless_known(id, message)
            }
            _ => Some(message),
        }
    }

    /// Lets a command wait if storage has to be asked about its keys.
    pub(super) fn wait_at_door(&mut self, mut message: Message) -> Option<Message> {
        let id = door_of(&message).filter(|id| self.must_ask(*id, &mut message));
        let Some(id) = id else { return Some(message) };
        self.door.lines.entry(id).or_default().commands.push_front(message);
        self.door.n_waiting += 1;
        self.door.wanted.push_back(id);
        None
    }

    /// Whether memory cannot tell of some key whether it was seen.
    fn must_ask(&self, queue: QueueId, message: &mut Message) -> bool {
        let Some((entries, seen)) = entries_of(message) else { return false };
        let mut keys = entries[seen.n_checked..].iter().filter_map(|entry| entry.dedup.as_ref());
        keys.any(|key| self.dedup.fresh(&DedupKey { queue, key: key.clone() }).is_none())
    }

    pub(super) fn poll_door(&mut self) -> Option<ReadJob> {
        let id = self.door.wanted.pop_front()?;
        let line = self.door.lines.get_mut(&id)?;
        (line.keys, line.checked) = (Vec::new(), Vec::new());
        for (n, message) in line.commands.iter_mut().enumerate() {
            let Some((entries, seen)) = entries_of(message) else {
                line.checked.push(0);
                continue;
            };
            let n_before = line.keys.len();
            let mut n_checked = seen.n_checked;
            for entry in &entries[seen.n_checked..] {
                if let Some(key) = &entry.dedup {
                    match self.dedup.fresh(&DedupKey { queue: id, key: key.clone() }) {
                        Some(row) => drop(seen.rows.insert(key.clone(), *row)),
                        None if line.keys.len() < KEYS_PER_READ => line.keys.push(key.clone()),
                        None => break,
                    }
                }
                n_checked += 1;
            }
            // Only the first may be checked in parts: nobody is carried out before it is asked again (T1).
            if n > 0 && n_checked < entries.len() {
                line.keys.truncate(n_before);
                break;
            }
            line.checked.push(n_checked);
            if n_checked < entries.len() {
                break;
            }
        }
        let keys = line.keys.iter().map(|key| DedupKey { queue: id, key: key.clone() }).collect();
        let may_wait = line.may_wait;
        Some(self.start_read(Reading::Seen(id), Read::Seen(keys), may_wait, true))
    }

    /// Takes what storage says of the keys of the first commands at a queue, in their order.
    pub(super) fn handle_seen(
        &mut self,
        now: UnixMillis,
        id: QueueId,
        outcome: Result<Vec<Option<DedupRow>>, PartitionError>,
    ) {
        let Some(line) = self.door.lines.get_mut(&id) else { return };
        let rows = match outcome {
            Ok(rows) => rows,
            Err(PartitionError::Read(error)) if error.would_block() => {
                line.may_wait = true;
                self.counters.n_would_block += 1;
                return self.door.wanted.push_back(id);
            }
            Err(error) => return self.refuse_first(now, id, &error),
        };
        line.may_wait = false;
        let keys = std::mem::take(&mut line.keys).into_iter();
        let found: HashMap<Bytes, DedupRow> =
            keys.zip(rows).filter_map(|(key, row)| Some((key, row?))).collect();
        let checked = std::mem::take(&mut line.checked);
        for (message, n_checked) in line.commands.iter_mut().zip(checked) {
            let Some((entries, seen)) = entries_of(message) else { continue };
            for key in entries[seen.n_checked..n_checked].iter().filter_map(|e| e.dedup.as_ref()) {
                if let Some(row) = found.get(key) {
                    // In place of what memory said before: the key may have been taken again since.
                    seen.rows.insert(key.clone(), *row);
                }
            }
            seen.n_checked = n_checked;
        }
        self.open_door(now, id);
    }

    /// Carries out what waits at a queue, as far as nothing has to be asked.
    fn open_door(&mut self, now: UnixMillis, id: QueueId) {
        while let Some(line) = self.door.lines.get_mut(&id) {
            let Some(message) = line.commands.pop_front() else {
                self.door.lines.remove(&id);
                break;
            };
            self.door.n_waiting -= 1;
            // The queue may have left memory meanwhile.
            let Some(message) = self.park_unless_known(id, message) else { continue };
            match self.wait_at_door(message) {
                Some(message) => self.perform(now, message),
                None => break,
            }
        }
    }

    /// Nobody can say whether the keys of the first command were seen.
    fn refuse_first(&mut self, now: UnixMillis, id: QueueId, error: &PartitionError) {
        self.counters.n_scans_failed += 1;
        let line = self.door.lines.get_mut(&id);
        if let Some(message) = line.and_then(|line| line.commands.pop_front()) {
            self.door.n_waiting -= 1;
            self.note_handled(&message);
            message.refuse(error);
        }
        self.open_door(now, id);
    }
}
