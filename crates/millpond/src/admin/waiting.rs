//! What queues wait for.

use millpond_partition::inspect::{self, DelayedEntry};
use millpond_storage_api::StoreRead;
use millpond_types::{DueClock, QueueId, UnixMillis};

use super::utc::utc;
use super::{DelayedInfo, WaitsFor};
use crate::Error;

/// Waiting entries that are listed.
const DELAYED_MAX: usize = 10;

/// The next entries of a queue that become ready by time, nearest first.
pub(super) async fn delayed(
    store: &dyn StoreRead,
    queue: QueueId,
    now: UnixMillis,
) -> Result<Vec<DelayedInfo>, Error> {
    let found = inspect::first_delayed(store, queue, DELAYED_MAX).await?;
    let mut infos: Vec<_> = found.into_iter().map(|entry| info(entry, now)).collect();
    infos.sort_by_key(|info| (info.due_at_ms, info.sequence));
    infos.truncate(DELAYED_MAX);
    Ok(infos)
}

fn info(entry: DelayedEntry, now: UnixMillis) -> DelayedInfo {
    let waits_for = match (entry.attempts, entry.due.clock) {
        (0, DueClock::Steady) => WaitsFor::Delay,
        (0, DueClock::Wall) => WaitsFor::Date,
        _ => WaitsFor::BackOff,
    };
    DelayedInfo {
        sequence: entry.id.rank.sequence.0,
        waits_for,
        n_attempts: entry.attempts,
        due_at_ms: entry.due.at.0,
        due_in_ms: entry.due.at.since(now),
    }
}

/// State and reason of a queue that has nothing ready, from what becomes ready first.
pub(super) fn state(first: Option<&DelayedInfo>) -> (&'static str, String) {
    let Some(first) = first else {
        return ("delayed", "nothing is ready; what it holds waits for its time".to_owned());
    };
    let until = utc(UnixMillis(first.due_at_ms));
    let ms = first.due_in_ms;
    match first.waits_for {
        WaitsFor::BackOff => {
            let n = first.n_attempts;
            let text = format!(
                "nothing is ready; its first entry has failed {n} times and is backing off until {until}, for {ms} ms"
            );
            ("backing_off", text)
        }
        WaitsFor::Delay | WaitsFor::Date => {
            let text =
                format!("nothing is ready; its first entry is delayed until {until}, for {ms} ms");
            ("delayed", text)
        }
    }
}
