//! Payloads that name themselves: any byte of one that is lost, mixed up or stale is noticed.

use crate::Marker;
use crate::random::Random;

/// Length of the part that names the marker, in bytes.
const NAME_BYTES: usize = 16;
/// Longest payload, in bytes: three times what stays in an entry's row.
const PAYLOAD_BYTES_MAX: usize = 3 << 10;

/// The payload that belongs to a marker: its name in hexadecimal, then bytes that only it has. 16 bytes
/// to 3 KiB long; about a third is too long for the entry's row.
pub fn payload(marker: Marker) -> Vec<u8> {
    let mut random = Random::part(marker, 0x7061_796C_6F61_6421);
    let bound = *random.one_of(&[1, 64, 400, PAYLOAD_BYTES_MAX - NAME_BYTES + 1]);
    let n_bytes = NAME_BYTES + random.below(bound);
    let mut bytes = format!("{marker:016x}").into_bytes();
    while bytes.len() < n_bytes {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(n_bytes);
    bytes
}

/// The marker that a payload names; `None` if it is not, byte by byte, the payload of that marker.
pub fn marker_of(bytes: &[u8]) -> Option<Marker> {
    let name = std::str::from_utf8(bytes.get(..NAME_BYTES)?).ok()?;
    let marker = u64::from_str_radix(name, 16).ok()?;
    (payload(marker) == bytes).then_some(marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_sizes_that_matter() {
        let sizes: Vec<usize> = (0..500).map(|marker| payload(marker).len()).collect();
        assert!(sizes.iter().all(|size| (16..=3072).contains(size)));
        assert!(sizes.contains(&16));
        assert!(sizes.iter().filter(|size| **size > 1024).count() > 50);
    }

    #[test]
    fn a_payload_names_its_marker_and_a_damaged_one_names_none() {
        for marker in [0, 7, u64::MAX] {
            let mut bytes = payload(marker);
            assert_eq!(marker_of(&bytes), Some(marker));
            bytes.push(0);
            assert_eq!(marker_of(&bytes), None);
        }
        let mut bytes = payload(3);
        bytes[0] ^= 1;
        assert_eq!(marker_of(&bytes), None);
        assert_eq!(marker_of(b"short"), None);
    }
}
