//! The check that entry rows see exactly one put between two removals.
//!
//! `single_delete` is only defined for such rows: on an LSM anything else resurrects old values, much
//! later and without an error. Here it fails the commit that breaks the rule.

use std::collections::BTreeMap;

use bytes::Bytes;
use millpond_storage_api::{Op, StoreError, StoreErrorKind, Table, WriteBatch};

use crate::tables::Tables;

/// Checks `batch` against the rows it will meet.
pub(crate) fn check(tables: &Tables, batch: &WriteBatch) -> Result<(), StoreError> {
    // What earlier changes of the same batch made of a key; `tables` answers for the rest.
    let mut changed: BTreeMap<Bytes, bool> = BTreeMap::new();
    for op in batch.ops() {
        match op {
            Op::Put { table: Table::Entries, key, .. } => {
                if is_live(tables, &changed, key) {
                    return Err(broken("put over a live row", key));
                }
                changed.insert(Bytes::copy_from_slice(key), true);
            }
            Op::SingleDelete { table: Table::Entries, key } => {
                if !is_live(tables, &changed, key) {
                    return Err(broken("single_delete of a row that is not there", key));
                }
                changed.insert(Bytes::copy_from_slice(key), false);
            }
            Op::Delete { table: Table::Entries, key } => {
                changed.insert(Bytes::copy_from_slice(key), false);
            }
            Op::DeleteRange { table: Table::Entries, lower, upper } if lower < upper => {
                for key in tables.live_keys(Table::Entries, lower, upper) {
                    changed.insert(key, false);
                }
                for (key, live) in &mut changed {
                    *live &= !(lower..upper).contains(&&key[..]);
                }
            }
            Op::SingleDelete { table, key } => {
                let what = format!("single_delete in table {}", table.name());
                return Err(broken(&what, key));
            }
            Op::Put { .. } | Op::Delete { .. } | Op::DeleteRange { .. } => {}
        }
    }
    Ok(())
}

fn is_live(tables: &Tables, changed: &BTreeMap<Bytes, bool>, key: &[u8]) -> bool {
    changed.get(key).copied().unwrap_or_else(|| tables.is_live(Table::Entries, key))
}

fn broken(what: &str, key: &[u8]) -> StoreError {
    let detail =
        format!("the batch breaks the single-put discipline: {what} ({})", key.escape_ascii());
    StoreError::new(StoreErrorKind::Corrupt, detail)
}
