//! What the rules say of a queue, all in all.

use std::num::NonZeroU32;

use millpond_types::limits::DEDUP_WINDOW_MS_DEFAULT;
use millpond_types::{Backoff, InvalidSettings, RateLimit, Scope, Setting, Settings, TopicName};
use millpond_wakeup::BackoffPolicy;

/// Why a rule was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// It makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidSettings),
    /// There are as many rules as there may be. One rule of a prefix can stand for those of many queues.
    #[error(
        "there are {limit} rules, and there may be no more; a rule of a prefix can stand for those of its queues"
    )]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// Too many prefixes, each within the next, limit what their queues do together.
    #[error("at most {limit} prefixes of a key may have limits together")]
    TooDeep {
        /// How many there may be.
        limit: usize,
    },
}

/// How entries are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RetryPolicy {
    pub(crate) backoff: Option<BackoffPolicy>,
    pub(crate) attempts_max: Option<NonZeroU32>,
}

impl RetryPolicy {
    /// Whether an entry that has had so many attempts may have no more.
    pub(crate) fn is_spent(&self, attempts: u32) -> bool {
        self.attempts_max.is_some_and(|max| attempts >= max.get())
    }
}

/// The sum of all rules that concern a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effective {
    /// The rules that pause it, the most specific first.
    pub(crate) paused_by: Vec<Scope>,
    pub(crate) weight: u32,
    pub(crate) band: u8,
    pub(crate) concurrency: Option<u32>,
    pub(crate) rate: Option<RateLimit>,
    pub(crate) retry: RetryPolicy,
    /// Where dead letters go; they stay with their own queue if there is none.
    pub(crate) dead_letter_topic: Option<TopicName>,
    pub(crate) retention_ms: Option<u64>,
    pub(crate) entries_max: Option<u64>,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) dedup_window_ms: u64,
}

impl Effective {
    /// What rules say together, the most specific first, each with what it is about; the defaults are about
    /// nothing.
    pub(crate) fn of<'a>(rules: impl IntoIterator<Item = (&'a Settings, Option<Scope>)>) -> Self {
        let mut sum = Settings::default();
        let mut paused_by = Vec::new();
        for (rule, scope) in rules {
            // Whoever pauses is not overruled.
            if rule.paused == Some(true) {
                paused_by.extend(scope);
            }
            add(&mut sum, rule);
        }
        Self {
            paused_by,
            weight: sum.weight.unwrap_or(1),
            band: sum.band.unwrap_or(0),
            concurrency: sum.concurrency.value(),
            rate: sum.rate.value(),
            retry: RetryPolicy {
                backoff: sum.backoff.value().and_then(policy),
                attempts_max: sum.attempts_max.value().and_then(NonZeroU32::new),
            },
            dead_letter_topic: sum.dead_letter_topic.value(),
            retention_ms: sum.retention_ms.value(),
            entries_max: sum.entries_max.value(),
            bytes_max: sum.bytes_max.value(),
            dedup_window_ms: sum.dedup_window_ms.unwrap_or(DEDUP_WINDOW_MS_DEFAULT),
        }
    }
}

/// Rules are checked before they are stored.
fn policy(Backoff { base_ms, cap_ms }: Backoff) -> Option<BackoffPolicy> {
    BackoffPolicy::new(base_ms, cap_ms).ok()
}

fn add(sum: &mut Settings, rule: &Settings) {
    fn or<T: Clone>(specific: &mut Setting<T>, general: &Setting<T>) {
        if matches!(specific, Setting::Inherited) {
            *specific = general.clone();
        }
    }
    sum.weight = sum.weight.or(rule.weight);
    sum.band = sum.band.or(rule.band);
    or(&mut sum.concurrency, &rule.concurrency);
    or(&mut sum.rate, &rule.rate);
    or(&mut sum.attempts_max, &rule.attempts_max);
    or(&mut sum.backoff, &rule.backoff);
    or(&mut sum.dead_letter_topic, &rule.dead_letter_topic);
    or(&mut sum.retention_ms, &rule.retention_ms);
    or(&mut sum.entries_max, &rule.entries_max);
    or(&mut sum.bytes_max, &rule.bytes_max);
    sum.dedup_window_ms = sum.dedup_window_ms.or(rule.dedup_window_ms);
}
