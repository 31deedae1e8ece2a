//! What is published is what is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit, set_default_local_recorder,
};
use millpond_storage_memory::{MemoryDisk, MemoryOptions, MemoryStore};

use crate::{Engine, Entry, ErrorKind, PartitionStore};

const DOCUMENTATION: &str = include_str!("../../../../docs/metrics.md");

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// Kind, unit and meaning of a series.
type About = (&'static str, String, String);

/// Kind and value, by name and labels.
type Values = Arc<Mutex<BTreeMap<(String, String), (&'static str, f64)>>>;

/// Remembers what it is told.
#[derive(Default)]
struct Heard {
    described: Mutex<BTreeMap<String, About>>,
    values: Values,
}

impl Heard {
    fn described(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, help: &str) {
        let unit = unit.map_or("–".to_owned(), |unit| unit.as_str().to_owned());
        let about = (kind, unit, help.to_owned());
        self.described.lock().unwrap().insert(name.as_str().to_owned(), about);
    }

    fn slot(&self, kind: &'static str, key: &Key) -> Arc<Slot> {
        let labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
        let place = (key.name().to_owned(), labels.join(","));
        Arc::new(Slot { kind, place, values: self.values.clone() })
    }

    fn value(&self, name: &str, partition: usize) -> f64 {
        let place = (name.to_owned(), format!("partition={partition}"));
        self.values.lock().unwrap()[&place].1
    }

    /// In both partitions together.
    fn sum(&self, name: &str) -> f64 {
        self.value(name, 0) + self.value(name, 1)
    }
}

struct Slot {
    kind: &'static str,
    place: (String, String),
    values: Values,
}

impl Slot {
    fn store(&self, value: f64) {
        self.values.lock().unwrap().insert(self.place.clone(), (self.kind, value));
    }
}

impl CounterFn for Slot {
    fn increment(&self, _value: u64) {
        panic!("counters are absolute");
    }

    #[expect(clippy::cast_precision_loss, reason = "tests count to ten")]
    fn absolute(&self, value: u64) {
        self.store(value as f64);
    }
}

impl GaugeFn for Slot {
    fn increment(&self, _value: f64) {
        panic!("gauges are set");
    }

    fn decrement(&self, _value: f64) {
        panic!("gauges are set");
    }

    fn set(&self, value: f64) {
        self.store(value);
    }
}

impl Recorder for Heard {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.described("counter", &key, unit, &help);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.described("gauge", &key, unit, &help);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.described("histogram", &key, unit, &help);
    }

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.slot("counter", key))
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.slot("gauge", key))
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        panic!("{key} is a histogram, and there are none");
    }
}

/// The rows of the table.
fn documented() -> BTreeMap<String, About> {
    let rows = DOCUMENTATION.lines().filter(|line| line.starts_with("| `millpond_"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, unit, what] = cells[..] else { panic!("four cells: {line}") };
        let kind = if kind == "counter" { "counter" } else { "gauge" };
        (name.trim_matches('`').to_owned(), (kind, unit.to_owned(), what.to_owned()))
    };
    rows.map(row).collect()
}

/// The reasons of the second table.
fn documented_reasons() -> BTreeSet<String> {
    let table = DOCUMENTATION.lines().skip_while(|line| !line.starts_with("| reason |")).skip(2);
    let rows = table.map_while(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

async fn engine() -> Engine {
    let store = || {
        let store = MemoryStore::open(&MemoryDisk::new(), MemoryOptions::default()).unwrap();
        Arc::new(store) as Arc<dyn PartitionStore>
    };
    Engine::with_stores(vec![store(), store()], Default::default()).await.unwrap()
}

#[tokio::test]
async fn every_documented_series_is_published_and_no_other() {
    let heard = Heard::default();
    let _guard = set_default_local_recorder(&heard);
    engine().await.publish_metrics().await.unwrap();

    assert_eq!(*heard.described.lock().unwrap(), documented());
    let values = heard.values.lock().unwrap();
    let expected = documented().into_keys().flat_map(|name| {
        let all = ["partition=0", "partition=1"].into_iter();
        let reasons = documented_reasons();
        let outcomes = ["installed", "stale", "already_resident", "refused"];
        let of_engine = |labels: &str| labels == "partition=0";
        let all = all.flat_map(|labels| match name.as_str() {
            name if name.starts_with("millpond_payload_") && !of_engine(labels) => vec![],
            "millpond_payload_installs_total" => {
                outcomes.iter().map(|outcome| format!("outcome={outcome}")).collect()
            }
            name if name.starts_with("millpond_payload_") => vec![String::new()],
            "millpond_queues" => {
                reasons.iter().map(|reason| format!("{labels},reason={reason}")).collect()
            }
            _ => vec![labels.to_owned()],
        });
        all.map(|labels| (name.clone(), labels)).collect::<Vec<_>>()
    });
    assert_eq!(values.keys().cloned().collect::<BTreeSet<_>>(), expected.collect());
    for ((name, _), (kind, _)) in values.iter() {
        assert_eq!(*kind, documented()[name].0, "{name}");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
    }
}

#[tokio::test]
async fn the_figures_are_those_of_the_engine() {
    let heard = Heard::default();
    let _guard = set_default_local_recorder(&heard);
    let engine = engine().await;
    let topic = engine.topic("t");
    topic.queue("a").enqueue_batch(vec![Entry::new("x"); 4]).await.unwrap();
    topic.queue("b").enqueue_batch(vec![Entry::new("x"); 3]).await.unwrap();
    let lease = || topic.queue("a").lease();
    lease().fetch_one().await.unwrap().unwrap().ack().await.unwrap();
    lease().fetch_one().await.unwrap().unwrap().nack().await.unwrap();
    lease().fetch_one().await.unwrap().unwrap().nack_after(HOUR).await.unwrap();
    for _ in 0..2 {
        lease().fetch_one().await.unwrap().unwrap().reject("").await.unwrap();
    }
    let dead = topic.queue("a").dead_letters();
    let letters = dead.list(None, 2).await.unwrap();
    dead.replay(letters[0].id).await.unwrap();
    dead.drop(letters[1].id).await.unwrap();
    lease().fetch_one().await.unwrap().unwrap().reject("").await.unwrap();
    topic.queue("a").enqueue_batch(vec![Entry::new("x"); 2]).await.unwrap();
    topic.queue("a").enqueue(Entry::new("x").delay(HOUR)).await.unwrap();
    let _held = lease().fetch_one().await.unwrap().unwrap();
    topic.queue("b").purge().await.unwrap();
    engine.publish_metrics().await.unwrap();

    for (name, expected) in [
        ("millpond_entries_enqueued_total", 10.0),
        ("millpond_leases_granted_total", 7.0),
        ("millpond_entries_acked_total", 1.0),
        ("millpond_entries_nacked_total", 5.0),
        ("millpond_entries_delayed_total", 1.0),
        ("millpond_entries_due_total", 0.0),
        ("millpond_entries_backed_off_total", 1.0),
        ("millpond_entries_died_total", 3.0),
        ("millpond_entries_replayed_total", 1.0),
        ("millpond_entries_dropped_total", 1.0),
        ("millpond_entries_purged_total", 3.0),
        ("millpond_leases_expired_total", 0.0),
        ("millpond_entries", 2.0),
        ("millpond_entries_delayed", 2.0),
        ("millpond_entries_dead", 1.0),
        ("millpond_entries_leased", 1.0),
        ("millpond_entries_duplicate_total", 0.0),
        ("millpond_refused_full_total", 0.0),
        ("millpond_rows_set_aside_total", 0.0),
    ] {
        assert_eq!(heard.sum(name), expected, "{name}");
    }
    let of_reason = |reason: &str| {
        let place = |n| ("millpond_queues".to_owned(), format!("partition={n},reason={reason}"));
        let values = heard.values.lock().unwrap();
        [0, 1].map(|n| values[&place(n)].1).into_iter().sum::<f64>()
    };
    assert_eq!((of_reason("ready"), of_reason("leased"), of_reason("paused")), (1.0, 0.0, 0.0));
    topic.pause().await.unwrap();
    engine.publish_metrics().await.unwrap();
    assert_eq!((of_reason("ready"), of_reason("paused")), (0.0, 1.0));
    topic.resume().await.unwrap();
    let window_bytes_max = crate::PartitionOptions::default().window_bytes_max;
    assert_eq!(heard.value("millpond_window_bytes_max", 0), super::number(window_bytes_max as u64));
    for of in ["turn", "commit"] {
        let parts = ["p50", "p99", "max"];
        let times = parts.map(|part| heard.sum(&format!("millpond_{of}_{part}_seconds")));
        assert!(0.0 < times[0] && times.is_sorted(), "{of}: {times:?}");
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn the_payload_cache_is_one_for_all_partitions() {
    let heard = Heard::default();
    let _guard = set_default_local_recorder(&heard);
    let engine = engine().await;
    let topic = engine.topic("t");
    for key in ["a", "b", "c", "d"] {
        topic.queue(key).enqueue(Entry::new(vec![0; 5000])).await.unwrap();
    }
    topic.lease().fetch_one().await.unwrap().unwrap().ack().await.unwrap();
    engine.publish_metrics().await.unwrap();
    let value = |name: &str, labels: &str| {
        heard.values.lock().unwrap()[&(name.to_owned(), labels.to_owned())].1
    };
    assert_eq!(value("millpond_payload_installs_total", "outcome=installed"), 4.0);
    assert_eq!(value("millpond_payload_hits_total", ""), 1.0);
    assert_eq!(value("millpond_payload_hit_ratio", ""), 1.0);
    assert_eq!(value("millpond_payload_cache_entries", ""), 3.0);
    assert!(value("millpond_payload_cache_bytes", "") > 15_000.0);
    assert_eq!(engine.status().await.unwrap().payloads.n_entries, 3);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_engine_says_so() {
    let heard = Heard::default();
    let _guard = set_default_local_recorder(&heard);
    let engine = engine().await;
    engine.close().await.unwrap();
    assert_eq!(engine.publish_metrics().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(heard.values.lock().unwrap().is_empty());
}
