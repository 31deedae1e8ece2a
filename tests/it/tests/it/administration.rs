//! Looking at an engine from outside, running and stopped.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use millpond::admin::{Admin, Order, PartitionInfo};
use millpond::{Engine, Entry, ErrorKind};
use millpond_it::{open, options};

async fn fill(engine: &Engine) {
    let topic = engine.topic("t");
    topic.queue("deep").enqueue_batch(vec![Entry::new("x"); 9]).await.unwrap();
    topic.queue("leased").enqueue(Entry::new("x")).await.unwrap();
    let hour = Duration::from_secs(3600);
    let held = topic.queue("leased").lease().lease_for(hour).fetch_one().await.unwrap().unwrap();
    drop(held);
    engine.topic("u").queue("other").enqueue(Entry::new("x")).await.unwrap();
}

async fn look(admin: &Admin) {
    let names = async |topic, order, n_max| {
        let list = admin.queues(topic, order, n_max).await.unwrap();
        assert_eq!(list.incomplete, None);
        list.queues.into_iter().map(|queue| queue.key).collect::<Vec<_>>()
    };
    assert_eq!(names(None, Order::Name, 10).await, ["deep", "leased", "other"]);
    assert_eq!(names(Some("t"), Order::Name, 10).await, ["deep", "leased"]);
    assert_eq!(names(None, Order::Deepest, 1).await, ["deep"]);

    let leased = admin.explain("t", b"leased").await.unwrap();
    assert_eq!((leased.state.as_str(), leased.queue.n_leased), ("leased", 1));
    assert_eq!((leased.leases.len(), leased.queue.head_waits_ms), (1, None));
    let deep = admin.explain("t", b"deep").await.unwrap();
    let expected = if admin.is_running() { "ready" } else { "stopped" };
    assert_eq!((deep.state.as_str(), deep.queue.n_entries), (expected, 9));
    assert!(deep.queue.head_waits_ms.is_some() && deep.leases.is_empty());
    let window = deep.window.map(|window| (window.n_entries, window.n_set_aside, window.refill));
    assert_eq!(window, admin.is_running().then(|| (9, 0, "not needed".to_owned())));
    assert_eq!(admin.explain("t", b"nobody").await.unwrap().state, "empty");
    assert_eq!(admin.explain("t", b"").await.unwrap_err().kind(), ErrorKind::InvalidInput);

    let partitions = admin.partitions().await.unwrap();
    let sum = |count: fn(&PartitionInfo) -> u64| partitions.iter().map(count).sum::<u64>();
    assert_eq!((sum(|p| p.n_queues), sum(|p| p.n_entries), sum(|p| p.n_leased)), (3, 11, 1));
    assert!(partitions.iter().all(|p| p.activity.is_some() == admin.is_running()));

    let checks = admin.verify().await.unwrap();
    assert_eq!(checks.len(), 2);
    assert_eq!(checks.iter().map(|check| check.n_entries).sum::<u64>(), 11);
    for check in checks {
        assert_eq!(check.problems, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_running_and_a_stopped_engine_answer_alike() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    fill(&engine).await;
    let admin = Admin::connect(directory.path()).await.unwrap();
    assert!(admin.is_running());
    look(&admin).await;
    let socket = std::fs::metadata(directory.path().join("control.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);

    engine.close().await.unwrap();
    assert!(!directory.path().join("control.sock").exists());
    let admin = Admin::connect(directory.path()).await.unwrap();
    assert!(!admin.is_running());
    look(&admin).await;
}

#[tokio::test]
async fn a_socket_far_down_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(120)).join("data");
    let engine = open(&deep).await.unwrap();
    fill(&engine).await;
    let admin = Admin::connect(&deep).await.unwrap();
    assert!(admin.is_running());
    look(&admin).await;
    engine.close().await.unwrap();
}

#[tokio::test]
async fn nothing_there_and_nobody_answering() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Admin::connect(directory.path().join("missing")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let engine = Engine::open(options(directory.path()).control_socket(false)).await.unwrap();
    let silent = Admin::connect(directory.path()).await.unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::AlreadyOpen);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_socket_left_by_a_killed_engine_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).await.unwrap().close().await.unwrap();
    // What a killed process leaves: a socket that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("control.sock")).unwrap());
    assert!(!Admin::connect(directory.path()).await.unwrap().is_running());
    let engine = open(directory.path()).await.unwrap();
    assert!(Admin::connect(directory.path()).await.unwrap().is_running());
    engine.close().await.unwrap();
}

#[tokio::test]
async fn the_leases_of_one_queue_are_told_nearest_deadline_first() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).await.unwrap();
    for key in ["a", "q", "z"] {
        let queue = engine.topic("t").queue(key);
        queue.enqueue_batch(vec![Entry::new("x"); 300]).await.unwrap();
        for minutes in [90, 60] {
            let lease = Duration::from_secs(minutes * 60);
            for _ in 0..120 {
                assert!(queue.lease().lease_for(lease).fetch_one().await.unwrap().is_some());
            }
        }
    }
    let ids: Vec<_> = engine.topic("t").queue("q").browse(None, 300).await.unwrap();
    let sooner: Vec<_> = ids[120..220].iter().map(|entry| entry.id.rank.sequence.0).collect();
    for _ in ["running", "stopped"] {
        let admin = Admin::connect(directory.path()).await.unwrap();
        let explanation = admin.explain("t", b"q").await.unwrap();
        assert_eq!((explanation.queue.n_entries, explanation.queue.n_leased), (300, 240));
        let listed: Vec<_> = explanation.leases.iter().map(|lease| lease.sequence).collect();
        assert_eq!(listed, sooner, "100 of those that end first");
        assert!(explanation.queue.head_waits_ms.is_some());
        let deepest = admin.queues(None, Order::Deepest, 9).await.unwrap().queues;
        assert_eq!(deepest.iter().map(|queue| queue.n_leased).collect::<Vec<_>>(), [240; 3]);
        engine.close().await.unwrap();
    }
}
