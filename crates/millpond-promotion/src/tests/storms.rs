//! Threads that schedule while the pool ends, three thousand times: nothing is stranded, and what the threads
//! were told is what was counted.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{scope, yield_now};
use std::time::Duration;

use super::{Random, first_seed, options, pool, replay};
use crate::options::{Overflow, PoolOptions};
use crate::outcome::{Rejection, Scheduled};
use crate::pool::Pool;
use crate::request::{Ended, Request};
use crate::rules::Mutation;
use crate::stats::Stats;

const N_STORMS: u64 = 3_000;

/// A request that shows whether it still exists.
struct Token {
    key: u64,
    _exists: Arc<()>,
}

impl Request for Token {
    fn key_hash(&self) -> u64 {
        self.key
    }

    fn n_bytes(&self) -> usize {
        3
    }
}

fn run(token: Token) -> Ended {
    match token.key % 7 {
        0 => resume_unwind(Box::new("an executor's panic")),
        1 => {
            yield_now();
            Ended::Stale
        }
        2 => Ended::Failed,
        3 => Ended::AlreadyResident,
        _ => Ended::Installed,
    }
}

/// What one thread was told.
#[derive(Default)]
struct Told {
    n_queued: u64,
    n_evicted: u64,
    n_rejected: [u64; 4],
}

fn produce(pool: &Pool<Token>, seed: u64, exists: &Arc<()>) -> Told {
    let mut random = Random(seed);
    let mut told = Told::default();
    for _ in 0..random.below(20) {
        let token = Token { key: random.below(12), _exists: exists.clone() };
        match pool.schedule(token) {
            Scheduled::Queued => told.n_queued += 1,
            Scheduled::QueuedEvicting(_) => {
                told.n_queued += 1;
                told.n_evicted += 1;
            }
            Scheduled::Rejected { why, .. } => {
                let index = match why {
                    Rejection::Full => 0,
                    Rejection::Bytes => 1,
                    Rejection::Duplicate => 2,
                    Rejection::Closed => 3,
                };
                told.n_rejected[index] += 1;
            }
        }
    }
    told
}

fn storm(seed: u64, broken: Option<Mutation>) -> Result<(), String> {
    let mut random = Random(seed);
    let overflow = if random.below(2) == 0 { Overflow::DropOldest } else { Overflow::DropNewest };
    let slots = [1, 2, 3, 64][random.index(4)];
    let options =
        PoolOptions { overflow, bytes_max: 3 * (slots + 1), ..options(slots, 1 + random.index(3)) };
    let exists = Arc::new(());
    let pool = pool(options, broken, run);
    let n_yields = random.below(30);
    let (seeds, deadline) = (
        [random.below(u64::MAX), random.below(u64::MAX)],
        [Duration::ZERO, Duration::MAX][random.index(2)],
    );
    let told = scope(|threads| {
        let producers = seeds.map(|seed| {
            let (pool, exists) = (&pool, &exists);
            threads.spawn(move || produce(pool, seed, exists))
        });
        for _ in 0..n_yields {
            yield_now();
            adds_up(&pool.stats())?;
        }
        if random.below(4) > 0 {
            let _ = pool.close(deadline);
        }
        Ok::<_, String>(producers.map(|producer| producer.join().unwrap()))
    })?;
    if random.below(4) > 0 {
        let closed = pool.close(Duration::MAX);
        if closed.still_running > 0 {
            return Err(format!("stranded: {closed:?}"));
        }
        matches(&pool.stats(), &told)?;
    }
    drop(pool);
    // A worker may still be at its last request where the pool was only dropped.
    while Arc::strong_count(&exists) > 1 {
        yield_now();
    }
    Ok(())
}

fn adds_up(stats: &Stats) -> Result<(), String> {
    let n_open = stats.n_waiting + stats.n_in_flight;
    let holds = stats.n_ended() <= stats.n_accepted
        && stats.n_accepted <= stats.n_submitted
        && stats.n_accepted == stats.n_ended() + n_open
        && stats.n_submitted <= 40;
    if holds { Ok(()) } else { Err(format!("it does not add up: {stats:?}")) }
}

fn matches(stats: &Stats, told: &[Told; 2]) -> Result<(), String> {
    let sum = |value: fn(&Told) -> u64| told.iter().map(value).sum::<u64>();
    let counted = [
        (stats.n_accepted, sum(|told| told.n_queued)),
        (stats.n_ended(), sum(|told| told.n_queued)),
        (stats.n_evicted, sum(|told| told.n_evicted)),
        (stats.n_rejected_full, sum(|told| told.n_rejected[0])),
        (stats.n_rejected_bytes, sum(|told| told.n_rejected[1])),
        (stats.n_rejected_duplicate, sum(|told| told.n_rejected[2])),
        (stats.n_rejected_closed, sum(|told| told.n_rejected[3])),
        (stats.n_bytes as u64, 0),
    ];
    if counted.iter().all(|(counted, told)| counted == told) {
        adds_up(stats)
    } else {
        Err(format!("counted and told: {counted:?} in {stats:?}"))
    }
}

#[test]
fn no_storm_strands_a_request() {
    let seed = first_seed();
    for seed in seed..seed + N_STORMS {
        storm(seed, None).map_err(|problem| replay(seed, &problem)).unwrap();
    }
}

#[test]
fn storms_miss_what_a_request_held() {
    let found = (1..200).find_map(|seed| storm(seed, Some(Mutation::UnstartedKeepsClaim)).err());
    assert!(found.is_some(), "no storm sees bytes that are gone");
}
