//! Histories against a model, shares against textbook oracles, and the rules left out one at a time.

mod audit;
mod drr;
pub(crate) mod model;
mod refusals;
mod shares;
mod split;
mod takes;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::rules::{Mutation, Rules};
use world::{Step, World};

const STEPS_MAX: usize = 200;

/// Numbers that look random and are the same in every run: splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).unwrap()
    }
}

pub(crate) fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

pub(crate) fn with(broken: Option<Mutation>) -> Rules {
    Rules { broken }
}

fn play(ageing: bool, steps: &[Step], broken: Option<Mutation>) -> Result<(), TestCaseError> {
    let mut world = World::new(ageing, with(broken));
    for step in steps {
        world.step(*step).and_then(|()| world.audit()).map_err(TestCaseError::fail)?;
    }
    world.finish().map_err(TestCaseError::fail)
}

type Failure = TestError<(bool, Vec<Step>)>;

/// Plays random histories until one fails. The whole run follows from one printed seed.
fn search(n_cases: u64, broken: Option<Mutation>) -> Result<(), (u64, Failure)> {
    let seed = variable("MILLPOND_SCHEDULER_SEED", 0x706f_6e64);
    let config = Config {
        cases: u32::try_from(variable("MILLPOND_SCHEDULER_CASES", n_cases)).unwrap(),
        failure_persistence: None,
        max_shrink_iters: if broken.is_some() { 0 } else { 20_000 },
        ..Config::default()
    };
    let step = (0..world::KINDS, any::<u16>(), any::<u16>())
        .prop_map(|(kind, pick, amount)| Step { kind, pick, amount });
    let history = (any::<bool>(), prop::collection::vec(step, 0..STEPS_MAX));
    let state = (u128::from(seed) << 64 | 1).to_le_bytes();
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &state);
    println!("histories: seed={seed} cases={} broken={broken:?}", config.cases);
    TestRunner::new_with_rng(config, rng)
        .run(&history, |(ageing, steps)| play(ageing, &steps, broken))
        .map_err(|error| (seed, error))
}

#[test]
fn histories_agree_with_the_model() {
    if let Err((seed, error)) = search(2_000, None) {
        panic!(
            "{error}\nreplay: MILLPOND_SCHEDULER_SEED={seed} cargo test -p millpond-scheduler histories"
        );
    }
}

/// A property, given the rule that is left out.
type Property = fn(Option<Mutation>) -> Result<(), String>;

/// Those beside the histories.
const PROPERTIES: [(&str, Property); 19] = [
    ("picks are those of a textbook", drr::picks_are_those_of_a_textbook),
    ("shares follow weights", shares::follow_weights),
    ("shares follow weights by cost", shares::follow_weights_by_cost),
    ("shares follow weights under one tenant's limit", shares::follow_weights_under_a_limit),
    ("coming back gains nothing", shares::coming_back_gains_nothing),
    ("being blocked gains and loses nothing", shares::being_blocked_costs_nothing),
    ("nobody starves", shares::nobody_starves),
    ("an aged band is served in time", shares::aged_bands_are_served),
    ("releases wake as many", shares::releases_wake_as_many),
    ("a permit is no low band's", shares::a_high_band_takes_what_a_low_one_was_promised),
    ("promises are not passed to and fro", promises_are_not_passed_to_and_fro),
    ("a bucket is exact", crate::limits::tests::buckets_are_exact),
    ("takes gain nothing", takes::takes_gain_nothing),
    ("takes wait in line", takes::takes_wait_in_line),
    ("rebasing releases what is left", takes::rebasing_releases_what_is_left),
    ("splits follow weights", split::splits_follow_weights),
    ("splits follow weights that change", split::splits_follow_weights_that_change),
    ("splits bank nothing", split::splits_bank_nothing),
    ("stale names find nothing", refusals::stale_names_find_nothing),
];

#[test]
fn properties_hold() {
    for (name, property) in PROPERTIES {
        property(None).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

#[test]
fn every_rule_left_out_is_caught() {
    for broken in Mutation::ALL {
        let mut reasons = Vec::new();
        for (name, property) in PROPERTIES {
            match catch_unwind(AssertUnwindSafe(|| property(Some(broken)))) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => reasons.push(format!("{name}: {why}")),
                Err(_) => reasons.push(format!("{name}: an invariant of the code")),
            }
        }
        if let Err((_, TestError::Fail(why, (_, steps)))) = search(500, Some(broken)) {
            reasons.push(format!("{why} (history of {} steps)", steps.len()));
        }
        println!("{broken:?}: {}", reasons.join("; "));
        assert!(!reasons.is_empty(), "{broken:?} went unnoticed: the properties are too weak");
    }
}

/// Three queues of two domains, each promised a permit of one resource that another one lacks: if a queue that
/// waits gave up what was promised to it, they would pass it to and fro for ever.
fn promises_are_not_passed_to_and_fro(broken: Option<Mutation>) -> Result<(), String> {
    let steps = [
        (214, 51_437, 13_753),
        (70, 15_297, 27_116),
        (248, 0, 0),
        (0, 0, 0),
        (70, 41_498, 87),
        (0, 0, 0),
        (232, 0, 40_340),
        (222, 29_880, 1_806),
        (0, 1_595, 0),
        (0, 0, 0),
        (70, 58_783, 13_671),
        (222, 25_962, 18_236),
        (248, 0, 0),
    ];
    let steps = steps.map(|(kind, pick, amount)| Step { kind, pick, amount });
    play(false, &steps, broken).map_err(|why| why.to_string())
}

/// The figures of the documentation.
#[test]
fn a_queue_takes_56_bytes() {
    use crate::arena::Arena;
    use crate::queue::Queue;

    assert_eq!(Arena::<Queue>::place_bytes() + size_of::<crate::links::Links>(), 56);
    let [resource, throttle, waiter, permit] = crate::limits::tests::bytes();
    println!("resource {resource}, rate {throttle}, waiter {waiter}, permit {permit}");
    assert!(resource <= 144 && throttle <= 200 && waiter <= 48 && permit <= 40);
}
