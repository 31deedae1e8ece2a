//! The rules that workers make: pauses and limits of topics, of prefixes and of some queues.
//!
//! One task at a time changes the rules of a scope, so that the order of the changes is known: whoever reads
//! the events knows which rule holds, but for the one change that is under way.

use millpond::{QueueKey, Scope, Setting, Settings, TopicName};
use serde::{Deserialize, Serialize};

use crate::event::queues;
use crate::random::Random;

/// Prefixes that have rules; the first holds all queues of a topic.
const PREFIXES: [&str; 3] = ["tenant-", "tenant-1", "tenant-2"];
/// Queues that have rules of their own, by number from 0: half of the load goes to them.
const N_QUEUES: u32 = 4;

/// What a rule of a load is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleScope {
    /// The topic with this index.
    Topic(u8),
    /// Queues of the topic with this index, by the index of their prefix.
    Prefix(u8, u8),
    /// The queue with this number.
    Queue(u32),
}

impl RuleScope {
    /// Every one of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let topics = (0..).zip(queues::TOPICS).map(|(topic, _)| topic);
        let prefixes = topics.clone().flat_map(|topic| {
            (0..).zip(PREFIXES).map(move |(prefix, _)| Self::Prefix(topic, prefix))
        });
        topics.map(Self::Topic).chain(prefixes).chain((0..N_QUEUES).map(Self::Queue))
    }

    /// The one with this name, if loads make rules about it.
    pub fn named(scope: &Scope) -> Option<Self> {
        Self::all().find(|ours| ours.name() == *scope)
    }

    /// Whether the rule concerns a queue.
    pub fn covers(self, queue: u32) -> bool {
        match self {
            Self::Topic(topic) => queues::topic(queue) == queues::TOPICS[usize::from(topic)],
            Self::Prefix(topic, prefix) => {
                queues::topic(queue) == queues::TOPICS[usize::from(topic)]
                    && queues::key(queue).starts_with(PREFIXES[usize::from(prefix)])
            }
            Self::Queue(number) => queue == number,
        }
    }

    /// As the engine names it.
    ///
    /// # Panics
    ///
    /// Never: the names are valid.
    pub fn name(self) -> Scope {
        let topic = |name| TopicName::new(name).expect("a valid topic");
        let key = |name: &str| QueueKey::new(name).expect("a valid key");
        match self {
            Self::Topic(number) => Scope::Topic(topic(queues::TOPICS[usize::from(number)])),
            Self::Prefix(number, prefix) => Scope::Prefix(
                topic(queues::TOPICS[usize::from(number)]),
                key(PREFIXES[usize::from(prefix)]),
            ),
            Self::Queue(queue) => {
                Scope::Queue(topic(queues::topic(queue)), key(&queues::key(queue)))
            }
        }
    }

    /// The partition that stores the rule, of so many; absent if all do.
    pub fn partition(self, n_partitions: u16) -> Option<u16> {
        match self {
            Self::Queue(queue) => Some(queues::id(queue).partition(n_partitions)),
            Self::Topic(_) | Self::Prefix(..) => None,
        }
    }

    /// What every engine of these tests says of the scope beside pauses and limits.
    fn base(self) -> Settings {
        match self {
            Self::Topic(topic) => queues::settings(topic.into()),
            Self::Prefix(..) | Self::Queue(_) => Settings::default(),
        }
    }
}

/// What such a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Says {
    /// Nothing is leased.
    pub paused: bool,
    /// At most so many entries are leased at the same time, of all the queues together.
    pub n_max: Option<u32>,
}

impl Says {
    /// Some rule: most are limits that a load meets, and some say nothing.
    pub fn choose(random: &mut Random, scope: RuleScope) -> Self {
        let n_max = match scope {
            RuleScope::Topic(_) => 60,
            RuleScope::Prefix(..) => 24,
            RuleScope::Queue(_) => 6,
        };
        let n_max = u32::try_from(random.below(n_max + 1)).expect("small limits");
        match random.below(10) {
            0..4 => Self::default(),
            4..6 => Self { paused: true, n_max: None },
            6 => Self { paused: true, n_max: Some(n_max) },
            _ => Self { paused: false, n_max: Some(n_max) },
        }
    }

    /// Whether nothing may be leased.
    pub fn stops(self) -> bool {
        self.paused || self.n_max == Some(0)
    }

    /// The rule for the engine.
    pub fn settings(self, scope: RuleScope) -> Settings {
        let base = scope.base();
        let rule = match (scope, self.n_max) {
            (RuleScope::Queue(_), Some(n_max)) => base.with_concurrency(n_max),
            (_, Some(n_max)) => base.with_concurrency_together(n_max),
            (_, None) => base,
        };
        // A rule that says nothing is withdrawn, with its pause; any other has to end a pause.
        let paused = (self.paused || !rule.is_empty()).then_some(self.paused);
        Settings { paused, ..rule }
    }

    /// What a rule of the engine says; `None` if no load says such things.
    pub fn of(scope: RuleScope, settings: &Settings) -> Option<Self> {
        let n_max = match scope {
            RuleScope::Queue(_) => settings.concurrency.value(),
            RuleScope::Topic(_) | RuleScope::Prefix(..) => settings.concurrency_together,
        };
        let says = Self { paused: settings.paused == Some(true), n_max };
        let base = scope.base();
        // A store that died young may not have what all have.
        let is_bare = settings.attempts_max == Setting::Inherited && base != Settings::default();
        let said = if is_bare { with(settings, &base) } else { settings.clone() };
        // A rule in which nobody has spoken of pauses does not pause.
        let paused = says.settings(scope).paused;
        (Settings { paused, ..said } == says.settings(scope)).then_some(says)
    }
}

/// A rule that also says how entries are tried again.
fn with(settings: &Settings, base: &Settings) -> Settings {
    let Settings { backoff, attempts_max, .. } = base.clone();
    Settings { backoff, attempts_max, ..settings.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_by_their_scope_and_say_what_was_said() {
        let mut random = Random::new(1);
        for scope in RuleScope::all() {
            assert_eq!(RuleScope::named(&scope.name()), Some(scope));
            let says = Says::choose(&mut random, scope);
            assert_eq!(Says::of(scope, &says.settings(scope)), Some(says));
        }
        let others = Settings::default().with_weight(3);
        assert_eq!(Says::of(RuleScope::Queue(0), &others), None);
        assert_eq!(Says::of(RuleScope::Topic(1), &Settings::default()), Some(Says::default()));
    }

    #[test]
    fn a_rule_concerns_the_queues_that_it_names() {
        assert!(RuleScope::Topic(0).covers(4) && !RuleScope::Topic(0).covers(5));
        assert!(RuleScope::Prefix(0, 2).covers(2) && RuleScope::Prefix(0, 2).covers(28));
        assert!(!RuleScope::Prefix(0, 2).covers(32) && !RuleScope::Prefix(0, 2).covers(21));
        assert!(RuleScope::Queue(3).covers(3) && !RuleScope::Queue(3).covers(33));
    }
}
