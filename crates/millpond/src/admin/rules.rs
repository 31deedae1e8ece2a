//! Rules from outside: which there are, which hold for a queue, and changing them.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use millpond_partition::{QueueRef, inspect};
use millpond_storage_api::Table;
use millpond_types::limits::DEDUP_WINDOW_MS_DEFAULT;
use millpond_types::{
    ErrorKind, QueueKey, Scope, Settings, SettingsRow, TopicId, TopicName, prefix_successor,
};
use serde::{Deserialize, Serialize};

use super::{Admin, Answer, Question, SettingName, SettingValue, View, unexpected};
use crate::Error;

/// A rule, told to the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// The topic.
    pub topic: String,
    /// The prefix, if it is about the queues whose keys begin so; bytes that are not text are escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The queue's key, if it is about one queue; bytes that are not text are escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it says. Nothing: there is no such rule.
    pub settings: BTreeMap<SettingName, SettingValue>,
}

/// One thing that holds for a queue, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSetting {
    /// What it is about.
    pub setting: SettingName,
    /// What holds.
    pub value: SettingValue,
    /// Whose rule says so: `queue`, `prefix` and the prefix, or `topic`; or `options`, with which the engine was
    /// opened, or `default`.
    pub from: String,
}

/// A change of a rule. What it does not name stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleChange {
    /// What the rule no longer says, before it says what is set.
    pub unset: Vec<SettingName>,
    /// What it says from now on.
    pub set: Settings,
}

impl RuleChange {
    /// The rule goes.
    pub fn remove() -> Self {
        Self { unset: SettingName::ALL.to_vec(), set: Settings::default() }
    }

    /// Nothing more is leased.
    pub fn pause() -> Self {
        Self { unset: Vec::new(), set: Settings::default().with_paused(true) }
    }

    /// The end of a [pause](Self::pause).
    pub fn resume() -> Self {
        Self { unset: vec![SettingName::Paused], set: Settings::default() }
    }

    /// What a rule says after it.
    fn apply(&self, mut to: Settings) -> Settings {
        let nothing = Settings::default();
        self.unset.iter().for_each(|name| name.copy(&nothing, &mut to));
        let set = SettingName::ALL.iter().filter(|name| name.said_in(&self.set).is_some());
        set.for_each(|name| name.copy(&self.set, &mut to));
        to
    }
}

impl Admin {
    /// All rules, or those of one topic; by topic, and in the order topic, prefixes, queues.
    ///
    /// # Errors
    ///
    /// The topic is invalid, or the engine cannot be read or reached.
    pub async fn rules(&self, topic: Option<&str>) -> Result<Vec<RuleInfo>, Error> {
        let topic = topic.map(str::to_owned);
        match self.ask(Question::Rules { topic }).await? {
            Answer::Rules(rules) => Ok(rules),
            other => Err(unexpected(other)),
        }
    }

    /// Changes a rule, and tells what it says now. An engine that is not running is opened for it, and closed
    /// again. [`Topic::set`](crate::Topic::set) tells when a rule holds.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), millpond::Error> {
    /// use millpond::admin::{Admin, RuleChange};
    /// use millpond::{Engine, Options, Scope, Settings, TopicName};
    ///
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let data = directory.path().join("data");
    /// # Engine::open(Options::new(&data)).await?.close().await?;
    /// let admin = Admin::connect(&data).await?;
    /// let emails = Scope::Topic(TopicName::new("emails")?);
    /// let set = Settings::default().with_concurrency(2).with_attempts_max(5);
    /// admin.change_rule(&emails, RuleChange { set, ..Default::default() }).await?;
    /// let rule = admin.change_rule(&emails, RuleChange::pause()).await?;
    /// assert_eq!(rule.settings.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Topic::set`](crate::Topic::set); or the engine cannot be opened or reached.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have changed it.
    pub async fn change_rule(&self, scope: &Scope, change: RuleChange) -> Result<RuleInfo, Error> {
        let RuleChange { unset, set } = change;
        let row = SettingsRow { scope: scope.clone(), revision: 0, settings: set };
        let (key, row) = (SettingsRow::key(scope), row.encode());
        match self.ask(Question::ChangeRule { key, row, unset }).await? {
            Answer::Rule(rule) => Ok(*rule),
            other => Err(unexpected(other)),
        }
    }
}

pub(super) async fn list(view: &View, topic: Option<&str>) -> Result<Vec<RuleInfo>, Error> {
    let topic = topic.map(TopicName::new).transpose()?;
    let mut rules = match view {
        View::Running(engine) => {
            engine.rules().into_iter().map(|rule| (rule.scope, rule.settings)).collect()
        }
        View::Stopped(_) => stored(view, topic.as_ref(), |_| true).await?,
    };
    rules.retain(|(scope, _)| topic.as_ref().is_none_or(|topic| scope.topic() == topic));
    rules.sort_by(|(a, _), (b, _)| (a.topic(), a).cmp(&(b.topic(), b)));
    Ok(rules.into_iter().map(|(scope, settings)| info(&scope, &settings)).collect())
}

pub(super) async fn change(
    view: &View,
    key: &[u8],
    row: &[u8],
    unset: Vec<SettingName>,
) -> Result<RuleInfo, Error> {
    let engine = view.writable()?;
    let asked = SettingsRow::decode(key, row);
    // Only another version of this program can ask for what this one does not know.
    let SettingsRow { scope, settings: set, .. } =
        asked.map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))?;
    let change = RuleChange { unset, set };
    engine.change_rule(scope.clone(), move |settings| change.apply(settings)).await?;
    Ok(info(&scope, &engine.0.governor.rule(&scope).unwrap_or_default()))
}

fn info(scope: &Scope, settings: &Settings) -> RuleInfo {
    let (prefix, key) = match scope {
        Scope::Topic(_) => (None, None),
        Scope::Prefix(_, prefix) => (Some(prefix.to_string()), None),
        Scope::Queue(_, key) => (None, Some(key.to_string())),
    };
    let said = SettingName::ALL.iter().map(|name| (*name, name.said_in(settings)));
    let settings = said.filter_map(|(name, value)| Some((name, value?))).collect();
    RuleInfo { topic: scope.topic().to_string(), prefix, key, settings }
}

/// What holds for a queue, each with whose rule says so. A stopped engine has no options.
pub(super) async fn holding(view: &View, names: &QueueRef) -> Result<Vec<HeldSetting>, Error> {
    let (rules, options) = match view {
        View::Running(engine) => {
            let rules = engine.0.governor.rules_concerning(&names.topic, &names.key);
            (rules, engine.0.defaults.clone())
        }
        View::Stopped(_) => {
            let concerns = |scope: &Scope| concerns(scope, &names.key);
            let mut rules = stored(view, Some(&names.topic), concerns).await?;
            rules.sort_by_key(|(scope, _)| std::cmp::Reverse(rank(scope)));
            (rules, Settings::default())
        }
    };
    let rules = rules.iter().map(|(scope, settings)| (source(scope), settings));
    let defaults = built_in();
    let general = [("options".to_owned(), &options), ("default".to_owned(), &defaults)];
    Ok(held(&rules.chain(general).collect::<Vec<_>>()))
}

/// What rules say together, the most specific first: of each thing the first that says something, and of what adds
/// up all. As the engine has it, whose precedence [`Scope`] states.
fn held(rules: &[(String, &Settings)]) -> Vec<HeldSetting> {
    let mut held = Vec::new();
    for setting in SettingName::ALL {
        let said = rules.iter().filter_map(|(from, settings)| {
            let value = setting.said_in(settings)?;
            // Nobody is resumed against another's will.
            let is_said = value != SettingValue::Flag(false);
            is_said.then(|| HeldSetting { setting: *setting, value, from: from.clone() })
        });
        held.extend(said.take(if setting.adds_up() { usize::MAX } else { 1 }));
    }
    held
}

/// What holds where nobody says anything.
fn built_in() -> Settings {
    let settings = Settings::default().with_weight(1).with_band(0);
    Settings { dedup_window_ms: Some(DEDUP_WINDOW_MS_DEFAULT), ..settings }
}

fn source(scope: &Scope) -> String {
    match scope {
        Scope::Topic(_) => "topic".to_owned(),
        Scope::Prefix(_, prefix) => format!("prefix {prefix}"),
        Scope::Queue(..) => "queue".to_owned(),
    }
}

fn concerns(scope: &Scope, key: &QueueKey) -> bool {
    match scope {
        Scope::Topic(_) => true,
        Scope::Prefix(_, prefix) => key.as_bytes().starts_with(prefix.as_bytes()),
        Scope::Queue(_, other) => other == key,
    }
}

/// How specific a rule is.
fn rank(scope: &Scope) -> usize {
    match scope {
        Scope::Topic(_) => 0,
        Scope::Prefix(_, prefix) => prefix.as_bytes().len(),
        Scope::Queue(..) => usize::MAX,
    }
}

/// The rules in the stores of an engine. A crash may have kept a change from some of them: the newest is right. Rows
/// that cannot be decoded are passed over, as the engine does.
async fn stored(
    view: &View,
    topic: Option<&TopicName>,
    is_wanted: impl Fn(&Scope) -> bool,
) -> Result<Vec<(Scope, Settings)>, Error> {
    let topic = topic.map(|name| TopicId::derive(name).0);
    let range = topic.map_or((Vec::new(), None), |id| (id.to_vec(), prefix_successor(&id)));
    let mut newest: HashMap<Scope, (u64, Settings)> = HashMap::new();
    for store in view.stores() {
        inspect::scan_range(&*store, Table::Settings, range.clone(), |key, row| {
            let Ok(row) = SettingsRow::decode(key, row) else { return ControlFlow::Continue(()) };
            if is_wanted(&row.scope) {
                let known = newest.entry(row.scope).or_default();
                if row.revision >= known.0 {
                    *known = (row.revision, row.settings);
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
    }
    let rules = newest.into_iter().map(|(scope, (_, settings))| (scope, settings));
    Ok(rules.filter(|(_, settings)| !settings.is_empty()).collect())
}

#[cfg(test)]
mod tests;
