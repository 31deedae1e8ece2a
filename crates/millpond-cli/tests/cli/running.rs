//! What a running engine tells of its memory, and a stopped one cannot.

use millpond::{Engine, Entry, Options};

use crate::fixture::Fixture;

/// What only a running engine has.
const COLUMNS: [&str; 6] =
    ["queues in memory", "hit rate", "read on demand", "read ahead", "would block", "set aside"];

#[test]
fn a_running_engine_tells_of_its_memory_and_a_stopped_one_has_none() {
    let fixture = Fixture::new();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let engine = runtime.block_on(async {
        let options = Options::new(fixture.path("data")).partitions(1);
        let engine = Engine::open(options).await.expect("the directory is new");
        for n in 0..12_u8 {
            let queue = engine.topic("t").queue(format!("queue-{n:02}"));
            let entries = vec![Entry::new("x"); usize::from(n) + 1];
            queue.enqueue_batch(entries).await.expect("they are accepted");
        }
        engine
    });

    let partition = fixture.json("partition ls --json")[0].clone();
    assert_eq!((&partition["n_queues"], &partition["n_entries"]), (&12.into(), &78.into()));
    let activity = &partition["activity"];
    assert_eq!((&activity["n_resident"], &activity["recalling"]), (&12.into(), &false.into()));
    assert_eq!((&activity["hit_rate"], &activity["would_block_rate"]), (&1.0.into(), &0.0.into()));
    assert!(activity["window_bytes"].as_u64() > Some(0), "{activity:#}");
    let table = fixture.run("partition ls").stdout;
    for words in COLUMNS {
        assert!(table.contains(words), "{words:?} is not in {table}");
    }
    assert_eq!(table.lines().filter(|line| line.trim_start().starts_with("0 ")).count(), 3);

    let explained = fixture.run("queue explain t queue-11").stdout;
    for words in ["in memory   12 entries, ", "refill      not needed", "set aside   0"] {
        assert!(explained.contains(words), "{words:?} is not in {explained}");
    }
    let top = fixture.json("queue top -n 2 --interval 0 --json")["queues"].clone();
    assert_eq!((&top[0]["key"], &top[1]["key"]), (&"queue-11".into(), &"queue-10".into()));
    // More than a loop is asked for at a time, and one topic: both are read from storage.
    for line in
        ["queue top -n 1000 --interval 0 --json", "queue top --topic t --interval 0 --json -n 12"]
    {
        let all = fixture.json(line)["queues"].clone();
        assert_eq!((&all[11]["key"], &all[11]["n_entries"]), (&"queue-00".into(), &1.into()));
    }
    assert_eq!(
        fixture.json("queue top --topic u --interval 0 --json")["queues"],
        serde_json::json!([])
    );

    runtime.block_on(engine.close()).expect("it closes");
    let partition = fixture.json("partition ls --json")[0].clone();
    assert_eq!((&partition["n_queues"], &partition["n_entries"]), (&12.into(), &78.into()));
    assert_eq!(partition.get("activity"), None);
    assert_eq!(fixture.run("partition ls").stdout.lines().count(), 2);
    let explained = fixture.json("queue explain t queue-11 --json");
    assert_eq!((&explained["state"], explained.get("window")), (&"stopped".into(), None));
    let top = fixture.json("queue top -n 2 --interval 0 --json")["queues"].clone();
    assert_eq!((&top[0]["key"], &top[1]["key"]), (&"queue-11".into(), &"queue-10".into()));
}
