//! Broken promises.

use crate::event::{Marker, OpId, Token};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An entry with a receipt, never acked, is gone.
    #[error("entry {marker:x} of queue {queue} was accepted, never acked, and is lost")]
    Lost {
        /// The entry.
        marker: Marker,
        /// Number of its queue.
        queue: u32,
    },
    /// An entry came back after its ack, or after it was found missing.
    #[error("entry {marker:x} was gone and is delivered again")]
    Revived {
        /// The entry.
        marker: Marker,
    },
    /// An entry that nobody enqueued.
    #[error("nobody enqueued entry {marker:x}")]
    Unknown {
        /// What its payload says.
        marker: Marker,
    },
    /// Two leases of one entry in force at the same time.
    #[error("entry {marker:x} had two leases in force")]
    LeasedTwice {
        /// The entry.
        marker: Marker,
    },
    /// A part of a batch.
    #[error("of the batch of entry {marker:x}, {n_found} of {n} entries are there")]
    TornBatch {
        /// Its first entry.
        marker: Marker,
        /// Entries found.
        n_found: usize,
        /// Entries of the batch.
        n: usize,
    },
    /// An entry was delivered after one that comes later in its queue.
    #[error("entry {marker:x} of queue {queue} came too late")]
    Order {
        /// The entry.
        marker: Marker,
        /// Number of its queue.
        queue: u32,
    },
    /// A token that is not above those before, or that nobody was given.
    #[error("token {token:?} of entry {marker:x} does not fit")]
    Token {
        /// The entry.
        marker: Marker,
        /// The token.
        token: Token,
    },
    /// An attempt that does not grow.
    #[error("attempt {attempt} of entry {marker:x} does not fit those before")]
    Attempt {
        /// The entry.
        marker: Marker,
        /// The attempt.
        attempt: u32,
    },
    /// A sequence that is used twice, or not above those before.
    #[error("sequences {found:?} of entry {marker:x} do not fit")]
    Sequence {
        /// The entry, or the first of its batch.
        marker: Marker,
        /// What was found.
        found: Vec<u64>,
    },
    /// A call failed that had no reason to.
    #[error("a call was refused without reason: {kind}: {text}")]
    Refused {
        /// Kind of the error.
        kind: String,
        /// Its text.
        text: String,
    },
    /// Something was delivered that nobody put in.
    #[error("damaged: {what}")]
    Damaged {
        /// What.
        what: String,
    },
    /// More was granted than asked for.
    #[error("{granted} leases were granted, {wanted} were wanted")]
    TooMany {
        /// The maximum asked for.
        wanted: usize,
        /// The leases granted.
        granted: usize,
    },
    /// Ready entries that nobody is given.
    #[error("{n} entries that are ready cannot be leased; calls in doubt explain {explained}")]
    Stuck {
        /// How many.
        n: usize,
        /// How many of them may be leased by calls in doubt.
        explained: usize,
    },
    /// The engine counts other entries than there are.
    #[error("the engine counts {counted} entries, {found} were found")]
    Miscounted {
        /// What the engine says.
        counted: u64,
        /// What was leased.
        found: u64,
    },
    /// The number of partitions changed.
    #[error("{found} partitions; {created} were created")]
    Repartitioned {
        /// What the engine says now.
        found: u16,
        /// What it said first.
        created: usize,
    },
    /// Calls without an answer in an engine that was closed.
    #[error("{n_calls} calls had no answer when the engine was closed")]
    Unanswered {
        /// How many.
        n_calls: usize,
    },
    /// An answer to a call that was not made.
    #[error("call {op:x} had an answer that it could not have")]
    UnexpectedAnswer {
        /// The call.
        op: OpId,
    },
    /// Rows that contradict each other.
    #[error("verify found {n} problems, the first: {first}")]
    Inconsistent {
        /// How many.
        n: u64,
        /// The first one.
        first: String,
    },
    /// The store cannot be opened or used.
    #[error("the engine failed: {kind}: {text}")]
    Engine {
        /// Kind of the error.
        kind: String,
        /// Its text.
        text: String,
    },
}

impl From<millpond::Error> for Violation {
    fn from(error: millpond::Error) -> Self {
        Self::Engine { kind: error.kind().name().to_owned(), text: error.to_string() }
    }
}
