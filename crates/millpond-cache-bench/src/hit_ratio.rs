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

use std::ops::Range;

use bytes::Bytes;

use self::oracle::Oracle;
use self::trace::{Shape, Trace};
use crate::Outcome;
use crate::cache::Key;
use crate::ours::index::Ours;
use crate::peers::foyer::Foyer;
use crate::peers::moka::Moka;
use crate::peers::quick_cache::QuickCache;
use crate::report::{Figure, Report};

pub(crate) use self::oracle::MEAN_VALUE_BYTES;

/// Points below the best peer that still count as level with it.
const LEVEL_POINTS: f64 = 0.5;
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

    /// Offers what [`get`](Self::get) has just missed. Whether it was taken into memory, if the cache says so.
    fn offer(&mut self, key: Key, value: Bytes) -> Option<bool> {
        self.insert(key, value);
        None
    }
}

/// A way to make a cache of so many bytes.
type New = fn(usize) -> Box<dyn Policy>;

/// Ours as it comes and otherwise, each peer as it comes, which set the bar, and what one of them can be told to do
/// instead.
const SUBJECTS: [(&str, New); 9] = [
    ("ours", |bytes| Box::new(Ours::new(bytes))),
    ("ours 2x window", |bytes| Box::new(Ours::with_narrow_window(bytes))),
    ("ours 2nd hit", |bytes| Box::new(Ours::with_second_hit(bytes))),
    ("foyer", |bytes| Box::new(Foyer::lru(bytes))),
    ("moka", |bytes| Box::new(Moka::new(bytes))),
    ("quick_cache", |bytes| Box::new(QuickCache::new(bytes))),
    ("foyer lfu", |bytes| Box::new(Foyer::lfu(bytes))),
    ("foyer s3-fifo", |bytes| Box::new(Foyer::s3_fifo(bytes))),
    ("foyer sieve", |bytes| Box::new(Foyer::sieve(bytes))),
];

/// Which of the subjects set the bar.
const PEERS: Range<usize> = 3..6;

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
    /// Offers that were taken into memory, of a cache that says so.
    n_promotions: Option<u64>,
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

    fn promotions_per_hundred(self) -> Option<f64> {
        Some(per_hundred(self.n_promotions?, self.n_reads))
    }
}

/// Runs every case whose name contains `only`.
pub(crate) fn run(report: &mut Report, size: Size, seed: u64, only: &str) -> Outcome<()> {
    println!("hit-ratio, {} keys, {} reads, seed {seed}", size.n_keys, size.n_reads);
    println!("per cent of the reads that hit, and of their bytes");
    let heading: String = SUBJECTS.iter().map(|(name, _)| format!(" {name:>14}")).collect();
    println!("{:<22}{heading}", "case");
    let mut bars = Vec::new();
    for share in size.shares {
        for (name, shape) in trace::SHAPES {
            let case = format!("{name}, 1/{}", share.0);
            if !case.contains(only) {
                continue;
            }
            let all = one_case(&case, shape, *share, size, seed)?;
            report_case(report, &case, &all)?;
            bars.push(bar(&case, shape, &all));
        }
    }
    bars.iter().for_each(|bar| println!("{bar}"));
    Ok(())
}

fn one_case(case: &str, shape: Shape, share: Share, size: Size, seed: u64) -> Outcome<Vec<Counts>> {
    let capacity_bytes = oracle::bytes_of_all(size.n_keys) / usize::try_from(share.0)?;
    let n_fitting = size.n_keys / share.0;
    let one = |(name, new): (&str, New)| {
        let trace = Trace::new(shape, size.n_keys, n_fitting, seed)?;
        replay(&mut *new(capacity_bytes), capacity_bytes, trace, size.n_reads)
            .map_err(|error| format!("{case}, seed {seed}: {name}: {error}").into())
    };
    SUBJECTS.into_iter().map(one).collect()
}

/// The peer with the most hits.
fn best_peer(all: &[Counts]) -> (&'static str, Counts) {
    let hits = |at: &usize| all[*at].hits_percent();
    let best = PEERS.max_by(|left, right| hits(left).total_cmp(&hits(right)));
    let at = best.expect("there are peers");
    (SUBJECTS[at].0, all[at])
}

fn report_case(report: &mut Report, case: &str, all: &[Counts]) -> Outcome<()> {
    let (best_name, best) = best_peer(all);
    let mut cells = String::new();
    for ((subject, _), counts) in SUBJECTS.into_iter().zip(all) {
        let (hits, bytes) = (counts.hits_percent(), counts.hit_bytes_percent());
        cells += &format!(" {:>14}", format!("{hits:.1} {bytes:5.1}"));
        let mut say = |metric, value, unit, ratio: Option<f64>| {
            let ratio_to = ratio.map(|_| best_name);
            let bench = "hit-ratio";
            report.line(&Figure { bench, case, subject, metric, value, unit, ratio, ratio_to })
        };
        say("hits", hits, "%", Some(hits / best.hits_percent()).filter(|ratio| ratio.is_finite()))?;
        say("bytes hit", bytes, "%", None)?;
        if let Some(promotions) = counts.promotions_per_hundred() {
            say("promotions", promotions, "/100", None)?;
        }
    }
    println!("{case:<22}{cells}");
    Ok(())
}

/// How ours compares to the best peer, and to the bar where there is one.
fn bar(case: &str, shape: Shape, all: &[Counts]) -> String {
    let ours = all[0];
    let (best_name, best) = best_peer(all);
    let points = ours.hits_percent() - best.hits_percent();
    let ratio = ours.hits_percent() / best.hits_percent();
    let verdict = match shape {
        Shape::Zipf(_) | Shape::ScanBursts if points >= -LEVEL_POINTS => "met",
        Shape::Zipf(_) | Shape::ScanBursts => "MISSED",
        Shape::Loop | Shape::MovingHotSet => "no bar",
    };
    let promotions = all[..PEERS.start].iter().filter_map(|ours| ours.promotions_per_hundred());
    let promotions: Vec<String> = promotions.map(|per| format!("{per:.1}")).collect();
    let promotions = promotions.join(", ");
    format!(
        "bar      {case}: {points:+.1} points, {ratio:.2} of {best_name}, at least -{LEVEL_POINTS}: {verdict}; \
         {promotions} promotions per 100 reads"
    )
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
            if let Some(is_promoted) = is_promoted {
                *counts.n_promotions.get_or_insert_default() += u64::from(is_promoted);
            }
            counts.read_bytes += n_bytes;
            counts.hit_bytes += if is_hit { n_bytes } else { 0 };
        }
    }
    Ok(counts)
}

/// Whether it was a hit, whether the value was taken into memory, and the value's bytes.
fn read(policy: &mut dyn Policy, oracle: &Oracle, key: Key) -> Outcome<(bool, Option<bool>, u64)> {
    if let Some(value) = policy.get(key) {
        oracle.check(key, &value)?;
        return Ok((true, None, value.len() as u64));
    }
    let value = oracle.value(key);
    let n_bytes = value.len() as u64;
    Ok((false, policy.offer(key, value), n_bytes))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^52")]
fn per_hundred(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}
