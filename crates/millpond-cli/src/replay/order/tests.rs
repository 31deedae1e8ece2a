use millpond::{Priority, Sequence};
use proptest::prelude::*;

use super::*;

fn token(epoch: u64, number: u64) -> LeaseToken {
    LeaseToken { epoch: Epoch(epoch), number }
}

fn rank(sequence: u64) -> EntryRank {
    EntryRank { priority: Priority(128), sequence: Sequence(sequence) }
}

fn entry(sequence: u64, grants: &[(u64, u64)], acked_in: Option<u64>) -> History {
    History {
        rank: rank(sequence),
        grants: grants.iter().map(|&(epoch, number)| token(epoch, number)).collect(),
        acked_in: acked_in.map(Epoch),
    }
}

#[test]
fn grants_in_order_of_sequence_are_fine() {
    let queue = [
        entry(4, &[(1, 10)], Some(1)),
        entry(7, &[(1, 12)], Some(1)),
        entry(9, &[(1, 30)], None),
        entry(11, &[], None),
    ];
    assert_eq!(check(&queue), []);
}

#[test]
fn two_swapped_grants_are_flagged() {
    let queue = [entry(4, &[(1, 12)], Some(1)), entry(7, &[(1, 10)], Some(1))];
    let violation = Violation { granted: rank(7), token: token(1, 10), overtaken: rank(4) };
    assert_eq!(check(&queue), [violation]);
}

#[test]
fn an_entry_that_is_never_granted_accuses_everybody_after_it() {
    let queue = [entry(4, &[], None), entry(7, &[(1, 1)], Some(1)), entry(8, &[(1, 2)], Some(1))];
    assert_eq!(check(&queue).len(), 2);
}

#[test]
fn after_a_reopening_unacknowledged_entries_come_first_again() {
    let in_order = [
        entry(1, &[(1, 1), (2, 1)], Some(2)),
        entry(2, &[(1, 2)], Some(1)),
        entry(3, &[(1, 3), (2, 2)], Some(2)),
        entry(4, &[(2, 3)], Some(2)),
    ];
    assert_eq!(check(&in_order), []);
    let mut newest_first = in_order;
    newest_first[0].grants[1] = token(2, 4);
    assert_eq!(check(&newest_first).len(), 2, "3 and 4 overtook 1 in the second epoch");
}

#[test]
fn an_entry_acknowledged_in_an_earlier_epoch_waits_no_more() {
    let queue = [entry(1, &[(1, 1)], Some(1)), entry(2, &[(2, 1)], Some(2))];
    assert_eq!(check(&queue), []);
}

#[test]
fn priorities_are_judged_apart() {
    let mut urgent = entry(9, &[(1, 1)], Some(1));
    urgent.rank.priority = Priority(0);
    let queue = [entry(4, &[(1, 2)], Some(1)), urgent];
    assert_eq!(check(&queue), []);
}

#[test]
fn an_entry_that_comes_back_within_an_epoch_accuses_nobody() {
    let queue = [entry(1, &[(1, 1), (1, 3)], Some(1)), entry(2, &[(1, 2)], Some(1))];
    assert_eq!(check(&queue), []);
}

proptest! {
    /// Any order of grants but the right one is flagged.
    #[test]
    fn a_permutation_is_clean_only_if_it_is_sorted(
        order in Just((0..8_u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let queue: Vec<_> = order
            .iter()
            .enumerate()
            .map(|(number, sequence)| entry(*sequence, &[(1, number as u64)], Some(1)))
            .collect();
        prop_assert_eq!(check(&queue).is_empty(), order.is_sorted());
    }
}
