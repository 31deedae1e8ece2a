//! What an entry is: its payload says it.

use millpond::{Bytes, Delivery, Entry};

use crate::queues::Outcome;

const PAYLOAD_BYTES: usize = 256;

pub(super) fn entry(number: u64) -> Entry {
    Entry::new(payload(number))
}

fn payload(number: u64) -> Bytes {
    let mut bytes = [0x5A; PAYLOAD_BYTES];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

/// The number of a delivered entry, which must be whole, and delivered for the first time.
pub(super) fn number_of(delivery: &Delivery) -> Outcome<u64> {
    let bytes = delivery.payload();
    let number = u64::from_be_bytes(*bytes.first_chunk().ok_or("a payload lost bytes")?);
    if *bytes != payload(number) || delivery.attempt() != 1 {
        return Err("an entry came damaged or again".into());
    }
    Ok(number)
}
