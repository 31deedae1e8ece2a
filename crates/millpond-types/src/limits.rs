//! Every limit on what may enter the engine, with its unit.

/// Longest topic name, in bytes.
pub const TOPIC_BYTES_MAX: usize = 255;
/// Longest queue key, in bytes.
pub const QUEUE_KEY_BYTES_MAX: usize = 1024;
/// Largest payload of one entry, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Most headers on one entry.
pub const HEADERS_MAX: usize = 64;
/// Largest sum of header names and values of one entry, in bytes.
pub const HEADER_BYTES_MAX: usize = 16 << 10;
/// Most entries in one enqueue or lease call.
pub const BATCH_ENTRIES_MAX: usize = 10_000;
/// Largest sum of bodies in one enqueue call, in bytes.
pub const BATCH_BYTES_MAX: usize = 64 << 20;
/// Bodies up to this size stay in the entry's row; larger ones go to the `payloads` table. In bytes.
pub const INLINE_BODY_BYTES_MAX: usize = 1024;
/// Shortest lease, in milliseconds.
pub const LEASE_MS_MIN: u64 = 1;
/// Longest lease, in milliseconds: 7 days.
pub const LEASE_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// Longest delay of an entry, and how far ahead it may be scheduled, in milliseconds: 3,650 days.
pub const DELAY_MS_MAX: u64 = 3650 * 24 * 3600 * 1000;
/// Longest text that says why an entry was given back or set aside, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// Longest name of whoever holds a lease, in bytes.
pub const HOLDER_BYTES_MAX: usize = 255;
/// Most partitions of one engine.
pub const PARTITIONS_MAX: u16 = 1024;
/// Longest key by which a queue tells entries apart, in bytes.
pub const DEDUP_KEY_BYTES_MAX: usize = 1024;
/// Longest time for which such a key is remembered, in milliseconds: 7 days.
pub const DEDUP_WINDOW_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// For how long such a key is remembered where no rule says it, in milliseconds: 5 minutes.
pub const DEDUP_WINDOW_MS_DEFAULT: u64 = 5 * 60 * 1000;
/// Greatest weight of a queue.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// Last band of queues; the first is 0.
pub const BAND_MAX: u8 = 3;
/// Longest period of a rate, in milliseconds: a day.
pub const RATE_PERIOD_MS_MAX: u64 = 24 * 3600 * 1000;
/// Most rules of one engine. All of them are in memory.
pub const RULES_MAX: usize = 100_000;
