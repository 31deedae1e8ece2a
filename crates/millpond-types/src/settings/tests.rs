//! Rules: what is stored, and what is refused.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn setting<T: std::fmt::Debug + Clone + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Setting<T>> {
    prop_oneof![Just(Setting::Inherited), Just(Setting::Off), value.prop_map(Setting::Is)]
}

fn rate() -> impl Strategy<Value = RateLimit> {
    any::<(u32, u64, u32)>().prop_map(|(n_entries, per_ms, burst)| RateLimit {
        n_entries,
        per_ms,
        burst,
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let option = proptest::option::of::<proptest::num::u32::Any>;
    let topic = "[a-z]{1,9}".prop_map(|name| TopicName::new(&name).unwrap());
    let some = (any::<Option<bool>>(), option(any::<u32>()), any::<Option<u8>>());
    let limits = (setting(any::<u32>()), setting(rate()), option(any::<u32>()));
    let retries = (setting(any::<u32>()), any::<(u64, u64)>(), setting(topic));
    let bounds = (setting(any::<u64>()), setting(any::<u64>()), setting(any::<u64>()));
    let rest = (any::<Option<u64>>(), any::<Option<(bool, u32)>>(), setting(any::<u32>()));
    (some, limits, retries, bounds, rest, proptest::option::of(rate())).prop_map(
        |(some, limits, retries, bounds, rest, rate_together)| Settings {
            paused: some.0,
            weight: some.1,
            band: some.2,
            concurrency: limits.0,
            rate: limits.1,
            concurrency_together: limits.2,
            rate_together,
            attempts_max: retries.0,
            backoff: Setting::Is(Backoff { base_ms: retries.1.0, cap_ms: retries.1.1 }),
            dead_letter_topic: retries.2,
            retention_ms: bounds.0,
            entries_max: bounds.1,
            bytes_max: bounds.2,
            dedup_window_ms: rest.0,
            quantum: rest.1.map(
                |(bytes, n)| {
                    if bytes { Quantum::Bytes(n) } else { Quantum::Entries(n) }
                },
            ),
            ageing: rest.2,
        },
    )
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn scopes() -> [Scope; 3] {
    let key = QueueKey::new("tenant-42/").unwrap();
    [
        Scope::Topic(topic("emails")),
        Scope::Prefix(topic("emails"), key.clone()),
        Scope::Queue(topic("emails"), key),
    ]
}

proptest! {
    #[test]
    fn rules_round_trip(settings in settings(), revision in any::<u64>(), n in 0_usize..3) {
        let row = SettingsRow { scope: scopes()[n].clone(), revision, settings };
        let key = SettingsRow::key(&row.scope);
        prop_assert_eq!(SettingsRow::decode(&key, &row.encode()), Ok(row));
    }

    #[test]
    fn damaged_rules_never_panic(settings in settings(), at in any::<usize>(), byte in any::<u8>()) {
        let row = SettingsRow { scope: scopes()[0].clone(), revision: 1, settings };
        let mut stored = row.encode();
        let at = at % stored.len();
        stored[at] = byte;
        let _ = SettingsRow::decode(&SettingsRow::key(&row.scope), &stored);
        stored.truncate(at);
        let _ = SettingsRow::decode(&SettingsRow::key(&row.scope), &stored);
    }
}

#[test]
fn a_rule_of_another_topic_is_refused() {
    let row =
        SettingsRow { scope: scopes()[0].clone(), revision: 1, settings: Settings::default() };
    let key = SettingsRow::key(&Scope::Topic(topic("other")));
    assert!(SettingsRow::decode(&key, &row.encode()).is_err());
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let [of_topic, of_prefix, of_queue] = scopes();
    let none = Settings::default;
    let per = Duration::from_secs(1);
    let refused = |settings: Settings, scope: &Scope| settings.check(scope).unwrap_err();
    assert_eq!(refused(none().with_weight(0), &of_queue), InvalidSettings::Weight(0));
    assert_eq!(
        refused(none().with_weight(1_000_001), &of_queue),
        InvalidSettings::Weight(1_000_001)
    );
    assert_eq!(refused(none().with_band(4), &of_queue), InvalidSettings::Band(4));
    let rate = RateLimit::new(0, per, 1);
    assert_eq!(refused(none().with_rate(rate), &of_queue), InvalidSettings::RateOfNothing);
    let rate = RateLimit::new(1, per, 0);
    assert_eq!(
        refused(none().with_rate_together(rate), &of_topic),
        InvalidSettings::RateWithoutBurst
    );
    let rate = RateLimit::new(1, Duration::ZERO, 1);
    assert_eq!(refused(none().with_rate(rate), &of_topic), InvalidSettings::RatePeriod(0));
    assert_eq!(
        refused(none().with_backoff(per, Duration::ZERO), &of_topic),
        InvalidSettings::BackoffAboveCap { base_ms: 1000, cap_ms: 0 }
    );
    assert_eq!(
        refused(none().with_dead_letter_topic(topic("emails")), &of_topic),
        InvalidSettings::DeadLetterLoop(topic("emails"))
    );
    let window = none().with_dedup_window(Duration::ZERO);
    assert!(matches!(refused(window, &of_topic), InvalidSettings::Time { actual_ms: 0, .. }));
    let retention = none().with_retention(Duration::MAX);
    assert!(matches!(refused(retention, &of_topic), InvalidSettings::Time { .. }));
    assert!(matches!(
        refused(none().with_entries_max(0), &of_queue),
        InvalidSettings::AtLeastOne { .. }
    ));
    let none_of = [
        none().with_attempts_max(0),
        none().with_bytes_max(0),
        none().with_ageing(0),
        none().with_quantum(Quantum::Bytes(0)),
    ];
    for settings in none_of {
        assert!(matches!(refused(settings, &of_topic), InvalidSettings::AtLeastOne { .. }));
    }
    assert!(matches!(
        refused(none().with_ageing(3), &of_prefix),
        InvalidSettings::TopicOnly { what: "ageing" }
    ));
    assert!(matches!(
        refused(none().with_concurrency_together(3), &of_queue),
        InvalidSettings::QueueIsAlone { .. }
    ));
    // As good as paused, and allowed.
    assert_eq!(none().with_concurrency(0).check(&of_queue), Ok(()));
}
