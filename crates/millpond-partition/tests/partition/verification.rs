//! Every rule of the verification, each broken by hand; and no damage brings it down.

use std::sync::Arc;

use millpond_partition::verify::{Verification, verify};
use millpond_partition::{LeaseSource, PartitionOptions, QueueRef};
use millpond_storage_api::{PartitionStore, StoreRead, Table, WriteBatch};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};
use millpond_sync::thread::block_on;
use millpond_types::{
    ActiveKey, ActiveRow, EntryId, EntryKey, EntryRank, ErrorKind, LeaseKey, LeaseRow, PayloadKey,
    Priority, QueueRow, Sequence, Stage, SystemKey, TopicId, TopicName, UnixMillis, encode_u64,
};
use proptest::prelude::*;

use crate::fixture::{enqueue, entry, lease, on_new_disk, queue, store};

/// A stopped partition: queue `a` has a small and a large entry, of which the small one is leased; queue
/// `b` has a small one.
struct Stopped {
    disk: MemoryDisk,
    store: Arc<MemoryStore>,
    a: Arc<QueueRef>,
    small: EntryId,
    large: EntryId,
    other: EntryId,
}

impl Stopped {
    fn new() -> Self {
        let (disk, partition) = on_new_disk(PartitionOptions::default());
        let (a, b) = (queue("a"), queue("b"));
        let small = enqueue(&partition, &a, 1)[0];
        let large = block_on(partition.enqueue(&a, vec![entry(5000)])).expect("open").get()[0];
        let other = enqueue(&partition, &b, 1)[0];
        assert_eq!(lease(&partition, LeaseSource::Queue(a.id), 1)[0].id, small);
        block_on(partition.close()).expect("the store has not failed");
        let store = store(&disk, MemoryOptions::default());
        Self { disk, store, a, small, large, other }
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
        let row = block_on(self.store.get(Table::Active, &key)).expect("readable");
        (key.to_vec(), ActiveRow::decode(&row.expect("it has work")).expect("as written"))
    }

    fn change_active(&self, change: impl FnOnce(&mut ActiveRow)) {
        let (key, mut row) = self.active();
        change(&mut row);
        self.put(Table::Active, &key, &row.encode());
    }

    fn change_lease(&self, change: impl FnOnce(&mut LeaseRow)) {
        let key = lease_key(self.small);
        let row = block_on(self.store.get(Table::Leases, &key)).expect("readable");
        let mut row = LeaseRow::decode(&row.expect("it is leased")).expect("as written");
        change(&mut row);
        self.put(Table::Leases, &key, &row.encode());
    }

    fn verify(&self) -> Verification {
        block_on(verify(&*self.store, 0, 1)).expect("the store can be read")
    }
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
    assert_eq!(counts, (2, 3, 1, 1));
    // Two active queues and their names on top.
    assert_eq!(found.n_rows, 3 + 1 + 1 + 2 + 2);
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
    reports(|s| s.put(Table::System, SystemKey::NextSequence.encode(), b"x"), &["system row"]);
}

#[test]
fn v2_active_rows_counters_and_floors() {
    reports(|s| s.delete(Table::Active, &s.active().0), &["2 entries and no active row"]);
    reports(|s| s.change_active(|row| row.n_ready += 1), &["counts (3, 0, 0)"]);
    reports(|s| s.change_active(|row| row.n_ready = u64::MAX), &["counts"]);
    reports(|s| s.change_active(|row| row.n_dead = 1), &["counts (2, 0, 1)"]);
    reports(
        |s| s.change_active(|row| (row.n_ready, row.n_delayed) = (1, 1)),
        &["counts (1, 1, 0)"],
    );
    reports(
        |s| s.change_active(|row| *row = ActiveRow { floor: row.floor, ..ActiveRow::default() }),
        &["counts (0, 0, 0)", "active and empty"],
    );
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
    let move_lease = |s: &Stopped, key: &[u8]| {
        let row = block_on(s.store.get(Table::Leases, &lease_key(s.small))).expect("readable");
        s.put(Table::Leases, key, &row.expect("it is leased"));
    };
    reports(|s| move_lease(s, &lease_key(s.large)), &fits_none);
    reports(|s| move_lease(s, &[7; 24]), &fits_none);
}

#[test]
fn v5_separate_bodies() {
    reports(|s| s.delete(Table::Payloads, &body_key(s.large)), &["1 separate bodies are due"]);
    reports(|s| s.put(Table::Payloads, &body_key(s.large), b"cut"), &["fits no entry"]);
    let fits_none = ["fits no entry", "1 separate bodies are due, 2 are there"];
    reports(|s| s.put(Table::Payloads, &body_key(s.small), b"too much"), &fits_none);
    reports(|s| s.put(Table::Payloads, &[7; 24], b"nobody's"), &fits_none);
}

#[test]
fn v6_sequences() {
    let unreserved = ["without being reserved"];
    let next = SystemKey::NextSequence.encode();
    reports(|s| s.put(Table::System, next, &encode_u64(s.other.rank.sequence.0)), &unreserved);
    reports(|s| s.delete(Table::System, next), &unreserved);
}

#[test]
fn v7_queues_of_other_partitions() {
    let stopped = Stopped::new();
    let mine = stopped.a.id.partition(2);
    let n_strangers = u64::from(stopped.other.queue.partition(2) != mine);
    let verify = |partition, n| block_on(verify(&*stopped.store, partition, n)).expect("readable");
    assert_eq!(verify(mine, 2).n_problems, n_strangers);
    assert_eq!(verify(1 - mine, 2).n_problems, 2 - n_strangers);
    assert!(verify(1 - mine, 2).problems[0].contains("belongs in another partition"));
    assert_eq!(verify(0, 0).n_problems, 2, "nothing belongs in none of no partitions");
}

#[test]
fn a_damaged_row_is_an_error_and_no_verdict() {
    let stopped = Stopped::new();
    let tables: [(Table, &[u8]); 3] = [
        (Table::Entries, &entry_key(stopped.other)),
        (Table::Leases, &lease_key(stopped.small)),
        (Table::Payloads, &body_key(stopped.large)),
    ];
    for (table, key) in tables {
        let stopped = Stopped::new();
        assert!(stopped.disk.damage_row(table, key));
        let verified = block_on(verify(&*stopped.store, 0, 1));
        assert_eq!(verified.expect_err("unreadable").kind(), ErrorKind::Corrupt);
    }
}

const VERIFIED: [Table; 6] =
    [Table::Entries, Table::Payloads, Table::Leases, Table::Queues, Table::Active, Table::System];

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
