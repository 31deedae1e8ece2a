//! An open store with what every case needs around it.

use std::sync::Arc;

use millpond_storage_api::{
    BufferedTicket, CommitTicket, Durable, LogPosition, PartitionStore, ScanEnd, ScanRequest,
    ScanRows, StoreError, StoreErrorKind, StoreRead, Table, WriteBatch,
};

use crate::Harness;
use crate::oracle::{Oracle, Rows};

/// The tables that belong to the user of a store alone. `Log` and some rows of `System` are the
/// store's own.
pub(crate) const TABLES: [Table; 5] =
    [Table::Entries, Table::Payloads, Table::Leases, Table::Queues, Table::Active];

/// A harness with its store open, and the oracle of what was committed through it.
pub(crate) struct Fixture<H> {
    pub(crate) harness: H,
    pub(crate) store: Arc<dyn PartitionStore>,
    pub(crate) oracle: Oracle,
}

impl<H: Harness> Fixture<H> {
    pub(crate) fn new(mut harness: H) -> Self {
        let store = harness.open().expect("an empty place can be opened");
        Self { harness, store, oracle: Oracle::default() }
    }

    /// Submits what `build` writes.
    pub(crate) fn submit(&mut self, build: impl FnOnce(&mut WriteBatch)) -> CommitTicket {
        let batch = batch(build);
        self.oracle.apply(&batch);
        self.store.submit(batch)
    }

    /// Submits what `build` writes, to be buffered.
    pub(crate) fn submit_buffered(
        &mut self,
        build: impl FnOnce(&mut WriteBatch),
    ) -> BufferedTicket {
        let batch = batch(build);
        self.oracle.apply(&batch);
        self.store.submit_buffered(batch)
    }

    pub(crate) fn wait(
        &mut self,
        ticket: CommitTicket,
    ) -> Result<Durable<LogPosition>, StoreError> {
        self.harness.block_on(ticket)
    }

    /// Submits what `build` writes and waits until it is durable.
    pub(crate) fn commit(&mut self, build: impl FnOnce(&mut WriteBatch)) -> LogPosition {
        let ticket = self.submit(build);
        self.wait(ticket).expect("a healthy store commits").into_inner()
    }

    /// Submits what `build` writes and waits until it is buffered.
    pub(crate) fn buffer(&mut self, build: impl FnOnce(&mut WriteBatch)) -> LogPosition {
        let ticket = self.submit_buffered(build);
        self.harness.block_on(ticket).expect("a healthy store commits").into_inner()
    }

    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> LogPosition {
        self.commit(|batch| batch.put(table, key, value))
    }

    /// Closes, lets go, and opens again.
    pub(crate) fn reopen_clean(&mut self) {
        self.close();
        self.reopen();
    }

    /// Cuts the power and opens again.
    pub(crate) fn reopen_crash(&mut self) {
        self.harness.crash();
        self.reopen();
    }

    pub(crate) fn close(&mut self) {
        let close = self.store.close();
        self.harness.block_on(close).expect("a healthy store closes");
    }

    /// Opens again; the old handle lives until the new one is there.
    pub(crate) fn reopen(&mut self) {
        self.store = self.harness.open().expect("a store can be opened again");
    }

    pub(crate) fn get(&mut self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        let store = self.store.clone();
        get(&mut self.harness, &*store, table, key)
    }

    /// Checks that every table holds what the oracle says.
    pub(crate) fn check(&mut self) {
        let store = self.store.clone();
        check_tables(&mut self.harness, &*store, &self.oracle);
    }

    /// Checks both forms of a scan against the oracle, and returns the waiting one's result.
    pub(crate) fn scan(&mut self, request: &ScanRequest) -> (ScanRows, ScanEnd) {
        let expected = self.oracle.range(request.table, &request.lower, request.upper.as_deref());
        let store = self.store.clone();
        scan(&mut self.harness, &*store, request, &expected)
    }
}

pub(crate) fn batch(build: impl FnOnce(&mut WriteBatch)) -> WriteBatch {
    let mut batch = WriteBatch::new();
    build(&mut batch);
    batch
}

/// A request for everything in `lower..upper`.
pub(crate) fn range(table: Table, lower: &[u8], upper: Option<&[u8]>) -> ScanRequest {
    ScanRequest {
        table,
        lower: lower.to_vec(),
        upper: upper.map(<[u8]>::to_vec),
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        skip_max: u64::MAX,
    }
}

/// The smallest key above `key`.
pub(crate) fn just_after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

pub(crate) fn owned(rows: &ScanRows) -> Rows {
    rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// One value by both ways.
pub(crate) fn get<H: Harness>(
    harness: &mut H,
    read: &dyn StoreRead,
    table: Table,
    key: &[u8],
) -> Option<Vec<u8>> {
    let waited = harness.block_on(read.get(table, key)).expect("a healthy store can be read");
    match read.try_get(table, key) {
        Ok(at_once) => assert_eq!(at_once, waited, "try_get and get disagree"),
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::WouldBlock, "{error}"),
    }
    waited.map(|value| value.to_vec())
}

/// One scan by both ways, checked against the rows that are in its range.
pub(crate) fn scan<H: Harness>(
    harness: &mut H,
    read: &dyn StoreRead,
    request: &ScanRequest,
    expected: &[(Vec<u8>, Vec<u8>)],
) -> (ScanRows, ScanEnd) {
    let mut rows = ScanRows::new();
    rows.push(b"left", b"over from an earlier scan");
    match read.try_scan(request, &mut rows) {
        Ok(end) => check_scan(request, &rows, &end, expected),
        Err(error) => {
            assert_eq!(error.kind(), StoreErrorKind::WouldBlock, "{error}");
            check_rows(request, &rows, expected);
        }
    }
    let (rows, end) =
        harness.block_on(read.scan(request.clone())).expect("a healthy store can be scanned");
    check_scan(request, &rows, &end, expected);
    (rows, end)
}

fn check_scan(
    request: &ScanRequest,
    rows: &ScanRows,
    end: &ScanEnd,
    expected: &[(Vec<u8>, Vec<u8>)],
) {
    check_rows(request, rows, expected);
    match end {
        ScanEnd::Exhausted => {
            assert_eq!(rows.len(), expected.len(), "exhausted, but rows are missing: {request:?}");
        }
        ScanEnd::Truncated { last } => {
            assert_eq!(
                Some(&last[..]),
                rows.last_key(),
                "truncated after another key: {request:?}"
            );
        }
    }
}

/// Rows are the first of those expected, and within the limits.
fn check_rows(request: &ScanRequest, rows: &ScanRows, expected: &[(Vec<u8>, Vec<u8>)]) {
    let found = owned(rows);
    assert!(expected.starts_with(&found), "{request:?} gave {found:?} of {expected:?}");
    assert!(rows.len() <= request.rows_max, "too many rows: {request:?}");
    if let Some((key, value)) = rows.iter().next_back() {
        let before_last = rows.n_bytes() - key.len() - value.len();
        assert!(
            rows.len() == 1 || before_last < request.bytes_max,
            "read on after {before_last} bytes: {request:?}"
        );
    }
}

/// Every row of a range, over as many scans as it takes.
pub(crate) fn scan_to_end<H: Harness>(
    harness: &mut H,
    read: &dyn StoreRead,
    mut request: ScanRequest,
) -> Rows {
    let mut all = Rows::new();
    loop {
        let (rows, end) =
            harness.block_on(read.scan(request.clone())).expect("a healthy store can be scanned");
        all.extend(owned(&rows));
        match end {
            ScanEnd::Exhausted => return all,
            ScanEnd::Truncated { last } => {
                assert_eq!(Some(&last[..]), rows.last_key(), "a scan must make progress");
                request.lower = just_after(&last);
            }
        }
    }
}

/// Every row of every table of the user's.
pub(crate) fn check_tables<H: Harness>(harness: &mut H, read: &dyn StoreRead, oracle: &Oracle) {
    for table in TABLES {
        let found = scan_to_end(harness, read, range(table, b"", None));
        assert_eq!(found, oracle.range(table, b"", None), "table {}", table.name());
    }
}

/// The number of batches `n` for which the store holds `history[n]`.
pub(crate) fn find_in_history<H: Harness>(
    harness: &mut H,
    read: &dyn StoreRead,
    history: &[Oracle],
) -> usize {
    let mut held = Oracle::default();
    for table in TABLES {
        let rows = scan_to_end(harness, read, range(table, b"", None));
        held.apply(&batch(|batch| rows.iter().for_each(|(k, v)| batch.put(table, k, v))));
    }
    // From the newest: where two states are equal, the later one makes no false claim of loss.
    history
        .iter()
        .rposition(|state| *state == held)
        .unwrap_or_else(|| panic!("the store holds no prefix of what was submitted: {held:?}"))
}
