//! What a partition reads before it serves: the leases. Which queues have work it learns while it
//! serves, and the entries it reads when they are wanted.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use millpond_storage_api::{
    PartitionStore, ScanEnd, ScanRequest, ScanRows, StoreRead, Table, WriteBatch,
};
use millpond_sync::oneshot::Outbox;
use millpond_types::{
    ActiveKey, ActiveRow, DueClock, EntryRank, Epoch, LeaseKey, LeaseRow, QueueId, QueueRow,
    SettingsRow, SystemKey, TotalsRow, UnixMillis, decode_u64,
};

use super::{
    Classes, Core, Dedup, Door, Lines, Memory, Names, QueueSet, Recall, SWEEP_MIN, Seats, Topics,
    Totals, Wakes,
};
use crate::governor::Seat;
use crate::mailbox::MailboxSender;
use crate::options::PartitionOptions;
use crate::report::Counters;
use crate::{PartitionError, QueueRef};

const ROWS_PER_SCAN: usize = 4096;
const BYTES_PER_SCAN: usize = 1 << 20;

/// The state of a partition as its store has it.
#[derive(Debug)]
pub(crate) struct Recovered {
    epoch: Epoch,
    next_sequence: u64,
    line_floors: [UnixMillis; 2],
    totals: TotalsRow,
    dedup_floor: UnixMillis,
    leases: Vec<(LeaseKey, LeaseRow)>,
    rules: Vec<SettingsRow>,
    /// Queues with leases in force, if there are rules that may concern them.
    leased: Vec<(Arc<QueueRef>, ActiveRow)>,
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
        let totals = match store.get(Table::System, SystemKey::Totals.encode()).await? {
            Some(stored) => TotalsRow::decode(&stored)?,
            None => TotalsRow::default(),
        };
        let dedup_floor = store.get(Table::System, SystemKey::DedupFloor.encode()).await?;
        let dedup_floor = UnixMillis(dedup_floor.map_or(Ok(0), |stored| decode_u64(&stored))?);
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
        let mut rules = Vec::new();
        scan_table(store, Table::Settings, |key, row| {
            let checked = SettingsRow::decode(key, row).map_err(|error| error.to_string());
            let checked = checked.and_then(|row| {
                let is_sound = row.settings.check(&row.scope).map_err(|error| error.to_string());
                is_sound.map(|()| row)
            });
            match checked {
                Ok(row) => rules.push(row),
                Err(error) => {
                    tracing::error!(key = %key.escape_ascii(), %error, "a rule is set aside");
                    n_rows_corrupt += 1;
                }
            }
            Ok(())
        })
        .await?;
        let leased =
            if rules.is_empty() { Vec::new() } else { read_leased(store, &leases).await? };
        let epoch = store.epoch();
        Ok(Self {
            epoch,
            next_sequence,
            line_floors,
            totals,
            dedup_floor,
            leases,
            rules,
            leased,
            n_rows_corrupt,
        })
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

/// Names and counters of the queues that have leases in force.
async fn read_leased(
    store: &dyn PartitionStore,
    leases: &[(LeaseKey, LeaseRow)],
) -> Result<Vec<(Arc<QueueRef>, ActiveRow)>, PartitionError> {
    let in_force = leases.iter().filter(|(_, row)| !row.is_released());
    let queues: BTreeSet<QueueId> = in_force.map(|(key, _)| key.queue).collect();
    let mut leased = Vec::new();
    for id in queues {
        // What is damaged is reported by whoever wants it.
        let Some(names) = store.get(Table::Queues, id.0.to_vec().as_slice()).await? else {
            continue;
        };
        let Ok(names) = QueueRow::decode(&names) else { continue };
        let names = QueueRef::new(names.topic, names.key);
        let key = ActiveKey { topic: names.topic_id, queue: id }.encode();
        let Some(row) = store.get(Table::Active, &key).await? else { continue };
        if let Ok(row) = ActiveRow::decode(&row) {
            leased.push((names, row));
        }
    }
    Ok(leased)
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
        now: UnixMillis,
        recovered: Recovered,
        options: PartitionOptions,
        cheap_range_delete: bool,
        way_back: MailboxSender,
        seat: Seat,
    ) -> Self {
        let mut leases: HashMap<QueueId, Vec<(EntryRank, LeaseRow)>> = HashMap::new();
        for (key, row) in recovered.leases {
            let rank = EntryRank { priority: row.priority, sequence: key.sequence };
            leases.entry(key.queue).or_default().push((rank, row));
        }
        let names = Names::new(options.names_cached_max);
        let counters = Counters { n_rows_corrupt: recovered.n_rows_corrupt, ..Counters::default() };
        let mut core = Self {
            options,
            cheap_range_delete,
            epoch: recovered.epoch,
            next_token: 1,
            #[cfg(test)]
            handled: Vec::new(),
            next_sequence: recovered.next_sequence,
            reserved_sequence: recovered.next_sequence,
            queues: QueueSet::new(),
            topics: Topics::default(),
            seat,
            names,
            recall: Recall::everything(leases),
            queue_waiters: HashMap::new(),
            seats: Seats::default(),
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
            classes: Classes::default(),
            walks: VecDeque::new(),
            to_resolve: BTreeSet::new(),
            name_reads: VecDeque::new(),
            door: Door::default(),
            dedup: Dedup::new(recovered.dedup_floor),
            totals: Totals::stored(recovered.totals),
            to_clear_left: 0,
            idle: VecDeque::new(),
            surveys: VecDeque::new(),
            batch: WriteBatch::new(),
            effects: Vec::new(),
            n_batches: 0,
            n_coming: 0,
            outbox: Outbox::default(),
            dirty: Vec::new(),
            row_buffer: Vec::new(),
            counters,
            way_back,
        };
        core.recover_rules(now, recovered.rules, recovered.leased);
        core
    }
}
