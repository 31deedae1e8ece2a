//! Every wrong input gives a typed error that says what is wrong, and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use millpond::{Engine, Entry, ErrorKind, Options, PartitionOptions, PartitionStore, limits};
use millpond_it::{open, options, refused, status};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};

#[tokio::test]
async fn names_payloads_and_batches_out_of_range() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    let entry = || Entry::new("x");
    refused(topic.queue("").enqueue(entry()).await, "queue key must not be empty");
    let long = topic.queue(vec![b'k'; 4096]).enqueue(entry()).await;
    refused(long.clone(), "queue key is 4096 bytes, the limit is 1024 bytes");
    assert_eq!(long.unwrap_err().limit().expect("a limit was exceeded").limit, 1024);
    refused(engine.topic("").queue("q").enqueue(entry()).await, "topic name must not be empty");
    refused(engine.topic(&"t".repeat(256)).lease().fetch().await, "the limit is 255 bytes");

    let queue = topic.queue("q");
    let oversized = Entry::new(vec![0; limits::PAYLOAD_BYTES_MAX + 1]);
    refused(queue.enqueue(oversized.clone()).await, "payload is 16777217 bytes");
    refused(queue.enqueue_batch(vec![entry(), oversized]).await, "payload is 16777217 bytes");
    refused(queue.enqueue_batch(vec![]).await, "at least one entry");
    refused(queue.enqueue_batch(vec![entry(); 10_001]).await, "batch is 10001 entries");
    let large = Entry::new(vec![0; limits::PAYLOAD_BYTES_MAX]);
    refused(queue.enqueue_batch(vec![large; 5]).await, "batch is");
    refused(queue.enqueue(entry().header("h", vec![0; 20_000])).await, "sum of headers");
    let many = (0..65).fold(entry(), |entry, n| entry.header(format!("{n}"), "v"));
    refused(queue.enqueue(many).await, "number of headers is 65");

    assert_eq!(engine.status().await.unwrap().n_entries, 0);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn lease_and_consumer_options_out_of_range() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let topic = engine.topic("t");
    let year = Duration::from_secs(365 * 24 * 3600);
    refused(topic.lease().lease_for(Duration::ZERO).fetch().await, "1 ms to 7 days");
    refused(topic.lease().lease_for(year).fetch().await, "1 ms to 7 days");
    refused(topic.lease().lease_for(Duration::MAX).fetch().await, "1 ms to 7 days");
    refused(topic.lease().max(0).fetch().await, "at least 1");
    refused(topic.lease().max(10_001).fetch().await, "the limit is 10000");
    refused(topic.consumer().credits(0).start(), "at least 1 credit");
    refused(topic.consumer().credits(10_001).start(), "the limit is 10000");
    refused(topic.consumer().lease_for(Duration::ZERO).start(), "1 ms to 7 days");
    refused(engine.topic("").consumer().start(), "must not be empty");
    engine.close().await.unwrap();
}

#[tokio::test]
async fn partition_counts_out_of_range() {
    let directory = tempfile::tempdir().unwrap();
    for n in [0, 1025] {
        let opened = Engine::open(options(directory.path()).partitions(n)).await;
        refused(opened, "1 to 1024 partitions");
    }
    refused(Engine::with_stores(vec![], Default::default()).await, "1 to 1024 partitions");
    // The refusals left nothing that keeps a proper engine from being created.
    open(directory.path()).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn windows_that_could_not_hold_a_single_entry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    for window_bytes_max in [0, 31] {
        let limits = PartitionOptions { window_bytes_max, ..PartitionOptions::default() };
        let says = format!("windows may hold {window_bytes_max} bytes, and one entry takes 40");
        refused(Engine::open(options(&path).partition_options(limits.clone())).await, &says);
        assert!(!path.exists(), "nothing was created");
        let store = MemoryStore::open(&MemoryDisk::new(), MemoryOptions::default()).unwrap();
        let stores = vec![Arc::new(store) as Arc<dyn PartitionStore>];
        refused(Engine::with_stores(stores, limits).await, &says);
    }
    // One entry at a time is enough to go on with.
    let limits = PartitionOptions { window_bytes_max: 40, ..PartitionOptions::default() };
    let engine = Engine::open(options(&path).partition_options(limits)).await.unwrap();
    let queue = engine.topic("t").queue("q");
    queue.enqueue_batch(vec![Entry::new("x"); 40]).await.unwrap();
    assert_eq!(millpond_it::drain(queue.lease()).await.unwrap().len(), 40);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_engine_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    let second = open(directory.path()).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::AlreadyOpen);
    engine.topic("t").queue("q").enqueue(Entry::new("x")).await.unwrap();
    engine.close().await.unwrap();
    let engine = open(directory.path()).await.unwrap();
    assert_eq!(status(&engine).await.unwrap().n_entries, 1);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn directories_that_are_not_ours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let kind = async |options| Engine::open(options).await.unwrap_err().kind();

    let missing = path.join("missing");
    assert_eq!(kind(Options::new(&missing).create(false)).await, ErrorKind::NotFound);
    assert!(!missing.exists());

    let file = path.join("file");
    std::fs::write(&file, "words").unwrap();
    assert_eq!(kind(Options::new(&file)).await, ErrorKind::Io);

    let other = path.join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.txt"), "words").unwrap();
    assert_eq!(kind(Options::new(&other)).await, ErrorKind::Format);
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1, "nothing was added");

    let ours = path.join("ours");
    open(&ours).await.unwrap().close().await.unwrap();
    for manifest in [
        "format 1\npartitions 2\nstate complete\n",
        "format 4\npartitions 2\nstate complete\n",
        "nonsense",
        "",
    ] {
        std::fs::write(ours.join("MILLPOND"), manifest).unwrap();
        assert_eq!(kind(Options::new(&ours)).await, ErrorKind::Format, "{manifest:?}");
    }
}
