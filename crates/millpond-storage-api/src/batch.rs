//! A batch of changes that takes effect as a whole.

use crate::{StoreError, StoreErrorKind, Table};

/// One change inside a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Sets `key` to `value`.
    Put {
        /// The table.
        table: Table,
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Removes `key`; not an error if it is absent.
    Delete {
        /// The table.
        table: Table,
        /// The key.
        key: &'a [u8],
    },
    /// Removes a `key` that was put exactly once since it was last removed.
    SingleDelete {
        /// The table.
        table: Table,
        /// The key.
        key: &'a [u8],
    },
    /// Removes every key in `lower..upper`; nothing if `lower >= upper`.
    DeleteRange {
        /// The table.
        table: Table,
        /// First key removed.
        lower: &'a [u8],
        /// First key kept.
        upper: &'a [u8],
    },
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const SINGLE_DELETE: u8 = 3;
const DELETE_RANGE: u8 = 4;

/// Changes to the tables of one partition, applied in order and as a whole.
///
/// The batch is one flat buffer: building it allocates only when the buffer grows, and
/// [`as_bytes`](Self::as_bytes) is what the commit log records. Each change is stored as
/// `kind u8 · table u8 · length a u32 · length b u32 · a · b`, big-endian, where `a` is the key (or lower
/// bound) and `b` the value (or upper bound).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    data: Vec<u8>,
    n_ops: usize,
}

const OP_HEAD_BYTES: usize = WriteBatch::OP_HEAD_BYTES;

impl WriteBatch {
    /// What each change costs besides its key and value, in bytes.
    pub const OP_HEAD_BYTES: usize = 10;

    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.push(PUT, table, key, value);
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.push(DELETE, table, key, &[]);
    }

    /// Removes a `key` that was put exactly once since it was last removed; anything else leaves the key
    /// in an undefined state. Only for [`Table::Entries`], whose rows are never overwritten.
    pub fn single_delete(&mut self, table: Table, key: &[u8]) {
        debug_assert_eq!(table, Table::Entries, "only entry rows keep the single-put discipline");
        self.push(SINGLE_DELETE, table, key, &[]);
    }

    /// Removes every key in `lower..upper`.
    pub fn delete_range(&mut self, table: Table, lower: &[u8], upper: &[u8]) {
        self.push(DELETE_RANGE, table, lower, upper);
    }

    fn push(&mut self, kind: u8, table: Table, a: &[u8], b: &[u8]) {
        let length = |part: &[u8]| {
            u32::try_from(part.len()).expect("limits keep keys and values far below 4 GiB")
        };
        self.data.reserve(OP_HEAD_BYTES + a.len() + b.len());
        self.data.extend_from_slice(&[kind, table as u8]);
        self.data.extend_from_slice(&length(a).to_be_bytes());
        self.data.extend_from_slice(&length(b).to_be_bytes());
        self.data.extend_from_slice(a);
        self.data.extend_from_slice(b);
        self.n_ops += 1;
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.n_ops
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.n_ops == 0
    }

    /// Size of the batch, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.data.len()
    }

    /// Forgets every change and keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.n_ops = 0;
    }

    /// The flat form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.data
    }

    /// Reads the flat form.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Corrupt`] if the bytes are not a batch.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut n_ops = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (_, tail) = split_op(rest).ok_or_else(|| {
                StoreError::new(StoreErrorKind::Corrupt, "a recorded batch is malformed")
            })?;
            rest = tail;
            n_ops += 1;
        }
        Ok(Self { data: bytes.to_vec(), n_ops })
    }

    /// The changes in order.
    pub fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        let mut rest = &self.data[..];
        std::iter::from_fn(move || {
            let (op, tail) = split_op(rest)?;
            rest = tail;
            Some(op)
        })
    }
}

fn split_op(bytes: &[u8]) -> Option<(Op<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<OP_HEAD_BYTES>()?;
    let [kind, table, a0, a1, a2, a3, b0, b1, b2, b3] = *head;
    let table = Table::from_u8(table)?;
    let (a, rest) = rest.split_at_checked(u32::from_be_bytes([a0, a1, a2, a3]) as usize)?;
    let (b, rest) = rest.split_at_checked(u32::from_be_bytes([b0, b1, b2, b3]) as usize)?;
    let op = match kind {
        PUT => Op::Put { table, key: a, value: b },
        DELETE if b.is_empty() => Op::Delete { table, key: a },
        SINGLE_DELETE if b.is_empty() => Op::SingleDelete { table, key: a },
        DELETE_RANGE => Op::DeleteRange { table, lower: a, upper: b },
        _ => return None,
    };
    Some((op, rest))
}
