use std::path::Path;

use bytes_of::{hex, log_record};

use millpond::{DeadCause, EntryRank, Priority, Sequence, UnixMillis};
use millpond_types::{
    DeadRow, DelayedEntryKey, DelayedKey, DelayedRow, Due, DueClock, EntryKey, EntryRow, LeaseKey,
    LeaseRow, PayloadKey, Stage, StoredBody,
};

use super::*;
use crate::event::{Action, DeadAction, Granted, Leases, NewEntry, Start, Token, queues};
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

type Ops = Vec<(u8, Vec<u8>, Vec<u8>)>;

fn rank() -> EntryRank {
    EntryRank { priority: Priority(5), sequence: Sequence(SEQUENCE) }
}

fn key(stage: Stage) -> EntryKey {
    EntryKey { queue: queues::id(QUEUE), stage, rank: rank() }
}

/// The row of an entry, and its body if that is elsewhere.
fn row_of(marker: Marker, attempts: u32) -> (EntryRow, Ops) {
    let mut body = vec![0, 0];
    body.extend(payload(marker));
    let mut ops = Vec::new();
    let stored = if body.len() > 1024 {
        let key = PayloadKey { queue: queues::id(QUEUE), sequence: Sequence(SEQUENCE) };
        let n_bytes = u32::try_from(body.len()).expect("short");
        ops.push((5, key.encode().to_vec(), body));
        StoredBody::Separate { n_bytes }
    } else {
        StoredBody::Inline(body.into())
    };
    let enqueued_at = UnixMillis(1);
    (EntryRow { attempts, enqueued_at, retry_floor_ms: 0, body: stored }, ops)
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

fn put_entry(marker: Marker) -> Ops {
    let (row, mut ops) = row_of(marker, 0);
    let value = encoded(|out| row.encode_into(out));
    ops.push((5, key(Stage::Ready).encode().to_vec(), value));
    ops
}

const DUE: Due = Due { clock: DueClock::Steady, at: UnixMillis(7_000) };

fn by_time() -> DelayedKey {
    DelayedKey { due: DUE, queue: queues::id(QUEUE), sequence: Sequence(SEQUENCE) }
}

/// Both rows of an entry that waits; the last one tells its queue.
fn put_delayed(marker: Marker, attempts: u32) -> Ops {
    let (entry, mut ops) = row_of(marker, attempts);
    let row = DelayedRow { priority: Priority(5), entry };
    let value = encoded(|out| row.encode_into(out));
    ops.push((5, by_time().encode().to_vec(), value));
    let notice = DelayedEntryKey { queue: queues::id(QUEUE), due: DUE, rank: rank() };
    ops.push((5, notice.encode().to_vec(), row.notice().encode().to_vec()));
    ops
}

fn put_dead(marker: Marker) -> Ops {
    let (entry, mut ops) = row_of(marker, 1);
    let died_at = UnixMillis(2);
    let row = DeadRow { cause: DeadCause::Rejected, died_at, reason: String::new(), entry };
    ops.push((5, key(Stage::Dead).encode().to_vec(), encoded(|out| row.encode_into(out))));
    ops
}

fn put_lease(deadline: u64) -> (u8, Vec<u8>, Vec<u8>) {
    let key = LeaseKey { queue: queues::id(QUEUE), sequence: Sequence(SEQUENCE) };
    let row = LeaseRow {
        token: TOKEN.into(),
        deadline: UnixMillis(deadline),
        attempts: 1,
        enqueued_at: UnixMillis(1),
        n_bytes: 0,
        priority: Priority(5),
        separate_body: false,
        has_retry_floor: false,
    };
    (5, key.encode().to_vec(), row.encode().to_vec())
}

fn remove_entry() -> (u8, Vec<u8>, Vec<u8>) {
    (8, key(Stage::Ready).encode().to_vec(), Vec::new())
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
    enqueue_at(marker, Start::Now)
}

fn enqueue_at(marker: Marker, start: Start) -> [Event; 2] {
    let entries = vec![NewEntry { marker, priority: 5, start }];
    let intent = Event::Enqueue { op: 1, queue: QUEUE, entries, at_ms: 1 };
    [intent, Event::Enqueued { op: 1, sequences: vec![SEQUENCE] }]
}

fn settle(marker: Marker, action: Action, deadline_ms: Option<u64>) -> [Event; 2] {
    let nacked = action.is_nack().then_some(Nacked::Ready);
    settle_as(marker, action, deadline_ms, nacked)
}

fn settle_as(
    marker: Marker,
    action: Action,
    deadline_ms: Option<u64>,
    nacked: Option<Nacked>,
) -> [Event; 2] {
    let intent = Event::Settle { op: 2, marker, token: TOKEN, action, at_ms: 1 };
    [intent, Event::Settled { op: 2, deadline_ms, nacked }]
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
        at_ms: 1,
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
    let found = judge(&[Say(Event::Leased { op: 1, grants: Vec::new(), at_ms: 1 })]);
    assert_eq!((found.n_receipts, found.covered.len(), found.uncovered.len()), (0, 0, 0));
}

/// The outcome of a history that ends with a receipt, judged with its rows and without the last of them.
fn with_and_without_last(before: &[Step], rows: &Ops, receipt: &[Event]) -> [usize; 2] {
    let n_uncovered = |rows: Ops| {
        let mut steps = before.to_vec();
        steps.extend([Log(rows), Synced]);
        steps.extend(receipt.iter().cloned().map(Say));
        judge(&steps).uncovered.len()
    };
    let mut fewer = rows.clone();
    fewer.pop();
    // A record is never empty.
    fewer.push((8, b"another key".to_vec(), Vec::new()));
    [n_uncovered(rows.clone()), n_uncovered(fewer)]
}

#[test]
fn an_entry_that_waits_is_covered_by_both_its_rows() {
    for marker in markers() {
        for start in [Start::After(50), Start::At(7_000)] {
            let receipt = enqueue_at(marker, start);
            assert_eq!(with_and_without_last(&[], &put_delayed(marker, 0), &receipt), [0, 1]);
        }
        // One that was not to wait, or was to and does not.
        for (start, rows) in
            [(Start::Now, put_delayed(marker, 0)), (Start::After(50), put_entry(marker))]
        {
            let receipt = enqueue_at(marker, start);
            assert_eq!(with_and_without_last(&[], &rows, &receipt)[0], 1);
        }
        let past = enqueue_at(marker, Start::At(1));
        assert_eq!(with_and_without_last(&[], &put_entry(marker), &past), [0, 1]);
    }
}

/// An entry that was accepted and leased.
fn leased(marker: Marker) -> Vec<Step> {
    vec![Log(put_entry(marker)), Log(vec![put_lease(500)]), Synced]
}

#[test]
fn a_failed_attempt_is_covered_by_the_rows_of_what_became_of_the_entry() {
    let [marker, _] = markers();
    let before = leased(marker);
    let judge = |rows: &Ops, nacked| {
        let receipt = settle_as(marker, Action::Nack, None, Some(nacked));
        with_and_without_last(&before, rows, &receipt)
    };
    let moved = |rows: Ops| [vec![remove_entry()], rows].concat();
    let until = Nacked::BackingOff(DUE.at.0);
    assert_eq!(judge(&moved(put_delayed(marker, 1)), until), [0, 1]);
    assert_eq!(judge(&moved(put_delayed(marker, 1)), Nacked::BackingOff(DUE.at.0 + 1))[0], 1);
    assert_eq!(judge(&moved(put_dead(marker)), Nacked::Dead), [0, 1]);
    assert_eq!(judge(&vec![put_lease(0)], Nacked::Ready), [0, 1]);
    for wrong in [Nacked::Dead, Nacked::Ready] {
        assert_eq!(judge(&moved(put_delayed(marker, 1)), wrong)[0], 1);
    }
}

#[test]
fn a_dead_letter_is_replayed_or_dropped_after_it_died() {
    let [marker, _] = markers();
    let remove_dead = || (8, key(Stage::Dead).encode().to_vec(), Vec::new());
    let receipt =
        |action| [Event::DeadLetter { op: 4, marker, action }, Event::DeadLetterDone { op: 4 }];
    let replayed = [vec![remove_dead()], put_entry(marker)].concat();
    for (action, rows) in [(DeadAction::Replay, replayed), (DeadAction::Drop, vec![remove_dead()])]
    {
        // That it was replayed before it died this time is no proof.
        let mut before = vec![Log(put_entry(marker)), Log(put_dead(marker)), Log(rows.clone())];
        before.extend([Log(vec![put_lease(500)]), Log(put_dead(marker)), Synced]);
        let died = settle_as(marker, Action::Reject, None, Some(Nacked::Dead));
        before.extend(died.map(Say));
        assert_eq!(with_and_without_last(&before, &rows, &receipt(action)), [0, 1]);
    }
}

#[test]
fn what_moved_is_gone_with_its_last_row_only() {
    let [marker, _] = markers();
    let [intent, receipt] = enqueue(marker);
    let moved = [vec![remove_entry()], put_delayed(marker, 1)].concat();
    let mut before = vec![Say(intent), Log(put_entry(marker)), Synced, Say(receipt)];
    before.extend([Log(moved), Say(Event::Purge { op: 3, queue: QUEUE })]);
    let purged = [Event::Purged { op: 3, n_entries: 1, n_leased: 0 }];
    let remove_delayed = vec![(4, by_time().encode().to_vec(), Vec::new())];
    assert_eq!(with_and_without_last(&before, &remove_delayed, &purged), [0, 1]);
}
