//! The rules of an engine: all of them are in memory, once for all partitions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use millpond_scheduler::{Limit, Limits, Rate, ResourceId};
use millpond_types::{
    QueueId, QueueKey, RateLimit, Scope, Setting, Settings, SettingsRow, TopicId, TopicName,
};

use crate::rules::{Effective, RuleError};

/// Prefixes within each other that may limit what their queues do together. A queue's own limits come on top.
const NESTED_MAX: usize = 3;

/// What is known of one rule.
#[derive(Debug, Clone, Default)]
struct Rule {
    revision: u64,
    settings: Settings,
    /// When it came into force; buckets were full before.
    since_ns: u64,
    /// The revision that each partition has stored.
    stored: Vec<u64>,
}

#[derive(Debug, Default)]
struct Prefix {
    rule: Rule,
    /// What its queues do together, if that is limited, and what is around that.
    resource: Option<ResourceId>,
    parent: Option<ResourceId>,
    /// Its resource was made anew, and lets nothing through until the leases that are out count there.
    is_closed: bool,
}

#[derive(Debug)]
struct Topic {
    name: TopicName,
    rule: Rule,
    prefixes: BTreeMap<QueueKey, Prefix>,
    /// The prefixes that have resources.
    by_resource: HashMap<ResourceId, QueueKey>,
    queues: HashMap<QueueId, (QueueKey, Rule)>,
    /// The revision of the rule that was learned last: another one after every change.
    version: u64,
    /// Up to which version the queues of each partition go by the rules.
    walked: Vec<u64>,
}

/// The rules themselves.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    topics: HashMap<TopicId, Topic>,
    newest: u64,
    n_rules: usize,
    /// When the last partition was opened: what is not stored, the defaults, came into force then.
    opened_ns: u64,
    /// Resources that no rule names any more, until the last queue has left them.
    retired: Vec<ResourceId>,
}

/// The rules that concern one queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Matching {
    /// Version of the topic's rules; 0 if it has none.
    version: u64,
    /// The longest prefix with a rule.
    prefix: Option<QueueKey>,
    /// The queue itself, if it has a rule.
    queue: Option<QueueId>,
}

impl Matching {
    /// Whether no rule says anything.
    pub(crate) fn is_none(&self) -> bool {
        self.version == 0
    }

    fn since_ns(&self, rules: &Topic) -> u64 {
        let own = self.queue.and_then(|id| rules.queues.get(&id)).map(|(_, rule)| rule);
        let prefixes = self.prefix.iter().flat_map(|prefix| rules.prefixes_of(prefix, usize::MAX));
        let prefixes = prefixes.map(|(_, prefix)| &prefix.rule);
        let all = own.into_iter().chain(prefixes).chain([&rules.rule]);
        all.map(|rule| rule.since_ns).max().unwrap_or(0)
    }
}

/// What follows from the rules for a queue.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) rules: Effective,
    /// The innermost resource that it shares with others.
    pub(crate) shared: Option<ResourceId>,
    /// When a bucket of its own was empty at the latest.
    pub(crate) since_ns: u64,
}

/// A limit as the scheduler wants it.
pub(crate) fn limit(concurrency: Option<u32>, rate: Option<RateLimit>) -> Option<Limit> {
    if concurrency.is_none() && rate.is_none() {
        return None;
    }
    let limit = concurrency.map_or(Limit::none(), |n| Limit::none().concurrency(n));
    let rate = rate.and_then(|rate| {
        Rate::new(rate.n_entries, Duration::from_millis(rate.per_ms), rate.burst).ok()
    });
    Some(rate.map_or(limit, |rate| limit.rate(rate)))
}

fn limit_together(settings: &Settings) -> Option<Limit> {
    limit(settings.concurrency_together, settings.rate_together)
}

impl Topic {
    fn rule_mut(&mut self, scope: &Scope) -> &mut Rule {
        match scope {
            Scope::Topic(_) => &mut self.rule,
            Scope::Prefix(_, prefix) => &mut self.prefixes.entry(prefix.clone()).or_default().rule,
            Scope::Queue(topic, key) => {
                let id = QueueId::derive(topic, key);
                &mut self.queues.entry(id).or_insert_with(|| (key.clone(), Rule::default())).1
            }
        }
    }

    fn rule(&self, scope: &Scope) -> Option<&Rule> {
        match scope {
            Scope::Topic(_) => Some(&self.rule),
            Scope::Prefix(_, prefix) => self.prefixes.get(prefix).map(|prefix| &prefix.rule),
            Scope::Queue(topic, key) => {
                self.queues.get(&QueueId::derive(topic, key)).map(|(_, rule)| rule)
            }
        }
    }

    /// Prefixes of a key, at most so long, that have rules; the longest first.
    fn prefixes_of<'a>(
        &'a self,
        key: &'a QueueKey,
        n_bytes_max: usize,
    ) -> impl Iterator<Item = (&'a QueueKey, &'a Prefix)> {
        let mut n_left = n_bytes_max.min(key.as_bytes().len());
        std::iter::from_fn(move || {
            while n_left > 0 {
                let upto = &key.as_bytes()[..n_left];
                let mut range =
                    self.prefixes.range::<[u8], _>((Bound::Unbounded, Bound::Included(upto)));
                let (found, prefix) = range.next_back()?;
                let n_common = n_common(found.as_bytes(), upto);
                let is_prefix = n_common == found.as_bytes().len();
                // What is longer than the common part and sorts before it begins differently.
                n_left = if is_prefix { n_common - 1 } else { n_common };
                if is_prefix && !prefix.rule.settings.is_empty() {
                    return Some((found, prefix));
                }
            }
            None
        })
    }
}

fn n_common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Rules {
    /// A partition takes its place, and may have been another process's before.
    pub(crate) fn opened(&mut self, now_ns: u64) {
        self.opened_ns = self.opened_ns.max(now_ns);
    }

    /// A revision that no rule has had.
    pub(crate) fn next_revision(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// Whether a rule may be made.
    pub(crate) fn check(&self, row: &SettingsRow, n_rules_max: usize) -> Result<(), RuleError> {
        row.settings.check(&row.scope)?;
        let topic = self.topics.get(&TopicId::derive(row.scope.topic()));
        let says = |rule: &Rule| !rule.settings.is_empty();
        let is_new = !topic.and_then(|topic| topic.rule(&row.scope)).is_some_and(says);
        if is_new && !row.settings.is_empty() && self.n_rules >= n_rules_max {
            return Err(RuleError::TooMany { limit: n_rules_max });
        }
        if let (Scope::Prefix(_, prefix), Some(topic)) = (&row.scope, topic)
            && limit_together(&row.settings).is_some()
        {
            let is_limited = |other: &Prefix| limit_together(&other.rule.settings).is_some();
            let above = topic.prefixes_of(prefix, prefix.as_bytes().len() - 1);
            let n_above = above.filter(|(_, other)| is_limited(other)).count();
            let below = topic.prefixes.range::<QueueKey, _>(prefix..);
            let below = below.take_while(|(key, _)| key.as_bytes().starts_with(prefix.as_bytes()));
            let n_below = |key: &QueueKey| {
                let within = topic.prefixes_of(key, usize::MAX);
                let longer =
                    within.take_while(|(key, _)| key.as_bytes().len() > prefix.as_bytes().len());
                longer.filter(|(_, other)| is_limited(other)).count()
            };
            let n_below = below.map(|(key, _)| n_below(key)).max().unwrap_or(0);
            if n_above + 1 + n_below > NESTED_MAX {
                return Err(RuleError::TooDeep { limit: NESTED_MAX });
            }
        }
        Ok(())
    }

    /// Takes a rule over that a partition has stored. An older one than what is known changes nothing.
    pub(crate) fn learn(
        &mut self,
        now_ns: u64,
        limits: &mut Limits,
        (partition, n_partitions): (usize, usize),
        row: &SettingsRow,
        is_recovered: bool,
    ) {
        let name = row.scope.topic();
        let topic = self.topics.entry(TopicId::derive(name)).or_insert_with(|| Topic {
            name: name.clone(),
            rule: Rule::default(),
            prefixes: BTreeMap::new(),
            by_resource: HashMap::new(),
            queues: HashMap::new(),
            version: 0,
            walked: vec![0; n_partitions],
        });
        if is_recovered {
            // Nothing was in memory that could have gone by older rules.
            topic.walked[partition] = topic.walked[partition].max(row.revision);
        }
        let rule = topic.rule_mut(&row.scope);
        rule.stored.resize(n_partitions, 0);
        rule.stored[partition] = row.revision;
        self.newest = self.newest.max(row.revision);
        if row.revision <= rule.revision {
            return;
        }
        rule.revision = row.revision;
        self.n_rules -= usize::from(!rule.settings.is_empty());
        rule.settings = row.settings.clone();
        self.n_rules += usize::from(!rule.settings.is_empty());
        if is_recovered {
            // Nobody knows what was let through just before a restart, so its buckets begin empty.
            rule.since_ns = now_ns;
        } else if rule.settings.is_empty() {
            rule.since_ns = 0;
        }
        // One that is said again keeps the age of its buckets: saying it at every start must not fill them.
        topic.version = row.revision;
        match &row.scope {
            Scope::Topic(_) => {}
            Scope::Prefix(_, changed) => {
                relimit(now_ns, limits, topic, changed, &mut self.retired);
            }
            Scope::Queue(topic_name, key) if row.settings.is_empty() => {
                topic.queues.remove(&QueueId::derive(topic_name, key));
            }
            Scope::Queue(..) => {}
        }
        self.retired.retain(|resource| limits.remove(*resource).is_err());
    }

    /// Withdrawn rules of which every partition knows: nowhere is an older one that could come back.
    pub(crate) fn withdrawn(&self) -> Vec<Scope> {
        let is_over = |rule: &Rule| {
            let is_everywhere = rule.stored.iter().all(|stored| *stored >= rule.revision);
            rule.settings.is_empty() && is_everywhere
        };
        self.rows(is_over).map(|row| row.scope).collect()
    }

    /// No partition has a row of a withdrawn rule any more.
    pub(crate) fn forget(&mut self, scope: &Scope) {
        let Some(topic) = self.topics.get_mut(&TopicId::derive(scope.topic())) else { return };
        if !topic.rule(scope).is_some_and(|rule| rule.settings.is_empty()) {
            return;
        }
        match scope {
            Scope::Topic(_) => topic.rule = Rule::default(),
            // What its queues shared was retired when it was withdrawn.
            Scope::Prefix(_, prefix) => drop(topic.prefixes.remove(prefix)),
            Scope::Queue(..) => {}
        }
    }

    /// All queues of a partition go by the rules of a topic, up to this version.
    pub(crate) fn walked(
        &mut self,
        now_ns: u64,
        limits: &mut Limits,
        partition: usize,
        (topic, version): (TopicId, u64),
    ) {
        let Some(topic) = self.topics.get_mut(&topic) else { return };
        topic.walked[partition] = topic.walked[partition].max(version);
        if topic.walked.iter().any(|walked| *walked < topic.version) {
            return;
        }
        for prefix in topic.prefixes.values_mut().filter(|prefix| prefix.is_closed) {
            prefix.is_closed = false;
            if let (Some(id), Some(limit)) =
                (prefix.resource, limit_together(&prefix.rule.settings))
            {
                limits.change(now_ns, id, limit).expect("a rule names it");
            }
        }
    }

    /// What the rule of a topic says of the topic as a whole.
    pub(crate) fn of_topic(&self, topic: TopicId) -> Option<&Settings> {
        self.topics.get(&topic).map(|topic| &topic.rule.settings)
    }

    /// The limit of a topic as a whole, and since when its bucket has been filling.
    pub(crate) fn topic_limit(&self, topic: TopicId) -> (Limit, u64) {
        let rule = self.topics.get(&topic).map(|topic| &topic.rule);
        let limit = rule.and_then(|rule| limit_together(&rule.settings));
        (limit.unwrap_or(Limit::none()), rule.map_or(0, |rule| rule.since_ns))
    }

    /// Whether one has to know a queue's key to know its rules.
    pub(crate) fn go_by_key(&self, topic: TopicId) -> bool {
        self.topics.get(&topic).is_some_and(|topic| !topic.prefixes.is_empty())
    }

    /// Which rules concern a queue.
    pub(crate) fn matching(&self, topic: TopicId, id: QueueId, key: Option<&QueueKey>) -> Matching {
        let Some(rules) = self.topics.get(&topic) else { return Matching::default() };
        let prefix = key.and_then(|key| {
            rules.prefixes_of(key, usize::MAX).next().map(|(prefix, _)| prefix.clone())
        });
        let queue = rules.queues.contains_key(&id).then_some(id);
        Matching { version: rules.version, prefix, queue }
    }

    /// What they say.
    pub(crate) fn resolve(
        &self,
        topic: TopicId,
        matching: &Matching,
        defaults: &Settings,
    ) -> Resolved {
        let Some(rules) = self.topics.get(&topic) else {
            let rules = Effective::of([(defaults, None)]);
            return Resolved { rules, shared: None, since_ns: self.opened_ns };
        };
        let own = matching.queue.and_then(|id| rules.queues.get(&id));
        let own = own.map(|(key, rule)| {
            (&rule.settings, Some(Scope::Queue(rules.name.clone(), key.clone())))
        });
        let prefixes: Vec<_> = matching
            .prefix
            .iter()
            .flat_map(|prefix| rules.prefixes_of(prefix, usize::MAX))
            .collect();
        let shared = prefixes.iter().find_map(|(_, prefix)| prefix.resource);
        let of_prefixes = prefixes.iter().map(|(key, prefix)| {
            let scope = Scope::Prefix(rules.name.clone(), (*key).clone());
            (&prefix.rule.settings, Some(scope))
        });
        let of_topic = (&rules.rule.settings, Some(Scope::Topic(rules.name.clone())));
        let said: Vec<_> = own.into_iter().chain(of_prefixes).chain([of_topic]).collect();
        let is_default = said.iter().all(|(rule, _)| rule.rate == Setting::Inherited);
        let opened_ns = if is_default { self.opened_ns } else { 0 };
        let since_ns = matching.since_ns(rules).max(opened_ns);
        let rules = Effective::of(said.into_iter().chain([(defaults, None)]));
        Resolved { rules, shared, since_ns }
    }

    /// The prefix whose queues share a resource.
    pub(crate) fn prefix_of(&self, topic: TopicId, resource: ResourceId) -> Option<QueueKey> {
        self.topics.get(&topic)?.by_resource.get(&resource).cloned()
    }

    /// What a rule says.
    pub(crate) fn get(&self, scope: &Scope) -> Option<Settings> {
        let rule = self.topics.get(&TopicId::derive(scope.topic()))?.rule(scope)?;
        (!rule.settings.is_empty()).then(|| rule.settings.clone())
    }

    /// The rules that concern the queue with this key, the most specific first.
    pub(crate) fn concerning(&self, name: &TopicName, key: &QueueKey) -> Vec<(Scope, Settings)> {
        let Some(topic) = self.topics.get(&TopicId::derive(name)) else { return Vec::new() };
        let own = Scope::Queue(name.clone(), key.clone());
        let prefixes = topic.prefixes_of(key, usize::MAX);
        let prefixes = prefixes.map(|(prefix, _)| Scope::Prefix(name.clone(), prefix.clone()));
        let scopes = [own].into_iter().chain(prefixes).chain([Scope::Topic(name.clone())]);
        scopes.filter_map(|scope| self.get(&scope).map(|settings| (scope, settings))).collect()
    }

    /// Every rule, by topic.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SettingsRow> + '_ {
        self.rows(|rule| !rule.settings.is_empty())
    }

    /// The rules that a partition does not have, or has an older one of.
    pub(crate) fn missing_in(&self, partition: usize) -> Vec<SettingsRow> {
        let lacks = |rule: &Rule| rule.stored.get(partition).copied().unwrap_or(0) < rule.revision;
        let lacking = self.rows(lacks);
        lacking.filter(|row| !matches!(row.scope, Scope::Queue(..))).collect()
    }

    /// The rules, withdrawn ones too, of which this holds. Only they are copied: grants wait meanwhile.
    fn rows(&self, holds: impl Fn(&Rule) -> bool + Copy) -> impl Iterator<Item = SettingsRow> {
        let is_meant = move |rule: &Rule| rule.revision > 0 && holds(rule);
        let row = |scope, rule: &Rule| SettingsRow {
            scope,
            revision: rule.revision,
            settings: rule.settings.clone(),
        };
        self.topics.values().flat_map(move |topic| {
            let name = || topic.name.clone();
            let own = is_meant(&topic.rule).then(|| row(Scope::Topic(name()), &topic.rule));
            let prefixes = topic.prefixes.iter().filter(move |(_, p)| is_meant(&p.rule));
            let prefixes =
                prefixes.map(move |(key, p)| row(Scope::Prefix(name(), key.clone()), &p.rule));
            let queues = topic.queues.values().filter(move |(_, rule)| is_meant(rule));
            let queues =
                queues.map(move |(key, rule)| row(Scope::Queue(name(), key.clone()), rule));
            own.into_iter().chain(prefixes).chain(queues)
        })
    }
}

/// Gives a prefix of which the rule has changed, and those within it, the resource that their rules ask for, inside
/// that of the next shorter prefix. The shorter ones come first, and one that gets another parent is made anew.
/// No other prefix is touched: a change of its bucket would forget what may be refunded to it.
fn relimit(
    now_ns: u64,
    limits: &mut Limits,
    topic: &mut Topic,
    changed: &QueueKey,
    retired: &mut Vec<ResourceId>,
) {
    let within = topic.prefixes.range::<QueueKey, _>(changed..).map(|(key, _)| key);
    let within = within.take_while(|key| key.as_bytes().starts_with(changed.as_bytes()));
    let keys: Vec<QueueKey> = within.cloned().collect();
    for key in keys {
        let n_shorter = key.as_bytes().len() - 1;
        let shorter = topic.prefixes_of(&key, n_shorter).find_map(|(_, prefix)| prefix.resource);
        let prefix = topic.prefixes.get_mut(&key).expect("it was just listed");
        let wanted = limit_together(&prefix.rule.settings);
        let before = prefix.resource;
        let exists = "a resource is removed only when no rule names it";
        prefix.resource = match (before, wanted) {
            (Some(resource), Some(limit)) if prefix.parent == shorter => {
                if !prefix.is_closed {
                    limits.change(now_ns, resource, limit).expect(exists);
                }
                continue;
            }
            // Leases that are out count at the old one until all partitions have come by. So long neither lets
            // anything through: both together would exceed the limit.
            (Some(resource), Some(limit)) => {
                let none = Limit::none().concurrency(0);
                prefix.is_closed = true;
                // Before the old one loses its bucket: the tokens that are left, or the debt, are handed on.
                let heir = limits.replace(now_ns, resource, limit.concurrency(0), shorter);
                limits.change(now_ns, resource, none).expect(exists);
                Some(heir.expect(exists))
            }
            (None, Some(limit)) => {
                let since_ns = prefix.rule.since_ns;
                Some(limits.add_since(now_ns, limit, shorter, since_ns).expect(exists))
            }
            (_, None) => None,
        };
        prefix.parent = shorter;
        if let Some(before) = before {
            topic.by_resource.remove(&before);
            retired.push(before);
        }
        if let Some(resource) = prefix.resource {
            topic.by_resource.insert(resource, key);
        }
    }
}

#[cfg(test)]
mod tests;
