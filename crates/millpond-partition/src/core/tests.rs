//! The promises of a partition under random histories, and the rules left out one at a time.
//!
//! A history is played without threads and follows from one printed number. To replay or to widen a
//! search:
//!
//! ```text
//! MILLPOND_PARTITION_SEED=7 MILLPOND_PARTITION_CASES=100000 cargo test -p millpond-partition promises
//! ```

mod coverage;
mod handled;
mod invariants;
mod op;
mod oracle;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

pub(super) use handled::Handled;
use op::{Op, Setup, history};
use world::World;

use super::Mutation;

const N_HISTORIES: u64 = 3_000;

type Failure = TestError<(Setup, Vec<Op>)>;

fn play(setup: &Setup, ops: &[Op], broken: Option<Mutation>) -> Result<(), TestCaseError> {
    let mut setup = setup.clone();
    setup.options.broken = broken;
    let mut world = World::new(&setup)?;
    for op in ops {
        world.step(op)?;
    }
    world.drain()
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    variable("MILLPOND_PARTITION_SEED", 0x6d69_6c6c)
}

/// Plays random histories until one fails. The whole run follows from one printed seed.
fn search(n_cases: u64, broken: Option<Mutation>) -> Result<(), Box<Failure>> {
    let seed = seed();
    let config = Config {
        cases: u32::try_from(variable("MILLPOND_PARTITION_CASES", n_cases))
            .expect("fewer than 2^32 cases"),
        failure_persistence: None,
        // A broken rule only has to be caught; the smallest history that shows it is of no use.
        max_shrink_iters: if broken.is_some() { 0 } else { 20_000 },
        // A history that is stuck takes long to find that out.
        max_shrink_time: 60_000,
        ..Config::default()
    };
    // XorShift, because ChaCha costs more than the histories themselves where it is not optimised. Its
    // state must not be zero.
    let state = (u128::from(seed) << 64 | 1).to_le_bytes();
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &state);
    println!("partition histories: seed={seed} cases={} broken={broken:?}", config.cases);
    TestRunner::new_with_rng(config, rng)
        .run(&history(), |(setup, ops)| play(&setup, &ops, broken))
        .map_err(Box::new)
}

#[test]
fn promises_hold_after_every_step_and_nothing_is_stuck_at_quiescence() {
    if let Err(error) = search(N_HISTORIES, None) {
        let seed = seed();
        panic!(
            "{error}\nreplay: MILLPOND_PARTITION_SEED={seed} cargo test -p millpond-partition promises"
        );
    }
    coverage::check(variable("MILLPOND_PARTITION_CASES", N_HISTORIES));
}

#[test]
fn every_rule_left_out_is_caught() {
    for broken in Mutation::ALL {
        match search(20_000, Some(broken)).map_err(|error| *error) {
            Err(TestError::Fail(why, (_, ops))) => {
                println!("{broken:?}: {why} (history of {} steps)", ops.len());
            }
            other => panic!("{broken:?} went unnoticed, the histories are too weak: {other:?}"),
        }
    }
}
