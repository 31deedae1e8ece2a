//! What users say about topics and queues, to be changed at any time.

use std::time::Duration;

use crate::codec::{DecodeError, Reader};
use crate::limits::{BAND_MAX, DEDUP_WINDOW_MS_MAX, DELAY_MS_MAX, RATE_PERIOD_MS_MAX, WEIGHT_MAX};
use crate::{QueueKey, TopicId, TopicName, ms_rounded_up};

mod fields;

/// What a rule is about. The most specific one that says something decides: the queue's own before that of
/// the longest prefix, that before those of shorter ones, and the topic's last.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All queues of a topic.
    Topic(TopicName),
    /// The queues of a topic whose keys begin with these bytes: a tenant's, say.
    Prefix(TopicName, QueueKey),
    /// One queue.
    Queue(TopicName, QueueKey),
}

impl Scope {
    /// The topic.
    pub fn topic(&self) -> &TopicName {
        match self {
            Self::Topic(topic) | Self::Prefix(topic, _) | Self::Queue(topic, _) => topic,
        }
    }
}

/// `topic`, `topic/prefix*` or `topic/key`.
impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(topic) => write!(f, "{topic}"),
            Self::Prefix(topic, prefix) => write!(f, "{topic}/{prefix}*"),
            Self::Queue(topic, key) => write!(f, "{topic}/{key}"),
        }
    }
}

/// What one rule says about one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Setting<T> {
    /// Nothing: a more general rule decides.
    #[default]
    Inherited,
    /// There is none, whatever more general rules say.
    Off,
    /// This.
    Is(T),
}

impl<T> Setting<T> {
    /// What this says, or else what the next more general rule says.
    #[must_use]
    pub fn or(self, general: Self) -> Self {
        match self {
            Self::Inherited => general,
            said => said,
        }
    }

    /// The value, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Inherited | Self::Off => None,
        }
    }
}

/// So many entries per time, and a burst of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Entries …
    pub n_entries: u32,
    /// … per so many milliseconds, up to a day.
    pub per_ms: u64,
    /// How many of them may be saved up; at least 1.
    pub burst: u32,
}

impl RateLimit {
    /// A rate; parts of a millisecond count as a whole one.
    pub fn new(n_entries: u32, per: Duration, burst: u32) -> Self {
        Self { n_entries, per_ms: ms_rounded_up(per), burst }
    }
}

/// Waits between attempts: see [`BackoffPolicy`](https://docs.rs/millpond-wakeup).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// Longest wait after the first failure, in milliseconds.
    pub base_ms: u64,
    /// Longest wait ever, in milliseconds.
    pub cap_ms: u64,
}

/// What the turns of a topic's queues are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantum {
    /// A queue of weight 1 is served so many entries in its turn; by default 1.
    Entries(u32),
    /// A queue of weight 1 is served so many bytes of bodies in its turn. Right where entries differ in size;
    /// best at least as large as most of them.
    Bytes(u32),
}

/// A rule: what is said of a topic, of the queues whose keys share a prefix, or of one queue.
///
/// ```
/// use std::time::Duration;
///
/// use millpond_types::{RateLimit, Settings};
///
/// let tenant = Settings::default()
///     .with_weight(3)
///     .with_concurrency_together(20)
///     .with_rate_together(RateLimit::new(100, Duration::from_secs(1), 20));
/// let queue = Settings::default().with_attempts_max(5).without_rate();
/// # assert_ne!(tenant, queue);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Whether nothing is leased. Entries are accepted all the same.
    pub paused: Option<bool>,
    /// Share of the topic's service, from 1 to 1,000,000, relative to other queues. 1 if nobody says.
    pub weight: Option<u32>,
    /// Bands are served strictly in order: from 0, the first, to 3. 0 if nobody says.
    pub band: Option<u8>,
    /// Most entries of each queue leased at the same time. 0 is as good as paused.
    pub concurrency: Setting<u32>,
    /// How fast each queue is leased from.
    pub rate: Setting<RateLimit>,
    /// Most entries of all these queues together that are leased at the same time; not for a single queue.
    /// This one is not inherited: it holds together with those of other rules.
    pub concurrency_together: Option<u32>,
    /// How fast all these queues together are leased from. As `concurrency_together`.
    pub rate_together: Option<RateLimit>,
    /// Most attempts of an entry.
    pub attempts_max: Setting<u32>,
    /// How long a failed entry waits.
    pub backoff: Setting<Backoff>,
    /// Where an entry goes after its last attempt: to the queue of the same key in this topic. Off, it stays
    /// with its queue as a dead letter.
    pub dead_letter_topic: Setting<TopicName>,
    /// How long after it was accepted an entry may be delivered for the first time or again, in
    /// milliseconds. What is older is removed when it comes to the head of its queue.
    pub retention_ms: Setting<u64>,
    /// Most entries that a queue holds, in whatever stage.
    pub entries_max: Setting<u64>,
    /// Most bytes of bodies that a queue holds.
    pub bytes_max: Setting<u64>,
    /// How long the keys of entries are remembered, so that the same entry is not accepted twice, in
    /// milliseconds. Five minutes if nobody says.
    pub dedup_window_ms: Option<u64>,
    /// What turns are counted in; for topics only.
    pub quantum: Option<Quantum>,
    /// A band that was passed over by so many picks in a row gets the next one; for topics only.
    pub ageing: Setting<u32>,
}

/// Why a rule was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// A queue of weight 0 would never be served.
    #[error("a weight is from 1 to {WEIGHT_MAX}, not {0}; pause a queue that is not to be served")]
    Weight(u32),
    /// There is no such band.
    #[error("bands are from 0 to {BAND_MAX}; there is no band {0}")]
    Band(u8),
    /// A rate of nothing.
    #[error("a rate is at least 1 entry per period; pause what is not to be served")]
    RateOfNothing,
    /// A bucket that holds nothing lets nothing through.
    #[error("a rate needs a burst of at least 1 entry")]
    RateWithoutBurst,
    /// The period is zero, or longer than a day.
    #[error("the period of a rate is from 1 to {RATE_PERIOD_MS_MAX} ms, not {0} ms")]
    RatePeriod(u64),
    /// The first wait would be longer than the longest.
    #[error("a back-off begins with {base_ms} ms, which is above its cap of {cap_ms} ms")]
    BackoffAboveCap {
        /// The first wait.
        base_ms: u64,
        /// The longest.
        cap_ms: u64,
    },
    /// Entries would come back to where they failed.
    #[error("dead letters of topic {0} cannot go to the same topic")]
    DeadLetterLoop(TopicName),
    /// A time is 0 or beyond its limit.
    #[error("{what} is from 1 to {limit_ms} ms, not {actual_ms} ms")]
    Time {
        /// Which one.
        what: &'static str,
        /// What was asked for.
        actual_ms: u64,
        /// The longest.
        limit_ms: u64,
    },
    /// With 0 nothing could ever be accepted, tried or served.
    #[error("{what} is at least 1")]
    AtLeastOne {
        /// Which number.
        what: &'static str,
    },
    /// It makes sense for topics only.
    #[error("{what} is a setting of a topic")]
    TopicOnly {
        /// Which setting.
        what: &'static str,
    },
    /// For one queue it is the same as the limit of each queue.
    #[error("{what} together is for topics and prefixes; set the queue's own")]
    QueueIsAlone {
        /// Which limit.
        what: &'static str,
    },
}

impl Settings {
    /// Whether the rule says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the rule may be made for `scope`.
    ///
    /// # Errors
    ///
    /// The first thing that makes no sense.
    pub fn check(&self, scope: &Scope) -> Result<(), InvalidSettings> {
        if let Some(weight) = self.weight.filter(|weight| !(1..=WEIGHT_MAX).contains(weight)) {
            return Err(InvalidSettings::Weight(weight));
        }
        if let Some(band) = self.band.filter(|band| *band > BAND_MAX) {
            return Err(InvalidSettings::Band(band));
        }
        self.rate.value().into_iter().chain(self.rate_together).try_for_each(check_rate)?;
        if let Setting::Is(Backoff { base_ms, cap_ms }) = self.backoff
            && base_ms > cap_ms
        {
            return Err(InvalidSettings::BackoffAboveCap { base_ms, cap_ms });
        }
        if let Setting::Is(topic) = &self.dead_letter_topic
            && topic == scope.topic()
        {
            return Err(InvalidSettings::DeadLetterLoop(topic.clone()));
        }
        if let Setting::Is(Backoff { cap_ms, .. }) = self.backoff {
            // 0 is no back-off at all.
            check_time("the cap of a back-off", Some(cap_ms.max(1)), DELAY_MS_MAX)?;
        }
        let window_ms = self.dedup_window_ms;
        check_time("a dedup window", window_ms, DEDUP_WINDOW_MS_MAX)?;
        check_time("a retention", self.retention_ms.value(), DELAY_MS_MAX)?;
        let is_zero = |setting: Setting<u32>| setting == Setting::Is(0);
        for (what, is_zero) in [
            ("a bound on entries", self.entries_max == Setting::Is(0)),
            ("a bound on bytes", self.bytes_max == Setting::Is(0)),
            ("the number of attempts", is_zero(self.attempts_max)),
            ("the number of picks before ageing", is_zero(self.ageing)),
            ("a quantum", matches!(self.quantum, Some(Quantum::Entries(0) | Quantum::Bytes(0)))),
        ] {
            if is_zero {
                return Err(InvalidSettings::AtLeastOne { what });
            }
        }
        self.check_level(scope)
    }

    fn check_level(&self, scope: &Scope) -> Result<(), InvalidSettings> {
        let is_topic = matches!(scope, Scope::Topic(_));
        for (what, is_said) in
            [("a quantum", self.quantum.is_some()), ("ageing", self.ageing != Setting::Inherited)]
        {
            if is_said && !is_topic {
                return Err(InvalidSettings::TopicOnly { what });
            }
        }
        for (what, is_said) in [
            ("a concurrency", self.concurrency_together.is_some()),
            ("a rate", self.rate_together.is_some()),
        ] {
            if is_said && matches!(scope, Scope::Queue(..)) {
                return Err(InvalidSettings::QueueIsAlone { what });
            }
        }
        Ok(())
    }
}

fn check_rate(rate: RateLimit) -> Result<(), InvalidSettings> {
    if rate.n_entries == 0 {
        return Err(InvalidSettings::RateOfNothing);
    }
    if rate.burst == 0 {
        return Err(InvalidSettings::RateWithoutBurst);
    }
    if !(1..=RATE_PERIOD_MS_MAX).contains(&rate.per_ms) {
        return Err(InvalidSettings::RatePeriod(rate.per_ms));
    }
    Ok(())
}

fn check_time(
    what: &'static str,
    time_ms: Option<u64>,
    limit_ms: u64,
) -> Result<(), InvalidSettings> {
    match time_ms.filter(|ms| !(1..=limit_ms).contains(ms)) {
        Some(actual_ms) => Err(InvalidSettings::Time { what, actual_ms, limit_ms }),
        None => Ok(()),
    }
}

macro_rules! builders {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $field:ident = $value:expr;)*) => {
        /// Saying one thing more.
        impl Settings {$(
            $(#[$doc])*
            #[must_use]
            pub fn $name(self $(, $argument: $type)*) -> Self {
                Self { $field: $value, ..self }
            }
        )*}
    };
}
builders! {
    /// [`weight`](Self::weight).
    with_weight(weight: u32) weight = Some(weight);
    /// [`band`](Self::band).
    with_band(band: u8) band = Some(band);
    /// [`concurrency`](Self::concurrency) of each queue.
    with_concurrency(n_leases: u32) concurrency = Setting::Is(n_leases);
    /// No [`concurrency`](Self::concurrency) of each queue.
    without_concurrency() concurrency = Setting::Off;
    /// [`rate`](Self::rate) of each queue.
    with_rate(rate: RateLimit) rate = Setting::Is(rate);
    /// No [`rate`](Self::rate) of each queue.
    without_rate() rate = Setting::Off;
    /// [`concurrency_together`](Self::concurrency_together).
    with_concurrency_together(n_leases: u32) concurrency_together = Some(n_leases);
    /// [`rate_together`](Self::rate_together).
    with_rate_together(rate: RateLimit) rate_together = Some(rate);
    /// [`attempts_max`](Self::attempts_max).
    with_attempts_max(n_attempts: u32) attempts_max = Setting::Is(n_attempts);
    /// Any number of attempts.
    without_attempts_max() attempts_max = Setting::Off;
    /// [`backoff`](Self::backoff): at most `base` after the first failure, and at most `cap` ever.
    with_backoff(base: Duration, cap: Duration)
        backoff = Setting::Is(Backoff { base_ms: ms_rounded_up(base), cap_ms: ms_rounded_up(cap) });
    /// A failed entry is ready again at once.
    without_backoff() backoff = Setting::Off;
    /// [`dead_letter_topic`](Self::dead_letter_topic).
    with_dead_letter_topic(topic: TopicName) dead_letter_topic = Setting::Is(topic);
    /// Dead letters stay with their queue.
    without_dead_letter_topic() dead_letter_topic = Setting::Off;
    /// [`retention_ms`](Self::retention_ms).
    with_retention(time: Duration) retention_ms = Setting::Is(ms_rounded_up(time));
    /// Entries are kept until they are done.
    without_retention() retention_ms = Setting::Off;
    /// [`entries_max`](Self::entries_max).
    with_entries_max(n_entries: u64) entries_max = Setting::Is(n_entries);
    /// No bound on entries.
    without_entries_max() entries_max = Setting::Off;
    /// [`bytes_max`](Self::bytes_max).
    with_bytes_max(n_bytes: u64) bytes_max = Setting::Is(n_bytes);
    /// No bound on bytes.
    without_bytes_max() bytes_max = Setting::Off;
    /// [`dedup_window_ms`](Self::dedup_window_ms).
    with_dedup_window(window: Duration) dedup_window_ms = Some(ms_rounded_up(window));
    /// [`quantum`](Self::quantum).
    with_quantum(quantum: Quantum) quantum = Some(quantum);
    /// [`ageing`](Self::ageing).
    with_ageing(n_picks: u32) ageing = Setting::Is(n_picks);
    /// [`paused`](Self::paused).
    with_paused(paused: bool) paused = Some(paused);
}

const SCOPE_TOPIC: u8 = 1;
const SCOPE_PREFIX: u8 = 2;
const SCOPE_QUEUE: u8 = 3;

/// A row of `settings`: one rule. Its key is the topic's id, the kind of the scope, and the prefix or the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsRow {
    /// What it is about.
    pub scope: Scope,
    /// Grows with every change of any rule of the engine. Where partitions differ about a scope, the highest
    /// revision is right.
    pub revision: u64,
    /// The rule. An empty one says that there was one.
    pub settings: Settings,
}

impl SettingsRow {
    /// The stored form of the key.
    pub fn key(scope: &Scope) -> Vec<u8> {
        let topic = TopicId::derive(scope.topic());
        let (kind, rest): (u8, &[u8]) = match scope {
            Scope::Topic(_) => (SCOPE_TOPIC, &[]),
            Scope::Prefix(_, prefix) => (SCOPE_PREFIX, prefix.as_bytes()),
            Scope::Queue(_, key) => (SCOPE_QUEUE, key.as_bytes()),
        };
        [&topic.0[..], &[kind], rest].concat()
    }

    /// The stored form of the value.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.scope.topic().as_str().as_bytes();
        let n = u8::try_from(name.len()).expect("names of topics are at most 255 bytes");
        let mut out = [&self.revision.to_be_bytes()[..], &[n], name].concat();
        self.settings.encode_into(&mut out);
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// A part is too short, unknown or not valid, or key and value do not belong together.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("settings row", value);
        let revision = reader.u64()?;
        let n = reader.u8()?;
        let name = std::str::from_utf8(reader.bytes(n.into())?).ok();
        let topic = name.and_then(|name| TopicName::new(name).ok());
        let topic = topic.ok_or_else(|| reader.error("invalid topic name"))?;
        let settings = Settings::decode(reader)?;
        let mut reader = Reader::new("settings key", key);
        if TopicId(reader.array()?) != TopicId::derive(&topic) {
            return Err(reader.error("it is of another topic"));
        }
        let kind = reader.u8()?;
        let rest = reader.rest();
        let name = || QueueKey::new(rest).ok();
        let scope = match kind {
            SCOPE_TOPIC if rest.is_empty() => Some(Scope::Topic(topic)),
            SCOPE_PREFIX => name().map(|prefix| Scope::Prefix(topic, prefix)),
            SCOPE_QUEUE => name().map(|key| Scope::Queue(topic, key)),
            _ => None,
        };
        let scope = scope.ok_or(DecodeError { what: "settings key", why: "unknown scope" })?;
        Ok(Self { scope, revision, settings })
    }
}

#[cfg(test)]
mod tests;
