//! Rows that nobody can decode: their neighbours flow, and the engine tells.

use std::path::Path;

use millpond::admin::{Admin, Order};
use millpond::{Engine, Entry, EntryId, PartitionStore as _};
use millpond_it::{drain, open, status};
use millpond_storage_api::{Table, WriteBatch};
use millpond_storage_rocksdb::{BudgetOptions, OpenMode, RocksBudget, RocksStore};
use millpond_types::{EntryKey, Stage};

/// Begins like a row whose body is inline, so that only whoever wants the body notices: its first header
/// would be longer than the row.
const BODY_GARBAGE: [u8; 17] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0xFF, 0xFF];

/// A closed engine whose queue `t / q` holds `a` to `e`, with this in the row of `b`.
async fn damaged(directory: &Path, garbage: &[u8]) {
    let engine = open(directory).await.unwrap();
    let entries = ["a", "b", "c", "d", "e"].map(Entry::new).to_vec();
    let ids = engine.topic("t").queue("q").enqueue_batch(entries).await.unwrap().into_inner();
    let partition = Admin::connect(directory).await.unwrap();
    let partition = partition.explain("t", b"q").await.unwrap().queue.partition;
    engine.close().await.unwrap();
    overwrite(&directory.join(format!("partition-{partition:03}")), ids[1].id(), garbage).await;
}

async fn overwrite(store: &Path, id: EntryId, garbage: &[u8]) {
    let budget = RocksBudget::new(BudgetOptions::default());
    let store = RocksStore::open(store, &budget, OpenMode::OpenExisting).unwrap();
    let key = EntryKey { queue: id.queue, stage: Stage::Ready, rank: id.rank };
    let mut batch = WriteBatch::new();
    batch.put(Table::Entries, &key.encode(), garbage);
    store.submit(batch).await.unwrap();
    store.close().await.unwrap();
}

/// State, entries and how many of them were found undecodable.
async fn explained(admin: &Admin) -> (String, u64, Option<u64>) {
    let explanation = admin.explain("t", b"q").await.unwrap();
    let n_set_aside = explanation.window.map(|window| window.n_set_aside);
    (explanation.state, explanation.queue.n_entries, n_set_aside)
}

fn is(state: &str, n_entries: u64, n_set_aside: Option<u64>) -> (String, u64, Option<u64>) {
    (state.to_owned(), n_entries, n_set_aside)
}

#[tokio::test]
async fn a_row_that_cannot_be_decoded_is_set_aside_and_its_neighbours_flow() {
    let directory = tempfile::tempdir().unwrap();
    damaged(directory.path(), b"garbage").await;
    let engine = open(directory.path()).await.unwrap();
    let admin = Admin::connect(directory.path()).await.unwrap();
    assert_eq!(explained(&admin).await, is("cold", 5, Some(0)));
    let queue = engine.topic("t").queue("q");
    assert_eq!(drain(queue.lease()).await.unwrap(), ["a", "c", "d", "e"]);
    assert_eq!(explained(&admin).await, is("set_aside", 1, Some(1)));
    assert_eq!(status(&engine).await.unwrap().counters.n_rows_corrupt, 1);
    // What comes now is not held up either.
    queue.enqueue(Entry::new("f")).await.unwrap();
    assert_eq!(explained(&admin).await, is("ready", 2, Some(1)));
    assert_eq!(drain(engine.topic("t").lease()).await.unwrap(), ["f"]);
    engine.close().await.unwrap();

    let admin = Admin::connect(directory.path()).await.unwrap();
    assert_eq!(explained(&admin).await, is("set_aside", 1, None));
    let listed = admin.queues(Some("t"), Order::Oldest, 9).await.unwrap().queues;
    assert_eq!((listed.len(), listed[0].n_entries, listed[0].head_waits_ms), (1, 1, None));
    let checks = admin.verify().await.unwrap();
    assert!(checks.iter().any(|check| check.n_problems > 0));
}

#[tokio::test]
async fn a_stopped_engine_is_described_past_a_row_that_cannot_be_decoded() {
    let directory = tempfile::tempdir().unwrap();
    damaged(directory.path(), b"garbage").await;
    let engine = open(directory.path()).await.unwrap();
    let queue = engine.topic("t").queue("q");
    // The first stays leased and the second cannot be decoded: the third is the head.
    assert!(queue.lease().fetch_one().await.unwrap().is_some());
    engine.close().await.unwrap();
    let admin = Admin::connect(directory.path()).await.unwrap();
    let explanation = admin.explain("t", b"q").await.unwrap();
    assert_eq!((explanation.state.as_str(), explanation.leases.len()), ("stopped", 1));
    assert!(explanation.queue.head_waits_ms.is_some());
}

#[tokio::test]
async fn an_entry_whose_body_cannot_be_decoded_stays_leased_and_its_neighbours_flow() {
    for at_once in [1, 5] {
        let directory = tempfile::tempdir().unwrap();
        damaged(directory.path(), &BODY_GARBAGE).await;
        let engine = open(directory.path()).await.unwrap();
        let mut seen = Vec::new();
        while let deliveries = engine.topic("t").lease().max(at_once).fetch().await.unwrap()
            && !deliveries.is_empty()
        {
            for delivery in deliveries {
                seen.push(millpond_it::text(&delivery));
                delivery.ack().await.unwrap();
            }
        }
        assert_eq!(seen, ["a", "c", "d", "e"], "{at_once} at a time");
        let after: millpond::Status = status(&engine).await.unwrap();
        assert_eq!((after.n_entries, after.n_leased), (1, 1));
        close_and_purge(engine, directory.path()).await;
    }
}

/// Whatever cannot be decoded goes with a purge.
async fn close_and_purge(engine: Engine, directory: &Path) {
    engine.close().await.unwrap();
    let admin = Admin::connect(directory).await.unwrap();
    assert_eq!(admin.purge("t", b"q").await.unwrap().n_entries, 1);
    assert_eq!(explained(&admin).await, is("empty", 0, None));
    for check in admin.verify().await.unwrap() {
        assert_eq!(check.problems, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_purge_removes_what_cannot_be_decoded() {
    let directory = tempfile::tempdir().unwrap();
    damaged(directory.path(), b"garbage").await;
    let engine = open(directory.path()).await.unwrap();
    assert_eq!(drain(engine.topic("t").lease()).await.unwrap().len(), 4);
    close_and_purge(engine, directory.path()).await;
}
