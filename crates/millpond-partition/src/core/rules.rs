//! What the rules say of a queue, all in all.

use std::sync::Arc;

use millpond_types::limits::DEDUP_WINDOW_MS_DEFAULT;
use millpond_types::{Settings, TopicName};

use super::{Core, Slot};
use crate::QueueRef;

/// The sum of all rules that concern a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effective {
    /// Where dead letters go; to their own queue if there is none.
    pub(crate) dead_letter_topic: Option<TopicName>,
    pub(crate) retention_ms: Option<u64>,
    pub(crate) entries_max: Option<u64>,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) dedup_window_ms: u64,
}

impl Effective {
    /// What rules say together, the most specific first.
    pub(crate) fn of<'a>(rules: impl IntoIterator<Item = &'a Settings>) -> Self {
        let mut sum = Settings::default();
        for rule in rules {
            sum.dead_letter_topic = sum.dead_letter_topic.or(rule.dead_letter_topic.clone());
            sum.retention_ms = sum.retention_ms.or(rule.retention_ms);
            sum.entries_max = sum.entries_max.or(rule.entries_max);
            sum.bytes_max = sum.bytes_max.or(rule.bytes_max);
            sum.dedup_window_ms = sum.dedup_window_ms.or(rule.dedup_window_ms);
        }
        Self {
            dead_letter_topic: sum.dead_letter_topic.value(),
            retention_ms: sum.retention_ms.value(),
            entries_max: sum.entries_max.value(),
            bytes_max: sum.bytes_max.value(),
            dedup_window_ms: sum.dedup_window_ms.unwrap_or(DEDUP_WINDOW_MS_DEFAULT),
        }
    }
}

impl Core {
    /// What the rules say of a queue that is in memory.
    pub(super) fn rules_of(&self, _slot: Slot) -> &Arc<Effective> {
        &self.defaults
    }

    /// What the rules say of any queue.
    pub(super) fn rules_for(&self, names: &QueueRef) -> &Arc<Effective> {
        match self.queues.find(&names.id) {
            Some(slot) => self.rules_of(slot),
            None => &self.defaults,
        }
    }
}
