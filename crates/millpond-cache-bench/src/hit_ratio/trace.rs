//! Which keys are read, in which order.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};

use crate::Outcome;
use crate::cache::Key;

/// The pattern of a trace.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// With this exponent.
    Zipf(f64),
    Loop,
    ScanBursts,
    MovingHotSet,
}

pub(super) const SHAPES: [(&str, Shape); 7] = [
    ("zipf 0.6", Shape::Zipf(0.6)),
    ("zipf 0.8", Shape::Zipf(0.8)),
    ("zipf 1.0", Shape::Zipf(1.0)),
    ("zipf 1.2", Shape::Zipf(1.2)),
    ("loop", Shape::Loop),
    ("scan bursts", Shape::ScanBursts),
    ("moving hot set", Shape::MovingHotSet),
];

/// Of the reads between two bursts.
const SCAN_BASE_EXPONENT: f64 = 0.9;

/// Reads without end. One seed gives one trace.
#[derive(Debug)]
pub(super) struct Trace {
    shape: Shape,
    n_keys: u64,
    /// How many keys a cache holds, about.
    n_fitting: u64,
    popularity: Zipf<f64>,
    random: Xoshiro256PlusPlus,
    /// Reads so far.
    n_read: u64,
}

impl Trace {
    /// # Errors
    ///
    /// There are no keys, or the cache holds too few for a pattern.
    pub(super) fn new(shape: Shape, n_keys: u64, n_fitting: u64, seed: u64) -> Outcome<Self> {
        if n_fitting < 20 || n_fitting > n_keys / 2 {
            return Err(format!("no pattern for {n_fitting} of {n_keys} keys").into());
        }
        let exponent = match shape {
            Shape::Zipf(exponent) => exponent,
            _ => SCAN_BASE_EXPONENT,
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let popularity = Zipf::new(n_keys as f64, exponent)?;
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        Ok(Self { shape, n_keys, n_fitting, popularity, random, n_read: 0 })
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to the number of keys"
    )]
    fn popular(&mut self) -> Key {
        self.popularity.sample(&mut self.random) as u64 - 1
    }

    fn scan_bursts(&mut self) -> Key {
        let (n_base, n_burst) = (8 * self.n_fitting, 2 * self.n_fitting);
        if self.n_read % (n_base + n_burst) < n_base {
            return self.popular();
        }
        // No other read has this number.
        self.n_keys + self.n_read
    }

    fn moving_hot_set(&mut self) -> Key {
        if self.random.random_ratio(1, 10) {
            return self.random.random_range(0..self.n_keys);
        }
        let n_hot = self.n_fitting / 2;
        let n_moves = self.n_read / (2 * n_hot);
        let first = n_moves * (n_hot / 10);
        (first + self.random.random_range(0..n_hot)) % self.n_keys
    }
}

impl Iterator for Trace {
    type Item = Key;

    fn next(&mut self) -> Option<Key> {
        let key = match self.shape {
            Shape::Zipf(_) => self.popular(),
            Shape::Loop => self.n_read % (self.n_fitting * 11 / 10),
            Shape::ScanBursts => self.scan_bursts(),
            Shape::MovingHotSet => self.moving_hot_set(),
        };
        self.n_read += 1;
        Some(key)
    }
}
