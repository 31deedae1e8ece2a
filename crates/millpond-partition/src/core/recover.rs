//! What a partition reads when it opens: the queues that have work and the leases. Never the entries.

use std::collections::{BTreeSet, HashMap, VecDeque};

use millpond_inbox::Inbox;
use millpond_storage_api::{
    PartitionStore, ScanEnd, ScanRequest, ScanRows, StoreRead, Table, WriteBatch,
};
use millpond_types::{
    ActiveKey, ActiveRow, EntryRank, Epoch, LeaseKey, LeaseRow, SystemKey, UnixMillis, decode_u64,
};
use slab::Slab;

use super::{Core, Lease, LeaseState, Mutation, Queue, SWEEP_MIN, Timer};
use crate::PartitionError;
use crate::command::Message;
use crate::mailbox::MailboxSender;
use crate::options::{LeasesAtOpen, PartitionOptions};
use crate::report::Counters;

const ROWS_PER_SCAN: usize = 4096;
const BYTES_PER_SCAN: usize = 1 << 20;

/// The state of a partition as its store has it.
#[derive(Debug)]
pub(crate) struct Recovered {
    epoch: Epoch,
    next_sequence: u64,
    active: Vec<(ActiveKey, ActiveRow)>,
    leases: Vec<(LeaseKey, LeaseRow)>,
}

impl Recovered {
    /// Reads it; waits for the store.
    pub(crate) async fn read(store: &dyn PartitionStore) -> Result<Self, PartitionError> {
        let next_sequence = match store.get(Table::System, SystemKey::NextSequence.encode()).await?
        {
            Some(stored) => decode_u64(&stored)?,
            None => 1,
        };
        let mut active = Vec::new();
        scan_table(store, Table::Active, |key, row| {
            active.push((ActiveKey::decode(key)?, ActiveRow::decode(row)?));
            Ok(())
        })
        .await?;
        let mut leases = Vec::new();
        scan_table(store, Table::Leases, |key, row| {
            leases.push((LeaseKey::decode(key)?, LeaseRow::decode(row)?));
            Ok(())
        })
        .await?;
        Ok(Self { epoch: store.epoch(), next_sequence, active, leases })
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
    pub(crate) fn new(
        recovered: Recovered,
        options: PartitionOptions,
        way_back: MailboxSender<Message>,
    ) -> Self {
        let mut core = Self {
            options,
            epoch: recovered.epoch,
            next_token: 1,
            next_sequence: recovered.next_sequence,
            reserved_sequence: recovered.next_sequence,
            queues: Slab::new(),
            slots: HashMap::new(),
            topics: HashMap::new(),
            queue_waiters: HashMap::new(),
            sweep_waiters_in: SWEEP_MIN,
            topics_to_serve: Vec::new(),
            queues_to_serve: Vec::new(),
            timers: BTreeSet::new(),
            loads: VecDeque::new(),
            n_scans_in_flight: 0,
            idle: VecDeque::new(),
            batch: WriteBatch::new(),
            effects: Vec::new(),
            dirty: Vec::new(),
            row_buffer: Vec::new(),
            counters: Counters::default(),
            way_back,
        };
        for (key, row) in recovered.active {
            core.recover_queue(key, row);
        }
        for (key, row) in recovered.leases {
            core.recover_lease(key, row);
        }
        let slots: Vec<_> = core.queues.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            core.touch(slot);
        }
        core
    }

    fn recover_queue(&mut self, key: ActiveKey, row: ActiveRow) {
        let inbox = Inbox::new(row.n_ready == 0, self.options.inbox);
        let mut queue = Queue::new(key.queue, key.topic, inbox);
        queue.stored = row;
        let slot = self.queues.insert(queue);
        self.slots.insert(key.queue, slot);
    }

    fn recover_lease(&mut self, key: LeaseKey, row: LeaseRow) {
        let Some(&slot) = self.slots.get(&key.queue) else {
            tracing::error!(queue = %key.queue, sequence = %key.sequence, "a lease without an entry");
            return;
        };
        let rank = EntryRank { priority: row.priority, sequence: key.sequence };
        let state = if row.is_released() {
            LeaseState::Released
        } else if self.options.leases_at_open == LeasesAtOpen::Release {
            LeaseState::Expired
        } else {
            LeaseState::Held
        };
        let shown = self.is_broken(Mutation::RecoveredLeaseShown);
        let queue = &mut self.queues[slot];
        queue.leases.insert(rank, Lease { row, state });
        if state == LeaseState::Held {
            if !shown {
                // Hidden before the first refill can see it.
                queue.inbox.reserve(rank);
            }
            self.timers.insert((row.deadline, Timer::LeaseEnds(slot, rank)));
        }
    }
}
