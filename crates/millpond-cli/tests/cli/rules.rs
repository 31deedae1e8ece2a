//! Rules, pauses and what they do, of a running and of a stopped engine.

use std::process::Stdio;

use millpond::{Engine, Entry, Options};
use serde_json::{Value, json};

use crate::fixture::{Ended, Fixture};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("threads can be started")
}

/// An engine in this process. In `t`, queue `a/1` has 3 entries and `b` one.
async fn filled(fixture: &Fixture) -> Engine {
    let options = Options::new(fixture.path("data")).partitions(2);
    let engine = Engine::open(options).await.expect("the directory is new");
    for (key, n) in [("a/1", 3), ("b", 1)] {
        let queue = engine.topic("t").queue(key);
        queue.enqueue_batch(vec![Entry::new("x"); n]).await.expect("they are accepted");
    }
    engine
}

fn stopped(fixture: &Fixture) {
    runtime().block_on(async { filled(fixture).await.close().await.expect("it closes") });
}

fn assert_prints(fixture: &Fixture, line: &str, expected: &str) {
    let ended = fixture.run(line);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, expected), "{line}: {ended:?}");
}

/// Rules of the queue that are not defaults, as lines.
fn held(fixture: &Fixture) -> Vec<String> {
    let explained = fixture.run("queue explain t a/1").stdout;
    let rules = explained.lines().skip_while(|line| *line != "rules").skip(1);
    let rules = rules.take_while(|line| !line.is_empty());
    rules.filter(|line| !line.ends_with("(default)")).map(str::to_owned).collect()
}

/// What is the same for a running and for a stopped engine.
fn govern(fixture: &Fixture) {
    assert_prints(fixture, "rule ls", "there are no rules\n");
    assert_prints(fixture, "topic pause t", "t / *: paused\n");
    assert_prints(fixture, "queue pause t a/1", "t / a/1: paused\n");
    let explained = fixture.json("queue explain t a/1 --json");
    assert_eq!(explained["state"], "paused");
    let says = ["reason", "also"].map(|part| explained[part].to_string());
    assert!(says[0].contains("by the rule of the queue"), "{says:?}");
    assert!(says[1].contains("by the rule of the topic"), "{says:?}");
    assert_eq!(held(fixture), ["paused (queue)", "paused (topic)"]);
    let resumed = fixture.json("topic resume t --json");
    assert_eq!(resumed, json!({"topic": "t", "settings": {}}));
    assert_eq!(fixture.json("queue explain t a/1 --json")["state"], "paused", "by its own rule");
    assert_prints(fixture, "queue resume t a/1", "t / a/1: no rule\n");
    assert_prints(fixture, "rule ls", "there are no rules\n");

    assert_prints(fixture, "rule set t --prefix a/ --paused", "t / a/*: paused\n");
    assert_eq!(fixture.json("queue explain t a/1 --json")["state"], "paused");
    assert_prints(fixture, "rule set t --prefix a/ --unset paused", "t / a/*: no rule\n");

    let line = "rule set t --prefix a/ --weight 3 --rate 100/min --burst 10 --backoff 1s..5min \
                --dead-letter-topic t.dead --retention 7d --bytes 1048576 --json";
    let rule = fixture.json(line);
    let expected = json!({"topic": "t", "prefix": "a/", "settings": {
        "weight": 3,
        "rate": {"n_entries": 100, "per_ms": 60000, "burst": 10},
        "backoff": {"base_ms": 1000, "cap_ms": 300_000},
        "dead_letter_topic": "t.dead",
        "retention_ms": 604_800_000,
        "bytes_max": 1_048_576,
    }});
    assert_eq!(rule, expected);
    let line = "rule set t --prefix a/ --rate off --retention off --unset bytes --unset backoff \
                --unset dead-letter-topic --band 1";
    assert_prints(fixture, line, "t / a/*: weight 3, band 1, rate off, retention off\n");
    let topic = "rule set t --quantum 4096B --ageing 50 --concurrency-together 20 --entries 1000 \
                 --rate-together 5/90s --burst-together 2 --attempts 5 --dedup-window 90s --concurrency 4";
    let says = "t / *: concurrency 4, concurrency-together 20, rate-together 5/90s burst 2, attempts 5, \
                entries 1,000, dedup-window 90s, quantum 4096B, ageing 50\n";
    assert_prints(fixture, topic, says);
    assert_prints(
        fixture,
        "rule set t --queue a/1 --concurrency off",
        "t / a/1: concurrency off\n",
    );
    let rules = fixture.json("rule ls --json --topic t");
    assert_eq!(rules.as_array().map(Vec::len), Some(3));
    assert_eq!((&rules[1]["prefix"], &rules[2]["key"]), (&"a/".into(), &"a/1".into()));
    assert_eq!(rules[2]["settings"], json!({"concurrency": null}));
    assert_eq!(fixture.json("rule ls --topic u --json"), json!([]));
    let expected = [
        "weight 3 (prefix a/)",
        "band 1 (prefix a/)",
        "concurrency off (queue)",
        "rate off (prefix a/)",
        "concurrency-together 20 (topic)",
        "rate-together 5/90s burst 2 (topic)",
        "attempts 5 (topic)",
        "retention off (prefix a/)",
        "entries 1,000 (topic)",
        "dedup-window 90s (topic)",
        "quantum 4096B (topic)",
        "ageing 50 (topic)",
    ];
    assert_eq!(held(fixture), expected);
    assert_prints(fixture, "rule rm t --prefix a/", "t / a/*: no rule\n");
    assert_prints(fixture, "rule rm t --queue a/1", "t / a/1: no rule\n");
    let listed = fixture.run("rule ls").stdout;
    assert!(listed.starts_with("topic  queues  rule\nt      *       concurrency 4, "), "{listed}");
    assert_eq!(fixture.run("partition verify").code, 0);
}

#[test]
fn a_running_engine_is_governed() {
    let fixture = Fixture::new();
    let runtime = runtime();
    let engine = runtime.block_on(filled(&fixture));
    govern(&fixture);
    assert_eq!(engine.rules().len(), 1, "what the command changed is in force");
    runtime.block_on(engine.close()).expect("it closes");
}

#[test]
fn a_stopped_engine_is_opened_for_it_and_closed_again() {
    let fixture = Fixture::new();
    stopped(&fixture);
    govern(&fixture);
    let options = Options::new(fixture.path("data"));
    let runtime = runtime();
    let engine = runtime.block_on(Engine::open(options)).expect("nobody else has it");
    assert_eq!(engine.rules().len(), 1, "rules are stored");
    runtime.block_on(engine.close()).expect("it closes");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let fixture = Fixture::new();
    for line in [
        "rule set t --weight -1",
        "rule set t --rate 10",
        "rule set t --rate 10/fortnight",
        "rule set t --burst 5",
        "rule set t --backoff 5s",
        "rule set t --retention 5",
        "rule set t --unset everything",
        "rule set t --prefix a --queue b --weight 1",
        "rule rm",
        "queue pause t",
        "topic pause",
        "queue top --interval 1",
    ] {
        let refused: Ended = fixture.run(line);
        assert_eq!(refused.code, 2, "{line}: {refused:?}");
    }
    fixture.run("rule set t --weight 1").assert_refused(3, "there is no engine at data");
    stopped(&fixture);
    for (line, says) in [
        ("rule set t", "name a setting to change"),
        ("rule set t --rate 10/s", "a rate needs a burst of at least 1 entry: say --burst N"),
        ("rule set t --rate-together 10/s", "at least 1 entry: say --burst-together N"),
        ("rule set t --rate 10/s --burst 0", "a rate needs a burst of at least 1 entry"),
        ("rule set t --rate 0/s --burst 1", "a rate is at least 1 entry per period"),
        ("rule set t --weight 0", "a weight is from 1 to 1000000, not 0"),
        ("rule set t --band 4", "there is no band 4"),
        ("rule set t --queue q --quantum 4", "a quantum is a setting of a topic"),
        ("rule set t --queue q --concurrency-together 4", "is for topics and prefixes"),
        ("rule set t --dead-letter-topic t", "cannot go to the same topic"),
        ("rule set t --backoff 5s..1s", "above its cap of 1000 ms"),
        ("queue top --watch --interval 0", "--watch needs an --interval above 0"),
        ("queue top --by rate -n 101", "--by rate compares at most 100 queues"),
    ] {
        fixture.run(line).assert_refused(2, says);
    }
    let named = |line: &str, name: &str| -> Ended {
        fixture.command(line).arg(name).output().expect("it starts").into()
    };
    named("topic pause", "").assert_refused(2, "must not be empty");
    named("queue pause t", &"k".repeat(2000)).assert_refused(2, "limit is 1024 bytes");
    assert_prints(&fixture, "rule ls", "there are no rules\n");
}

#[test]
fn the_top_tells_rates_and_shares() {
    let fixture = Fixture::new();
    let runtime = runtime();
    let engine = runtime.block_on(filled(&fixture));
    let queues = |line: &str| fixture.json(line)["queues"].clone();
    let one = queues("queue top --interval 0 --json");
    assert_eq!((&one[0]["key"], &one[0]["n_granted"]), (&"a/1".into(), &0.into()));
    assert_eq!((&one[0]["weight"], one[0].get("rate_per_s")), (&1.into(), None));
    let two = queues("queue top --interval 1ms --json --topic t --by rate");
    assert_eq!((&two[0]["rate_per_s"], &two[0]["share"]), (&0.0.into(), &0.0.into()));
    let table = fixture.run("queue top --interval 1ms").stdout;
    assert!(table.contains("head waits   rate  share  weight"), "{table}");
    assert!(table.contains("0.0/s  0.0 %       1"), "{table}");
    watched(&fixture);
    runtime.block_on(engine.close()).expect("it closes");
    let one = queues("queue top --json");
    assert_eq!((one[0].get("rate_per_s"), one[0].get("weight")), (None, None), "it is stopped");
    assert!(fixture.run("queue top").stdout.contains(" ?      ?       ?"));
}

/// Repeats until nobody reads, or until it is interrupted.
fn watched(fixture: &Fixture) {
    use std::io::{BufRead as _, BufReader};

    let start = |line: &str| {
        let mut child = fixture.command(line).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
        (child, lines.map(|line| line.expect("it writes text")))
    };
    let (mut child, lines) = start("queue top --watch --interval 1ms");
    let n_blocks = lines.filter(|line| line.starts_with("topic")).take(3).count();
    assert_eq!((n_blocks, child.wait().expect("it ends").code()), (3, Some(0)), "nobody reads");

    let (mut child, mut lines) = start("queue top --watch --interval 1ms --json");
    assert!(lines.any(|line| line.contains("\"share\": 0.0")), "from the second look on");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("the process is there");
    let _: Vec<Value> = lines.map(Value::from).collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}
