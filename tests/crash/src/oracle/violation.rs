//! Broken promises.

use std::fmt;

use millpond::EntryRank;
use millpond_types::LeaseRow;

use crate::event::{Action, Marker, Nacked, OpId, Token};
use crate::rules::{RuleScope, Says};
use crate::stored::Standing;

/// An entry that came after some that stand behind it in its queue, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// The entry.
    pub marker: Marker,
    /// Number of its queue.
    pub queue: u32,
    /// Its place in the queue.
    pub rank: EntryRank,
    /// The places behind it that were served before, in order.
    pub after: Vec<EntryRank>,
    /// The life in which that happened.
    pub life: u32,
    /// Its attempts that we heard of, this one included.
    pub heard: Vec<u32>,
    /// Its lease when the store was opened.
    pub stored: Option<StoredLease>,
    /// If it waited then: from the opening of the store to its time, in milliseconds.
    pub waited_ms: Option<i128>,
}

/// A lease of a stopped store, and how its deadline stood to the time in which the store was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredLease {
    /// The row.
    pub row: LeaseRow,
    /// From the opening of the store to the deadline, in milliseconds.
    pub deadline_ms: i128,
    /// From the opening of the store to the grant, in milliseconds.
    pub granted_ms: i128,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { marker, queue, rank, after, life, heard, stored, waited_ms } = self;
        let place = |rank: &EntryRank| format!("{}/{}", rank.priority.0, rank.sequence.0);
        write!(
            f,
            "entry {marker:x} of queue {queue}, rank {}, came in life {life} after ",
            place(rank)
        )?;
        write!(f, "{} others", after.len())?;
        if let (Some(first), Some(last)) = (after.first(), after.last()) {
            write!(f, " from {} to {}", place(first), place(last))?;
        }
        write!(f, ", attempts that we heard of {heard:?}, when the store was opened ")?;
        if let Some(waited_ms) = waited_ms {
            return write!(f, "it waited until {waited_ms} ms");
        }
        let Some(StoredLease { row, deadline_ms, granted_ms }) = stored else {
            return write!(f, "it was not leased");
        };
        let token = Token::from(row.token);
        write!(f, "attempt {} was under lease {}.{}", row.attempts, token.epoch, token.number)?;
        write!(f, ", deadline at {deadline_ms} ms, granted at {granted_ms} ms")
    }
}

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
    /// An entry was delivered after one that comes later in its queue, though it was ready before.
    #[error("too late: {0}")]
    Order(Box<Late>),
    /// An entry that was delivered, or made ready, before its time.
    #[error("entry {marker:x} was there at {at_ms} ms and is due at {due_ms} ms")]
    Early {
        /// The entry.
        marker: Marker,
        /// Its time, in milliseconds since 1970.
        due_ms: u64,
        /// What the clock showed then.
        at_ms: u64,
    },
    /// A failed attempt that did not end as it must.
    #[error("entry {marker:x} became {nacked:?} by {action:?}")]
    Fate {
        /// The entry.
        marker: Marker,
        /// What its worker said.
        action: Action,
        /// What became of it.
        nacked: Nacked,
    },
    /// A dead letter that was delivered without a replay.
    #[error("entry {marker:x} is dead, was not replayed, and is delivered")]
    Undead {
        /// The entry.
        marker: Marker,
    },
    /// An entry that stands where it cannot.
    #[error("the stored entry {marker:x}: {why}; {stored:?}")]
    StoredStage {
        /// The entry.
        marker: Marker,
        /// What is wrong.
        why: &'static str,
        /// Where it stands.
        stored: Standing,
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
    #[error("{n} entries that are ready cannot be leased, the first is {first:x}")]
    Stuck {
        /// How many.
        n: usize,
        /// The first of them.
        first: Marker,
    },
    /// A stored lease that is not the newest one, or not in the state in which it must be.
    #[error("the stored lease of entry {marker:x}: {why}; {stored:?}, we heard of {heard:?}")]
    StoredLease {
        /// The entry.
        marker: Marker,
        /// What is wrong.
        why: &'static str,
        /// The row.
        stored: Option<LeaseRow>,
        /// The newest lease that we heard of, and its attempt.
        heard: Option<(Token, u32)>,
    },
    /// Stored leases that nobody asked for.
    #[error(
        "{n} stored leases are newer than all that we heard of; calls in doubt explain {explained}"
    )]
    LeasesUnheard {
        /// How many.
        n: usize,
        /// How many of them may be of calls in doubt.
        explained: usize,
    },
    /// A purge that removed less or more than it can have removed.
    #[error(
        "a purge of queue {queue} says it removed {n_entries} entries, {n_leased} of them leased; it must \
         have been {n_min} to {n_max}"
    )]
    Purge {
        /// Number of the queue.
        queue: u32,
        /// Entries that it says it removed.
        n_entries: u64,
        /// How many of them it says were leased.
        n_leased: u64,
        /// Entries that were there for certain.
        n_min: u64,
        /// Entries that can have been there.
        n_max: u64,
    },
    /// A lease that a purge had ended was honoured.
    #[error("lease {token:?} of entry {marker:x} was honoured after a purge had removed the entry")]
    Purged {
        /// The entry.
        marker: Marker,
        /// The lease.
        token: Token,
    },
    /// The engine counts other entries than there are.
    #[error(
        "the engine counts {counted:?} entries that are ready, wait and are dead; it is {found:?}"
    )]
    Miscounted {
        /// What the engine says.
        counted: [u64; 3],
        /// What was found.
        found: [u64; 3],
    },
    /// An entry whose time has come and that does not.
    #[error("nothing comes in queue {queue}, where something is due")]
    Overdue {
        /// Number of the queue.
        queue: u32,
    },
    /// Something was granted in spite of a rule that stops it.
    #[error("entry {marker:x} was granted, and the rule of {} stops its queue", scope.name())]
    Stopped {
        /// The entry.
        marker: Marker,
        /// What the rule is about.
        scope: RuleScope,
    },
    /// More was granted than a limit lets through.
    #[error("{n_held} leases are in force, and the rule of {} lets {n_max} through", scope.name())]
    LimitExceeded {
        /// What the rule is about.
        scope: RuleScope,
        /// What it says.
        n_max: u32,
        /// Leases in force for certain.
        n_held: usize,
    },
    /// Entries that are not given to anybody, and no rule says so.
    #[error("entry {marker:x} of queue {queue} is ready, is not granted, and nothing keeps it")]
    KeptByNobody {
        /// The entry.
        marker: Marker,
        /// Number of its queue.
        queue: u32,
    },
    /// A rule that was lost, or changed by nobody.
    #[error(
        "the rule of {} is {found:?} in partition {partition:?}; it must be {says:?}, or {wanted:?}",
        scope.name()
    )]
    WrongRule {
        /// What it is about.
        scope: RuleScope,
        /// What was found.
        found: Says,
        /// What had a receipt.
        says: Says,
        /// The change in doubt.
        wanted: Option<Says>,
        /// Where it was found; absent for what the engine says.
        partition: Option<u16>,
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
