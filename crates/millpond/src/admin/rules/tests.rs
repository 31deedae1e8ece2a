use std::time::Duration;

use millpond_types::{Backoff, Quantum, RateLimit};

use super::*;

/// A rule that says everything.
fn everything() -> Settings {
    Settings::default()
        .with_paused(true)
        .with_weight(3)
        .with_band(1)
        .with_concurrency(0)
        .with_rate(RateLimit::new(100, Duration::from_secs(60), 10))
        .with_concurrency_together(4)
        .with_rate_together(RateLimit::new(1, Duration::from_secs(1), 1))
        .with_attempts_max(5)
        .with_backoff(Duration::from_secs(1), Duration::from_secs(9))
        .with_dead_letter_topic(TopicName::new("off").unwrap())
        .with_retention(Duration::from_secs(9))
        .with_entries_max(7)
        .with_bytes_max(8)
        .with_dedup_window(Duration::from_secs(2))
        .with_quantum(Quantum::Bytes(4096))
        .with_ageing(9)
}

fn off() -> Settings {
    Settings::default()
        .without_concurrency()
        .without_rate()
        .without_attempts_max()
        .without_backoff()
        .without_dead_letter_topic()
        .without_retention()
        .without_entries_max()
        .without_bytes_max()
}

#[test]
fn what_a_rule_says_survives_json() {
    let topic = Scope::Topic(TopicName::new("t").unwrap());
    let entries = everything().with_quantum(Quantum::Entries(2));
    for settings in [everything(), off(), entries] {
        let told = info(&topic, &settings);
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<RuleInfo>(&text).unwrap(), told, "{text}");
    }
    assert_eq!(info(&topic, &everything()).settings.len(), SettingName::ALL.len());
    for name in SettingName::ALL {
        assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
    }
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let set = Settings::default().with_weight(9).without_rate();
    let change = RuleChange { unset: vec![SettingName::Band, SettingName::Weight], set };
    let changed = change.apply(everything());
    assert_eq!(changed, Settings { band: None, ..everything().with_weight(9).without_rate() });
    assert_eq!(RuleChange::remove().apply(everything()), Settings::default());
    assert_eq!(RuleChange::pause().apply(off()), off().with_paused(true));
    assert_eq!(RuleChange::resume().apply(off().with_paused(true)), off());
}

#[test]
fn the_most_specific_rule_decides_and_what_adds_up_is_all_told() {
    let prefix = Settings::default().with_paused(true).with_concurrency_together(2).without_rate();
    let general = everything().with_attempts_max(9);
    let rules = [("queue", Settings::default().with_weight(2)), ("prefix p", prefix)];
    let rules = rules.into_iter().chain([("topic", general), ("default", built_in())]);
    let rules: Vec<_> = rules.map(|(from, settings)| (from.to_owned(), settings)).collect();
    let rules: Vec<_> = rules.iter().map(|(from, settings)| (from.clone(), settings)).collect();
    let held = held(&rules);
    let told = |name: SettingName| {
        let of = held.iter().filter(|held| held.setting == name);
        of.map(|held| (held.value.clone(), held.from.as_str())).collect::<Vec<_>>()
    };
    let number = SettingValue::Number;
    assert_eq!(told(SettingName::Weight), [(number(2), "queue")]);
    assert_eq!(told(SettingName::Rate), [(SettingValue::Off, "prefix p")]);
    assert_eq!(told(SettingName::Band), [(number(1), "topic")]);
    let pausing = SettingValue::Flag(true);
    assert_eq!(told(SettingName::Paused), [(pausing.clone(), "prefix p"), (pausing, "topic")]);
    let together = told(SettingName::ConcurrencyTogether);
    assert_eq!(together, [(number(2), "prefix p"), (number(4), "topic")]);
    let Backoff { base_ms, cap_ms } = Backoff { base_ms: 1000, cap_ms: 9000 };
    let backoff = SettingValue::Backoff { base_ms, cap_ms };
    assert_eq!(told(SettingName::Backoff), [(backoff, "topic")]);
}
