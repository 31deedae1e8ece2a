//! What an entry in a topic of dead letters says of its death.
//!
//! Where a [dead-letter topic](millpond_types::Settings::dead_letter_topic) is set, an entry that dies goes there with
//! these headers added. They tell of its last death only: a letter that was put to work again and dies once
//! more does not carry the older ones along. So their names are reserved.
//!
//! An entry that has no room for all of them, because of the limits on [headers](millpond_types::limits), gets as many
//! as fit, in the order in which they stand here.

use bytes::Bytes;
use millpond_types::limits::REASON_BYTES_MAX;
use millpond_types::{Body, DeadCause, Header, Sequence, TopicName};

/// Why it died: [`ATTEMPTS_SPENT`] or [`REJECTED`].
pub const CAUSE: &str = "millpond-dead-cause";
/// What its last worker said, up to [`REASON_BYTES_MAX`] bytes. Absent if it said nothing.
pub const REASON: &str = "millpond-dead-reason";
/// The topic where it died. The key of its queue is the same.
pub const TOPIC: &str = "millpond-dead-topic";
/// How many attempts it had there, as a decimal number.
pub const ATTEMPTS: &str = "millpond-dead-attempts";
/// The sequence it had there, as a decimal number.
pub const SEQUENCE: &str = "millpond-dead-sequence";

/// Value of [`CAUSE`]: it had as many attempts as it may have.
pub const ATTEMPTS_SPENT: &str = "attempts-spent";
/// Value of [`CAUSE`]: its worker said that it can never succeed.
pub const REJECTED: &str = "rejected";

const ALL: [&str; 5] = [CAUSE, REASON, TOPIC, ATTEMPTS, SEQUENCE];

/// One death.
#[derive(Debug)]
pub(crate) struct Death<'a> {
    pub(crate) cause: DeadCause,
    pub(crate) reason: &'a str,
    pub(crate) topic: &'a TopicName,
    pub(crate) attempts: u32,
    pub(crate) sequence: Sequence,
}

impl Death<'_> {
    /// The encoded body of an entry that died so.
    pub(crate) fn write_into(&self, body: &Bytes) -> Bytes {
        // What nobody can read is the same elsewhere: it must not keep the entry from going.
        let Ok(Body { headers, payload }) = Body::decode(body) else { return body.clone() };
        let mut told = Body { payload, ..Body::default() };
        let own = headers.iter().filter(|header| !ALL.contains(&header.name.as_str()));
        own.for_each(|Header { name, value }| told.headers.push(name.as_str(), value.clone()));
        for (name, value) in ALL.into_iter().zip(self.values()) {
            if value.is_empty() {
                continue;
            }
            let mut more = told.clone();
            more.headers.push(name, value);
            if more.check().is_ok() {
                told = more;
            }
        }
        told.encode()
    }

    /// In the order of the names.
    fn values(&self) -> [Bytes; 5] {
        let cause = match self.cause {
            DeadCause::Rejected => REJECTED,
            _ => ATTEMPTS_SPENT,
        };
        let reason = &self.reason[..self.reason.floor_char_boundary(REASON_BYTES_MAX)];
        [
            Bytes::from_static(cause.as_bytes()),
            Bytes::copy_from_slice(reason.as_bytes()),
            Bytes::copy_from_slice(self.topic.as_str().as_bytes()),
            self.attempts.to_string().into(),
            self.sequence.0.to_string().into(),
        ]
    }
}

#[cfg(test)]
mod tests;
