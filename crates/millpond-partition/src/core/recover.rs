//! What a partition reads before it serves: the leases. Which queues have work it learns while it
//! serves, and the entries it reads when they are wanted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use millpond_storage_api::{
    PartitionStore, ScanEnd, ScanRequest, ScanRows, StoreRead, Table, WriteBatch,
};
use millpond_types::{
    DueClock, EntryRank, Epoch, LeaseKey, LeaseRow, QueueId, SystemKey, UnixMillis, decode_u64,
};

use super::{Core, Effective, Lines, Memory, Names, QueueSet, Recall, SWEEP_MIN, Topics, Wakes};
use crate::PartitionError;
use crate::mailbox::MailboxSender;
use crate::options::PartitionOptions;
use crate::report::Counters;

const ROWS_PER_SCAN: usize = 4096;
const BYTES_PER_SCAN: usize = 1 << 20;

/// The state of a partition as its store has it.
#[derive(Debug)]
pub(crate) struct Recovered {
    epoch: Epoch,
    next_sequence: u64,
    line_floors: [UnixMillis; 2],
    leases: Vec<(LeaseKey, LeaseRow)>,
    n_rows_corrupt: u64,
}

impl Recovered {
    /// Reads it; waits for the store.
    pub(crate) async fn read(store: &dyn PartitionStore) -> Result<Self, PartitionError> {
        let next_sequence = match store.get(Table::System, SystemKey::NextSequence.encode()).await?
        {
            Some(stored) => decode_u64(&stored)?,
            None => 1,
        };
        let mut line_floors = [UnixMillis(0); 2];
        for (floor, clock) in line_floors.iter_mut().zip(DueClock::ALL) {
            let stored = store.get(Table::System, SystemKey::DelayedFloor(clock).encode()).await?;
            *floor = UnixMillis(stored.map_or(Ok(0), |stored| decode_u64(&stored))?);
        }
        let mut leases = Vec::new();
        let mut n_rows_corrupt = 0;
        scan_table(store, Table::Leases, |key, row| {
            match (LeaseKey::decode(key), LeaseRow::decode(row)) {
                (Ok(key), Ok(row)) => leases.push((key, row)),
                // Its entry counts as never leased: it is delivered again, and nothing is lost.
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(key = %key.escape_ascii(), %error, "a lease is set aside");
                    n_rows_corrupt += 1;
                }
            }
            Ok(())
        })
        .await?;
        let epoch = store.epoch();
        Ok(Self { epoch, next_sequence, line_floors, leases, n_rows_corrupt })
    }

    /// Writes down that no lease of an earlier owner is in force any more. In memory they end by
    /// [`LeasesAtOpen::Release`] anyway; without this the next owner could revive a token that was
    /// refused already.
    pub(crate) async fn release_leases(
        &self,
        store: &dyn PartitionStore,
    ) -> Result<(), PartitionError> {
        let in_force = self.leases.iter().filter(|(_, row)| !row.is_released());
        let mut batch = WriteBatch::new();
        let mut tickets = Vec::new();
        for (key, row) in in_force {
            let released = LeaseRow { deadline: UnixMillis(0), ..*row };
            batch.put(Table::Leases, &key.encode(), &released.encode());
            if batch.n_bytes() >= BYTES_PER_SCAN {
                tickets.push(store.submit(std::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            tickets.push(store.submit(batch));
        }
        for ticket in tickets {
            ticket.await.map_err(PartitionError::Stopped)?;
        }
        Ok(())
    }
}

/// Visits every row of a table, in order.
pub async fn scan_table(
    store: &(impl StoreRead + ?Sized),
    table: Table,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), PartitionError>,
) -> Result<(), PartitionError> {
    let mut request = ScanRequest {
        table,
        lower: Vec::new(),
        upper: None,
        rows_max: ROWS_PER_SCAN,
        bytes_max: BYTES_PER_SCAN,
        skip_max: u64::MAX,
    };
    loop {
        let (rows, end): (ScanRows, ScanEnd) = store.scan(request.clone()).await?;
        for (key, row) in rows.iter() {
            visit(key, row)?;
        }
        match end {
            ScanEnd::Exhausted => return Ok(()),
            ScanEnd::Truncated { last } => {
                request.lower = last;
                request.lower.push(0);
            }
        }
    }
}

impl Core {
    /// The state after a restart: nothing is in memory but the leases, and everything is to be
    /// [brought back](super::recall).
    pub(crate) fn new(
        recovered: Recovered,
        options: PartitionOptions,
        cheap_range_delete: bool,
        way_back: MailboxSender,
    ) -> Self {
        let mut leases: HashMap<QueueId, Vec<(EntryRank, LeaseRow)>> = HashMap::new();
        for (key, row) in recovered.leases {
            let rank = EntryRank { priority: row.priority, sequence: key.sequence };
            leases.entry(key.queue).or_default().push((rank, row));
        }
        let names = Names::new(options.names_cached_max);
        let defaults = Arc::new(Effective::of([&options.defaults]));
        let counters = Counters { n_rows_corrupt: recovered.n_rows_corrupt, ..Counters::default() };
        Self {
            options,
            cheap_range_delete,
            epoch: recovered.epoch,
            next_token: 1,
            next_sequence: recovered.next_sequence,
            reserved_sequence: recovered.next_sequence,
            queues: QueueSet::new(),
            topics: Topics::default(),
            names,
            recall: Recall::everything(leases),
            queue_waiters: HashMap::new(),
            sweep_waiters_in: SWEEP_MIN,
            topics_to_serve: Vec::new(),
            queues_to_serve: Vec::new(),
            wakes: Wakes::new(Wakes::CAPACITY_MAX),
            lines: Lines::new(recovered.line_floors),
            looked_at: UnixMillis(0),
            wall_at: UnixMillis(0),
            urgent_loads: VecDeque::new(),
            loads_ahead: VecDeque::new(),
            purge_reads: VecDeque::new(),
            move_reads: VecDeque::new(),
            body_reads: VecDeque::new(),
            reads: HashMap::new(),
            cancelled: Vec::new(),
            last_read: 0,
            read_kind: 0,
            memory: Memory::default(),
            to_clear_left: 0,
            defaults,
            idle: VecDeque::new(),
            surveys: VecDeque::new(),
            batch: WriteBatch::new(),
            effects: Vec::new(),
            dirty: Vec::new(),
            row_buffer: Vec::new(),
            counters,
            way_back,
        }
    }
}
