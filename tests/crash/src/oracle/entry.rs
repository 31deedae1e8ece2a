//! What is known of one entry.

use std::collections::{BTreeMap, BTreeSet};

use millpond::{EntryId, EntryRank, Priority, Sequence};

use super::Moment;
use crate::event::{OpId, Token, queues};

/// Whether something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    No,
    InDoubt,
    Yes,
}

/// Why an entry cannot be there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// An ack with this token had its receipt then.
    Acked { at: Moment, token: Token },
    /// A purge that it preceded had its receipt then.
    Purged { at: Moment },
    /// It was looked for and not found.
    Missing,
}

impl Gone {
    /// Whether a lease that a call got which began then may be of the time before: the receipts of
    /// overlapping calls may stand in either order.
    pub(super) fn may_follow_lease(self, began: Moment, lease: Token) -> bool {
        match self {
            Self::Acked { at, token } => began < at && lease < token,
            Self::Purged { at } => began < at,
            Self::Missing => false,
        }
    }

    /// Whether a purge had ended its leases before a call began.
    pub(super) fn was_purged_before(self, began: Moment) -> bool {
        matches!(self, Self::Purged { at } if at < began)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Tracked {
    pub(super) op: OpId,
    pub(super) queue: u32,
    pub(super) priority: u8,
    /// Its sequence is above this one.
    pub(super) sequence_floor: u64,
    pub(super) sequence: Option<u64>,
    pub(super) accepted: Certainty,
    pub(super) gone: Option<Gone>,
    /// Tokens whose ack is in doubt.
    pub(super) acks_in_doubt: BTreeSet<Token>,
    /// Purges that may have removed it.
    pub(super) purges_in_doubt: BTreeSet<OpId>,
    pub(super) leases: BTreeMap<Token, Lease>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) attempt: u32,
    pub(super) long: bool,
    pub(super) life: u32,
    pub(super) nacked: Certainty,
}

impl Tracked {
    pub(super) fn id(&self) -> Option<EntryId> {
        let sequence = Sequence(self.sequence?);
        let rank = EntryRank { priority: Priority(self.priority), sequence };
        Some(EntryId { queue: queues::id(self.queue), rank })
    }

    pub(super) fn must_be_there(&self) -> bool {
        self.accepted == Certainty::Yes && self.gone.is_none() && !self.may_be_gone()
    }

    /// Whether calls in doubt may have removed it.
    pub(super) fn may_be_gone(&self) -> bool {
        !self.acks_in_doubt.is_empty() || !self.purges_in_doubt.is_empty()
    }

    /// The newest lease that we heard of.
    pub(super) fn newest_lease(&self) -> Option<(Token, &Lease)> {
        self.leases.last_key_value().map(|(&token, lease)| (token, lease))
    }
}

impl Lease {
    pub(super) fn may_have_ended(&self, released_in_life: u32) -> bool {
        !self.long || self.nacked != Certainty::No || self.life < released_in_life
    }
}
