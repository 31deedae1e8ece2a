//! `millpond rule`, and pausing topics and queues: what holds for queues, changed while the engine runs or not.

use millpond::Backoff;
use millpond::admin::{Admin, HeldSetting, RuleChange, RuleInfo, SettingName, SettingValue};
use millpond::{QueueKey, Scope, TopicName};

use crate::args::{Place, QueueName, RuleVerb, TopicVerb, flag};
use crate::failure::{Exit, Failure};
use crate::output::{Column, bytes, count, on_one_line, print, print_json, table};
use crate::units::{Millis, PerTime, Waits};

pub(crate) async fn run(verb: RuleVerb) -> Result<(), Failure> {
    match verb {
        RuleVerb::Ls { place, topic } => {
            let rules = Admin::connect(&place.data).await?.rules(topic.as_deref()).await?;
            if place.json { print_json(&rules) } else { print(&listed(&rules)) }
        }
        RuleVerb::Set { place, scope, settings } => {
            let scope = scope.scope()?;
            let Some(change) = settings.change()? else {
                return Err(Failure::new(Exit::Usage, "name a setting to change, or --unset one"));
            };
            change_rule(&place, &scope, change).await
        }
        RuleVerb::Rm { place, scope } => {
            change_rule(&place, &scope.scope()?, RuleChange::remove()).await
        }
    }
}

pub(crate) async fn topic(verb: TopicVerb) -> Result<(), Failure> {
    let (place, topic, change) = match verb {
        TopicVerb::Pause { place, topic } => (place, topic, RuleChange::pause()),
        TopicVerb::Resume { place, topic } => (place, topic, RuleChange::resume()),
    };
    let topic = TopicName::new(&topic).map_err(millpond::Error::from)?;
    change_rule(&place, &Scope::Topic(topic), change).await
}

/// Pauses or resumes a queue.
pub(crate) async fn queue(
    place: &Place,
    QueueName { topic, key }: &QueueName,
    change: RuleChange,
) -> Result<(), Failure> {
    let topic = TopicName::new(topic).map_err(millpond::Error::from)?;
    let key = QueueKey::new(key).map_err(millpond::Error::from)?;
    change_rule(place, &Scope::Queue(topic, key), change).await
}

async fn change_rule(place: &Place, scope: &Scope, change: RuleChange) -> Result<(), Failure> {
    let admin = Admin::connect(&place.data).await?;
    let rule = admin.change_rule(scope, change).await?;
    if place.json { print_json(&rule) } else { print(&told(&rule)) }
}

fn told(rule: &RuleInfo) -> String {
    let says = says(rule);
    let says = if says.is_empty() { "no rule".to_owned() } else { says };
    format!("{} / {}: {says}\n", on_one_line(&rule.topic), about(rule))
}

fn listed(rules: &[RuleInfo]) -> String {
    if rules.is_empty() {
        return "there are no rules\n".to_owned();
    }
    let columns = [Column::Text("topic"), Column::Text("queues"), Column::Text("rule")];
    table(columns, rules.iter().map(|rule| [on_one_line(&rule.topic), about(rule), says(rule)]))
}

/// Which queues of the topic.
fn about(rule: &RuleInfo) -> String {
    match (&rule.prefix, &rule.key) {
        (Some(prefix), _) => format!("{prefix}*"),
        (None, Some(key)) => key.clone(),
        (None, None) => "*".to_owned(),
    }
}

fn says(rule: &RuleInfo) -> String {
    let said = rule.settings.iter().map(|(setting, value)| said(*setting, value));
    said.collect::<Vec<_>>().join(", ")
}

/// What holds for a queue, a line for each setting, with whose rule says so.
pub(crate) fn held(settings: &[HeldSetting]) -> String {
    let line =
        |held: &HeldSetting| format!("{} ({})\n", said(held.setting, &held.value), held.from);
    settings.iter().map(line).collect()
}

fn said(setting: SettingName, value: &SettingValue) -> String {
    let name = flag(setting);
    match value {
        SettingValue::Off => format!("{name} off"),
        SettingValue::Flag(true) => name.to_owned(),
        SettingValue::Flag(false) => format!("not {name}"),
        SettingValue::Number(n) => match setting {
            SettingName::RetentionMs | SettingName::DedupWindowMs => {
                format!("{name} {}", Millis(*n))
            }
            SettingName::BytesMax => format!("{name} {}", bytes(*n)),
            _ => format!("{name} {}", count(*n)),
        },
        SettingValue::Rate { n_entries, per_ms, burst } => {
            let rate = PerTime { n_entries: *n_entries, per_ms: *per_ms };
            format!("{name} {rate} burst {burst}")
        }
        SettingValue::Backoff { base_ms, cap_ms } => {
            format!("{name} {}", Waits(Backoff { base_ms: *base_ms, cap_ms: *cap_ms }))
        }
        SettingValue::QuantumEntries { n_entries } => format!("{name} {n_entries}"),
        SettingValue::QuantumBytes { n_bytes } => format!("{name} {n_bytes}B"),
        SettingValue::Topic(topic) => format!("{name} {}", on_one_line(topic)),
    }
}
