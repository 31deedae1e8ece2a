//! Why a queue is, or is not, being served, in sentences.

use millpond_partition::{FullOf, LimitOf, PausedBy, QueueReport, QueueState};
use millpond_types::{Scope, UnixMillis};

use super::utc::utc;
use super::{
    DelayedInfo, HeldSetting, LeaseInfo, LimitInfo, QueueInfo, SettingName, SettingValue, waiting,
};

/// Queues that a report counts at most.
const COUNTED_MAX: usize = 1_000;

/// What is known of a queue.
pub(super) struct Known<'a> {
    pub(super) queue: &'a QueueInfo,
    pub(super) rules: &'a [HeldSetting],
    /// What becomes ready first.
    pub(super) delayed: Option<&'a DelayedInfo>,
    pub(super) now: UnixMillis,
}

/// A state, why, and what is true besides.
pub(super) struct Reasons {
    pub(super) state: &'static str,
    pub(super) reason: String,
    pub(super) also: Vec<String>,
}

/// Of a queue in an engine that is not running.
pub(super) fn stopped(known: &Known<'_>, lease: Option<&LeaseInfo>, n_bytes: u64) -> Reasons {
    let queue = known.queue;
    let is_due = known.delayed.is_some_and(|first| first.due_in_ms == 0);
    let mut pauses = known.pauses();
    let (state, reason) = if queue.head_waits_ms.is_some() || is_due {
        match pauses.first() {
            Some(pause) => ("paused", format!("{pause}; and no engine is running")),
            None => ("stopped", "it has entries to be served, and no engine is running".to_owned()),
        }
    } else if queue.n_entries == 0 {
        nothing_ready(queue.n_delayed, queue.n_dead, known.delayed)
    } else {
        match (queue.n_entries.saturating_sub(queue.n_leased), lease) {
            (0, Some(lease)) => ("leased", all_leased(None, lease.ends_in_ms)),
            (n_left, _) => ("set_aside", undecodable(n_left)),
        }
    };
    if state == "paused" {
        pauses.remove(0);
    }
    let is_over = |name, n: u64| known.bound(name).is_some_and(|bound| n >= bound);
    let full = if is_over(SettingName::EntriesMax, queue.n_held()) {
        Some(FullOf::QueueEntries)
    } else {
        is_over(SettingName::BytesMax, n_bytes).then_some(FullOf::QueueBytes)
    };
    pauses.extend(full.map(|full| known.full(full)));
    Reasons { state, reason, also: pauses }
}

/// Of a queue in a running engine; one that has no report is not in memory.
pub(super) fn running(known: &Known<'_>, report: Option<&QueueReport>) -> Reasons {
    let (state, reason) = match report {
        None if known.queue.n_entries > 0 => {
            let text =
                "it is not in memory: a restart still brings queues back, those asked for first";
            ("cold", text.to_owned())
        }
        None => nothing_ready(known.queue.n_delayed, known.queue.n_dead, known.delayed),
        Some(report) => match known.kept_back(&report.state) {
            // Whether it would be served does not matter when there is nothing.
            Some(_) if report.n_entries == 0 => {
                nothing_ready(report.n_delayed, report.n_dead, known.delayed)
            }
            Some(told) => told,
            None => known.by_itself(&report.state),
        },
    };
    let mut also = known.pauses();
    also.retain(|pause| *pause != reason);
    also.extend(report.and_then(|report| report.full).map(|full| known.full(full)));
    Reasons { state, reason, also }
}

/// The limit that keeps a queue back.
pub(super) fn limit(state: &QueueState) -> Option<LimitInfo> {
    match state {
        QueueState::AtLimit { of, n_leased, limit } => Some(LimitInfo {
            of: name(of),
            n_leased: Some(*n_leased),
            n_leased_max: Some(*limit),
            until_ms: None,
        }),
        QueueState::Paused { by: PausedBy::LimitOfZero(of) } => {
            Some(LimitInfo { of: name(of), n_leased_max: Some(0), ..LimitInfo::default() })
        }
        QueueState::Throttled { of, until } => Some(LimitInfo {
            of: name(of),
            until_ms: until.map(|until| until.0),
            ..LimitInfo::default()
        }),
        _ => None,
    }
}

impl Known<'_> {
    /// Why it would not be served if it were alone.
    fn by_itself(&self, state: &QueueState) -> (&'static str, String) {
        let fixed = |state: &'static str, reason: &str| (state, reason.to_owned());
        match state {
            QueueState::Empty | QueueState::Delayed => {
                nothing_ready(self.queue.n_delayed, self.queue.n_dead, self.delayed)
            }
            QueueState::Ready { n_ahead: 0 } => {
                fixed("ready", "its head is next to be leased; no consumer has asked")
            }
            QueueState::Ready { n_ahead: n @ COUNTED_MAX.. } => (
                "ready",
                format!("its head can be leased; {n} queues of the topic or more come first"),
            ),
            QueueState::Ready { n_ahead } => ("ready", behind(*n_ahead, "the topic")),
            QueueState::Leased { until, by } => {
                ("leased", all_leased(by.as_deref(), until.since(self.now)))
            }
            QueueState::Cold => fixed(
                "cold",
                "its head is not in memory; it is read when the turn of the queue comes",
            ),
            QueueState::Loading => fixed("loading", "its head is being read from storage"),
            QueueState::Committing => {
                fixed("committing", "a change of its head is on its way to storage")
            }
            QueueState::BackingOff { until, error } => {
                let ms = until.since(self.now);
                (state.name(), format!("its head cannot be read ({error}); next try in {ms} ms"))
            }
            QueueState::Purging => fixed("purging", "everything it held is being removed"),
            QueueState::SetAside { n_entries } => ("set_aside", undecodable(*n_entries)),
            _ => fixed("unknown", "this version cannot describe its state"),
        }
    }

    /// By rules, limits and other queues.
    fn kept_back(&self, state: &QueueState) -> Option<(&'static str, String)> {
        Some(match state {
            QueueState::Paused { by: PausedBy::Rule(scope) } => {
                let by = match scope {
                    Scope::Queue(..) => "queue".to_owned(),
                    Scope::Prefix(_, prefix) => format!("prefix {prefix}"),
                    Scope::Topic(_) => "topic".to_owned(),
                };
                ("paused", paused_by(&by))
            }
            QueueState::Paused { by: PausedBy::LimitOfZero(of) } => ("paused", zero(&name(of))),
            QueueState::AtLimit { of, n_leased, limit } => {
                let whose = whose(&name(of));
                let text = format!("it is at the limit {whose}: {n_leased} of {limit} are leased");
                ("at_limit", text)
            }
            QueueState::Throttled { of, until } => {
                let whose = whose(&name(of));
                let text = match until {
                    Some(until) => {
                        let (at, ms) = (utc(*until), until.since(self.now));
                        format!("it is throttled by the rate {whose} until {at}, for {ms} ms")
                    }
                    None => format!(
                        "it is throttled by the rate {whose}; what comes next is meant for others"
                    ),
                };
                ("throttled", text)
            }
            QueueState::BehindBand { band, n_queues } => {
                ("behind_band", behind(*n_queues, &format!("band {band}")))
            }
            _ => return None,
        })
    }

    /// Everything that pauses the queue, a sentence each.
    fn pauses(&self) -> Vec<String> {
        let pause = |held: &HeldSetting| match (held.setting, &held.value) {
            (SettingName::Paused, SettingValue::Flag(true)) => Some(paused_by(&held.from)),
            (
                SettingName::Concurrency | SettingName::ConcurrencyTogether,
                SettingValue::Number(0),
            ) => {
                let of_each = held.setting == SettingName::Concurrency;
                Some(zero(if of_each { "queue" } else { &held.from }))
            }
            _ => None,
        };
        self.rules.iter().filter_map(pause).collect()
    }

    fn bound(&self, name: SettingName) -> Option<u64> {
        let held = self.rules.iter().find(|held| held.setting == name)?;
        match held.value {
            SettingValue::Number(n) => Some(n),
            _ => None,
        }
    }

    fn full(&self, full: FullOf) -> String {
        let of = |name| self.bound(name).map_or(String::new(), |bound| format!(" of {bound}"));
        let what = match full {
            FullOf::QueueEntries => {
                let held = self.queue.n_held();
                format!("it holds {held} entries, its bound{}", of(SettingName::EntriesMax))
            }
            FullOf::QueueBytes => {
                format!("its entries have as many bytes as its bound{}", of(SettingName::BytesMax))
            }
            FullOf::PartitionEntries => "its partition holds as many entries as it may".to_owned(),
            FullOf::PartitionBytes => {
                "the entries of its partition have as many bytes as they may".to_owned()
            }
            FullOf::LeaseCalls => "as many callers wait for its partition as may".to_owned(),
            _ => "a bound is reached".to_owned(),
        };
        format!("it is full, and accepts nothing: {what}")
    }
}

fn name(of: &LimitOf) -> String {
    match of {
        LimitOf::Queue => "queue".to_owned(),
        LimitOf::Prefix(prefix) => format!("prefix {prefix}"),
        LimitOf::Topic => "topic".to_owned(),
    }
}

fn whose(name: &str) -> String {
    if name == "queue" { "of the queue itself".to_owned() } else { format!("of {}", the(name)) }
}

fn the(name: &str) -> String {
    if name.starts_with("prefix ") { name.to_owned() } else { format!("the {name}") }
}

fn paused_by(name: &str) -> String {
    format!("it is paused by the rule of {}; what is leased stays leased", the(name))
}

fn zero(name: &str) -> String {
    format!("the limit {} is 0, and a limit of 0 is a pause", whose(name))
}

fn behind(n_queues: usize, of: &str) -> String {
    let come = match n_queues {
        1 => format!("1 queue of {of} comes"),
        n => format!("{n} queues of {of} come"),
    };
    format!("its head can be leased; {come} first")
}

fn nothing_ready(
    n_delayed: u64,
    n_dead: u64,
    delayed: Option<&DelayedInfo>,
) -> (&'static str, String) {
    match (n_delayed, n_dead) {
        (0, 0) => ("empty", "it holds nothing".to_owned()),
        (0, _) => ("dead", format!("all that it holds are dead letters ({n_dead})")),
        _ => waiting::state(delayed),
    }
}

fn all_leased(by: Option<&str>, ms: u64) -> String {
    let of = by.map_or(String::new(), |by| format!(", of {by:?},"));
    format!("everything that is ready is leased; the first lease{of} ends in {ms} ms")
}

fn undecodable(n_entries: u64) -> String {
    format!(
        "what is left of it cannot be decoded ({n_entries} entries); `partition verify` tells why"
    )
}

#[cfg(test)]
mod tests;
