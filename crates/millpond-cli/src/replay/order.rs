//! Whether entries of one queue were granted in their order, judged from fencing tokens and sequences
//! alone and never from the order in which reports arrived.
//!
//! Sequences are given in commit order, so an entry with a lower sequence was durable, and therefore
//! ready, no later than one with a higher one. Tokens of an epoch are numbered in the order of grants. So:
//!
//! > A grant is out of order if an entry of the same queue and priority with a lower sequence was, at
//! > that moment, neither granted in the same epoch before nor acknowledged in an earlier one.
//!
//! A new epoch is a new beginning: the engine was opened again, and every entry that was not acknowledged
//! was ready. An entry that comes back *within* an epoch (given back, or its lease expired) is ready from
//! a moment that no token tells; until its next grant it accuses nobody.

use std::collections::BTreeMap;

use millpond::{EntryRank, Epoch, LeaseToken};

/// Everything about the grants of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) rank: EntryRank,
    /// In any order.
    pub(crate) grants: Vec<LeaseToken>,
    /// The epoch of the lease with which it was acknowledged.
    pub(crate) acked_in: Option<Epoch>,
}

/// A grant that overtook older entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) granted: EntryRank,
    pub(crate) token: LeaseToken,
    /// The oldest of those that were waiting.
    pub(crate) overtaken: EntryRank,
}

/// Checks all entries of one queue.
pub(crate) fn check(queue: &[History]) -> Vec<Violation> {
    let mut epochs: BTreeMap<Epoch, Vec<(LeaseToken, usize)>> = BTreeMap::new();
    for (index, history) in queue.iter().enumerate() {
        for token in &history.grants {
            epochs.entry(token.epoch).or_default().push((*token, index));
        }
    }
    let mut violations = Vec::new();
    for (epoch, mut grants) in epochs {
        grants.sort_unstable();
        check_epoch(queue, epoch, &grants, &mut violations);
    }
    violations
}

fn check_epoch(
    queue: &[History],
    epoch: Epoch,
    grants: &[(LeaseToken, usize)],
    violations: &mut Vec<Violation>,
) {
    let alive = |history: &&History| history.acked_in.is_none_or(|acked_in| acked_in >= epoch);
    // By rank: the waiting entries of a priority are one range.
    let mut waiting: std::collections::BTreeSet<EntryRank> =
        queue.iter().filter(alive).map(|history| history.rank).collect();
    for (token, index) in grants {
        let granted = queue[*index].rank;
        waiting.remove(&granted);
        let first = EntryRank { sequence: millpond::Sequence(0), ..granted };
        if let Some(overtaken) = waiting.range(first..granted).next() {
            violations.push(Violation { granted, token: *token, overtaken: *overtaken });
        }
    }
}

#[cfg(test)]
mod tests;
