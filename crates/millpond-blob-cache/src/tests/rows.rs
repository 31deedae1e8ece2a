//! The codec of the rows below.

use bytes::Bytes;
use millpond_types::UnixMillis;
use proptest::prelude::*;

use crate::generations::{Scope, Stamp};
use crate::row::{Row, Rows, decode_generation, encode_generation};
use crate::{Blob, CacheError, Key, Meta};

fn row() -> impl Strategy<Value = Row> {
    let bytes = |n| prop::collection::vec(any::<u8>(), 0..n);
    let tags = prop::collection::vec("[a-zé]{0,20}", 0..5);
    (bytes(200), bytes(50), tags, any::<Option<u64>>(), any::<u64>()).prop_map(
        |(value, metadata, tags, expires_at, stamp)| {
            let mut meta = Meta::new();
            if !metadata.is_empty() {
                meta = meta.described(metadata).unwrap();
            }
            if let Some(at) = expires_at {
                meta = meta.expiring_at(UnixMillis(at));
            }
            for tag in &tags {
                meta = meta.tagged(tag).unwrap();
            }
            Row { blob: Blob::with_meta(value, meta), stamp: Stamp(stamp) }
        },
    )
}

proptest! {
    #[test]
    fn rows_round_trip(row in row(), key in prop::collection::vec(any::<u8>(), 0..40)) {
        let encoded = row.encode(&key);
        prop_assert_eq!(Row::decode(&key, Bytes::from(encoded), true).unwrap(), row);
    }

    /// A bit that flips anywhere, or a row under the wrong key, is an error and never another value.
    #[test]
    fn damage_is_found(row in row(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut encoded = row.encode(b"key");
        prop_assert!(Row::decode(b"other", Bytes::from(encoded.clone()), true).is_err());
        let at = at.index(encoded.len());
        encoded[at] ^= 1 << bit;
        let decoded = Row::decode(b"key", Bytes::from(encoded.clone()), true);
        let is_corrupt = matches!(decoded, Err(CacheError::Corrupt { .. }));
        prop_assert!(is_corrupt);
        encoded.truncate(at);
        prop_assert!(Row::decode(b"key", Bytes::from(encoded), true).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_a_row_or_corrupt(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Row::decode(b"", Bytes::from(bytes.clone()), true);
        let _ = Row::decode(b"", Bytes::from(bytes), false);
    }

    #[test]
    fn generations_round_trip(number: u64, name in "[a-zé]{0,20}", kind in 0..3, prefix in prop::collection::vec(any::<u8>(), 0..5)) {
        let scope = [Scope::All, Scope::Namespace(&name), Scope::Tag(&name)][kind as usize];
        let rows = Rows { prefix: prefix.into() };
        let key = rows.generation_key(scope);
        let (lower, upper) = rows.generations();
        prop_assert!(lower <= key && key < upper);
        prop_assert_eq!(rows.scope(&key).unwrap(), scope);
        prop_assert_eq!(decode_generation(&key, &encode_generation(&key, number)).unwrap(), number);
    }
}

/// The layout is what the module says.
#[test]
fn a_row_has_these_bytes() {
    let meta = Meta::new().expiring_at(UnixMillis(5)).tagged("t").unwrap().described("m").unwrap();
    let row = Row { blob: Blob::with_meta("v", meta), stamp: Stamp(3) };
    let encoded = row.encode(b"key");
    assert_eq!(encoded[0], 1);
    let rest = [
        &[0, 0, 0, 0, 0, 0, 0, 3, 1][..],
        &[0, 0, 0, 0, 0, 0, 0, 5],
        &[1, 1, b't'],
        &[0, 0, 0, 1, b'm'],
        b"v",
    ];
    assert_eq!(encoded[5..], rest.concat());
    let rows = Rows { prefix: Bytes::from_static(b"p") };
    assert_eq!(rows.value_key(Key::new("ns", b"id").unwrap()), b"p\x01\x02nsid");
    assert_eq!(rows.generation_key(Scope::Tag("t")), b"p\x02\x03t");
}
