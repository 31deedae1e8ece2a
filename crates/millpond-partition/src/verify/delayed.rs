//! The rows of `delayed`, against those that tell the queues of them.

use millpond_storage_api::{StoreRead, Table};
use millpond_types::{DelayedKey, DelayedRow, DueClock, Stage, SystemKey, UnixMillis, decode_u64};

use super::entries::{SeenBody, SeenEntry};
use super::{Seen, Verification, describe};
use crate::PartitionError;
use crate::inspect::scan_table;

/// Compares every row of `delayed` with its queue's row and with the floor of its line. Learns how long
/// separate bodies are.
pub(super) async fn check(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    queues: &mut Seen,
) -> Result<(), PartitionError> {
    let steady = floor(store, found, DueClock::Steady).await?;
    let wall = floor(store, found, DueClock::Wall).await?;
    scan_table(store, Table::Delayed, |key, row| {
        found.n_rows += 1;
        match (DelayedKey::decode(key), DelayedRow::decode(row)) {
            (Ok(key), Ok(row)) => {
                let floor = match key.due.clock {
                    DueClock::Steady => steady,
                    DueClock::Wall => wall,
                };
                check_row(found, queues, key, &row, floor);
            }
            (Err(error), _) | (_, Err(error)) => found.problem(describe(key, &error)),
        }
        Ok(())
    })
    .await?;
    for (id, queue) in &*queues {
        for (sequence, entry) in &queue.entries {
            if entry.stage == Stage::Delayed && !entry.has_delayed_row {
                found.problem(format!("{id}/{sequence} waits for a time that no row tells"));
            }
        }
    }
    Ok(())
}

/// No row of a line is due before this time; a line that never held anything has no floor.
async fn floor(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
    clock: DueClock,
) -> Result<UnixMillis, PartitionError> {
    let stored = store.get(Table::System, SystemKey::DelayedFloor(clock).encode()).await?;
    match stored.as_deref().map(decode_u64) {
        None => Ok(UnixMillis(0)),
        Some(Ok(floor)) => Ok(UnixMillis(floor)),
        Some(Err(error)) => {
            found.problem(error.to_string());
            Ok(UnixMillis(0))
        }
    }
}

fn check_row(
    found: &mut Verification,
    queues: &mut Seen,
    key: DelayedKey,
    row: &DelayedRow,
    floor: UnixMillis,
) {
    let DelayedKey { due, queue, sequence } = key;
    if due.at < floor {
        found.problem(format!("{queue}/{sequence} is due before the floor of its line"));
    }
    let entry = queues.get_mut(&queue).and_then(|queue| queue.entries.get_mut(&sequence));
    let Some(entry) = entry.filter(|entry| entry.due == Some(due)) else {
        return found.problem(format!("{queue}/{sequence} waits and its queue does not know it"));
    };
    entry.has_delayed_row = true;
    if !agrees(entry, row) {
        found.problem(format!("the two rows of {queue}/{sequence}, which waits, differ"));
    }
    entry.body = SeenBody::of(&row.entry.body);
}

fn agrees(entry: &SeenEntry, row: &DelayedRow) -> bool {
    let notice = row.notice();
    entry.rank.priority == row.priority
        && entry.attempts == notice.attempts
        && entry.n_bytes == notice.n_bytes
        && (entry.body != SeenBody::Inline) == notice.separate_body
}
