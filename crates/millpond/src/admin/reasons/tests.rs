use std::collections::BTreeSet;

use millpond_types::{QueueKey, TopicName};

use super::*;

fn queue() -> QueueInfo {
    QueueInfo { topic: "t".to_owned(), key: "q".to_owned(), n_entries: 2, ..QueueInfo::default() }
}

/// A state of each kind, with the word and a part of the sentence that tells it.
fn states() -> Vec<(QueueState, &'static str, &'static str)> {
    let topic = TopicName::new("t").unwrap();
    let prefix = || QueueKey::new("a/").unwrap();
    let until = UnixMillis(1_500);
    let by_rule = PausedBy::Rule(Scope::Prefix(topic, prefix()));
    let by_limit = PausedBy::LimitOfZero(LimitOf::Prefix(prefix()));
    let at_limit = QueueState::AtLimit { of: LimitOf::Topic, n_leased: 3, limit: 2 };
    let throttled = |until| QueueState::Throttled { of: LimitOf::Queue, until };
    let error = "no disk".to_owned();
    vec![
        (QueueState::Empty, "empty", "it holds nothing"),
        (QueueState::Delayed, "empty", "it holds nothing"),
        (QueueState::Ready { n_ahead: 0 }, "ready", "next to be leased"),
        (QueueState::Ready { n_ahead: 2 }, "ready", "2 queues of the topic come first"),
        (QueueState::Ready { n_ahead: 1_000 }, "ready", "1000 queues of the topic or more come"),
        (QueueState::Paused { by: by_rule }, "paused", "by the rule of prefix a/; what is leased"),
        (QueueState::Paused { by: by_limit }, "paused", "the limit of prefix a/ is 0"),
        (at_limit, "at_limit", "at the limit of the topic: 3 of 2 are leased"),
        (throttled(Some(until)), "throttled", "until 1970-01-01T00:00:01.500Z, for 500 ms"),
        (throttled(None), "throttled", "of the queue itself; what comes next is meant for others"),
        (QueueState::BehindBand { band: 1, n_queues: 1 }, "behind_band", "1 queue of band 1 comes"),
        (QueueState::Leased { until, by: None }, "leased", "the first lease ends in 500 ms"),
        (QueueState::Cold, "cold", "not in memory"),
        (QueueState::Loading, "loading", "being read"),
        (QueueState::Committing, "committing", "on its way to storage"),
        (QueueState::BackingOff { until, error }, "unreadable", "(no disk); next try in 500 ms"),
        (QueueState::Purging, "purging", "being removed"),
        (QueueState::SetAside { n_entries: 2 }, "set_aside", "(2 entries)"),
    ]
}

fn told(queue: &QueueInfo, state: &QueueState) -> (&'static str, String) {
    let known = Known { queue, rules: &[], delayed: None, now: UnixMillis(1_000) };
    known.kept_back(state).unwrap_or_else(|| known.by_itself(state))
}

#[test]
fn every_state_has_its_sentence() {
    for (state, word, words) in states() {
        let queue = QueueInfo { n_entries: 0, ..queue() };
        let (name, reason) = told(&queue, &state);
        assert_eq!(name, word, "{state:?}");
        assert!(word == state.name() || state == QueueState::Delayed, "metrics use the same word");
        assert!(reason.contains(words), "{words:?} is not in {reason:?}");
    }
    let all: BTreeSet<_> = states().iter().map(|(state, ..)| state.name()).collect();
    assert_eq!(all, QueueState::NAMES.into_iter().collect(), "no state was left out");
}

#[test]
fn a_limit_is_told_with_its_numbers() {
    let limits = states().into_iter().filter_map(|(state, ..)| limit(&state));
    let limits: Vec<_> =
        limits.map(|it| (it.of, it.n_leased, it.n_leased_max, it.until_ms)).collect();
    let expected = [
        ("prefix a/", None, Some(0), None),
        ("topic", Some(3), Some(2), None),
        ("queue", None, None, Some(1_500)),
        ("queue", None, None, None),
    ];
    assert_eq!(limits, expected.map(|(of, n, max, until)| (of.to_owned(), n, max, until)));
}

#[test]
fn every_bound_has_its_sentence() {
    let (queue, rules) = (queue(), []);
    let known = Known { queue: &queue, rules: &rules, delayed: None, now: UnixMillis(0) };
    for (full, words) in [
        (FullOf::QueueEntries, "it holds 2 entries, its bound"),
        (FullOf::QueueBytes, "as many bytes as its bound"),
        (FullOf::PartitionEntries, "its partition holds as many"),
        (FullOf::PartitionBytes, "the entries of its partition"),
        (FullOf::LeaseCalls, "callers wait"),
    ] {
        let said = known.full(full);
        assert!(said.contains(words) && said.starts_with("it is full"), "{said}");
    }
}
