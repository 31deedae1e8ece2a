//! Why a queue is, or is not, being served: every reason is reached, and said in a sentence.

use std::time::Duration;

use millpond::admin::{Admin, Explanation, HeldSetting, SettingName, SettingValue};
use millpond::{Delivery, Engine, Entry, Queue, RateLimit, Settings};
use millpond_it::options;

const HOUR: Duration = Duration::from_secs(3600);

async fn engine(directory: &std::path::Path) -> Engine {
    Engine::open(options(directory).partitions(1)).await.unwrap()
}

async fn filled(engine: &Engine, topic: &str, key: &str, n_entries: usize) -> Queue {
    let queue = engine.topic(topic).queue(key);
    queue.enqueue_batch(vec![Entry::new("x"); n_entries]).await.unwrap();
    queue
}

/// Leases an entry, if there is one to be had.
async fn lease(queue: &Queue) -> Option<Delivery> {
    queue.lease().lease_for(HOUR).fetch_one().await.unwrap()
}

fn assert_says(told: &Explanation, state: &str, words: &str) {
    assert_eq!(told.state, state, "{told:#?}");
    assert!(told.reason.contains(words), "{words:?} is not in {:?}", told.reason);
}

async fn assert_explained(queue: &Queue, state: &str, words: &str) {
    assert_says(&queue.explain().await.unwrap(), state, words);
}

#[tokio::test]
async fn a_queue_without_anything_ready_says_what_it_waits_for() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path()).await;
    let queue = |key: &str| engine.topic("t").queue(key);
    assert_explained(&queue("empty"), "empty", "it holds nothing").await;
    queue("later").enqueue(Entry::new("x").delay(HOUR)).await.unwrap();
    assert_explained(&queue("later"), "delayed", "its first entry is delayed until").await;
    let failing = filled(&engine, "t", "failing", 1).await;
    lease(&failing).await.unwrap().nack_after(HOUR).await.unwrap();
    assert_explained(&failing, "backing_off", "has failed 1 times and is backing off until").await;
    let dead = filled(&engine, "t", "dead", 1).await;
    lease(&dead).await.unwrap().reject("").await.unwrap();
    assert_explained(&dead, "dead", "all that it holds are dead letters (1)").await;

    // A pause is told even so.
    engine.topic("t").pause().await.unwrap();
    let told = queue("later").explain().await.unwrap();
    assert_says(&told, "delayed", "is delayed until");
    assert_eq!(told.also, ["it is paused by the rule of the topic; what is leased stays leased"]);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_queue_with_something_ready_says_who_comes_first() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path()).await;
    let first = filled(&engine, "t", "first", 1).await;
    assert_explained(&first, "ready", "its head is next to be leased").await;
    let second = filled(&engine, "t", "second", 1).await;
    assert_explained(&second, "ready", "1 queue of the topic comes first").await;
    second.set(Settings::default().with_band(2)).await.unwrap();
    assert_explained(&second, "behind_band", "1 queue of band 0 comes first").await;

    let held = first.lease().lease_for(HOUR).named("anna").fetch_one().await.unwrap();
    assert_explained(&first, "leased", "the first lease, of \"anna\", ends in 3").await;
    engine.close().await.unwrap();
    drop(held);
    let engine = self::engine(directory.path()).await;
    millpond_it::status(&engine).await.unwrap();
    assert_explained(&engine.topic("t").queue("second"), "cold", "its head is not in memory").await;
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_pause_says_whose_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path()).await;
    let queue = filled(&engine, "t", "a/1", 2).await;
    let (topic, prefix) = (engine.topic("t"), engine.topic("t").prefix("a/"));
    topic.pause().await.unwrap();
    assert_explained(&queue, "paused", "it is paused by the rule of the topic").await;
    prefix.pause().await.unwrap();
    assert_explained(&queue, "paused", "it is paused by the rule of prefix a/").await;
    queue.pause().await.unwrap();
    let told = queue.explain().await.unwrap();
    assert_says(&told, "paused", "it is paused by the rule of the queue");
    assert_eq!(told.also.len(), 2, "{:?}", told.also);
    for words in ["by the rule of prefix a/", "by the rule of the topic"] {
        assert!(told.also.iter().any(|also| also.contains(words)), "{:?}", told.also);
    }

    engine.close().await.unwrap();
    let admin = Admin::connect(directory.path()).await.unwrap();
    let stopped = admin.explain("t", b"a/1").await.unwrap();
    assert_says(
        &stopped,
        "paused",
        "by the rule of the queue; what is leased stays leased; and no",
    );
    assert_eq!((stopped.also, stopped.rules), (told.also, told.rules), "as when it ran");
    let other = admin.explain("t", b"b").await.unwrap();
    assert_says(&other, "empty", "it holds nothing");
    assert_eq!(other.also.len(), 1, "the topic: {:?}", other.also);
}

#[tokio::test]
async fn a_limit_says_whose_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path()).await;
    let one = |settings: Settings| settings.with_concurrency_together(1);
    for (topic, of, whose) in [
        ("of-queue", "queue", "of the queue itself"),
        ("of-prefix", "prefix a/", "of prefix a/"),
        ("of-topic", "topic", "of the topic"),
    ] {
        let queue = filled(&engine, topic, "a/1", 3).await;
        let set = async |n: u32, rate: Option<RateLimit>| {
            let mut settings = one(Settings::default());
            settings.concurrency_together = Some(n).filter(|_| of != "queue");
            settings.rate_together = rate.filter(|_| of != "queue");
            if of == "queue" {
                settings = settings.with_concurrency(n);
                settings = rate.map_or(settings.clone(), |rate| settings.with_rate(rate));
            }
            match of {
                "queue" => queue.set(settings).await,
                "topic" => engine.topic(topic).set(settings).await,
                _ => engine.topic(topic).prefix("a/").set(settings).await,
            }
            .unwrap();
        };
        set(0, None).await;
        assert!(lease(&queue).await.is_none());
        let zero = format!("the limit {whose} is 0, and a limit of 0 is a pause");
        assert_explained(&queue, "paused", &zero).await;

        set(1, None).await;
        let _held = lease(&queue).await.unwrap();
        assert!(lease(&queue).await.is_none());
        let told = queue.explain().await.unwrap();
        assert_says(&told, "at_limit", &format!("at the limit {whose}: 1 of 1 are leased"));
        let limit = told.limit.unwrap();
        assert_eq!((limit.of.as_str(), limit.n_leased, limit.n_leased_max), (of, Some(1), Some(1)));

        set(9, Some(RateLimit::new(1, HOUR, 1))).await;
        while lease(&queue).await.is_some() {}
        let told = queue.explain().await.unwrap();
        assert_says(&told, "throttled", &format!("throttled by the rate {whose} until 2"));
        assert!(told.limit.unwrap().until_ms > Some(0));
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_says_so_and_is_served_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path()).await;
    let queue = filled(&engine, "t", "q", 2).await;
    queue.set(Settings::default().with_entries_max(2)).await.unwrap();
    let told = queue.explain().await.unwrap();
    assert_says(&told, "ready", "its head is next");
    let full = "it is full, and accepts nothing: it holds 2 entries, its bound of 2";
    assert_eq!(told.also, [full]);
    queue.set(Settings::default().with_bytes_max(1)).await.unwrap();
    let told = queue.explain().await.unwrap().also;
    assert!(told[0].contains("as many bytes as its bound of 1"), "{told:?}");
    engine.close().await.unwrap();
    let admin = Admin::connect(directory.path()).await.unwrap();
    assert_eq!(admin.explain("t", b"q").await.unwrap().also, told);
}

#[tokio::test]
async fn what_holds_is_told_with_whose_rule_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let defaults = Settings::default().with_attempts_max(7);
    let engine = Engine::open(options(directory.path()).defaults(defaults)).await.unwrap();
    let topic = engine.topic("t");
    topic.set(Settings::default().with_weight(2).with_concurrency_together(9)).await.unwrap();
    let shorter = Settings::default().with_weight(3).with_concurrency(4).with_band(1);
    topic.prefix("a").set(shorter).await.unwrap();
    let longer = Settings::default().with_weight(5).with_concurrency_together(8);
    topic.prefix("a/1").set(longer).await.unwrap();
    topic.prefix("b").set(Settings::default().with_weight(6)).await.unwrap();
    let queue = filled(&engine, "t", "a/1/x", 1).await;
    queue.set(Settings::default().without_concurrency()).await.unwrap();

    let told = queue.explain().await.unwrap();
    let from = |told: &[HeldSetting], name: SettingName| {
        let of = told.iter().filter(|held| held.setting == name);
        of.map(|held| (held.value.clone(), held.from.clone())).collect::<Vec<_>>()
    };
    let number = |n, from: &str| (SettingValue::Number(n), from.to_owned());
    let concurrency = [(SettingValue::Off, "queue".to_owned())];
    let together = [number(8, "prefix a/1"), number(9, "topic")];
    assert_eq!(from(&told.rules, SettingName::Weight), [number(5, "prefix a/1")]);
    assert_eq!(from(&told.rules, SettingName::Band), [number(1, "prefix a")]);
    assert_eq!(from(&told.rules, SettingName::Concurrency), concurrency);
    assert_eq!(from(&told.rules, SettingName::ConcurrencyTogether), together);
    assert_eq!(from(&told.rules, SettingName::AttemptsMax), [number(7, "options")]);
    assert_eq!(from(&told.rules, SettingName::DedupWindowMs), [number(300_000, "default")]);
    assert_eq!((told.queue.weight, told.queue.band), (Some(5), Some(1)), "as the loop has it");

    engine.close().await.unwrap();
    let admin = Admin::connect(directory.path()).await.unwrap();
    let stopped = admin.explain("t", b"a/1/x").await.unwrap().rules;
    assert_eq!(from(&stopped, SettingName::AttemptsMax), [], "options are not stored");
    let stored: Vec<_> = told.rules.into_iter().filter(|held| held.from != "options").collect();
    assert_eq!(stopped, stored);
}
