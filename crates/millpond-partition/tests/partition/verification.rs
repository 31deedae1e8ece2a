//! Every rule of the verification, each broken by hand; and no damage brings it down.

use std::sync::Arc;

use millpond_partition::inspect::scan_table;
use millpond_partition::verify::{Verification, verify};
use millpond_partition::{
    Clock, LeaseSource, Nack, NewEntry, Partition, PartitionOptions, QueueRef, Retry, Start,
};
use millpond_storage_api::{PartitionStore, StoreRead, Table, WriteBatch};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
use millpond_sync::thread::block_on;
use millpond_types::{
    ActiveKey, ActiveRow, DeadRow, DedupExpiryKey, DedupKey, DedupRow, DelayedEntryKey, DelayedKey,
    DelayedRow, Due, DueClock, EntryId, EntryKey, EntryRank, EntryRow, ErrorKind, LeaseKey,
    LeaseRow, PayloadKey, Priority, Quantum, QueueRow, Scope, Sequence, Settings, SettingsRow,
    Stage, StoredBody, SystemKey, TopicId, TopicName, TotalsRow, UnixMillis, encode_u64,
};
use proptest::prelude::*;

use crate::fixture::{enqueue, entry, lease, lease_ref, on_new_disk, queue, store};

const HOUR_MS: u64 = 3_600_000;
/// What is wrong with the counters of a queue is wrong with their sum, too.
const TOTALS: &str = "the partition counts";

/// A stopped partition: queue `a` has a small and a large entry, of which the small one is leased; queue
/// `b` has a small one. Queue `c` has nothing that is ready: a small and a large entry that wait, by
/// either clock, and a small and a large dead letter.
struct Stopped {
    disk: MemoryDisk,
    store: Arc<MemoryStore>,
    a: Arc<QueueRef>,
    small: EntryId,
    large: EntryId,
    other: EntryId,
    delayed_small: DelayedEntryKey,
    delayed_large: DelayedEntryKey,
    dead_small: EntryId,
    dead_large: EntryId,
}

impl Stopped {
    fn new() -> Self {
        let (disk, partition) = on_new_disk(PartitionOptions::default());
        let (a, b) = (queue("a"), queue("b"));
        let small = enqueue(&partition, &a, 1)[0];
        let large = block_on(partition.enqueue(&a, vec![entry(5000)])).expect("open").get()[0].id();
        let other = enqueue(&partition, &b, 1)[0];
        assert_eq!(lease(&partition, LeaseSource::Queue(a.id), 1)[0].id, small);
        let [dead_small, dead_large] = dead_letters(&partition, &queue("c"));
        delay_two(&partition, &queue("c"));
        block_on(partition.close()).expect("the store has not failed");
        let store = store(&disk, MemoryOptions::default());
        let [delayed_small, delayed_large] = delayed(&store);
        Self {
            disk,
            store,
            a,
            small,
            large,
            other,
            delayed_small,
            delayed_large,
            dead_small,
            dead_large,
        }
    }

    /// The entry that waits for this clock.
    fn waiting(&self, clock: DueClock) -> DelayedEntryKey {
        match clock {
            DueClock::Steady => self.delayed_small,
            DueClock::Wall => self.delayed_large,
        }
    }

    fn row(&self, table: Table, key: &[u8]) -> Vec<u8> {
        let row = block_on(self.store.get(table, key)).expect("readable");
        row.expect("it was written").to_vec()
    }

    fn put(&self, table: Table, key: &[u8], value: &[u8]) {
        self.disk.poke_row(table, key, value);
    }

    fn delete(&self, table: Table, key: &[u8]) {
        let mut batch = WriteBatch::new();
        batch.delete(table, key);
        block_on(self.store.submit(batch)).expect("the store has not failed");
    }

    fn active(&self) -> (Vec<u8>, ActiveRow) {
        let key = ActiveKey { topic: self.a.topic_id, queue: self.a.id }.encode();
        (key.to_vec(), ActiveRow::decode(&self.row(Table::Active, &key)).expect("as written"))
    }

    fn change_active(&self, change: impl FnOnce(&mut ActiveRow)) {
        let (key, mut row) = self.active();
        change(&mut row);
        self.put(Table::Active, &key, &row.encode());
    }

    fn change_lease(&self, change: impl FnOnce(&mut LeaseRow)) {
        let key = lease_key(self.small);
        let mut row = LeaseRow::decode(&self.row(Table::Leases, &key)).expect("as written");
        change(&mut row);
        self.put(Table::Leases, &key, &row.encode());
    }

    fn change_delayed(&self, key: &DelayedEntryKey, change: impl FnOnce(&mut DelayedRow)) {
        let key = by_time(key);
        let mut row = DelayedRow::decode(&self.row(Table::Delayed, &key)).expect("as written");
        change(&mut row);
        let mut bytes = Vec::new();
        row.encode_into(&mut bytes);
        self.put(Table::Delayed, &key, &bytes);
    }

    fn change_dead(&self, id: EntryId, change: impl FnOnce(&mut DeadRow)) {
        let key = dead_key(id);
        let mut row = DeadRow::decode(&self.row(Table::Entries, &key)).expect("as written");
        change(&mut row);
        let mut bytes = Vec::new();
        row.encode_into(&mut bytes);
        self.put(Table::Entries, &key, &bytes);
    }

    fn verify(&self) -> Verification {
        block_on(verify(&*self.store, 0, 1)).expect("the store can be read")
    }
}

/// A small and a large one.
fn dead_letters(partition: &Partition, queue: &Arc<QueueRef>) -> [EntryId; 2] {
    block_on(partition.enqueue(queue, vec![entry(3), entry(5000)])).expect("open");
    let grants = lease(partition, LeaseSource::Queue(queue.id), 2);
    let never = || Nack { retry: Retry::Never, reason: "not for us".to_owned() };
    for grant in &grants {
        block_on(partition.nack(lease_ref(grant), never())).expect("it is leased");
    }
    [grants[0].id, grants[1].id]
}

/// A small one by the partition's clock and a large one by the wall clock.
fn delay_two(partition: &Partition, queue: &Arc<QueueRef>) {
    let at = Clock::wall().plus(HOUR_MS);
    let small = NewEntry { start: Start::After(HOUR_MS), ..entry(3) };
    let large = NewEntry { start: Start::At(at), ..entry(5000) };
    block_on(partition.enqueue(queue, vec![small, large])).expect("open");
}

/// What [`delay_two`] left.
fn delayed(store: &MemoryStore) -> [DelayedEntryKey; 2] {
    let mut found = Vec::new();
    block_on(scan_table(store, Table::Entries, |key, _| {
        found.extend(DelayedEntryKey::decode(key).ok());
        Ok(())
    }))
    .expect("readable");
    found.try_into().expect("two entries wait")
}

fn by_time(key: &DelayedEntryKey) -> [u8; DelayedKey::BYTES] {
    DelayedKey { due: key.due, queue: key.queue, sequence: key.rank.sequence }.encode()
}

fn dead_key(id: EntryId) -> [u8; EntryKey::BYTES] {
    EntryKey { queue: id.queue, stage: Stage::Dead, rank: id.rank }.encode()
}

fn entry_key(id: EntryId) -> [u8; EntryKey::BYTES] {
    EntryKey { queue: id.queue, stage: Stage::Ready, rank: id.rank }.encode()
}

fn lease_key(id: EntryId) -> [u8; LeaseKey::BYTES] {
    LeaseKey { queue: id.queue, sequence: id.rank.sequence }.encode()
}

fn body_key(id: EntryId) -> [u8; PayloadKey::BYTES] {
    PayloadKey { queue: id.queue, sequence: id.rank.sequence }.encode()
}

/// Damages an intact partition and expects exactly one kind of complaint.
#[track_caller]
fn reports(damage: impl FnOnce(&Stopped), complaints: &[&str]) {
    let stopped = Stopped::new();
    let before = stopped.verify();
    assert!(before.is_clean(), "{:?}", before.problems);
    damage(&stopped);
    let found = stopped.verify();
    assert_eq!(found.n_problems, complaints.len() as u64, "{:?}", found.problems);
    for (problem, complaint) in found.problems.iter().zip(complaints) {
        assert!(problem.contains(complaint), "{problem:?} does not say {complaint:?}");
    }
}

#[test]
fn an_intact_partition_is_clean_and_counted() {
    let found = Stopped::new().verify();
    assert!(found.is_clean());
    let counts = (found.n_queues, found.n_entries, found.n_leases, found.n_bodies);
    assert_eq!(counts, (3, 7, 1, 3));
    // Three active queues and their names on top, and where the two that wait have their entries.
    assert_eq!(found.n_rows, 7 + 1 + 3 + 3 + 3 + 2);
}

#[test]
fn v1_keys_and_rows_that_do_not_decode() {
    let undecodable = ["row "];
    reports(|s| s.put(Table::Leases, b"short", &[0; LeaseRow::BYTES]), &undecodable);
    reports(|s| s.put(Table::Leases, &[7; 24], b"short"), &undecodable);
    reports(|s| s.put(Table::Active, b"short", &ActiveRow::default().encode()), &undecodable);
    reports(|s| s.put(Table::Active, &[7; 32], b"short"), &undecodable);
    reports(|s| s.put(Table::Queues, &[7; 16], b"short"), &undecodable);
    reports(|s| s.put(Table::Entries, &[7; 26], b"unknown stage"), &undecodable);
    // What is missing because it does not decode is missed elsewhere, too.
    reports(|s| s.put(Table::Payloads, b"short", b"body"), &["row ", "bodies are due"]);
    reports(
        |s| s.put(Table::Entries, &entry_key(s.other), b"garbage"),
        &["row ", "counts (1, 0, 0)"],
    );
    reports(
        |s| s.put(Table::Entries, &dead_key(s.dead_small), &[9; 30]),
        &["unknown cause", "counts (0, 2, 2)"],
    );
    reports(
        |s| s.put(Table::Entries, &s.delayed_small.encode(), b"x"),
        &["row ", "its queue does not know it", "counts (0, 2, 2)"],
    );
    reports(
        |s| s.put(Table::Delayed, &by_time(&s.delayed_small), b"x"),
        &["row ", "a time that no row tells"],
    );
    reports(|s| s.put(Table::Delayed, b"short", b"row"), &undecodable);
    for key in [
        SystemKey::NextSequence,
        SystemKey::DelayedFloor(DueClock::Steady),
        SystemKey::DelayedFloor(DueClock::Wall),
    ] {
        reports(|s| s.put(Table::System, key.encode(), b"x"), &["system row"]);
    }
    reports(|s| s.put(Table::System, SystemKey::Totals.encode(), b"x"), &["totals row"]);
}

#[test]
fn v2_active_rows_counters_and_floors() {
    reports(|s| s.delete(Table::Active, &s.active().0), &["2 entries and no active row", TOTALS]);
    reports(|s| s.change_active(|row| row.n_ready += 1), &["counts (3, 0, 0)", TOTALS]);
    reports(|s| s.change_active(|row| row.n_ready = u64::MAX), &["counts", TOTALS]);
    reports(|s| s.change_active(|row| row.n_dead = 1), &["counts (2, 0, 1)", TOTALS]);
    reports(
        |s| s.change_active(|row| (row.n_ready, row.n_delayed) = (1, 1)),
        &["counts (1, 1, 0)"],
    );
    reports(
        |s| s.change_active(|row| *row = ActiveRow { floor: row.floor, ..ActiveRow::default() }),
        &["counts (0, 0, 0)", "active and empty", TOTALS],
    );
    reports(|s| s.change_active(|row| row.n_bytes += 1), &["bytes of bodies", TOTALS]);
    let above =
        |s: &Stopped| EntryRank { sequence: Sequence(s.small.rank.sequence.0 + 1), ..s.small.rank };
    reports(|s| s.change_active(|row| row.floor = above(s)), &["below its floor"]);
    let topic = TopicId::derive(&TopicName::new("another").expect("a valid name"));
    let stopped = Stopped::new();
    let key = ActiveKey { topic, queue: stopped.a.id };
    stopped.put(Table::Active, &key.encode(), &stopped.active().1.encode());
    let found = stopped.verify();
    assert!(found.problems.iter().any(|problem| problem.contains("active in two topics")));
}

#[test]
fn v3_names() {
    let names = |s: &Stopped| QueueRow { topic: s.a.topic.clone(), key: s.a.key.clone() }.encode();
    reports(|s| s.delete(Table::Queues, &s.a.id.0), &["has no names"]);
    reports(|s| s.put(Table::Queues, &[7; 16], &names(s)), &["id of queue emails/a is wrong"]);
    // The names of one queue under many keys do not stand in for those of the others.
    reports(
        |s| {
            s.put(Table::Queues, &[7; 16], &names(s));
            s.put(Table::Queues, &[8; 16], &names(s));
            s.put(Table::Queues, &s.other.queue.0, &names(s));
        },
        &["is wrong", "is wrong", "is wrong", "has no names"],
    );
}

#[test]
fn v4_leases() {
    let fits_none = ["fits no entry"];
    reports(|s| s.change_lease(|row| row.priority = Priority(1)), &fits_none);
    reports(|s| s.change_lease(|row| row.enqueued_at = UnixMillis(1)), &fits_none);
    reports(|s| s.change_lease(|row| row.separate_body = true), &fits_none);
    reports(|s| s.change_lease(|row| row.n_bytes += 1), &fits_none);
    reports(|s| s.change_lease(|row| row.has_retry_floor = true), &fits_none);
    let move_lease = |s: &Stopped, key: &[u8]| {
        let row = block_on(s.store.get(Table::Leases, &lease_key(s.small))).expect("readable");
        s.put(Table::Leases, key, &row.expect("it is leased"));
    };
    reports(|s| move_lease(s, &lease_key(s.large)), &fits_none);
    reports(|s| move_lease(s, &lease_key(s.dead_small)), &fits_none);
    reports(|s| move_lease(s, &[7; 24]), &fits_none);
}

#[test]
fn v5_separate_bodies() {
    let of_delayed = |s: &Stopped| {
        let DelayedEntryKey { queue, rank, .. } = s.delayed_large;
        body_key(EntryId { queue, rank })
    };
    let large = [|s: &Stopped| body_key(s.large), of_delayed, |s: &Stopped| body_key(s.dead_large)];
    for key in large {
        reports(|s| s.delete(Table::Payloads, &key(s)), &["3 separate bodies are due, 2"]);
        reports(|s| s.put(Table::Payloads, &key(s), b"cut"), &["fits no entry"]);
    }
    let fits_none = ["fits no entry", "3 separate bodies are due, 4 are there"];
    for key in
        [|s: &Stopped| body_key(s.small), |s: &Stopped| body_key(s.dead_small), |_: &_| [7; 24]]
    {
        reports(|s| s.put(Table::Payloads, &key(s), b"nobody's"), &fits_none);
    }
    // A dead letter that has forgotten where its body is.
    let forget = |row: &mut DeadRow| row.entry.body = StoredBody::Inline(Default::default());
    let left = ["fits no entry", "2 separate bodies are due, 3 are there", "bytes of bodies"];
    reports(|s| s.change_dead(s.dead_large, forget), &left);
}

#[test]
fn v6_sequences() {
    let unreserved = ["without being reserved"];
    let next = SystemKey::NextSequence.encode();
    let highest = |s: &Stopped| s.delayed_large.rank.sequence.0;
    reports(|s| s.put(Table::System, next, &encode_u64(highest(s))), &unreserved);
    reports(|s| s.delete(Table::System, next), &unreserved);
    let revived = |s: &Stopped, queue, rank| {
        let row = EntryRow {
            attempts: 0,
            enqueued_at: UnixMillis(1),
            retry_floor_ms: 0,
            body: StoredBody::Inline(Default::default()),
        };
        let mut bytes = Vec::new();
        row.encode_into(&mut bytes);
        s.put(Table::Entries, &entry_key(EntryId { queue, rank }), &bytes);
    };
    reports(|s| revived(s, s.dead_small.queue, s.dead_small.rank), &["has two rows"]);
    reports(
        |s| revived(s, s.delayed_small.queue, s.delayed_small.rank),
        &["has two rows", "its queue does not know it", "counts (0, 2, 2)", "below its floor"],
    );
}

#[test]
fn v8_entries_that_wait_have_two_rows_that_agree() {
    for clock in DueClock::ALL {
        let key = |s: &Stopped| s.waiting(clock);
        let gone = ["a time that no row tells"];
        reports(|s| s.delete(Table::Delayed, &by_time(&key(s))), &gone);
        let differ = ["two rows of"];
        reports(|s| s.change_delayed(&key(s), |row| row.priority = Priority(3)), &differ);
        reports(|s| s.change_delayed(&key(s), |row| row.entry.attempts += 1), &differ);
        // What only one of the two tells, nothing contradicts.
        reports(|s| s.change_delayed(&key(s), |row| row.entry.retry_floor_ms = 7), &[]);
        let copy = |s: &Stopped, due: Due| {
            let row = s.row(Table::Delayed, &by_time(&key(s)));
            s.put(Table::Delayed, &by_time(&DelayedEntryKey { due, ..key(s) }), &row);
        };
        let never = UnixMillis(u64::MAX);
        for other in DueClock::ALL {
            let unknown = ["its queue does not know it"];
            reports(|s| copy(s, Due { clock: other, at: never }), &unknown);
        }
        let moved = |s: &Stopped| {
            copy(s, Due { clock, at: never });
            s.delete(Table::Delayed, &by_time(&key(s)));
        };
        reports(moved, &["its queue does not know it", "a time that no row tells"]);
    }
    let elsewhere = |row: &mut DelayedRow| row.entry.body = StoredBody::Separate { n_bytes: 9 };
    let due = ["two rows of", "4 separate bodies are due, 3 are there"];
    reports(|s| s.change_delayed(&s.delayed_small, elsewhere), &due);
    let stranger = |s: &Stopped| {
        let key = DelayedEntryKey { queue: s.other.queue, ..s.delayed_small };
        s.put(Table::Delayed, &by_time(&key), &s.row(Table::Delayed, &by_time(&s.delayed_small)));
    };
    reports(stranger, &["its queue does not know it"]);
}

#[test]
fn v9_floors_of_the_lines() {
    for clock in DueClock::ALL {
        let floor = SystemKey::DelayedFloor(clock).encode();
        let put = |s: &Stopped, at: UnixMillis| s.put(Table::System, floor, &encode_u64(at.0));
        reports(|s| put(s, s.waiting(clock).due.at), &[]);
        reports(|s| put(s, s.waiting(clock).due.at.plus(1)), &["before the floor of its line"]);
        // A line that never held anything has none.
        reports(|s| s.delete(Table::System, floor), &[]);
    }
}

#[test]
fn v7_queues_of_other_partitions() {
    let stopped = Stopped::new();
    let mine = stopped.a.id.partition(2);
    let others = [stopped.other.queue, stopped.dead_small.queue];
    let n_strangers = others.iter().filter(|queue| queue.partition(2) != mine).count() as u64;
    let verify = |partition, n| block_on(verify(&*stopped.store, partition, n)).expect("readable");
    assert_eq!(verify(mine, 2).n_problems, n_strangers);
    assert_eq!(verify(1 - mine, 2).n_problems, 3 - n_strangers);
    assert!(verify(1 - mine, 2).problems[0].contains("belongs in another partition"));
    assert_eq!(verify(0, 0).n_problems, 3, "nothing belongs in none of no partitions");
}

#[test]
fn a_damaged_row_is_an_error_and_no_verdict() {
    let stopped = Stopped::new();
    let tables: [(Table, &[u8]); 5] = [
        (Table::Entries, &entry_key(stopped.other)),
        (Table::Leases, &lease_key(stopped.small)),
        (Table::Payloads, &body_key(stopped.large)),
        (Table::Entries, &dead_key(stopped.dead_small)),
        (Table::System, SystemKey::NextSequence.encode()),
    ];
    for (table, key) in tables {
        let stopped = Stopped::new();
        assert!(stopped.disk.damage_row(table, key));
        let verified = block_on(verify(&*stopped.store, 0, 1));
        assert_eq!(verified.expect_err("unreadable").kind(), ErrorKind::Corrupt);
    }
}

const VERIFIED: [Table; 7] = [
    Table::Entries,
    Table::Payloads,
    Table::Leases,
    Table::Queues,
    Table::Active,
    Table::System,
    Table::Delayed,
];

/// A key that is there, one of those with some bytes changed, or any.
fn key() -> impl Strategy<Value = (prop::sample::Index, Vec<(prop::sample::Index, u8)>)> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (any::<prop::sample::Index>(), prop::collection::vec(change, 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_damage_brings_the_verification_down(
        changes in prop::collection::vec(
            (prop::sample::select(&VERIFIED), key(), prop::collection::vec(any::<u8>(), 0..45)),
            1..6,
        ),
    ) {
        let stopped = Stopped::new();
        let keys: Vec<Vec<u8>> = vec![
            entry_key(stopped.small).to_vec(),
            entry_key(stopped.other).to_vec(),
            lease_key(stopped.small).to_vec(),
            body_key(stopped.large).to_vec(),
            stopped.active().0,
            stopped.a.id.0.to_vec(),
            SystemKey::NextSequence.encode().to_vec(),
            SystemKey::DelayedFloor(DueClock::Wall).encode().to_vec(),
            stopped.delayed_small.encode().to_vec(),
            stopped.delayed_large.encode().to_vec(),
            by_time(&stopped.delayed_small).to_vec(),
            by_time(&stopped.delayed_large).to_vec(),
            dead_key(stopped.dead_large).to_vec(),
            Vec::new(),
        ];
        for (table, (key, flips), value) in changes {
            let mut key = key.get(&keys).clone();
            for (at, byte) in flips {
                if !key.is_empty() {
                    let at = at.index(key.len());
                    key[at] = byte;
                }
            }
            stopped.put(table, &key, &value);
        }
        let found = block_on(verify(&*stopped.store, 0, 1)).expect("every row can be read");
        prop_assert_eq!(found.is_clean(), found.problems.is_empty());
    }
}

#[test]
fn v10_totals_of_the_partition() {
    let totals = SystemKey::Totals.encode();
    reports(|s| s.delete(Table::System, totals), &["the partition counts 0 entries and 0 bytes"]);
    let change = |s: &Stopped, change: fn(&mut TotalsRow)| {
        let mut row = TotalsRow::decode(&s.row(Table::System, totals)).expect("as written");
        change(&mut row);
        s.put(Table::System, totals, &row.encode());
    };
    reports(|s| change(s, |row| row.n_entries += 1), &["the partition counts 8 entries"]);
    reports(|s| change(s, |row| row.n_bytes -= 1), &[TOTALS]);
}

#[test]
fn v11_keys_that_were_seen() {
    let queue = queue("a").id;
    let seen = || DedupKey { queue, key: "k".into() };
    let expiry = |at| DedupExpiryKey { expires_at: UnixMillis(at), seen: seen() }.encode();
    let row = DedupRow { rank: EntryRank::default(), expires_at: UnixMillis(7) };
    let by_key = |s: &Stopped| s.put(Table::Dedup, &seen().encode(), &row.encode());
    reports(by_key, &["key k of queue"]);
    reports(|s| s.put(Table::Dedup, &expiry(7), &[]), &["was not seen"]);
    let other = ["is to be forgotten and was not seen", "will never be forgotten"];
    reports(
        |s| {
            by_key(s);
            s.put(Table::Dedup, &expiry(8), &[]);
        },
        &other,
    );
    let below = |s: &Stopped| {
        by_key(s);
        s.put(Table::Dedup, &expiry(7), &[]);
        s.put(Table::System, SystemKey::DedupFloor.encode(), &encode_u64(8));
    };
    reports(below, &["before the floor"]);
    reports(|s| s.put(Table::Dedup, b"short", b"row"), &["row "]);
    reports(|s| s.put(Table::Dedup, &seen().encode(), b"row"), &["row "]);
    reports(|s| s.put(Table::System, SystemKey::DedupFloor.encode(), b"x"), &["system row"]);
}

#[test]
fn a_rule_that_makes_no_sense_is_found_and_stops_nothing() {
    let disk = MemoryDisk::new();
    let on_disk = store(&disk, MemoryOptions::default());
    let scope = Scope::Topic(queue("a").topic.clone());
    let row = SettingsRow {
        scope: scope.clone(),
        revision: 1,
        settings: Settings::default().with_quantum(Quantum::Entries(0)).with_weight(0),
    };
    let mut batch = WriteBatch::new();
    batch.put(Table::Settings, &SettingsRow::key(&scope), &row.encode());
    block_on(on_disk.submit(batch)).expect("the store has not failed");
    let found = block_on(verify(&*on_disk, 0, 1)).expect("it can be read");
    assert_eq!((found.n_rows, found.problems.len()), (1, 1), "{:?}", found.problems);
    drop(on_disk);
    let opened =
        Partition::open(store(&disk, MemoryOptions::default()), PartitionOptions::default());
    let partition = block_on(opened).expect("the rule is set aside");
    enqueue(&partition, &queue("a"), 1);
    assert_eq!(lease(&partition, LeaseSource::Queue(queue("a").id), 1).len(), 1);
    block_on(partition.close()).expect("nothing has failed");
}
