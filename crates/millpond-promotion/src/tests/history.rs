//! Seeded histories of one producer and one worker, against the oracle.

use super::world::{Order, World};
use super::{Item, Random, first_seed, replay};
use crate::options::{Overflow, PoolOptions};
use crate::request::Ended;
use crate::rules::Mutation;

fn order(random: &mut Random) -> Order {
    [
        Some(Ended::Installed),
        Some(Ended::Stale),
        Some(Ended::AlreadyResident),
        Some(Ended::Failed),
        None,
    ][random.index(5)]
}

fn play(seed: u64, slots: usize, broken: Option<Mutation>) -> Result<(), String> {
    let mut random = Random(seed);
    let overflow = if random.below(2) == 0 { Overflow::DropOldest } else { Overflow::DropNewest };
    // With 8 bytes to a request on average either bound is the tighter one at times.
    let bytes_max = slots * 8 + 1 + random.index(16);
    let mut world = World::new(PoolOptions { slots, bytes_max, workers: 1, overflow }, broken);
    let n_keys = slots as u64 * 2 + 4;
    let mut finish_percent = 50;
    for n in 0..slots * 4 + 200 {
        if n % 64 == 0 {
            finish_percent = [5, 40, 90][random.index(3)];
        }
        let done = if random.below(100) < finish_percent {
            world.finish(order(&mut random))
        } else {
            let key = random.below(n_keys);
            world.schedule(Item { key, n_bytes: random.index(17) })
        };
        done.map_err(|problem| replay(seed, &format!("{slots} slots, operation {n}: {problem}")))?;
    }
    world.close().map_err(|problem| replay(seed, &format!("{slots} slots, close: {problem}")))
}

#[test]
fn every_outcome_is_as_the_oracle_says() {
    let seed = first_seed();
    for (slots, n_seeds) in [(1, 60), (2, 60), (64, 12), (1_024, 4)] {
        (seed..seed + n_seeds).try_for_each(|seed| play(seed, slots, None)).unwrap();
    }
}

#[test]
fn every_rule_is_missed() {
    for broken in Mutation::SEQUENTIAL {
        let found = (1..40).find_map(|seed| play(seed, 2, Some(broken)).err());
        assert!(found.is_some(), "no history misses {broken:?}");
    }
}
