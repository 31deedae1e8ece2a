use std::path::Path;

use bytes_of::{hex, log_record};

use super::*;
use crate::event::{Granted, Leases};
use crate::payload::payload;
use crate::strace::Trace;

mod bytes_of {
    //! Traces and logs, written by hand.

    /// As strace shows bytes with `-xx`.
    pub(super) fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    /// A log record with a write batch of these operations: tag, key, value.
    pub(super) fn log_record(ops: &[(u8, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let count = u32::try_from(ops.len()).expect("few operations");
        let mut batch = [&1_u64.to_le_bytes()[..], &count.to_le_bytes()].concat();
        for (tag, key, value) in ops {
            batch.extend([*tag, 1]);
            string(&mut batch, key);
            if matches!(tag, 5 | 14) {
                string(&mut batch, value);
            }
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[1]), &batch);
        let masked = crc.rotate_right(15).wrapping_add(0xA282_EAD8);
        let length = u16::try_from(batch.len()).expect("a short batch");
        [&masked.to_le_bytes()[..], &length.to_le_bytes(), &[1], &batch].concat()
    }

    fn string(out: &mut Vec<u8>, bytes: &[u8]) {
        let digit = |n: usize| u8::try_from(n).expect("short");
        out.extend([digit(bytes.len() % 128) | 0x80, digit(bytes.len() / 128)]);
        out.extend(bytes);
    }
}

const QUEUE: u32 = 3;
const SEQUENCE: u64 = 77;
const TOKEN: Token = Token { epoch: 2, number: 9 };

/// A marker whose payload stays in the entry's row, and one whose payload does not.
fn markers() -> [Marker; 2] {
    let short = (1..).find(|&marker| payload(marker).len() < 100).expect("one is short");
    let long = (1..).find(|&marker| payload(marker).len() > 1500).expect("one is long");
    [short, long]
}

fn put_entry(marker: Marker) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let mut body = vec![0, 0];
    body.extend(payload(marker));
    let mut ops = Vec::new();
    let key = entry_key(QUEUE, 5, SEQUENCE);
    let stored = if body.len() > 1024 {
        let key = PayloadKey { queue: key.queue, sequence: key.rank.sequence };
        let n_bytes = u32::try_from(body.len()).expect("short");
        ops.push((5, key.encode().to_vec(), body));
        StoredBody::Separate { n_bytes }
    } else {
        StoredBody::Inline(body.into())
    };
    let row = EntryRow {
        attempts: 0,
        enqueued_at: millpond::UnixMillis(1),
        retry_floor_ms: 0,
        body: stored,
    };
    let mut value = Vec::new();
    row.encode_into(&mut value);
    ops.push((5, key.encode().to_vec(), value));
    ops
}

fn put_lease(deadline: u64) -> (u8, Vec<u8>, Vec<u8>) {
    let key = LeaseKey { queue: queues::id(QUEUE), sequence: Sequence(SEQUENCE) };
    let row = LeaseRow {
        token: TOKEN.into(),
        deadline: millpond::UnixMillis(deadline),
        attempts: 1,
        enqueued_at: millpond::UnixMillis(1),
        priority: Priority(5),
        separate_body: false,
        has_retry_floor: false,
    };
    (5, key.encode().to_vec(), row.encode().to_vec())
}

fn remove_entry() -> (u8, Vec<u8>, Vec<u8>) {
    (8, entry_key(QUEUE, 5, SEQUENCE).encode().to_vec(), Vec::new())
}

/// Removes the whole queue.
fn remove_queue() -> (u8, Vec<u8>, Vec<u8>) {
    let queue = queues::id(QUEUE).0;
    (14, queue.to_vec(), millpond_types::prefix_successor(&queue).expect("not all ones"))
}

/// The steps of a worker in the order in which the trace shows them.
#[derive(Clone)]
enum Step {
    Log(Vec<(u8, Vec<u8>, Vec<u8>)>),
    Say(Event),
    Sync,
    SyncBegins,
    SyncEnds,
}
use Step::{Log, Say, Sync as Synced, SyncBegins, SyncEnds};

fn judge(steps: &[Step]) -> Coverage {
    let mut lines = vec![
        "1 openat(AT_FDCWD</>, \"/r/4.log\", O_WRONLY|O_CREAT, 0644) = 3</r/4.log>".to_owned(),
    ];
    lines.extend(steps.iter().map(|step| match step {
        Log(ops) => {
            let record = log_record(ops);
            format!("1 write(3</r/4.log>, \"{}\", 1) = {}", hex(&record), record.len())
        }
        Say(event) => format!("2 write(1</out>, \"{}\", 1) = 1", hex(event.to_line().as_bytes())),
        Synced => "1 fdatasync(3</r/4.log>) = 0".to_owned(),
        SyncBegins => "1 fdatasync(3</r/4.log> <unfinished ...>".to_owned(),
        SyncEnds => "1 <... fdatasync resumed>) = 0".to_owned(),
    }));
    let trace = Trace::parse(&lines.join("\n")).expect("a trace");
    let mut disk = Disk::new(Path::new("/r"), Path::new("/out"));
    for index in 0..trace.steps.len() {
        disk.step(&trace, index).expect("modelled");
    }
    coverage(&disk).expect("logs and events can be read")
}

fn enqueue(marker: Marker) -> [Event; 2] {
    let entries = vec![NewEntry { marker, priority: 5 }];
    let intent = Event::Enqueue { op: 1, queue: QUEUE, entries };
    [intent, Event::Enqueued { op: 1, sequences: vec![SEQUENCE] }]
}

fn settle(marker: Marker, action: Action, deadline_ms: Option<u64>) -> [Event; 2] {
    let intent = Event::Settle { op: 2, marker, token: TOKEN, action };
    [intent, Event::Settled { op: 2, deadline_ms }]
}

#[test]
fn an_entry_is_covered_by_a_sync_that_ended_before_its_receipt() {
    for marker in markers() {
        let [intent, receipt] = enqueue(marker);
        let steps = [Say(intent), Log(put_entry(marker)), Synced, Say(receipt)];
        let found = judge(&steps);
        assert_eq!((found.n_receipts, found.n_rows, found.covered.len()), (1, 1, 1));
        assert_eq!(found.margins(), Some((0, 0)));
        assert!(found.covered[0].only_sync);
    }
}

#[test]
fn a_receipt_before_its_sync_is_caught() {
    let [marker, _] = markers();
    let [intent, receipt] = enqueue(marker);
    let row = || Log(put_entry(marker));
    let (say, intent) = (|| Say(receipt.clone()), || Say(intent.clone()));
    for early in [
        [intent(), row(), say(), Synced, Synced],
        [intent(), row(), SyncBegins, say(), SyncEnds],
        [intent(), SyncBegins, row(), SyncEnds, say()],
        [intent(), Synced, row(), say(), Synced],
        [intent(), say(), row(), Synced, Synced],
        // A row of another entry, or none.
        [intent(), Log(put_entry(marker + 1_000)), Synced, Synced, say()],
        [Say(Event::Opening { leases: Leases::Keep }), row(), Synced, Synced, say()],
    ] {
        let found = judge(&early);
        assert_eq!((found.n_receipts, found.covered.len(), found.uncovered.len()), (1, 0, 1));
    }
}

#[test]
fn leases_and_their_ends_are_recognized_by_what_their_rows_say() {
    let [marker, _] = markers();
    let lease = Event::Leased {
        op: 3,
        grants: vec![Granted {
            marker,
            queue: QUEUE,
            priority: 5,
            sequence: SEQUENCE,
            token: TOKEN,
            attempt: 1,
        }],
    };
    let after = |ops: Vec<(u8, Vec<u8>, Vec<u8>)>, events: Vec<Event>| {
        let mut steps = vec![Log(put_entry(marker)), Log(vec![put_lease(500)]), Synced, Log(ops)];
        steps.push(Synced);
        steps.extend(events.into_iter().map(Say));
        judge(&steps)
    };
    let covered = |found: Coverage| (found.covered.len(), found.uncovered.len());
    let none = vec![(8, b"another key".to_vec(), Vec::new())];
    assert_eq!(covered(after(none.clone(), vec![lease])), (1, 0));
    for (action, deadline, row) in [
        (Action::Ack, None, remove_entry()),
        (Action::Nack, None, put_lease(0)),
        (Action::Extend, Some(900), put_lease(900)),
    ] {
        let events = settle(marker, action, deadline).to_vec();
        assert_eq!(covered(after(vec![row], events.clone())), (1, 0), "{action:?}");
        assert_eq!(covered(after(none.clone(), events)), (0, 1), "{action:?}");
    }
}

#[test]
fn a_purge_is_covered_when_everything_accepted_before_it_is_removed() {
    let [marker, _] = markers();
    let [intent, receipt] = enqueue(marker);
    let purge = Event::Purge { op: 3, queue: QUEUE };
    let purged = Event::Purged { op: 3, n_entries: 1, n_leased: 0 };
    let judge_purge = |removal: Vec<(u8, Vec<u8>, Vec<u8>)>, is_early: bool| {
        let mut steps = vec![Say(intent.clone()), Log(put_entry(marker)), Synced];
        steps.extend([Say(receipt.clone()), Say(purge.clone()), Log(removal), Synced]);
        let last = if is_early { steps.len() - 1 } else { steps.len() };
        steps.insert(last, Say(purged.clone()));
        let found = judge(&steps);
        (found.covered.len(), found.uncovered.len())
    };
    for removal in [remove_entry(), remove_queue()] {
        assert_eq!(judge_purge(vec![removal.clone()], false), (2, 0));
        assert_eq!(judge_purge(vec![removal], true), (1, 1));
    }
    let other = (8, b"another key".to_vec(), Vec::new());
    assert_eq!(judge_purge(vec![other], false), (1, 1));
    // A queue that is removed before the entry is put: that is an earlier purge.
    let steps = [
        vec![Say(intent.clone()), Log(vec![remove_queue()]), Log(put_entry(marker)), Synced],
        vec![Say(receipt.clone()), Say(purge.clone()), Say(purged.clone())],
    ];
    assert_eq!(judge(&steps.concat()).uncovered.len(), 1);
    // What has no receipt when the purge begins is not promised to go.
    let steps =
        [Say(purge), Say(intent), Log(put_entry(marker)), Synced, Say(receipt), Say(purged)];
    assert_eq!((judge(&steps).n_receipts, judge(&steps).uncovered.len()), (1, 0));
}

#[test]
fn a_lease_of_nothing_promises_nothing() {
    let found = judge(&[Say(Event::Leased { op: 1, grants: Vec::new() })]);
    assert_eq!((found.n_receipts, found.covered.len(), found.uncovered.len()), (0, 0, 0));
}
