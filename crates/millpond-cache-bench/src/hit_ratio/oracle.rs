//! What every key's value is, and whether a cache gives it back.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::FixedState;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use crate::Outcome;
use crate::cache::Key;
use crate::peers::entry_bytes;

const VALUE_BYTES_MIN: f64 = 256.0;
/// Times as long as the shortest: 16 KiB.
const VALUE_RATIO: f64 = 64.0;
/// Of all values: 256 · (64 − 1) / ln 64.
pub(crate) const MEAN_VALUE_BYTES: usize = 3_878;
/// The key and the number of the write, at the front of each value.
const STAMP_BYTES: usize = 16;

/// What has been written last. A key that nobody has written has its zeroth value.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    versions: HashMap<Key, u64, FixedState>,
}

impl Oracle {
    /// The value of the key from now on.
    pub(super) fn write(&mut self, key: Key) -> Bytes {
        *self.versions.entry(key).or_default() += 1;
        self.value(key)
    }

    pub(super) fn value(&self, key: Key) -> Bytes {
        let mut value = vec![0; value_bytes(key)];
        value[..STAMP_BYTES].copy_from_slice(&self.stamp(key));
        value.into()
    }

    /// # Errors
    ///
    /// This is not the value of the key's last write.
    pub(super) fn check(&self, key: Key, value: &Bytes) -> Outcome<()> {
        if value.len() == value_bytes(key) && value[..STAMP_BYTES] == self.stamp(key) {
            return Ok(());
        }
        Err(format!("a hit of key {key} does not give what was written last").into())
    }

    fn stamp(&self, key: Key) -> [u8; STAMP_BYTES] {
        let version = self.versions.get(&key).copied().unwrap_or_default();
        (u128::from(key) << 64 | u128::from(version)).to_be_bytes()
    }
}

/// Keys and values together.
pub(super) fn bytes_of_all(n_keys: u64) -> usize {
    (0..n_keys).map(|key| value_bytes(key) + entry_bytes(&Bytes::new())).sum()
}

/// Every order of magnitude is as likely as another.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 256 and 16,384"
)]
fn value_bytes(key: Key) -> usize {
    let part: f64 = Xoshiro256PlusPlus::seed_from_u64(key).random();
    (VALUE_BYTES_MIN * VALUE_RATIO.powf(part)) as usize
}
