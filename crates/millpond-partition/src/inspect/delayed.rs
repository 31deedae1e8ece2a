//! What a queue waits for, as stored.

use std::ops::ControlFlow;

use millpond_storage_api::{StoreRead, Table};
use millpond_types::{
    DelayedEntryKey, DelayedEntryRow, Due, DueClock, EntryId, EntryKey, QueueId, Stage,
    prefix_successor,
};

use super::scan_range;
use crate::PartitionError;

/// An entry that waits for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayedEntry {
    /// Its id.
    pub id: EntryId,
    /// When it becomes ready.
    pub due: Due,
    /// Attempts it has had: with any, it backs off.
    pub attempts: u32,
}

/// The first entries of a queue that wait, in order of their due times: up to `n_max` for each clock, those
/// that wait for the partition's own clock before those that wait for the wall clock. Rows that cannot be
/// decoded are passed over.
///
/// # Errors
///
/// A read fails.
pub async fn first_delayed(
    store: &(impl StoreRead + ?Sized),
    queue: QueueId,
    n_max: usize,
) -> Result<Vec<DelayedEntry>, PartitionError> {
    let mut entries = Vec::new();
    for clock in DueClock::ALL {
        let n_max = entries.len() + n_max;
        let prefix = EntryKey::stage_prefix(queue, Stage::Delayed);
        let prefix = [&prefix[..], &[clock as u8]].concat();
        let upper = prefix_successor(&prefix);
        scan_range(store, Table::Entries, (prefix, upper), |key, row| {
            if entries.len() == n_max {
                return ControlFlow::Break(());
            }
            if let (Ok(key), Ok(row)) = (DelayedEntryKey::decode(key), DelayedEntryRow::decode(row))
            {
                let id = EntryId { queue, rank: key.rank };
                entries.push(DelayedEntry { id, due: key.due, attempts: row.attempts });
            }
            ControlFlow::Continue(())
        })
        .await?;
    }
    Ok(entries)
}
