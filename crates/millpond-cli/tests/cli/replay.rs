//! Replays: every job accounted for, with and without a kill.

use std::io::Write as _;

use millpond::PartitionStore as _;
use millpond_storage_api::{Table, WriteBatch};
use millpond_storage_rocksdb::{BudgetOptions, OpenMode, RocksBudget, RocksStore};
use millpond_types::{EntryKey, EntryRank, Priority, QueueId, Sequence, Stage};
use serde_json::Value;

use crate::fixture::{Fixture, line, log};

/// What no replay may show.
const VIOLATIONS: [&str; 8] = [
    "lost",
    "out_of_order",
    "revived",
    "duplicated",
    "forgotten_leases",
    "misplaced",
    "unfinished",
    "refused_acks",
];

fn assert_passed(report: &Value, n_jobs: u64) {
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!((&report["accepted"], &report["acked"]), (&n_jobs.into(), &n_jobs.into()));
    for name in VIOLATIONS {
        assert_eq!(report[name], 0, "{name}: {report:#}");
    }
}

#[test]
fn every_job_is_accepted_and_acknowledged() {
    let fixture = Fixture::new();
    fixture.file("log.swf", log(300, 7));
    let ended = fixture.run("replay log.swf --data data --json report.json --svg picture.svg");
    assert_eq!(ended.code, 0, "{ended:?}");
    for words in ["300 jobs of 7 users", "out of order    0\n", "every promise was kept"] {
        assert!(ended.stdout.contains(words), "{words:?} is not in {}", ended.stdout);
    }
    assert_eq!(ended.stderr, "", "no progress bar without a terminal");
    let json = std::fs::read_to_string(fixture.path("report.json")).expect("it was written");
    let report: Value = serde_json::from_str(&json).expect("it is JSON");
    assert_passed(&report, 300);
    assert_eq!(report["redelivered"], 0);
    assert_eq!(report["enqueue"]["n"], 300);
    assert_eq!(report["waiting"].as_array().map(Vec::len), Some(7));
    let svg = std::fs::read_to_string(fixture.path("picture.svg")).expect("it was written");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
}

#[test]
fn a_kill_in_the_middle_loses_nothing() {
    let fixture = Fixture::new();
    fixture.file("log.swf", log(400, 9));
    for after in [1, 57, 200, 399] {
        let line = format!(
            "replay log.swf --data data-{after} --crash-after {after} --workers 32 --partitions 3 --json -"
        );
        let report = fixture.json(&line);
        assert_passed(&report, 400);
        assert!(report["crash"]["recovery_us"].as_u64().is_some(), "{report:#}");
        let data = format!("--data data-{after} --json");
        assert_eq!(fixture.json(&format!("queue ls {data}")), Value::Array(Vec::new()));
        let checks = fixture.json(&format!("partition verify {data}"));
        assert_eq!(checks.as_array().map(Vec::len), Some(3));
    }
}

#[test]
fn a_kill_in_the_middle_of_running_jobs_delivers_them_again() {
    let fixture = Fixture::new();
    // One job is quick, the others still run when the kill comes.
    let jobs = [line(1, 0, 0, 1), line(2, 0, 1, 2), line(3, 0, 1, 3), line(4, 0, 1, 3)];
    fixture.file("log.swf", jobs.join("\n"));
    let report = fixture.json("replay log.swf --speed 2 --workers 4 --crash-after 1 --json -");
    assert_passed(&report, 4);
    let redelivered = report["redelivered"].as_u64().expect("a number");
    assert_eq!(report["crash"]["leases_released"].as_u64(), Some(redelivered), "{report:#}");
}

#[test]
fn a_compressed_log_with_unknown_users_is_replayed() {
    let fixture = Fixture::new();
    let text = line(1, 0, 1, 5) + "\n2 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).expect("memory is writable");
    fixture.file("log.swf.gz", gzip.finish().expect("memory is writable"));
    let report = fixture.json("replay log.swf.gz --json -");
    assert_passed(&report, 2);
    let queues: Vec<_> = report["waiting"].as_array().into_iter().flatten().collect();
    assert!(queues.iter().any(|row| row["user"] == "user-unknown"), "{report:#}");
}

#[test]
fn a_store_serves_one_replay_after_the_other() {
    let fixture = Fixture::new();
    fixture.file("log.swf", log(20, 2));
    for _ in 0..2 {
        assert_passed(&fixture.json("replay log.swf --json -"), 20);
    }
}

#[test]
fn one_queue_for_all_keeps_every_promise_too() {
    let fixture = Fixture::new();
    fixture.file("log.swf", log(200, 7));
    let report = fixture.json("replay log.swf --fifo --crash-after 90 --workers 16 --json -");
    assert_passed(&report, 200);
    assert_eq!(report["settings"]["discipline"], "fifo");
    assert_eq!(report["waiting"].as_array().map(Vec::len), Some(7), "users are told apart");
    let fair = fixture.json("replay log.swf --fair --json -");
    assert_passed(&fair, 200);
    assert_eq!(fair["settings"]["discipline"], "fair");
}

#[test]
fn both_disciplines_are_replayed_and_compared() {
    let fixture = Fixture::new();
    // The first user submits all its jobs before anybody else.
    let jobs = (1..=60).map(|n| line(n, n, 1, if n <= 40 { 1 } else { n % 5 + 2 }));
    fixture.file("log.swf", jobs.collect::<Vec<_>>().join("\n"));
    let command =
        "replay log.swf --fair --fifo --workers 2 --run-ms 1 --crash-after 20 --svg both.svg";
    let compared = fixture.json(&format!("{command} --json -"));
    assert_eq!(compared["passed"], true, "{compared:#}");
    for discipline in ["fifo", "fair"] {
        assert_passed(&compared[discipline], 60);
        assert_eq!(compared[discipline]["settings"]["discipline"], discipline);
        assert!(compared[discipline]["crash"].is_object(), "each has its kill");
    }
    assert_eq!(compared["heaviest"]["user"], "user-1");
    assert_eq!(compared["heaviest"]["jobs"], 40);
    assert_eq!(compared["others"]["users"], 5);
    let users = compared["users"].as_array().expect("a list");
    assert_eq!(users.iter().filter_map(|user| user["jobs"].as_u64()).sum::<u64>(), 60);
    let svg = std::fs::read_to_string(fixture.path("both.svg")).expect("it was written");
    assert!(svg.contains("one queue per user") && svg.trim_end().ends_with("</svg>"));
    let ended = fixture.run(command);
    assert_eq!(ended.code, 0, "{ended:?}");
    for words in
        ["the heaviest user, user-1 with 40 of 60 jobs,", "one queue for all: the store is clean"]
    {
        assert!(ended.stdout.contains(words), "{words:?} is not in {}", ended.stdout);
    }
}

/// Puts a row into a store that nobody can decode, and that is of no queue.
fn damage(fixture: &Fixture) {
    let rank = EntryRank { priority: Priority(0), sequence: Sequence(1) };
    let key = EntryKey { queue: QueueId([7; 16]), stage: Stage::Ready, rank };
    let mut batch = WriteBatch::new();
    batch.put(Table::Entries, &key.encode(), b"garbage");
    let budget = RocksBudget::new(BudgetOptions::default());
    let directory = fixture.path("data").join("partition-000");
    let store = RocksStore::open(&directory, &budget, OpenMode::OpenExisting).expect("it is there");
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        store.submit(batch).await.expect("there is room");
        store.close().await.expect("it closes");
    });
}

#[test]
fn a_promise_that_is_broken_with_one_queue_for_all_is_told_before_another_replay_begins() {
    let fixture = Fixture::new();
    fixture.file("log.swf", log(20, 2));
    assert_passed(&fixture.json("replay log.swf --json -"), 20);
    damage(&fixture);
    let ended = fixture.run("replay log.swf --fair --fifo --json -");
    assert_eq!(ended.code, 1, "{ended:?}");
    let report = ended.json();
    assert_eq!(report["settings"]["discipline"], "fifo", "{report:#}");
    assert_eq!((&report["passed"], &report["acked"]), (&false.into(), &20.into()));
}
