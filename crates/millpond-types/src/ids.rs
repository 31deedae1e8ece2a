//! Newtypes that cross crate borders.

use std::fmt;
use std::time::Duration;

use crate::{QueueKey, TopicName};

/// Identifies a topic: 16 bytes of BLAKE3 over its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The id of the topic with this name.
    pub fn derive(topic: &TopicName) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("millpond 1 topic id");
        hasher.update(topic.as_str().as_bytes());
        Self(first_16(&hasher))
    }
}

/// Identifies a queue: 4 bytes of BLAKE3 over its key, by which it is placed, and 12 over topic and key.
/// Nobody can choose a key that collides with somebody else's, and no registry is needed to find a queue.
///
/// Queues of the same key share a partition whatever their topics are, so that one commit can take an entry
/// from one to the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub [u8; 16]);

impl QueueId {
    /// The id of the queue with this key in this topic.
    pub fn derive(topic: &TopicName, key: &QueueKey) -> Self {
        let mut place = blake3::Hasher::new_derive_key("millpond 3 queue place");
        place.update(key.as_bytes());
        let mut hasher = blake3::Hasher::new_derive_key("millpond 3 queue id");
        // The topic's length first, so that no other split of the same bytes gives the same input.
        hasher.update(&(topic.as_str().len() as u64).to_be_bytes());
        hasher.update(topic.as_str().as_bytes());
        hasher.update(key.as_bytes());
        let mut id = first_16(&hasher);
        id[..PLACE_BYTES].copy_from_slice(&first_16(&place)[..PLACE_BYTES]);
        Self(id)
    }

    /// The partition, out of `n_partitions`, in which the queue lives. Fixed for the life of a store.
    ///
    /// # Panics
    ///
    /// When `n_partitions` is 0.
    pub fn partition(self, n_partitions: u16) -> u16 {
        assert!(n_partitions > 0, "an engine has at least one partition");
        let place = self.0.first_chunk::<PLACE_BYTES>().expect("a queue id has 16 bytes");
        let index = u32::from_be_bytes(*place) % u32::from(n_partitions);
        u16::try_from(index).expect("a remainder is below its u16 divisor")
    }
}

/// The part of a queue's id that says where it lives.
const PLACE_BYTES: usize = 4;

fn first_16(hasher: &blake3::Hasher) -> [u8; 16] {
    let hash = hasher.finalize();
    *hash.as_bytes().first_chunk::<16>().expect("BLAKE3 yields 32 bytes")
}

macro_rules! hex_fmt {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
hex_fmt!(TopicId, QueueId);

macro_rules! number {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
number! {
    /// The place of an entry among those of the same priority: assigned once, in commit order, unique
    /// within a partition, not dense.
    Sequence(u64);
    /// How many times ownership of a partition has been claimed; grows with every open.
    Epoch(u64);
    /// The dense index of a committed batch in its partition; the first is 1, 0 means none.
    LogPosition(u64);
    /// Wall-clock time in milliseconds since 1970-01-01 UTC.
    UnixMillis(u64);
}

impl LogPosition {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl UnixMillis {
    /// This time plus `ms` milliseconds, or the end of time.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 if it is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// At least so long, in whole milliseconds.
pub fn ms_rounded_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The clock by which something becomes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DueClock {
    /// The partition's own, which runs on while the wall clock is set: for delays.
    Steady = 1,
    /// The wall clock: for dates.
    Wall = 2,
}

impl DueClock {
    /// Both clocks.
    pub const ALL: [Self; 2] = [Self::Steady, Self::Wall];

    pub(crate) fn decode(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|clock| *clock as u8 == byte)
    }
}

/// When a delayed entry becomes ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Due {
    /// The clock that says so.
    pub clock: DueClock,
    /// What it has to show.
    pub at: UnixMillis,
}

/// How urgent an entry is: 0 is served first, 255 last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Priority(pub u8);

impl Default for Priority {
    /// The middle, so that both more and less urgent entries are possible later.
    fn default() -> Self {
        Self(128)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an entry stands inside its queue. The order of ranks is the order of delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EntryRank {
    /// Lower comes first.
    pub priority: Priority,
    /// Among equal priorities, lower comes first.
    pub sequence: Sequence,
}

/// Names one entry of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// The queue it is in.
    pub queue: QueueId,
    /// Its place there.
    pub rank: EntryRank,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.queue, self.rank.priority, self.rank.sequence)
    }
}

/// The fencing token of a lease. Tokens of one partition grow strictly in the order of grants, across
/// restarts too, so an external system can refuse whatever is older than the newest it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseToken {
    /// The ownership under which the lease was granted.
    pub epoch: Epoch,
    /// Which grant of that epoch it was, from 1.
    pub number: u64,
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}
