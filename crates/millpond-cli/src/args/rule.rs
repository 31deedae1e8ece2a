//! What rules say, on the command line.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use millpond::admin::{RuleChange, SettingName};
use millpond::{QueueKey, Scope, Setting, Settings, TopicName};

use super::Place;
use crate::failure::Failure;
use crate::units::{Millis, OrOff, PerTime, Turn, Waits};

#[derive(Debug, Subcommand)]
pub(crate) enum RuleVerb {
    /// List the rules
    Ls {
        #[command(flatten)]
        place: Place,
        /// Only rules of this topic
        #[arg(long)]
        topic: Option<String>,
    },
    /// Say something in a rule; what is not named stays as it is
    Set {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        scope: ScopeArguments,
        #[command(flatten)]
        settings: Box<SettingArguments>,
    },
    /// Withdraw a rule, whatever it says
    Rm {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        scope: ScopeArguments,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicVerb {
    /// Lease nothing of any queue of the topic, until it is resumed
    Pause {
        #[command(flatten)]
        place: Place,
        /// The topic
        topic: String,
    },
    /// End a pause of the topic
    Resume {
        #[command(flatten)]
        place: Place,
        /// The topic
        topic: String,
    },
}

/// What a rule is about: a topic, unless something narrower is named.
#[derive(Debug, Args)]
pub(crate) struct ScopeArguments {
    /// The topic
    topic: String,
    /// The queues whose keys begin so
    #[arg(long, conflicts_with = "queue")]
    prefix: Option<String>,
    /// The queue with this key
    #[arg(long, value_name = "KEY")]
    queue: Option<String>,
}

impl ScopeArguments {
    pub(crate) fn scope(&self) -> Result<Scope, millpond::Error> {
        let topic = TopicName::new(&self.topic)?;
        Ok(match (&self.prefix, &self.queue) {
            (Some(prefix), _) => Scope::Prefix(topic, QueueKey::prefix(prefix)?),
            (None, Some(key)) => Scope::Queue(topic, QueueKey::new(key)?),
            (None, None) => Scope::Topic(topic),
        })
    }
}

/// Settings, with `off` for what may be said not to be.
#[derive(Debug, Args)]
pub(crate) struct SettingArguments {
    /// Lease nothing of these queues, until --unset paused
    #[arg(long)]
    paused: bool,
    /// Share of the topic's service relative to other queues
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    weight: Option<u32>,
    /// Band: 0 is served before 1, and so on to 3
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    band: Option<u8>,
    /// Most entries of each queue leased at the same time
    #[arg(long, value_name = "N|off", allow_negative_numbers = true)]
    concurrency: Option<OrOff<u32>>,
    /// How fast each queue is leased from: 10/s, 100/min; with --burst
    #[arg(long, value_name = "N/TIME|off", allow_negative_numbers = true)]
    rate: Option<OrOff<PerTime>>,
    /// How many entries of --rate may be saved up
    #[arg(long, value_name = "N", requires = "rate", allow_negative_numbers = true)]
    burst: Option<u32>,
    /// Most entries of all these queues together leased at the same time
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    concurrency_together: Option<u32>,
    /// How fast all these queues together are leased from; with --burst-together
    #[arg(long, value_name = "N/TIME", allow_negative_numbers = true)]
    rate_together: Option<PerTime>,
    /// How many entries of --rate-together may be saved up
    #[arg(long, value_name = "N", requires = "rate_together", allow_negative_numbers = true)]
    burst_together: Option<u32>,
    /// Most attempts of an entry
    #[arg(long, value_name = "N|off", allow_negative_numbers = true)]
    attempts: Option<OrOff<u32>>,
    /// How long failed entries wait, at first and at most: 1s..5min
    #[arg(long, value_name = "TIME..TIME|off")]
    backoff: Option<OrOff<Waits>>,
    /// The topic to which dead letters go
    #[arg(long, value_name = "TOPIC|off")]
    dead_letter_topic: Option<String>,
    /// How long after it was accepted an entry may be delivered: 7d
    #[arg(long, value_name = "TIME|off")]
    retention: Option<OrOff<Millis>>,
    /// Most entries that a queue holds
    #[arg(long, value_name = "N|off", allow_negative_numbers = true)]
    entries: Option<OrOff<u64>>,
    /// Most bytes of bodies that a queue holds
    #[arg(long, value_name = "N|off", allow_negative_numbers = true)]
    bytes: Option<OrOff<u64>>,
    /// How long keys of entries are remembered: 5min
    #[arg(long, value_name = "TIME")]
    dedup_window: Option<Millis>,
    /// What a queue of weight 1 is served in its turn, in entries (4) or bytes (4096B); of topics only
    #[arg(long, value_name = "N|NB", allow_negative_numbers = true)]
    quantum: Option<Turn>,
    /// Picks after which a band that was passed over gets one; of topics only
    #[arg(long, value_name = "N|off", allow_negative_numbers = true)]
    ageing: Option<OrOff<u32>>,
    /// Say nothing about this any more; more general rules decide
    #[arg(long, value_name = "SETTING", value_parser = setting())]
    unset: Vec<SettingName>,
}

impl SettingArguments {
    /// The change that they ask for, if they ask for any.
    pub(crate) fn change(&self) -> Result<Option<RuleChange>, Failure> {
        let rate = match self.rate {
            None => Setting::Inherited,
            Some(OrOff::Off) => Setting::Off,
            Some(OrOff::Is(rate)) => Setting::Is(rate.with_burst(self.burst, "--burst")?),
        };
        let burst_together =
            |rate: PerTime| rate.with_burst(self.burst_together, "--burst-together");
        let dead_letter_topic = match self.dead_letter_topic.as_deref() {
            None => Setting::Inherited,
            Some("off") => Setting::Off,
            Some(name) => Setting::Is(TopicName::new(name).map_err(millpond::Error::from)?),
        };
        let set = Settings {
            paused: self.paused.then_some(true),
            weight: self.weight,
            band: self.band,
            concurrency: setting_of(self.concurrency, |n| n),
            rate,
            concurrency_together: self.concurrency_together,
            rate_together: self.rate_together.map(burst_together).transpose()?,
            attempts_max: setting_of(self.attempts, |n| n),
            backoff: setting_of(self.backoff, |waits| waits.0),
            dead_letter_topic,
            retention_ms: setting_of(self.retention, |time| time.0),
            entries_max: setting_of(self.entries, |n| n),
            bytes_max: setting_of(self.bytes, |n| n),
            dedup_window_ms: self.dedup_window.map(|time| time.0),
            quantum: self.quantum.map(|turn| turn.0),
            ageing: setting_of(self.ageing, |n| n),
        };
        let unset = self.unset.clone();
        let is_any = !unset.is_empty() || !set.is_empty();
        Ok(is_any.then_some(RuleChange { unset, set }))
    }
}

fn setting_of<T: Copy, S>(typed: Option<OrOff<T>>, is: impl FnOnce(T) -> S) -> Setting<S> {
    match typed {
        None => Setting::Inherited,
        Some(OrOff::Off) => Setting::Off,
        Some(OrOff::Is(value)) => Setting::Is(is(value)),
    }
}

/// The name of a setting on the command line, and where it is shown.
pub(crate) fn flag(setting: SettingName) -> &'static str {
    match setting {
        SettingName::Paused => "paused",
        SettingName::Weight => "weight",
        SettingName::Band => "band",
        SettingName::Concurrency => "concurrency",
        SettingName::Rate => "rate",
        SettingName::ConcurrencyTogether => "concurrency-together",
        SettingName::RateTogether => "rate-together",
        SettingName::AttemptsMax => "attempts",
        SettingName::Backoff => "backoff",
        SettingName::DeadLetterTopic => "dead-letter-topic",
        SettingName::RetentionMs => "retention",
        SettingName::EntriesMax => "entries",
        SettingName::BytesMax => "bytes",
        SettingName::DedupWindowMs => "dedup-window",
        SettingName::Quantum => "quantum",
        SettingName::Ageing => "ageing",
    }
}

fn setting() -> impl TypedValueParser<Value = SettingName> {
    let names = SettingName::ALL.iter().map(|setting| flag(*setting));
    PossibleValuesParser::new(names).map(|name| {
        let found = SettingName::ALL.iter().find(|setting| flag(**setting) == name);
        *found.expect("it is one of the possible values")
    })
}
