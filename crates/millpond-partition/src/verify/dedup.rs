//! The rows of `dedup`: those by key against those by time.

use std::collections::BTreeMap;

use millpond_storage_api::{StoreRead, Table};
use millpond_types::{DedupExpiryKey, DedupKey, DedupRow, SystemKey, UnixMillis, decode_u64};

use super::{Verification, describe};
use crate::PartitionError;
use crate::inspect::scan_table;

/// Compares the two rows of every key, and those by time with the floor.
pub(super) async fn check(
    store: &(impl StoreRead + ?Sized),
    found: &mut Verification,
) -> Result<(), PartitionError> {
    let stored = store.get(Table::System, SystemKey::DedupFloor.encode()).await?;
    let floor = match stored.as_deref().map_or(Ok(0), decode_u64) {
        Ok(floor) => UnixMillis(floor),
        Err(error) => {
            found.problem(error.to_string());
            UnixMillis(0)
        }
    };
    let mut by_key: BTreeMap<DedupKey, UnixMillis> = BTreeMap::new();
    // Rows by key come first.
    scan_table(store, Table::Dedup, |key, row| {
        found.n_rows += 1;
        if DedupExpiryKey::is_one(key) {
            match DedupExpiryKey::decode(key) {
                Ok(key) => check_expiry(found, &mut by_key, &key, floor),
                Err(error) => found.problem(describe(key, &error)),
            }
            return Ok(());
        }
        match (DedupKey::decode(key), DedupRow::decode(row)) {
            (Ok(key), Ok(row)) => drop(by_key.insert(key, row.expires_at)),
            (Err(error), _) | (_, Err(error)) => found.problem(describe(key, &error)),
        }
        Ok(())
    })
    .await?;
    for key in by_key.into_keys() {
        found.problem(format!("{} will never be forgotten", Named(&key)));
    }
    Ok(())
}

fn check_expiry(
    found: &mut Verification,
    by_key: &mut BTreeMap<DedupKey, UnixMillis>,
    expiry: &DedupExpiryKey,
    floor: UnixMillis,
) {
    let DedupExpiryKey { expires_at, seen } = expiry;
    if *expires_at < floor {
        found.problem(format!("{} is forgotten before the floor", Named(seen)));
    }
    if by_key.get(seen) == Some(expires_at) {
        by_key.remove(seen);
    } else {
        found.problem(format!("{} is to be forgotten and was not seen", Named(seen)));
    }
}

/// A key in a message.
struct Named<'a>(&'a DedupKey);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {} of queue {}", self.0.key.escape_ascii(), self.0.queue)
    }
}
