//! How many reads find their value in memory, with the same bytes for every cache.
//!
//! Keys are numbers, and values have 256 B to 16 KiB, the same for a key in every run. An entry counts as the bytes
//! of its key and value in each cache, and no cache may ever hold more than it was given. A read that misses offers
//! its value to the cache; one read in a thousand is preceded by a write, which puts a new value in or removes the
//! old one. Every hit must give the value of the last write. The first quarter of the reads warms the cache up and
//! counts for nothing.
//!
//! * `zipf`: the n-th most popular of all keys is read in proportion to n to the power of minus the exponent.
//! * `loop`: one key after the other, round and round, a tenth more than fits.
//! * `scan bursts`: Zipf 0.9, interrupted by runs of keys that are read once and never again, a fifth of all reads.
//! * `moving hot set`: nine reads in ten go to keys that fill half the cache, and the set moves on by a tenth of its
//!   keys after twice as many reads as it has keys.
//!
//! A cache has one tenth of the bytes of all keys, or one fiftieth.

mod oracle;
mod trace;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use self::oracle::Oracle;
use self::trace::{Shape, Trace};
use crate::Outcome;
use crate::cache::Key;
use crate::peers::foyer::Foyer;
use crate::peers::moka::Moka;
use crate::peers::quick_cache::QuickCache;
use crate::report::{Figure, Report};

pub(crate) use self::oracle::MEAN_VALUE_BYTES;

/// Reads for each write.
const N_READS_PER_WRITE: u64 = 1_000;

/// A bounded cache in memory.
pub(crate) trait Policy {
    /// What is kept under the key.
    fn get(&mut self, key: Key) -> Option<Bytes>;
    /// This is the value of the key from now on.
    fn insert(&mut self, key: Key, value: Bytes);
    /// The key has no value any more.
    fn remove(&mut self, key: Key);
    /// Bytes of keys and values.
    fn held_bytes(&mut self) -> usize;

    /// Offers what [`get`](Self::get) has just missed. Whether it was taken into memory.
    fn offer(&mut self, key: Key, value: Bytes) -> bool {
        self.insert(key, value);
        true
    }
}

/// A way to make a cache of so many bytes.
type New = fn(usize) -> Box<dyn Policy>;

/// What the bar is set by: each peer as it comes.
const PEERS: [(&str, New); 3] = [
    ("foyer", |bytes| Box::new(Foyer::lru(bytes))),
    ("moka", |bytes| Box::new(Moka::new(bytes))),
    ("quick_cache", |bytes| Box::new(QuickCache::new(bytes))),
];
/// What else one of them can be told to do.
const VARIANTS: [(&str, New); 3] = [
    ("foyer, lfu", |bytes| Box::new(Foyer::lfu(bytes))),
    ("foyer, s3-fifo", |bytes| Box::new(Foyer::s3_fifo(bytes))),
    ("foyer, sieve", |bytes| Box::new(Foyer::sieve(bytes))),
];

/// How much to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    n_keys: u64,
    n_reads: u64,
    /// What caches may hold of all bytes.
    shares: &'static [Share],
}

impl Size {
    pub(crate) const FULL: Self =
        Self { n_keys: 100_000, n_reads: 3_000_000, shares: &[Share(10), Share(50)] };
    pub(crate) const QUICK: Self = Self { n_keys: 20_000, n_reads: 200_000, shares: &[Share(10)] };
}

/// One part in so many.
#[derive(Clone, Copy, Debug)]
struct Share(u64);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    n_reads: u64,
    n_hits: u64,
    n_promotions: u64,
    read_bytes: u64,
    hit_bytes: u64,
}

impl Counts {
    fn hits_percent(self) -> f64 {
        per_hundred(self.n_hits, self.n_reads)
    }

    fn hit_bytes_percent(self) -> f64 {
        per_hundred(self.hit_bytes, self.read_bytes)
    }
}

/// Runs every case whose name contains `only`.
pub(crate) fn run(report: &mut Report, size: Size, seed: u64, only: &str) -> Outcome<()> {
    println!("hit-ratio: {} keys, {} reads, seed {seed}", size.n_keys, size.n_reads);
    for share in size.shares {
        for (name, shape) in trace::SHAPES {
            let case = format!("{name}, 1/{}", share.0);
            if case.contains(only) {
                one_case(report, &case, shape, *share, size, seed)?;
            }
        }
    }
    Ok(())
}

fn one_case(
    report: &mut Report,
    case: &str,
    shape: Shape,
    share: Share,
    size: Size,
    seed: u64,
) -> Outcome<()> {
    let capacity_bytes = oracle::bytes_of_all(size.n_keys) / usize::try_from(share.0)?;
    let n_fitting = size.n_keys / share.0;
    let mut all = Vec::new();
    for (name, new) in PEERS.into_iter().chain(VARIANTS) {
        let trace = Trace::new(shape, size.n_keys, n_fitting, seed)?;
        let counts = replay(&mut *new(capacity_bytes), capacity_bytes, trace, size.n_reads)
            .map_err(|error| format!("{case}, seed {seed}: {name}: {error}"))?;
        all.push((name, counts));
    }
    let (best_name, best) = all[..PEERS.len()]
        .iter()
        .max_by(|(_, left), (_, right)| left.hits_percent().total_cmp(&right.hits_percent()))
        .ok_or("there are peers")?;
    for (subject, counts) in &all {
        let mut say = |metric, value, unit, ratio: Option<f64>| {
            let ratio_to = ratio.map(|_| *best_name);
            let bench = "hits";
            report.figure(&Figure { bench, case, subject, metric, value, unit, ratio, ratio_to })
        };
        let ratio = counts.hits_percent() / best.hits_percent();
        say("hits", counts.hits_percent(), "%", ratio.is_finite().then_some(ratio))?;
        say("bytes hit", counts.hit_bytes_percent(), "%", None)?;
        say("promotions", per_hundred(counts.n_promotions, counts.n_reads), "/100", None)?;
    }
    Ok(())
}

/// Reads what the trace says, and checks every hit.
fn replay(
    policy: &mut dyn Policy,
    capacity_bytes: usize,
    trace: Trace,
    n_reads: u64,
) -> Outcome<Counts> {
    let mut oracle = Oracle::default();
    let mut counts = Counts::default();
    for (n, key) in (0..n_reads).zip(trace) {
        if n % N_READS_PER_WRITE == 0 {
            let value = oracle.write(key);
            if n % (2 * N_READS_PER_WRITE) == 0 {
                policy.insert(key, value);
            } else {
                policy.remove(key);
            }
            let held_bytes = policy.held_bytes();
            if held_bytes > capacity_bytes {
                return Err(format!("{held_bytes} bytes held, {capacity_bytes} given").into());
            }
        }
        let (is_hit, is_promoted, n_bytes) = read(policy, &oracle, key)?;
        if n >= n_reads / 4 {
            counts.n_reads += 1;
            counts.n_hits += u64::from(is_hit);
            counts.n_promotions += u64::from(is_promoted);
            counts.read_bytes += n_bytes;
            counts.hit_bytes += if is_hit { n_bytes } else { 0 };
        }
    }
    Ok(counts)
}

/// Whether it was a hit, whether the value was taken into memory, and the value's bytes.
fn read(policy: &mut dyn Policy, oracle: &Oracle, key: Key) -> Outcome<(bool, bool, u64)> {
    if let Some(value) = policy.get(key) {
        oracle.check(key, &value)?;
        return Ok((true, false, value.len() as u64));
    }
    let value = oracle.value(key);
    let n_bytes = value.len() as u64;
    Ok((false, policy.offer(key, value), n_bytes))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
fn per_hundred(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}
