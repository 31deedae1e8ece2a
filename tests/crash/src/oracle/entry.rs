//! What is known of one entry.

use std::collections::{BTreeMap, BTreeSet};

use millpond::{EntryId, EntryRank, Priority, Sequence};

use super::Moment;
use crate::event::{Nacked, OpId, Start, Token, queues};

/// How much shorter a delay may be across a restart, in milliseconds: the engine's clock counts whole ones,
/// and each life has its own.
const RESTART_ROUNDING_MS: u64 = 1;

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
    /// An ack with this token had its receipt then, or the drop of what was dead after the lease with this
    /// token.
    Ended { at: Moment, token: Token },
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
            Self::Ended { at, token } => began < at && lease < token,
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
    pub(super) start: Start,
    /// What the clock showed before it was enqueued, in milliseconds, and the life in which that was.
    pub(super) enqueued_at_ms: u64,
    pub(super) life: u32,
    /// Its sequence is above this one.
    pub(super) sequence_floor: u64,
    pub(super) sequence: Option<u64>,
    pub(super) accepted: Certainty,
    pub(super) gone: Option<Gone>,
    /// Tokens whose ack is in doubt.
    pub(super) acks_in_doubt: BTreeSet<Token>,
    /// Calls in doubt that drop it.
    pub(super) drops_in_doubt: BTreeSet<OpId>,
    /// Purges that may have removed it.
    pub(super) purges_in_doubt: BTreeSet<OpId>,
    pub(super) leases: BTreeMap<Token, Lease>,
    /// The replays asked for, each as the newest lease that was heard of by then: the entry was dead after it.
    pub(super) replays: Vec<Token>,
    /// The newest of them that had its receipt.
    pub(super) replayed_after: Option<Token>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) attempt: u32,
    pub(super) long: bool,
    pub(super) life: u32,
    /// When its call began, and when its receipt was there.
    pub(super) began: Moment,
    pub(super) heard: Moment,
    /// What the clock showed when the grant was there, in milliseconds.
    pub(super) granted_at_ms: u64,
    pub(super) nacked: Certainty,
    /// Its attempt may have been rejected.
    pub(super) rejected: bool,
    /// What became of it, if that was said.
    pub(super) outcome: Option<Nacked>,
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
        !self.acks_in_doubt.is_empty()
            || !self.drops_in_doubt.is_empty()
            || !self.purges_in_doubt.is_empty()
    }

    /// The newest lease that we heard of.
    pub(super) fn newest_lease(&self) -> Option<(Token, &Lease)> {
        self.leases.last_key_value().map(|(&token, lease)| (token, lease))
    }

    /// Nobody may have it before this time, as it was enqueued.
    pub(super) fn starts_at_ms(&self, life: u32) -> u64 {
        match self.start {
            Start::Now => 0,
            Start::At(at_ms) => at_ms,
            Start::After(ms) => {
                let rounding_ms = if life == self.life { 0 } else { RESTART_ROUNDING_MS };
                (self.enqueued_at_ms + ms).saturating_sub(rounding_ms)
            }
        }
    }

    /// Until when the entry waits at least, as far as that was said, if nothing newer than `before` is looked
    /// at.
    pub(super) fn waits_until_ms(&self, life: u32, before: Option<Token>) -> u64 {
        let until = |lease: &Lease| match lease.outcome {
            Some(Nacked::BackingOff(until_ms)) => Some(until_ms),
            _ => None,
        };
        let older = |token: &Token| before.is_none_or(|before| *token < before);
        let leases = self.leases.iter().filter(|(token, _)| older(token));
        leases.filter_map(|(_, lease)| until(lease)).fold(self.starts_at_ms(life), u64::max)
    }

    /// The newest lease older than `before` of which we heard that the entry died by it.
    pub(super) fn died_by(&self, before: Option<Token>) -> Option<Token> {
        let older = |token: &Token| before.is_none_or(|before| *token < before);
        let mut leases = self.leases.iter().rev().filter(|(token, _)| older(token));
        leases.find(|(_, lease)| lease.outcome == Some(Nacked::Dead)).map(|(token, _)| *token)
    }

    /// Whether it may have been replayed after one lease and before another.
    pub(super) fn may_be_replayed(&self, after: Token, before: Option<Token>) -> bool {
        let is_between =
            |mark: &Token| *mark >= after && before.is_none_or(|before| *mark < before);
        self.replays.iter().any(is_between)
    }

    /// Whether its attempts grow from lease to lease, but for replays.
    pub(super) fn attempts_grow(&self) -> bool {
        let leases: Vec<_> = self.leases.iter().collect();
        leases.windows(2).all(|pair| {
            let [(token, lease), (next_token, next)] = [pair[0], pair[1]];
            next.attempt > lease.attempt || self.may_be_replayed(*token, Some(*next_token))
        })
    }

    /// The newest lease that we heard of, or what is older than every lease.
    pub(super) fn newest_mark(&self) -> Token {
        self.newest_lease().map_or(Token { epoch: 0, number: 0 }, |(token, _)| token)
    }
}

impl Lease {
    pub(super) fn may_have_ended(&self, released_in_life: u32) -> bool {
        !self.long || self.nacked != Certainty::No || self.life < released_in_life
    }
}
