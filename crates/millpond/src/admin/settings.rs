//! What rules say, setting by setting: for JSON, for lists, and for telling where each comes from.

use millpond_types::{Backoff, Quantum, RateLimit, Setting, Settings, TopicName};
use serde::{Deserialize, Serialize};

/// What a rule says about one thing. In JSON a number, `true`, a name, an object, or `null` where a rule says that
/// there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SettingValue {
    /// There is none, whatever more general rules say.
    Off,
    /// Yes or no.
    Flag(bool),
    /// A number; its unit is in the name of the setting.
    Number(u64),
    /// How fast entries are leased.
    Rate {
        /// Entries …
        n_entries: u32,
        /// … per so many milliseconds.
        per_ms: u64,
        /// How many of them may be saved up.
        burst: u32,
    },
    /// How long failed entries wait.
    Backoff {
        /// Longest wait after the first failure, in milliseconds.
        base_ms: u64,
        /// Longest wait ever, in milliseconds.
        cap_ms: u64,
    },
    /// Turns are counted in entries.
    QuantumEntries {
        /// So many in a turn.
        n_entries: u32,
    },
    /// Turns are counted in bytes of bodies.
    QuantumBytes {
        /// So many in a turn.
        n_bytes: u32,
    },
    /// The name of a topic.
    Topic(String),
}

/// A type that settings have.
trait Value {
    fn value(&self) -> SettingValue;
}

macro_rules! values {
    ($($type:ty: |$this:ident| $value:expr;)*) => {$(
        impl Value for $type {
            fn value(&self) -> SettingValue {
                let $this = self;
                $value
            }
        }
    )*};
}
values! {
    bool: |flag| SettingValue::Flag(*flag);
    u8: |n| SettingValue::Number((*n).into());
    u32: |n| SettingValue::Number((*n).into());
    u64: |n| SettingValue::Number(*n);
    TopicName: |topic| SettingValue::Topic(topic.as_str().to_owned());
    Backoff: |it| SettingValue::Backoff { base_ms: it.base_ms, cap_ms: it.cap_ms };
    RateLimit: |it| {
        SettingValue::Rate { n_entries: it.n_entries, per_ms: it.per_ms, burst: it.burst }
    };
    Quantum: |it| match it {
        Quantum::Entries(n) => SettingValue::QuantumEntries { n_entries: *n },
        Quantum::Bytes(n) => SettingValue::QuantumBytes { n_bytes: *n },
    };
}

/// Something that a rule may leave unsaid.
trait Said {
    fn said(&self) -> Option<SettingValue>;
}

impl<T: Value> Said for Option<T> {
    fn said(&self) -> Option<SettingValue> {
        self.as_ref().map(Value::value)
    }
}

impl<T: Value> Said for Setting<T> {
    fn said(&self) -> Option<SettingValue> {
        match self {
            Self::Inherited => None,
            Self::Off => Some(SettingValue::Off),
            Self::Is(value) => Some(value.value()),
        }
    }
}

macro_rules! settings {
    ($($variant:ident $field:ident;)*) => {
        /// A field of [`Settings`].
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum SettingName {$(
            #[doc = concat!("[`", stringify!($field), "`](Settings::", stringify!($field), ").")]
            $variant,
        )*}

        impl SettingName {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name of the field.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($field),)*
                }
            }

            /// What a rule says about it.
            pub(super) fn said_in(self, settings: &Settings) -> Option<SettingValue> {
                match self {
                    $(Self::$variant => settings.$field.said(),)*
                }
            }

            /// Takes over what another rule says about it.
            pub(super) fn copy(self, from: &Settings, to: &mut Settings) {
                match self {
                    $(Self::$variant => to.$field.clone_from(&from.$field),)*
                }
            }
        }
    };
}
settings! {
    Paused paused;
    Weight weight;
    Band band;
    Concurrency concurrency;
    Rate rate;
    ConcurrencyTogether concurrency_together;
    RateTogether rate_together;
    AttemptsMax attempts_max;
    Backoff backoff;
    DeadLetterTopic dead_letter_topic;
    RetentionMs retention_ms;
    EntriesMax entries_max;
    BytesMax bytes_max;
    DedupWindowMs dedup_window_ms;
    Quantum quantum;
    Ageing ageing;
}

impl SettingName {
    /// Whether what several rules say about it holds together, instead of the most specific one alone.
    pub fn adds_up(self) -> bool {
        matches!(self, Self::Paused | Self::ConcurrencyTogether | Self::RateTogether)
    }
}
