//! The rows of a stopped store, read without an engine and without changing a byte.

use std::collections::BTreeMap;
use std::path::Path;

use millpond::{EntryId, QueueId, Sequence};
use millpond_storage_api::{ScanEnd, ScanRequest, StoreRead, Table};
use millpond_storage_rocksdb::RocksReader;
use millpond_types::{
    Body, DeadCause, DeadRow, DelayedEntryKey, DelayedKey, DelayedRow, Due, EntryKey, EntryRow,
    LeaseKey, LeaseRow, PayloadKey, SettingsRow, Stage, StoredBody,
};

use crate::Violation;
use crate::event::Marker;
use crate::payload::marker_of;
use crate::rules::{RuleScope, Says};

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is ready, or leased.
    Ready,
    /// It waits for this time.
    Delayed(Due),
    /// It is a dead letter.
    Dead(DeadCause),
}

/// An entry, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEntry {
    /// The entry.
    pub id: EntryId,
    /// Where it stands.
    pub standing: Standing,
    /// Attempts, that of its newest lease included.
    pub attempts: u32,
    /// Its newest lease, if it was leased since it came to where it stands.
    pub lease: Option<LeaseRow>,
}

impl StoredEntry {
    /// The lease that hides the entry: one that was not given back, even if its deadline is over. Whoever
    /// opens the store ends it, by a commit, and then the entry is ready.
    pub fn lease_in_force(&self) -> Option<LeaseRow> {
        self.lease.filter(|lease| !lease.is_released())
    }
}

/// What a stopped store holds.
pub type StoredEntries = BTreeMap<Marker, StoredEntry>;

/// Reads every entry of every partition.
///
/// # Errors
///
/// The store cannot be read, or holds something that nobody put in.
pub async fn read(directory: &Path) -> Result<StoredEntries, Violation> {
    let mut entries = StoredEntries::new();
    for store in partitions(directory) {
        let store = store?;
        let leases = leases(&store).await?;
        for (key, row) in rows(&store, Table::Entries).await? {
            let (mut entry, row) = entry(&store, &key, &row).await?;
            let place = (entry.id.queue, entry.id.rank.sequence);
            entry.lease = leases.get(&place).copied();
            entry.attempts = entry.lease.map_or(row.attempts, |lease| lease.attempts);
            let marker = marker(&store, place, row).await?;
            if entries.insert(marker, entry).is_some() {
                let what = format!("entry {marker:x} is stored twice");
                return Err(Violation::Damaged { what });
            }
        }
    }
    Ok(entries)
}

/// The rules that each partition has stored.
pub type StoredRules = Vec<BTreeMap<RuleScope, Says>>;

/// Reads every rule of every partition.
///
/// # Errors
///
/// The store cannot be read, or holds a rule that nobody made.
pub async fn read_rules(directory: &Path) -> Result<StoredRules, Violation> {
    let mut stored = StoredRules::new();
    for store in partitions(directory) {
        let mut rules = BTreeMap::new();
        for (key, row) in rows(&store?, Table::Settings).await? {
            let row = SettingsRow::decode(&key, &row).map_err(unreadable)?;
            let says = RuleScope::named(&row.scope)
                .and_then(|scope| Some((scope, Says::of(scope, &row.settings)?)));
            let what = || format!("the stored rule of {}: {:?}", row.scope, row.settings);
            let (scope, says) = says.ok_or_else(|| Violation::Damaged { what: what() })?;
            rules.insert(scope, says);
        }
        stored.push(rules);
    }
    Ok(stored)
}

fn partitions(directory: &Path) -> impl Iterator<Item = Result<RocksReader, Violation>> {
    let places = (0..).map(|index| directory.join(format!("partition-{index:03}")));
    let places = places.take_while(|place| place.is_dir());
    places.map(|place| RocksReader::open_read_only(place).map_err(unreadable))
}

/// The entry that a row of `entries` speaks of, and its own row.
async fn entry(
    store: &RocksReader,
    key: &[u8],
    row: &[u8],
) -> Result<(StoredEntry, EntryRow), Violation> {
    let (id, standing, row) = if DelayedEntryKey::is_one(key) {
        let DelayedEntryKey { queue, due, rank } =
            DelayedEntryKey::decode(key).map_err(unreadable)?;
        let key = DelayedKey { due, queue, sequence: rank.sequence };
        let row = store.get(Table::Delayed, &key.encode()).await.map_err(unreadable)?;
        let row = DelayedRow::decode(&row.unwrap_or_default()).map_err(unreadable)?;
        (EntryId { queue, rank }, Standing::Delayed(due), row.entry)
    } else {
        let EntryKey { queue, stage, rank } = EntryKey::decode(key).map_err(unreadable)?;
        let id = EntryId { queue, rank };
        if stage == Stage::Dead {
            let DeadRow { cause, entry, .. } = DeadRow::decode(row).map_err(unreadable)?;
            (id, Standing::Dead(cause), entry)
        } else {
            (id, Standing::Ready, EntryRow::decode(row).map_err(unreadable)?)
        }
    };
    Ok((StoredEntry { id, standing, attempts: row.attempts, lease: None }, row))
}

type Place = (QueueId, Sequence);

async fn leases(store: &RocksReader) -> Result<BTreeMap<Place, LeaseRow>, Violation> {
    let mut leases = BTreeMap::new();
    for (key, row) in rows(store, Table::Leases).await? {
        let key = LeaseKey::decode(&key).map_err(unreadable)?;
        leases.insert((key.queue, key.sequence), LeaseRow::decode(&row).map_err(unreadable)?);
    }
    Ok(leases)
}

async fn marker(store: &RocksReader, place: Place, row: EntryRow) -> Result<Marker, Violation> {
    let bytes = match row.body {
        StoredBody::Inline(bytes) => Some(bytes),
        StoredBody::Separate { .. } => {
            let key = PayloadKey { queue: place.0, sequence: place.1 };
            store.get(Table::Payloads, &key.encode()).await.map_err(unreadable)?
        }
    };
    let body = bytes.and_then(|bytes| Body::decode(&bytes).ok());
    body.and_then(|body| marker_of(&body.payload)).ok_or_else(|| Violation::Damaged {
        what: format!("the stored payload of queue {}, sequence {}", place.0, place.1.0),
    })
}

async fn rows(store: &RocksReader, table: Table) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Violation> {
    let mut found = Vec::new();
    let mut request = ScanRequest {
        table,
        lower: Vec::new(),
        upper: None,
        rows_max: 4096,
        bytes_max: 1 << 20,
        skip_max: u64::MAX,
    };
    loop {
        let (rows, end) = store.scan(request.clone()).await.map_err(unreadable)?;
        found.extend(rows.iter().map(|(key, row)| (key.to_vec(), row.to_vec())));
        match end {
            ScanEnd::Exhausted => return Ok(found),
            ScanEnd::Truncated { last } => request.lower = [&last[..], &[0]].concat(),
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> Violation {
    Violation::Engine { kind: "unreadable".to_owned(), text: error.to_string() }
}

#[cfg(test)]
mod tests;
