//! The tables of a partition.

/// One ordered table. A column family in RocksDB; a one-byte key prefix where there is one keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Rows of entries, by queue, stage and rank. The only table where `single_delete` is allowed.
    Entries = 1,
    /// Bodies too large for their entry's row.
    Payloads = 2,
    /// Leases in force, and attempts of entries given back.
    Leases = 3,
    /// Names and configuration of queues.
    Queues = 4,
    /// Counters and floor of every queue that has work.
    Active = 5,
    /// Recorded batches, by log position. Written by the store itself while a pin is held.
    Log = 6,
    /// Named numbers of the partition and of the store.
    System = 7,
    /// Entries that are not ready yet, by due time.
    Delayed = 8,
    /// Rules of topics, key prefixes and queues.
    Settings = 9,
    /// Keys seen lately, by queue and by expiry.
    Dedup = 10,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 10] = [
        Self::Entries,
        Self::Payloads,
        Self::Leases,
        Self::Queues,
        Self::Active,
        Self::Log,
        Self::System,
        Self::Delayed,
        Self::Settings,
        Self::Dedup,
    ];

    /// The stable name of the table on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Payloads => "payloads",
            Self::Leases => "leases",
            Self::Queues => "queues",
            Self::Active => "active",
            Self::Log => "log",
            Self::System => "system",
            Self::Delayed => "delayed",
            Self::Settings => "settings",
            Self::Dedup => "dedup",
        }
    }

    /// The table with this number, which is stable on disk too.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == number)
    }

    /// A dense index below `Table::ALL.len()`, for arrays.
    pub fn index(self) -> usize {
        self as usize - 1
    }
}
