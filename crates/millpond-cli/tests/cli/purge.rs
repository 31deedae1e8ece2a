//! Purging queues of a running and of a stopped engine, with and without being asked.

use std::time::Duration;

use millpond::{Engine, Entry, Options};
use serde_json::json;

use crate::fixture::{Ended, Fixture};
use crate::terminal::Terminal;

/// An engine in this process, with 4 entries in `t / deep`, one of them leased, and 1 in `t / other`.
async fn filled(fixture: &Fixture) -> Engine {
    let options = Options::new(fixture.path("data")).partitions(2);
    let engine = Engine::open(options).await.expect("the directory is new");
    let queue = |key| engine.topic("t").queue(key);
    queue("deep").enqueue_batch(vec![Entry::new("x"); 4]).await.expect("it is accepted");
    queue("other").enqueue(Entry::new("x")).await.expect("it is accepted");
    let hour = Duration::from_secs(3600);
    let held = queue("deep").lease().lease_for(hour).fetch_one().await.expect("it is granted");
    assert!(held.is_some());
    engine
}

/// As [`filled`], and closed.
fn stopped(fixture: &Fixture) {
    runtime().block_on(async { filled(fixture).await.close().await.expect("it closes") });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("threads can be started")
}

fn n_entries(fixture: &Fixture, key: &str) -> serde_json::Value {
    fixture.json(&format!("queue explain t {key} --json"))["n_entries"].clone()
}

/// What is the same for a running and for a stopped engine.
fn purge(fixture: &Fixture) {
    let refused = fixture.run("queue purge t deep");
    refused.assert_refused(2, "to purge a queue without being asked on a terminal, say --yes");
    assert_eq!(n_entries(fixture, "deep"), 4);

    let nobody = fixture.run("queue purge t nobody --yes");
    assert_eq!((nobody.code, nobody.stdout.as_str()), (0, "t / nobody holds nothing\n"));
    let nobody = fixture.json("queue purge t nobody --yes --json");
    assert_eq!(nobody, json!({"topic": "t", "key": "nobody", "n_entries": 0, "n_leased": 0}));
    fixture
        .command("queue purge t --yes")
        .arg("")
        .output()
        .map(Ended::from)
        .expect("it starts")
        .assert_refused(2, "a queue key must not be empty");

    let purged = fixture.json("queue purge t deep --yes --json");
    assert_eq!(purged, json!({"topic": "t", "key": "deep", "n_entries": 4, "n_leased": 1}));
    assert_eq!((n_entries(fixture, "deep"), n_entries(fixture, "other")), (0.into(), 1.into()));
    let purged = fixture.run("queue purge t other --yes");
    assert_eq!((purged.code, purged.stdout.as_str()), (0, "t / other: removed 1 entry\n"));
    assert_eq!(fixture.run("partition verify").code, 0);
}

#[test]
fn a_running_engine_purges() {
    let fixture = Fixture::new();
    let runtime = runtime();
    let engine = runtime.block_on(filled(&fixture));
    purge(&fixture);
    let status = runtime.block_on(engine.status()).expect("it runs");
    assert_eq!((status.n_entries, status.counters.n_purged), (0, 5));
    runtime.block_on(engine.close()).expect("it closes");
}

#[test]
fn a_stopped_engine_is_purged_and_closed_again() {
    let fixture = Fixture::new();
    stopped(&fixture);
    purge(&fixture);
    fixture.run("queue purge t deep --yes --data nowhere").assert_refused(3, "no engine");
    let other = Fixture::new();
    let options = Options::new(other.path("data")).partitions(1).control_socket(false);
    let runtime = runtime();
    let engine = runtime.block_on(Engine::open(options)).expect("the directory is new");
    other.run("queue purge t deep --yes").assert_refused(4, "does not answer");
    runtime.block_on(engine.close()).expect("it closes");
}

#[test]
fn on_a_terminal_the_user_is_asked() {
    let fixture = Fixture::new();
    stopped(&fixture);
    let question = "Remove everything that t / deep holds (4 entries, 1 of them leased)? [y/N]";
    for answer in ["n\n", "\n", "\u{4}"] {
        let (code, said, shown) = Terminal::new().run(&fixture, "queue purge t deep", answer);
        assert_eq!((code, said.as_str()), (11, ""), "{shown}");
        assert!(shown.contains(question) && shown.contains("nothing was removed"), "{shown}");
    }
    assert_eq!(n_entries(&fixture, "deep"), 4);

    let (code, said, shown) = Terminal::new().run(&fixture, "queue purge t deep", "y\n");
    assert_eq!(code, 0, "{shown}");
    assert_eq!(said, "t / deep: removed 4 entries, 1 of them leased\n");
    assert_eq!(n_entries(&fixture, "deep"), 0);

    let (code, said, shown) = Terminal::new().run(&fixture, "queue purge t deep", "");
    assert_eq!((code, said.as_str()), (0, "t / deep holds nothing\n"), "{shown}");
    assert!(!shown.contains("Remove"), "there is nothing to ask: {shown}");
}
