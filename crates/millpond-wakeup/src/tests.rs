//! Both forms against an ordered map, in short histories that shrink and in long ones; and the rules left
//! out one at a time.

mod bounds;
mod deadline_index;
mod handles;
mod keys;
mod model;
mod small;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::rules::{Mutation, Rules, Shape};
use handles::HandleWorld;
use keys::KeyWorld;
use model::{Setup, Step};

/// Small enough for a short history to split, merge and refill buckets; and the one that is shipped.
const SHAPES: [Shape; 3] = [
    Shape { bucket: 4, front: 2, merge: 1, table: 1 },
    Shape { bucket: 16, front: 6, merge: 3, table: 5 },
    Shape::SHIPPED,
];
const CAPACITIES: [usize; 4] = [0, 3, 40, 1_000];
const STEPS_MAX: usize = 200;

type Failure = TestError<(Setup, Vec<Step>)>;

/// What plays a history: one of the two forms beside its model.
trait World: Sized {
    fn new(setup: Setup, rules: Rules) -> Self;
    fn step(&mut self, step: Step) -> Result<(), String>;
    /// Compares all that the structure holds with the model; takes time in proportion to it.
    fn audit(&self) -> Result<(), String>;
    fn n_live(&self) -> usize;
    /// Delivers what is left, and returns the digests of all deliveries: the subject's and the model's.
    fn finish(self) -> Result<(u64, u64), String>;
}

fn history() -> impl Strategy<Value = (Setup, Vec<Step>)> {
    let setup = (0..SHAPES.len(), prop::sample::select(&CAPACITIES), 1_u64..60).prop_map(
        |(shape, capacity, n_keys)| Setup { shape: SHAPES[shape], capacity, n_keys, rarely: 8 },
    );
    let step = (any::<u8>(), any::<u16>(), any::<u32>()).prop_map(|(kind, pick, when)| Step {
        kind,
        pick,
        when,
    });
    (setup, prop::collection::vec(step, 0..STEPS_MAX))
}

fn play<W: World>(
    setup: Setup,
    steps: &[Step],
    broken: Option<Mutation>,
) -> Result<(), TestCaseError> {
    let mut world = W::new(setup, Rules { shape: setup.shape, broken });
    // What can be seen from outside has to give a broken rule away, unless it only costs time or memory.
    let audited = broken.is_none_or(Mutation::is_about_bounds);
    for step in steps {
        world.step(*step).map_err(TestCaseError::fail)?;
        if audited {
            world.audit().map_err(TestCaseError::fail)?;
        }
    }
    let (subject, model) = world.finish().map_err(TestCaseError::fail)?;
    prop_assert_eq!(subject, model, "digests of the deliveries");
    Ok(())
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Plays random histories until one fails. The whole run follows from one printed seed.
fn search<W: World>(
    name: &str,
    n_cases: u64,
    broken: Option<Mutation>,
) -> Result<(), (u64, Failure)> {
    let seed = variable("MILLPOND_WAKEUP_SEED", 0x6d69_6c6c);
    let config = Config {
        cases: u32::try_from(variable("MILLPOND_WAKEUP_CASES", n_cases))
            .expect("fewer than 2^32 cases"),
        failure_persistence: None,
        // A broken rule only has to be caught; the smallest history that shows it is of no use.
        max_shrink_iters: if broken.is_some() { 0 } else { 20_000 },
        ..Config::default()
    };
    let state = (u128::from(seed) << 64 | 1).to_le_bytes();
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &state);
    println!("{name} histories: seed={seed} cases={} broken={broken:?}", config.cases);
    TestRunner::new_with_rng(config, rng)
        .run(&history(), |(setup, steps)| play::<W>(setup, &steps, broken))
        .map_err(|error| (seed, error))
}

fn expect_none<W: World>(name: &str) {
    if let Err((seed, error)) = search::<W>(name, 1_500, None) {
        panic!("{error}\nreplay: MILLPOND_WAKEUP_SEED={seed} cargo test -p millpond-wakeup {name}");
    }
}

#[test]
fn short_histories_by_handle_agree_with_an_ordered_map() {
    expect_none::<HandleWorld>("short_histories_by_handle");
}

#[test]
fn short_histories_by_key_agree_with_an_ordered_map() {
    expect_none::<KeyWorld>("short_histories_by_key");
}

/// A source of steps that costs next to nothing: splitmix64.
struct Source(u64);

impl Source {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    const fn step(&mut self) -> Step {
        let [kind, low, high, _, when @ ..] = self.next().to_le_bytes();
        Step { kind, pick: u16::from_le_bytes([low, high]), when: u32::from_le_bytes(when) }
    }
}

/// Plays one long history and compares the digests of all that was delivered.
fn play_long<W: World>(name: &str, setup: Setup, n_steps: u64) {
    let seed = variable("MILLPOND_WAKEUP_SEED", 7);
    let n_steps = variable("MILLPOND_WAKEUP_STEPS", n_steps);
    let mut source = Source(seed);
    let mut world = W::new(setup, Rules { shape: setup.shape, broken: None });
    let replay =
        format!("replay: MILLPOND_WAKEUP_SEED={seed} cargo test -p millpond-wakeup long_histories");
    let mut most_live = 0;
    for number in 0..n_steps {
        let audit = if number % 4_096 == 0 { world.audit() } else { Ok(()) };
        let done = audit.and_then(|()| world.step(source.step()));
        most_live = most_live.max(world.n_live());
        done.unwrap_or_else(|why| panic!("{name}, step {number}: {why}\n{replay}"));
    }
    let (subject, model) =
        world.finish().unwrap_or_else(|why| panic!("{name}, end: {why}\n{replay}"));
    println!("{name}: seed={seed} steps={n_steps} most_live={most_live} digest={subject:016x}");
    assert_eq!(subject, model, "{name}: digests of the deliveries\n{replay}");
}

#[test]
fn long_histories_have_the_digest_of_an_ordered_map() {
    let setup = |shape, capacity, n_keys, rarely| Setup { shape, capacity, n_keys, rarely };
    let [tiny, small, shipped] = SHAPES;
    play_long::<HandleWorld>("handles, tiny buckets", setup(tiny, 2_000, 0, 64), 200_000);
    play_long::<HandleWorld>("handles, small buckets", setup(small, 20_000, 0, 512), 200_000);
    play_long::<HandleWorld>("handles", setup(shipped, 100_000, 0, 4_096), 400_000);
    play_long::<KeyWorld>("keys, small buckets", setup(small, 1_000, 3_000, 512), 200_000);
    play_long::<KeyWorld>("keys", setup(shipped, 100_000, 100_000, 4_096), 400_000);
}

#[test]
fn every_rule_left_out_is_caught() {
    for broken in Mutation::ALL {
        let by_handle = search::<HandleWorld>("handles", 3_000, Some(broken));
        let by_key = search::<KeyWorld>("keys", 3_000, Some(broken));
        let reasons: Vec<String> = [by_handle, by_key].into_iter().filter_map(reason).collect();
        println!("{broken:?}: {}", reasons.join("; "));
        assert!(!reasons.is_empty(), "{broken:?} went unnoticed: the property tests are too weak");
    }
}

fn reason(found: Result<(), (u64, Failure)>) -> Option<String> {
    match found {
        Err((_, TestError::Fail(reason, (_, steps)))) => {
            Some(format!("{reason} (history of {} steps)", steps.len()))
        }
        _ => None,
    }
}
