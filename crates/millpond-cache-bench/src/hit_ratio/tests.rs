//! What a replay refuses, and what the traces are.

use std::collections::HashMap;

use bytes::Bytes;

use super::oracle::{self, MEAN_VALUE_BYTES};
use super::trace::{SHAPES, Shape, Trace};
use super::{Counts, Policy, replay};
use crate::Outcome;
use crate::cache::Key;

const N_KEYS: u64 = 1_000;
const N_READS: u64 = 20_000;
const SEED: u64 = 7;

/// Keeps everything.
#[derive(Default)]
struct Map {
    values: HashMap<Key, Bytes>,
    defect: Option<Defect>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Defect {
    ForgetsOverwrites,
    ForgetsRemovals,
    /// It says that it holds more than it may.
    Overflows,
}

impl Policy for Map {
    fn get(&mut self, key: Key) -> Option<Bytes> {
        self.values.get(&key).cloned()
    }

    fn insert(&mut self, key: Key, value: Bytes) {
        if self.defect == Some(Defect::ForgetsOverwrites) && self.values.contains_key(&key) {
            return;
        }
        self.values.insert(key, value);
    }

    fn remove(&mut self, key: Key) {
        if self.defect != Some(Defect::ForgetsRemovals) {
            self.values.remove(&key);
        }
    }

    fn held_bytes(&mut self) -> usize {
        if self.defect == Some(Defect::Overflows) { usize::MAX } else { 0 }
    }
}

fn replay_with(defect: Option<Defect>) -> Outcome<Counts> {
    let trace = Trace::new(Shape::Zipf(1.0), N_KEYS, 100, SEED)?;
    replay(&mut Map { defect, ..Map::default() }, usize::MAX - 1, trace, N_READS)
}

#[test]
fn a_cache_that_keeps_everything_misses_only_what_is_read_first() {
    let counts = replay_with(None).expect("a map gives back what was put in");
    assert_eq!(counts.n_reads, N_READS * 3 / 4);
    assert!(counts.hits_percent() > 95.0, "{counts:?}");
    assert_eq!(counts.promotions_per_hundred(), None, "a map does not say what it takes");
}

#[test]
fn what_is_wrong_with_a_cache_is_found() {
    for (defect, word) in [
        (Defect::ForgetsOverwrites, "written last"),
        (Defect::ForgetsRemovals, "written last"),
        (Defect::Overflows, "bytes held"),
    ] {
        let error = replay_with(Some(defect)).expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_seed_gives_one_trace() {
    for (name, shape) in SHAPES {
        let keys = |seed| -> Vec<Key> {
            Trace::new(shape, N_KEYS, 100, seed).expect(name).take(5_000).collect()
        };
        assert_eq!(keys(SEED), keys(SEED), "{name}");
        let is_fixed = matches!(shape, Shape::Loop);
        assert_eq!(keys(SEED) == keys(SEED + 1), is_fixed, "{name}");
    }
}

#[test]
fn scans_are_a_fifth_and_read_nothing_twice() {
    let trace = Trace::new(Shape::ScanBursts, N_KEYS, 100, SEED).expect("the sizes fit");
    let scanned: Vec<Key> = trace.take(10_000).filter(|key| *key >= N_KEYS).collect();
    assert_eq!(scanned.len(), 2_000);
    assert!(scanned.is_sorted_by(|left, right| left < right));
}

#[test]
fn a_pattern_without_room_is_refused() {
    for n_fitting in [0, 19, N_KEYS] {
        assert!(Trace::new(Shape::Loop, N_KEYS, n_fitting, SEED).is_err(), "{n_fitting}");
    }
}

#[test]
fn values_are_as_long_on_average_as_caches_are_told() {
    let n_keys = 20_000;
    let mean = oracle::bytes_of_all(n_keys) / usize::try_from(n_keys).expect("it is small");
    assert!(mean.abs_diff(MEAN_VALUE_BYTES) < MEAN_VALUE_BYTES / 50, "{mean}");
}
