//! What a store must hold: the plainest possible implementation of the tables.

use std::collections::BTreeMap;

use millpond_storage_api::{Op, Table, WriteBatch};

/// Rows in key order.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The tables after some batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Oracle(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Oracle {
    pub(crate) fn apply(&mut self, batch: &WriteBatch) {
        for op in batch.ops() {
            match op {
                Op::Put { table, key, value } => {
                    self.0.insert((table, key.to_vec()), value.to_vec());
                }
                Op::Delete { table, key } | Op::SingleDelete { table, key } => {
                    self.0.remove(&(table, key.to_vec()));
                }
                Op::DeleteRange { table, lower, upper } => {
                    self.0.retain(|(t, key), _| *t != table || !(lower..upper).contains(&&key[..]));
                }
            }
        }
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<&[u8]> {
        self.0.get(&(table, key.to_vec())).map(Vec::as_slice)
    }

    /// The rows of `lower..upper`.
    pub(crate) fn range(&self, table: Table, lower: &[u8], upper: Option<&[u8]>) -> Rows {
        let inside = |key: &[u8]| key >= lower && upper.is_none_or(|upper| key < upper);
        self.0
            .iter()
            .filter(|((t, key), _)| *t == table && inside(key))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }
}
