use super::*;

const BASE_MS: u64 = 100;
const CAP_MS: u64 = 3_000;

fn policy() -> BackoffPolicy {
    BackoffPolicy::new(BASE_MS, CAP_MS).expect("the base is below the cap")
}

/// What full jitter promises, asked of any function from attempt and seed to a delay.
fn check_full_jitter(delay_ms: impl Fn(u32, u64) -> u64) -> Result<(), String> {
    for attempt in 1..=8 {
        let ceiling_ms = (BASE_MS << (attempt - 1)).min(CAP_MS);
        let delays: Vec<u64> = (0..10_000).map(|seed| delay_ms(attempt, seed)).collect();
        if let Some(delay) = delays.iter().find(|delay| **delay > ceiling_ms) {
            return Err(format!("attempt {attempt} waits {delay} ms, above {ceiling_ms}"));
        }
        for tenth in 0..10 {
            let (from, to) = (ceiling_ms * tenth / 10, ceiling_ms * (tenth + 1) / 10);
            let n = delays.iter().filter(|delay| (from..to).contains(*delay)).count();
            if !(850..=1150).contains(&n) {
                return Err(format!("attempt {attempt}: {n} of 10000 wait {from}..{to} ms"));
            }
        }
    }
    let n_equal = (0..1000).filter(|seed| delay_ms(8, *seed) == delay_ms(9, *seed)).count();
    if n_equal > 10 {
        return Err(format!("{n_equal} of 1000 wait as long after attempt 9 as after attempt 8"));
    }
    Ok(())
}

#[test]
fn delays_are_uniform_up_to_the_ceiling() {
    let policy = policy();
    check_full_jitter(|attempt, seed| policy.delay_ms(attempt, seed, 0)).unwrap();
}

#[test]
fn broken_twins_are_caught() {
    let policy = policy();
    let ceiling_ms = |attempt| policy.ceiling_ms(attempt);
    // No jitter; equal jitter; no cap; attempts that are not told apart; no exponent.
    assert!(check_full_jitter(|attempt, _| ceiling_ms(attempt)).is_err());
    let equal = |attempt, seed| ceiling_ms(attempt) / 2 + policy.delay_ms(attempt, seed, 0) / 2;
    assert!(check_full_jitter(equal).is_err());
    let uncapped = BackoffPolicy::new(BASE_MS, u64::MAX).unwrap();
    assert!(check_full_jitter(|attempt, seed| uncapped.delay_ms(attempt, seed, 0)).is_err());
    let same = |attempt, seed| splitmix64(seed) % (ceiling_ms(attempt) + 1);
    assert!(check_full_jitter(same).is_err());
    assert!(check_full_jitter(|_, seed| policy.delay_ms(1, seed, 0)).is_err());
}

#[test]
fn nothing_overflows() {
    for (base_ms, cap_ms) in [(0, 0), (0, u64::MAX), (1, u64::MAX), (u64::MAX, u64::MAX), (7, 7)] {
        let policy = BackoffPolicy::new(base_ms, cap_ms).unwrap();
        for attempt in [0, 1, 2, 63, 64, 65, 66, 1000, u32::MAX] {
            for seed in [0, 1, u64::MAX] {
                assert!(policy.delay_ms(attempt, seed, 0) <= policy.ceiling_ms(attempt));
                assert_eq!(policy.delay_ms(attempt, seed, u64::MAX), u64::MAX);
            }
        }
    }
    let policy = BackoffPolicy::new(3, u64::MAX).unwrap();
    assert_eq!(policy.ceiling_ms(63), 3 << 62);
    assert_eq!(policy.ceiling_ms(64), u64::MAX, "the first that needs 65 bits");
    assert_eq!(BackoffPolicy::new(0, 5).unwrap().ceiling_ms(u32::MAX), 0);
}

#[test]
fn a_floor_holds_and_attempt_0_is_the_first() {
    let policy = policy();
    for seed in 0..100 {
        assert_eq!(policy.delay_ms(0, seed, 0), policy.delay_ms(1, seed, 0));
        assert_eq!(policy.delay_ms(9, seed, 70), policy.delay_ms(9, seed, 0).max(70));
        assert_eq!(policy.delay_ms(3, seed, CAP_MS + 1), CAP_MS + 1, "above the cap, too");
    }
}

#[test]
fn the_same_seed_gives_the_same_delays_in_every_version() {
    let delays: Vec<u64> = (1..=6).map(|attempt| policy().delay_ms(attempt, 42, 0)).collect();
    assert_eq!(delays, [98, 89, 166, 456, 1310, 2768]);
}

#[test]
fn a_base_above_the_cap_is_refused() {
    let error = BackoffPolicy::new(2, 1).unwrap_err();
    assert_eq!(error, BackoffError::BaseAboveCap { base_ms: 2, cap_ms: 1 });
    assert_eq!(error.to_string(), "a back-off's base of 2 ms must not exceed its cap of 1 ms");
}
