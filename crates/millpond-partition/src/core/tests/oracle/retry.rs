//! What becomes of an entry whose attempt has failed, recomputed from the rules.

use millpond_types::{DeadCause, EntryId};

use crate::command::Retry;
use crate::rules::RetryPolicy;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core::tests) enum Outcome {
    /// At once, and its row stays as it is. With a back-off that is only known once the row is read.
    Ready {
        by_chance: bool,
    },
    /// After so many milliseconds, and with this floor from now on.
    After {
        ms: u64,
        floor_ms: u64,
    },
    Dead(DeadCause),
}

/// The outcome of attempt number `attempts`.
pub(in crate::core::tests) fn outcome(
    policy: RetryPolicy,
    retry: Retry,
    id: EntryId,
    attempts: u32,
    floor_ms: u64,
) -> Outcome {
    if policy.attempts_max.is_some_and(|max| attempts >= max.get()) {
        return Outcome::Dead(DeadCause::AttemptsSpent);
    }
    let (ms, floor_ms) = match (retry, policy.backoff) {
        (Retry::Never, _) => return Outcome::Dead(DeadCause::Rejected),
        (Retry::After(ms), _) => (ms.max(floor_ms), floor_ms),
        (Retry::Policy { floor_ms: asked_ms }, backoff) => {
            let floor_ms = if asked_ms == 0 { floor_ms } else { asked_ms };
            let ms = backoff.map_or(floor_ms, |b| b.delay_ms(attempts, seed(id), floor_ms));
            (ms, floor_ms)
        }
    };
    let by_chance = matches!(retry, Retry::Policy { .. }) && policy.backoff.is_some();
    if ms == 0 { Outcome::Ready { by_chance } } else { Outcome::After { ms, floor_ms } }
}

/// The same in every version, so that an entry's waits do not depend on which one runs.
fn seed(id: EntryId) -> u64 {
    let head: [u8; 8] = id.queue.0[..8].try_into().expect("8 bytes");
    u64::from_le_bytes(head) ^ id.rank.sequence.0.rotate_left(32)
}
