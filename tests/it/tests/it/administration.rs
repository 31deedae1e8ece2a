//! Looking at an engine from outside, running and stopped.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use millpond::admin::{Admin, Order};
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
        let queues = admin.queues(topic, order, n_max).await.unwrap();
        queues.into_iter().map(|queue| queue.key).collect::<Vec<_>>()
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
    assert!(deep.queue.head_waits_ms.is_some());
    assert_eq!(admin.explain("t", b"nobody").await.unwrap().state, "empty");
    assert_eq!(admin.explain("t", b"").await.unwrap_err().kind(), ErrorKind::InvalidInput);

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
