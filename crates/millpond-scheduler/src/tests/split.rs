//! Credits among parts, against the exact proportions.

use super::shares::Checked;
use super::{Random, variable, with};
use crate::Split;
use crate::rules::Mutation;

/// Over any run with the same weights each part is within its bound, whatever was before.
pub(super) fn splits_follow_weights(broken: Option<Mutation>) -> Checked {
    let seed = variable("MILLPOND_SCHEDULER_SEED", 13);
    for round in 0..12 {
        one_split(seed + round, broken)
            .map_err(|why| format!("{why}; MILLPOND_SCHEDULER_SEED={}", seed + round))?;
    }
    Ok(())
}

fn one_split(seed: u64, broken: Option<Mutation>) -> Checked {
    let mut random = Random(seed);
    let mut one_of = |choices: [u32; 3]| choices[random.below(3) as usize];
    let (parts_max, weight_max) = (one_of([4, 20, 1_024]), one_of([3, 100, 1 << 31]));
    let n_max = one_of([2, 50, 10_000]);
    let n_parts = 1 + random.below(parts_max) as usize;
    let mut split = Split::with_rules(u16::try_from(n_parts).unwrap(), with(broken));
    let mut shares = Vec::new();
    let n_calls = 60_000 / n_parts.max(300);
    for _ in 0..4 {
        // Weights that change at every call leave nothing behind.
        for _ in 0..20 {
            let weights = some_weights(&mut random, n_parts, weight_max);
            share(&mut split, random.below(n_max), &weights, &mut shares)?;
            split.unused(random.below(2_000) as usize, random.below(2));
        }
        // Whoever was passed over is not any more.
        share(&mut split, 1, &vec![1; n_parts], &mut shares)?;
        let weights = some_weights(&mut random, n_parts, weight_max);
        let mut totals = vec![0_u64; n_parts];
        for _ in 0..n_calls {
            share(&mut split, random.below(n_max), &weights, &mut shares)?;
            for (total, share) in totals.iter_mut().zip(&shares) {
                *total += u64::from(*share);
            }
            check(&totals, &weights)?;
        }
    }
    Ok(())
}

fn some_weights(random: &mut Random, n_parts: usize, weight_max: u32) -> Vec<u64> {
    let weight = |_| u64::from(random.below(weight_max)) << (random.below(2) * 9);
    (0..n_parts).map(weight).collect()
}

fn share(split: &mut Split, n: u32, weights: &[u64], shares: &mut Vec<u32>) -> Checked {
    split.share_out(n, weights, shares);
    let expected = if weights.iter().any(|weight| *weight > 0) { n } else { 0 };
    if shares.len() != weights.len() || shares.iter().sum::<u32>() != expected {
        return Err(format!("{shares:?} do not add up to {expected}"));
    }
    if shares.iter().zip(weights).any(|(share, weight)| *weight == 0 && *share > 0) {
        return Err(format!("{shares:?}, and the weights are {weights:?}"));
    }
    Ok(())
}

/// By less than the depth of the tree, in credits times the sum of weights.
fn check(totals: &[u64], weights: &[u64]) -> Checked {
    let n_total: u64 = totals.iter().sum();
    let weight: u64 = weights.iter().sum();
    let depth = u128::from(totals.len().next_power_of_two().ilog2());
    for (part, (total, of)) in totals.iter().zip(weights).enumerate() {
        let exact = u128::from(n_total) * u128::from(*of);
        let off = exact.abs_diff(u128::from(*total) * u128::from(weight));
        if off > 0 && off >= depth * u128::from(weight) {
            return Err(format!("part {part} got {total} of {n_total} for {of} of {weight}"));
        }
    }
    Ok(())
}

/// Two parts get what their weights say even if those change at every call, although fractions are carried
/// between sums that differ.
pub(super) fn splits_follow_weights_that_change(broken: Option<Mutation>) -> Checked {
    const N_CALLS: u32 = 6_000;
    let mut split = Split::with_rules(2, with(broken));
    let (mut shares, mut totals) = (Vec::new(), [0_i64; 2]);
    // 1/3 + 1/2 and 2/3 + 1/2 of every two credits.
    let weights = [[1, 2], [1, 1]];
    for call in 0..N_CALLS {
        share(&mut split, 1, &weights[call as usize % 2], &mut shares)?;
        for (total, share) in totals.iter_mut().zip(&shares) {
            *total += i64::from(*share);
        }
    }
    let due = [5, 7].map(|sixths| i64::from(N_CALLS / 2) * sixths / 6);
    if totals.iter().zip(due).any(|(total, due)| total.abs_diff(due) > 2) {
        return Err(format!("{totals:?} of {due:?}"));
    }
    Ok(())
}

/// What a part does not use is offered to the others, once; what it did not get while it weighed
/// nothing, it never gets.
pub(super) fn splits_bank_nothing(broken: Option<Mutation>) -> Checked {
    let mut split = Split::with_rules(4, with(broken));
    let mut shares = Vec::new();
    for _ in 0..1_000 {
        share(&mut split, 10, &[1, 0, 1, 1], &mut shares)?;
        split.unused(0, shares[0]);
        share(&mut split, shares[0], &[1, 0, 1, 1], &mut shares)?;
        if shares[0] > 0 {
            return Err(format!("{shares:?}: the first has too much already"));
        }
    }
    split.unused(2, 1);
    share(&mut split, 5, &[0, 0, 1, 0], &mut shares)?;
    share(&mut split, 400, &[1; 4], &mut shares)?;
    if shares.iter().any(|share| share.abs_diff(100) >= 2) {
        return Err(format!("{shares:?} of 400"));
    }
    Ok(())
}

#[test]
fn splits_take_whatever_they_get() {
    let mut shares = vec![7];
    Split::new(0).share_out(5, &[1, 2], &mut shares);
    assert_eq!(shares, []);
    let mut one = Split::new(1);
    one.share_out(u32::MAX, &[u64::MAX, 3], &mut shares);
    assert_eq!(shares, [u32::MAX]);
    let mut most = Split::new(u16::MAX);
    let weights = vec![u64::MAX; usize::from(u16::MAX)];
    for n in [u32::MAX, 1, u32::MAX] {
        most.share_out(n, &weights, &mut shares);
        assert_eq!(shares.iter().map(|share| u64::from(*share)).sum::<u64>(), u64::from(n));
        // Another sum: the carries are scaled.
        most.share_out(n, &weights[1..], &mut shares);
        most.unused(usize::MAX, 1);
    }
}
