//! Every outcome against an oracle, storms of threads, and the ways a pool can end.

mod bounds;
mod endings;
mod history;
mod storms;
mod wakeups;
mod world;

use crate::options::{Overflow, PoolOptions};
use crate::pool::{Pool, spawn};
use crate::request::{Executor, Request};
use crate::rules::{Mutation, Rules};

/// Numbers that look random and are the same in every run: splitmix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    pub(super) fn index(&mut self, limit: u32) -> usize {
        usize::try_from(self.below(limit.into())).unwrap()
    }
}

/// Other histories are played with the seed in this variable.
fn first_seed() -> u64 {
    let seed = std::env::var("MILLPOND_PROMOTION_SEED").ok();
    seed.map_or(1, |seed| seed.parse().expect("MILLPOND_PROMOTION_SEED is a number"))
}

fn replay(seed: u64, problem: &str) -> String {
    let command = "cargo test -p millpond-promotion";
    format!("seed {seed}: {problem}\nreplay: MILLPOND_PROMOTION_SEED={seed} {command}")
}

/// A key and a size, with nothing else to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) key: u64,
    pub(super) n_bytes: usize,
}

impl Request for Item {
    fn key_hash(&self) -> u64 {
        self.key
    }

    fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

fn item(key: u64) -> Item {
    Item { key, n_bytes: 1 }
}

fn options(slots: usize, workers: usize) -> PoolOptions {
    PoolOptions { slots, bytes_max: 1 << 20, workers, overflow: Overflow::DropOldest }
}

fn pool<R: Request>(
    options: PoolOptions,
    broken: Option<Mutation>,
    executor: impl Executor<R>,
) -> Pool<R> {
    Pool::start(options, Box::new(executor), Rules { broken }, spawn).unwrap()
}
