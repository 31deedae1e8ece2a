//! The invariants against an ordered-set oracle, and the rules left out one at a time.

mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::Limits;
use crate::mutation::Mutation;
use world::{EndKind, Op, Setup, World};

const CAPACITIES: [u8; 5] = [1, 2, 3, 8, 24];
const KEYS: u16 = 400;
const STEPS_MAX: usize = 120;

type Failure = TestError<(Setup, Vec<Op>)>;

fn op() -> impl Strategy<Value = Op> {
    let key = 0..KEYS;
    let pick = any::<u16>();
    let end =
        prop_oneof![Just(EndKind::AtLastRow), Just(EndKind::BeforeNextRow), Just(EndKind::Sure)];
    prop_oneof![
        5 => key.clone().prop_map(Op::Enqueue),
        5 => Just(Op::Take),
        3 => pick.prop_map(Op::Commit),
        2 => pick.prop_map(Op::Abandon),
        2 => pick.prop_map(Op::Reserve),
        1 => (pick, key).prop_map(|(pick, key)| Op::Rekey(pick, key)),
        1 => Just(Op::Ask),
        3 => Just(Op::Start),
        3 => (0_u16..30, end).prop_map(|(n_rows, end)| Op::Snapshot { n_rows, end }),
        3 => Just(Op::Finish),
        1 => Just(Op::Fail),
        8 => Just(Op::Notify),
        1 => (0_usize..24).prop_map(Op::Shrink),
    ]
}

/// Smallest and largest batch: the extremes, the default, one that is as large as the window, and any.
fn batch(capacity: u8) -> impl Strategy<Value = (u8, u8)> {
    let any = (1..=u8::MAX).prop_flat_map(|max| (1..=max, Just(max)));
    let small = (1_u8..5, 0_u8..9).prop_map(|(min, more)| (min, min + more));
    let fixed = [(1, 1), (1, 255), (4, 64), (capacity, capacity)];
    prop_oneof![4 => prop::sample::select(fixed.to_vec()), 1 => small, 1 => any]
}

fn setup() -> impl Strategy<Value = Setup> {
    let limits = prop::sample::select(&CAPACITIES).prop_flat_map(|capacity| {
        let low_mark = prop_oneof![Just(capacity / 2), 0..capacity];
        (Just(capacity), 1..=2 * u16::from(capacity), low_mark, batch(capacity)).prop_map(
            |(capacity, overlay_max, low_mark, (batch_min, batch_max))| {
                Limits::new(capacity.into(), overlay_max, low_mark)
                    .and_then(|limits| limits.with_batch(batch_min, batch_max))
                    .expect("limits that an inbox can work with")
            },
        )
    });
    let n_rows = prop::sample::select(&[0_usize, 0, 3, 12, 60, 100, 300]);
    let rows = n_rows.prop_flat_map(|n| prop::collection::vec(0..KEYS, n));
    (limits, rows).prop_map(|(limits, rows)| Setup { limits, rows: rows.into_iter().collect() })
}

fn history() -> impl Strategy<Value = (Setup, Vec<Op>)> {
    (setup(), prop::collection::vec(op(), 0..STEPS_MAX))
}

fn play(setup: &Setup, ops: &[Op], broken: Option<Mutation>) -> Result<(), TestCaseError> {
    let mut world = World::new(setup, broken);
    for op in ops {
        world.step(op)?;
    }
    world.drain()
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Plays random histories until one fails. The whole run follows from one printed seed.
fn search(n_cases: u64, broken: Option<Mutation>) -> Result<(), (u64, Failure)> {
    let seed = variable("MILLPOND_INBOX_SEED", 0x6d69_6c6c);
    let config = Config {
        cases: u32::try_from(variable("MILLPOND_INBOX_CASES", n_cases))
            .expect("fewer than 2^32 cases"),
        failure_persistence: None,
        // A broken rule only has to be caught; the smallest history that shows it is of no use.
        max_shrink_iters: if broken.is_some() { 0 } else { 20_000 },
        ..Config::default()
    };
    // XorShift, because ChaCha costs more than the histories themselves where it is not optimised. Its
    // state must not be zero.
    let state = (u128::from(seed) << 64 | 1).to_le_bytes();
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &state);
    println!("inbox histories: seed={seed} cases={} broken={broken:?}", config.cases);
    TestRunner::new_with_rng(config, rng)
        .run(&history(), |(setup, ops)| play(&setup, &ops, broken))
        .map_err(|error| (seed, error))
}

#[test]
fn invariants_hold_after_every_step_and_nothing_is_lost_at_quiescence() {
    if let Err((seed, error)) = search(3_000, None) {
        panic!(
            "{error}\nreplay: MILLPOND_INBOX_SEED={seed} cargo test -p millpond-inbox invariants_hold"
        );
    }
}

#[test]
fn every_rule_left_out_is_caught() {
    for broken in Mutation::ALL {
        let caught = search(20_000, Some(broken));
        assert!(
            matches!(caught, Err((_, TestError::Fail(..)))),
            "{broken:?} went unnoticed: the property test is too weak"
        );
        println!(
            "{broken:?}: {}",
            caught.map_or_else(|(_, error)| reason(&error), |()| String::new())
        );
    }
}

fn reason(error: &Failure) -> String {
    match error {
        TestError::Fail(reason, (_, ops)) => format!("{reason} (history of {} steps)", ops.len()),
        TestError::Abort(reason) => reason.to_string(),
    }
}
