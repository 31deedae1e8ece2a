//! What the queues hold, and whether all of it came out again.

use std::sync::atomic::{AtomicU64, Ordering};

use millpond::{Bytes, Delivery, QueueId, QueueKey, TopicName};

use super::Outcome;

pub(super) const TOPIC: &str = "bench";

const PAYLOAD_BYTES: usize = 64;

/// An entry's payload says which one it is.
pub(super) fn payload(queue: usize, number: usize) -> Bytes {
    let mut bytes = [0x5A; PAYLOAD_BYTES];
    bytes[..8].copy_from_slice(&(queue as u64).to_be_bytes());
    bytes[8..16].copy_from_slice(&(number as u64).to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

pub(super) fn key(queue: usize) -> String {
    format!("tenant-{queue:07}")
}

/// The queue and number of a delivered entry, which must be whole and in the right queue.
pub(super) fn read(delivery: &Delivery) -> Outcome<(usize, usize)> {
    let bytes = delivery.payload();
    let number = |at: usize| -> Option<usize> {
        let bytes = bytes.get(at..at + 8)?.first_chunk::<8>()?;
        usize::try_from(u64::from_be_bytes(*bytes)).ok()
    };
    let (queue, entry) = number(0).zip(number(8)).ok_or("a payload lost bytes")?;
    let is_whole = *bytes == payload(queue, entry);
    if !is_whole || delivery.queue_key().as_bytes() != key(queue).as_bytes() {
        return Err("an entry came from another queue, or damaged".into());
    }
    Ok((queue, entry))
}

/// One of the queues, close to the middle of the keyspace.
pub(super) fn middle(n_queues: usize) -> Outcome<usize> {
    let topic = TopicName::new(TOPIC)?;
    let distance = |queue: usize| -> Outcome<u128> {
        let id = QueueId::derive(&topic, &QueueKey::new(key(queue))?);
        Ok(u128::from_be_bytes(id.0).abs_diff(1 << 127))
    };
    let mut nearest = (u128::MAX, 0);
    for queue in 0..n_queues.min(10_000) {
        nearest = nearest.min((distance(queue)?, queue));
    }
    Ok(nearest.1)
}

/// The token each entry was granted with, 0 while it was not.
#[derive(Debug)]
pub(super) struct Ledger {
    tokens: Vec<AtomicU64>,
    n_per_queue: usize,
}

impl Ledger {
    pub(super) fn new(n_queues: usize, n_per_queue: usize) -> Self {
        let tokens = (0..n_queues * n_per_queue).map(|_| AtomicU64::new(0)).collect();
        Self { tokens, n_per_queue }
    }

    pub(super) fn n_entries(&self) -> usize {
        self.tokens.len()
    }

    /// Notes a delivery.
    pub(super) fn note(&self, delivery: &Delivery) -> Outcome<()> {
        let (queue, number) = read(delivery)?;
        let place = (number < self.n_per_queue).then(|| queue * self.n_per_queue + number);
        let token = place.and_then(|place| self.tokens.get(place));
        let token = token.ok_or("an entry came that nobody enqueued")?;
        // Relaxed: each entry has one writer, unless something is wrong, and then this sees it.
        if token.swap(delivery.token().number, Ordering::Relaxed) != 0 || delivery.attempt() != 1 {
            return Err("an entry came twice".into());
        }
        Ok(())
    }

    /// Whether every entry came, and those of each queue in their order. Tokens grow with every grant.
    pub(super) fn check(&self) -> Outcome<()> {
        for queue in self.tokens.chunks(self.n_per_queue) {
            let tokens = queue.iter().map(|token| token.load(Ordering::Relaxed));
            let mut last = 0;
            for token in tokens {
                if token == 0 {
                    return Err("an entry never came".into());
                }
                if token < last {
                    return Err("an entry came before one that is ahead of it".into());
                }
                last = token;
            }
        }
        Ok(())
    }
}
