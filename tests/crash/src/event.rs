//! What a worker says about itself: an intent before each call and a receipt after it, one JSON object
//! per line and one `write` per line.
//!
//! A line that was written survives the death of its writer, so a receipt that can be read was given. An
//! intent without a receipt is *in doubt*: the call may or may not have had its effect. Calls begin after
//! their intent was written and receipts are written after the call returned, so a receipt that stands
//! before an intent belongs to a call that ended before the other began.

use std::time::Duration;

use millpond::{EntryRank, Epoch, LeaseToken, Priority, QueueId, QueueKey, Sequence, TopicName};
use serde::{Deserialize, Serialize};

use crate::rules::{RuleScope, Says};

/// Names one entry for ever; its [payload](crate::payload::payload) carries it.
pub type Marker = u64;
/// Names one call.
pub type OpId = u64;

/// Leases of this length never expire in a test.
pub const LONG_LEASE: Duration = Duration::from_secs(24 * 3600);
/// Leases of this length expire when they please.
pub const SHORT_LEASE: Duration = Duration::from_millis(1);

/// What to do with the leases of earlier lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leases {
    /// They stay in force.
    Keep,
    /// They end.
    Release,
}

/// When an entry is to become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// So many milliseconds after it was accepted.
    After(u64),
    /// At this time, in milliseconds since 1970.
    At(u64),
}

/// An entry to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEntry {
    /// Names it.
    pub marker: Marker,
    /// Its priority.
    pub priority: u8,
    /// When it becomes ready.
    pub start: Start,
}

/// A fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Token {
    /// Epoch of the partition.
    pub epoch: u64,
    /// Number of the grant in that epoch.
    pub number: u64,
}

impl From<LeaseToken> for Token {
    fn from(token: LeaseToken) -> Self {
        Self { epoch: token.epoch.0, number: token.number }
    }
}

impl From<Token> for LeaseToken {
    fn from(token: Token) -> Self {
        Self { epoch: Epoch(token.epoch), number: token.number }
    }
}

/// One entry in the receipt of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The entry, by its payload.
    pub marker: Marker,
    /// Number of its queue.
    pub queue: u32,
    /// Its priority.
    pub priority: u8,
    /// Its sequence.
    pub sequence: u64,
    /// Token of the lease.
    pub token: Token,
    /// Which attempt it is.
    pub attempt: u32,
}

impl Granted {
    /// Its place in its queue.
    pub fn rank(&self) -> EntryRank {
        EntryRank { priority: Priority(self.priority), sequence: Sequence(self.sequence) }
    }
}

/// How a lease is to end or go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The entry goes.
    Ack,
    /// The attempt has failed; what follows is for the policy of the topic to say.
    Nack,
    /// The attempt has failed; the next one comes so many milliseconds later.
    NackAfter(u64),
    /// The attempt has failed, and so would every other.
    Reject,
    /// The lease becomes a [long](LONG_LEASE) one.
    Extend,
}

impl Action {
    /// Whether it says that the attempt has failed.
    pub fn is_nack(self) -> bool {
        matches!(self, Self::Nack | Self::NackAfter(_) | Self::Reject)
    }
}

/// Where an entry stands after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nacked {
    /// It is ready again.
    Ready,
    /// It waits until this time, in milliseconds since 1970.
    BackingOff(u64),
    /// It is a dead letter.
    Dead,
}

impl From<millpond::Nacked> for Nacked {
    fn from(nacked: millpond::Nacked) -> Self {
        match nacked {
            millpond::Nacked::Ready => Self::Ready,
            millpond::Nacked::BackingOff { until } => Self::BackingOff(until.0),
            millpond::Nacked::Dead => Self::Dead,
        }
    }
}

/// What is to become of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadAction {
    /// It is ready again, its attempts uncounted.
    Replay,
    /// It goes.
    Drop,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A life begins: the engine is about to be opened.
    Opening {
        /// What becomes of old leases.
        leases: Leases,
    },
    /// The engine is open.
    Opened {
        /// Its partitions.
        n_partitions: u16,
    },
    /// The engine could not be opened, and the life is over.
    NotOpened {
        /// Kind of the error.
        kind: String,
        /// Its text.
        text: String,
    },
    /// Intent: accept entries, all or none.
    Enqueue {
        /// The call.
        op: OpId,
        /// Number of the queue.
        queue: u32,
        /// The entries.
        entries: Vec<NewEntry>,
        /// What the clock showed before the call, in milliseconds since 1970.
        at_ms: u64,
    },
    /// Receipt: they are durable.
    Enqueued {
        /// The call.
        op: OpId,
        /// Their sequences.
        sequences: Vec<u64>,
    },
    /// Intent: lease entries.
    Lease {
        /// The call.
        op: OpId,
        /// Number of the queue; absent for a topic.
        queue: Option<u32>,
        /// Most entries wanted.
        n_max: usize,
        /// Whether the leases are [long](LONG_LEASE) or [short](SHORT_LEASE).
        long: bool,
    },
    /// Receipt: the leases are durable.
    Leased {
        /// The call.
        op: OpId,
        /// What was granted.
        grants: Vec<Granted>,
        /// What the clock showed after the call, in milliseconds since 1970.
        at_ms: u64,
    },
    /// Intent: end or extend a lease.
    Settle {
        /// The call.
        op: OpId,
        /// The entry.
        marker: Marker,
        /// The lease.
        token: Token,
        /// What to do.
        action: Action,
        /// What the clock showed before the call, in milliseconds since 1970.
        at_ms: u64,
    },
    /// Receipt: it is done, durably.
    Settled {
        /// The call.
        op: OpId,
        /// The new deadline of an extended lease, in milliseconds since 1970.
        deadline_ms: Option<u64>,
        /// Where the entry of a failed attempt stands.
        nacked: Option<Nacked>,
    },
    /// Intent: replay or drop a dead letter.
    DeadLetter {
        /// The call.
        op: OpId,
        /// The entry.
        marker: Marker,
        /// What to do.
        action: DeadAction,
    },
    /// Receipt: it is done, durably.
    DeadLetterDone {
        /// The call.
        op: OpId,
    },
    /// Intent: remove everything that a queue holds.
    Purge {
        /// The call.
        op: OpId,
        /// Number of the queue.
        queue: u32,
    },
    /// Receipt: what was accepted before is gone, durably.
    Purged {
        /// The call.
        op: OpId,
        /// Entries that it removed.
        n_entries: u64,
        /// How many of them were leased.
        n_leased: u64,
    },
    /// The rules of an engine that was just opened; who is not named has none.
    Rules {
        /// What was found.
        found: Vec<(RuleScope, Says)>,
    },
    /// Intent: make a rule, in place of the one that there is.
    Rule {
        /// The call.
        op: OpId,
        /// What it is about.
        scope: RuleScope,
        /// What it says.
        says: Says,
    },
    /// Receipt: it is in force, durably.
    RuleSet {
        /// The call.
        op: OpId,
    },
    /// The call ended with an error.
    Refused {
        /// The call.
        op: OpId,
        /// Its kind.
        kind: String,
        /// Its text.
        text: String,
    },
    /// A delivery carried something that nobody enqueued.
    Damaged {
        /// What.
        what: String,
    },
    /// The engine was closed, and everybody had an answer.
    Closed,
}

impl Event {
    /// Whether a promise was made.
    pub fn is_receipt(&self) -> bool {
        matches!(
            self,
            Self::Enqueued { .. }
                | Self::Leased { .. }
                | Self::Settled { .. }
                | Self::DeadLetterDone { .. }
                | Self::Purged { .. }
                | Self::RuleSet { .. }
        )
    }

    /// The line, with its end.
    ///
    /// # Panics
    ///
    /// Never: events contain nothing that JSON cannot express.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("events are plain data");
        line.push('\n');
        line
    }

    /// The events in `bytes`. A last line that is not complete was not said.
    ///
    /// # Errors
    ///
    /// A complete line is not an event.
    pub fn parse_lines(bytes: &[u8]) -> serde_json::Result<Vec<Self>> {
        let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let lines = bytes[..complete].split(|&byte| byte == b'\n');
        lines.filter(|line| !line.is_empty()).map(serde_json::from_slice).collect()
    }
}

/// The queues of a load, by number: two topics, several queues each.
pub mod queues {
    use millpond::Settings;

    use super::{Duration, QueueId, QueueKey, TopicName};

    /// Topics.
    pub const TOPICS: [&str; 2] = ["jobs", "mails"];
    /// Most attempts of an entry of the second topic.
    pub const ATTEMPTS_MAX: u32 = 5;
    /// Longest first and longest possible wait after a failure there, in milliseconds.
    pub const BACKOFF_MS: [u64; 2] = [4, 60];
    /// Queues, over both topics.
    pub const N_QUEUES: u32 = 40;

    /// What every engine of these tests says of the topic with this index.
    pub fn settings(topic: usize) -> Settings {
        if topic == 0 {
            return Settings::default();
        }
        let [base, cap] = BACKOFF_MS.map(Duration::from_millis);
        Settings::default().with_backoff(base, cap).with_attempts_max(ATTEMPTS_MAX)
    }

    /// Topic of a queue.
    pub fn topic(queue: u32) -> &'static str {
        TOPICS[usize::from(queue % 2 == 1)]
    }

    /// Most attempts of an entry; without, there is no end. In the same topic failed entries wait before they
    /// are tried again.
    pub fn attempts_max(queue: u32) -> Option<u32> {
        (topic(queue) == TOPICS[1]).then_some(ATTEMPTS_MAX)
    }

    /// Key of a queue.
    pub fn key(queue: u32) -> String {
        format!("tenant-{queue}")
    }

    /// The queue with this key.
    pub fn number(key: &[u8]) -> Option<u32> {
        std::str::from_utf8(key).ok()?.strip_prefix("tenant-")?.parse().ok()
    }

    /// Id of a queue.
    ///
    /// # Panics
    ///
    /// Never: the names are valid.
    pub fn id(queue: u32) -> QueueId {
        let topic = TopicName::new(topic(queue)).expect("a valid topic");
        QueueId::derive(&topic, &QueueKey::new(key(queue)).expect("a valid key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip_and_an_unfinished_one_was_not_said() {
        let events = [
            Event::Opening { leases: Leases::Keep },
            Event::Enqueued { op: 3, sequences: vec![1, 2] },
            Event::Settled { op: 4, deadline_ms: None, nacked: Some(Nacked::BackingOff(9)) },
        ];
        let mut bytes: Vec<u8> =
            events.iter().flat_map(|event| event.to_line().into_bytes()).collect();
        bytes.extend_from_slice(b"{\"settled\":{\"op\":5");
        assert_eq!(Event::parse_lines(&bytes).expect("events"), events);
        assert!(Event::parse_lines(b"nonsense\n").is_err());
        assert_eq!(Event::parse_lines(b"").expect("events"), []);
    }

    #[test]
    fn queues_are_found_by_their_key() {
        for queue in 0..queues::N_QUEUES {
            assert_eq!(queues::number(queues::key(queue).as_bytes()), Some(queue));
        }
        assert_eq!(queues::number(b"tenant-x"), None);
    }
}
