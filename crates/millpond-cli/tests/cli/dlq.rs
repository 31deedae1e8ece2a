//! Dead letters of a running and of a stopped engine.

use millpond::{Engine, Entry, Options};
use serde_json::{Value, json};

use crate::fixture::{Ended, Fixture};
use crate::terminal::Terminal;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("threads can be started")
}

/// An engine in this process. In `t / q`, five entries were rejected and one is ready.
async fn filled(fixture: &Fixture) -> Engine {
    let options = Options::new(fixture.path("data")).partitions(2);
    let engine = Engine::open(options).await.expect("the directory is new");
    let queue = engine.topic("t").queue("q");
    let large = Entry::new("large ".repeat(1000)).header("from", "a").header("raw", vec![0xFF, 0]);
    let mut entries = vec![large, Entry::new(vec![0xFF, 0x0A])];
    entries.extend((3..=5).map(|n| Entry::new(format!("{n}\t\u{1b}[2J"))));
    queue.enqueue_batch(entries).await.expect("they are accepted");
    for n in 1..=5 {
        let delivery = queue.lease().fetch_one().await.expect("it runs").expect("one is ready");
        delivery.reject(format!("reason {n}\n\u{1b}[2J")).await.expect("it is set aside");
    }
    queue.enqueue(Entry::new("fine")).await.expect("it is accepted");
    engine
}

fn stopped(fixture: &Fixture) {
    runtime().block_on(async { filled(fixture).await.close().await.expect("it closes") });
}

fn ids(letters: &Value) -> Vec<String> {
    let letters = letters.as_array().expect("a list");
    letters.iter().map(|letter| format!("{}/{}", letter["priority"], letter["sequence"])).collect()
}

/// Of the queue: ready and dead.
fn counts(fixture: &Fixture) -> (Value, Value) {
    let queue = fixture.json("queue explain t q --json");
    (queue["n_entries"].clone(), queue["n_dead"].clone())
}

/// What is the same for a running and for a stopped engine.
fn settle(fixture: &Fixture) {
    let letters = fixture.json("dlq ls t q --json");
    let ids = ids(&letters);
    assert_eq!(ids.len(), 5);
    assert_eq!((&letters[0]["cause"], &letters[0]["n_attempts"]), (&"rejected".into(), &1.into()));
    assert_eq!(letters[4]["reason"], "reason 5\n\u{1b}[2J");
    let page = fixture.json(&format!("dlq ls t q --after {} --limit 2 --json", ids[1]));
    assert_eq!(self::ids(&page), ids[2..4]);
    let listed = fixture.run("dlq ls t q");
    assert!(listed.stdout.contains(&ids[0]) && listed.stdout.contains("reason 1\\n\\u{1b}[2J"));

    let shown = fixture.json(&format!("dlq show t q {} --json", ids[0]));
    assert_eq!(shown["payload"], "large ".repeat(1000));
    let headers =
        json!([{"name": "from", "value": "a"}, {"name": "raw", "value": {"hex": "ff00"}}]);
    assert_eq!((&shown["headers"], &shown["sequence"]), (&headers, &letters[0]["sequence"]));
    let shown = fixture.json(&format!("dlq show t q {} --json", ids[1]));
    assert_eq!(shown["payload"], json!({"hex": "ff0a"}));
    let shown = fixture.run(&format!("dlq show t q {}", ids[2]));
    assert!(shown.stdout.ends_with("\n3\t\\u{1b}[2J\n"), "nothing steers a terminal: {shown:?}");

    let top = fixture.json("queue top --by dead --interval 0 --json")["queues"].clone();
    assert_eq!((top.as_array().map(Vec::len), &top[0]["n_dead"]), (Some(1), &5.into()));
    assert!(fixture.run("queue ls").stdout.contains("dead"));

    let one = json!({"topic": "t", "key": "q", "n_done": 1});
    assert_eq!(fixture.json(&format!("dlq replay t q {} --json", ids[0])), one);
    assert_eq!(counts(fixture), (2.into(), 4.into()));
    let dropped = fixture.run(&format!("dlq drop t q {} --yes", ids[1]));
    assert_eq!((dropped.code, dropped.stdout.as_str()), (0, "t / q: removed 1 dead letter\n"));
    assert_eq!(counts(fixture), (2.into(), 3.into()));
    for verb in ["replay", "show"] {
        for gone in [&ids[0], &ids[1], "0/99"] {
            fixture.run(&format!("dlq {verb} t q {gone}")).assert_refused(3, "not a dead letter");
        }
    }
    fixture.run(&format!("dlq drop t q {} --yes", ids[0])).assert_refused(3, "not a dead letter");
    fixture.run("dlq drop t q --all").assert_refused(2, "without being asked on a terminal");
    assert_eq!(counts(fixture), (2.into(), 3.into()));

    let all = fixture.run("dlq replay t q --all");
    assert_eq!((all.code, all.stdout.as_str()), (0, "t / q: replayed 3 dead letters\n"));
    assert_eq!(counts(fixture), (5.into(), 0.into()));
    let none = fixture.json("dlq drop t q --all --yes --json");
    assert_eq!(none, json!({"topic": "t", "key": "q", "n_done": 0}));
    let none = fixture.run("dlq ls t q");
    assert_eq!((none.code, none.stdout.as_str()), (0, "t / q has no such dead letters\n"));
}

#[test]
fn a_running_engine_settles_its_dead_letters() {
    let fixture = Fixture::new();
    let runtime = runtime();
    let engine = runtime.block_on(filled(&fixture));
    settle(&fixture);
    let status = runtime.block_on(engine.status()).expect("it runs");
    assert_eq!((status.counters.n_replayed, status.counters.n_dropped), (4, 1));
    runtime.block_on(engine.close()).expect("it closes");
}

#[test]
fn a_stopped_engine_is_opened_for_it_and_closed_again() {
    let fixture = Fixture::new();
    stopped(&fixture);
    settle(&fixture);
    assert_eq!(fixture.run("queue purge t q --yes").code, 0);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let fixture = Fixture::new();
    for line in [
        "dlq replay t q",
        "dlq drop t q",
        "dlq replay t q 1/2 --all",
        "dlq show t q",
        "dlq show t q 17",
        "dlq show t q 256/1",
        "dlq ls t q --limit 0",
        "dlq ls t q --after x",
    ] {
        let refused: Ended = fixture.run(line);
        assert_eq!(refused.code, 2, "{line}: {refused:?}");
    }
    fixture.run("dlq ls t q").assert_refused(3, "there is no engine at data");
    stopped(&fixture);
    for (key, says) in [("", "must not be empty"), (&*"k".repeat(2000), "limit is 1024 bytes")] {
        let ended = fixture.command("dlq ls t").arg(key).output().map(Ended::from);
        ended.expect("it starts").assert_refused(2, says);
    }
    assert_eq!(fixture.json("dlq ls t nobody --json"), json!([]));
    for line in ["dlq replay t nobody 128/1", "dlq drop t nobody 128/1 --yes"] {
        fixture.run(line).assert_refused(3, "not a dead letter");
    }
}

#[test]
fn on_a_terminal_the_user_is_asked() {
    let fixture = Fixture::new();
    stopped(&fixture);
    let question = "Remove all 5 dead letters of t / q for good? [y/N]";
    let (code, _, shown) = Terminal::new().run(&fixture, "dlq drop t q --all", "n\n");
    assert_eq!(code, 11, "{shown}");
    assert!(shown.contains(question) && shown.contains("nothing was removed"), "{shown}");

    let first = ids(&fixture.json("dlq ls t q --limit 1 --json")).remove(0);
    let line = format!("dlq drop t q {first}");
    let (code, said, shown) = Terminal::new().run(&fixture, &line, "y\n");
    assert_eq!((code, said.as_str()), (0, "t / q: removed 1 dead letter\n"), "{shown}");
    let asked = format!("Remove the dead letter {first} of t / q for good? [y/N]");
    assert!(shown.contains(&asked), "{shown}");
    let (code, _, shown) = Terminal::new().run(&fixture, &line, "");
    assert!(code == 3 && !shown.contains("Remove"), "there is nothing to ask: {shown}");

    let (code, said, shown) = Terminal::new().run(&fixture, "dlq drop t q --all", "y\n");
    assert_eq!((code, said.as_str()), (0, "t / q: removed 4 dead letters\n"), "{shown}");
    let (code, said, shown) = Terminal::new().run(&fixture, "dlq drop t q --all", "");
    assert_eq!((code, said.as_str()), (0, "t / q has no dead letters\n"), "{shown}");
    assert_eq!(counts(&fixture), (1.into(), 0.into()));
}
