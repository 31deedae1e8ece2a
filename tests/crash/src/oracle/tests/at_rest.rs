use millpond::{EntryRank, Priority, Sequence, UnixMillis};
use millpond_types::LeaseRow;

use super::*;
use crate::stored::{Standing, StoredEntries, StoredEntry};

const NO_LEASE: Option<LeaseRow> = None;

/// What the row of a lease of epoch 1 says: in force, or given back.
fn row(number: u64, attempts: u32, in_force: bool) -> Option<LeaseRow> {
    Some(LeaseRow {
        token: Token { epoch: 1, number }.into(),
        deadline: UnixMillis(u64::from(in_force) * 1_000),
        attempts,
        enqueued_at: UnixMillis(1),
        n_bytes: 0,
        priority: Priority(5),
        separate_body: false,
        has_retry_floor: false,
    })
}

/// Entries of queue 2 with their sequences and leases.
fn stored(entries: &[(Marker, u64, Option<LeaseRow>)]) -> StoredEntries {
    let entry = |&(marker, sequence, lease): &(Marker, u64, Option<LeaseRow>)| {
        let rank = EntryRank { priority: Priority(5), sequence: Sequence(sequence) };
        let id = EntryId { queue: queues::id(2), rank };
        let attempts = lease.map_or(0, |lease| lease.attempts);
        (marker, StoredEntry { id, standing: Standing::Ready, attempts, lease })
    };
    entries.iter().map(entry).collect()
}

#[test]
fn entries_are_stored_if_and_only_if_they_must_or_may_be_there() {
    let mut oracle = leased_entry();
    say(&mut oracle, &[enqueue(3, &[8])]);
    let seven = (7, 10, row(1, 1, true));
    for right in [&[seven][..], &[seven, (8, 11, NO_LEASE)]] {
        assert_eq!(oracle.at_rest(&stored(right), NOW_MS), Ok(()));
    }
    let lost = Violation::Lost { marker: 7, queue: 2 };
    assert_eq!(oracle.at_rest(&stored(&[]), NOW_MS), Err(lost));
    let unknown = Violation::Unknown { marker: 9 };
    assert_eq!(oracle.at_rest(&stored(&[seven, (9, 12, NO_LEASE)]), NOW_MS), Err(unknown));
    // Another sequence, or one that was given away before.
    for elsewhere in [&[(7, 12, row(1, 1, true))][..], &[seven, (8, 10, NO_LEASE)]] {
        let damaged = oracle.at_rest(&stored(elsewhere), NOW_MS);
        assert!(matches!(damaged, Err(Violation::Damaged { .. })));
    }
    say(&mut oracle, &[settle(4, 7, 1, Action::Ack)]);
    for either in [&[][..], &[seven]] {
        assert_eq!(oracle.at_rest(&stored(either), NOW_MS), Ok(()));
    }
    say(&mut oracle, &[settled(4)]);
    assert_eq!(oracle.at_rest(&stored(&[seven]), NOW_MS), Err(Violation::Revived { marker: 7 }));
}

#[test]
fn what_a_purge_removed_is_not_stored_and_what_a_purge_in_doubt_left_is_as_it_was() {
    let mut oracle = leased_entry();
    say(&mut oracle, &[Event::Purge { op: 3, queue: 2 }]);
    let seven = stored(&[(7, 10, row(1, 1, true))]);
    for either in [&stored(&[]), &seven] {
        assert_eq!(oracle.at_rest(either, NOW_MS), Ok(()));
    }
    say(&mut oracle, &[Event::Purged { op: 3, n_entries: 1, n_leased: 1 }]);
    assert_eq!(oracle.at_rest(&stored(&[]), NOW_MS), Ok(()));
    assert_eq!(oracle.at_rest(&seven, NOW_MS), Err(Violation::Revived { marker: 7 }));
}

/// What is wrong with the lease of entry 7.
fn fault(oracle: &Oracle, lease: Option<LeaseRow>) -> Option<&'static str> {
    match oracle.at_rest(&stored(&[(7, 10, lease)]), NOW_MS) {
        Ok(()) => None,
        Err(
            Violation::StoredLease { marker: 7, why, .. }
            | Violation::StoredStage { marker: 7, why, .. },
        ) => Some(why),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_lease_with_a_receipt_is_stored_until_its_end() {
    let mut oracle = leased_entry();
    assert_eq!(fault(&oracle, row(1, 1, true)), None);
    assert_eq!(fault(&oracle, NO_LEASE), Some("its attempts have fallen"));
    assert_eq!(fault(&oracle, row(1, 2, true)), Some("it was granted as another attempt"));
    assert_eq!(fault(&oracle, row(1, 1, false)), Some("nobody ended it"));
    say(&mut oracle, &[settle(3, 7, 1, Action::Nack)]);
    assert_eq!(fault(&oracle, row(1, 1, true)), None);
    assert_eq!(fault(&oracle, row(1, 1, false)), None);
    say(&mut oracle, &[nacked(3, Nacked::Ready)]);
    assert_eq!(fault(&oracle, row(1, 1, true)), Some("it was given back"));
    assert_eq!(fault(&oracle, row(1, 1, false)), None);
    say(&mut oracle, &[lease(4, false), leased(4, &[grant(7, 10, 1, 2, 2)])]);
    assert_eq!(fault(&oracle, row(1, 1, false)), Some("a newer lease was granted"));
    assert_eq!(fault(&oracle, row(2, 2, true)), None);
    assert_eq!(fault(&oracle, row(2, 2, false)), None);
}

#[test]
fn a_life_that_releases_leases_may_have_done_so() {
    let mut oracle = leased_entry();
    say(&mut oracle, &[Event::Opening { leases: Leases::Release }]);
    assert_eq!(fault(&oracle, row(1, 1, true)), None);
    assert_eq!(fault(&oracle, row(1, 1, false)), None);
}

#[test]
fn a_lease_that_we_did_not_hear_of_is_one_of_a_call_in_doubt() {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7, 8]), enqueued(1, &[10, 11])]);
    let one = stored(&[(7, 10, row(1, 1, true)), (8, 11, NO_LEASE)]);
    let two = stored(&[(7, 10, row(1, 1, true)), (8, 11, row(2, 1, false))]);
    let unheard = |n, explained| Err(Violation::LeasesUnheard { n, explained });
    assert_eq!(oracle.at_rest(&one, NOW_MS), unheard(1, 0));
    say(&mut oracle, &[Event::Lease { op: 2, queue: None, n_max: 1, long: false }]);
    assert_eq!(oracle.at_rest(&one, NOW_MS), Ok(()));
    assert_eq!(oracle.at_rest(&two, NOW_MS), unheard(2, 1));
    // Also when the worker is dead.
    say(&mut oracle, &[Event::Opening { leases: Leases::Keep }]);
    assert_eq!(oracle.at_rest(&one, NOW_MS), Ok(()));
    assert_eq!(oracle.at_rest(&two, NOW_MS), unheard(2, 1));
    // Its attempts grow all the same.
    let mut oracle = leased_entry();
    say(&mut oracle, &[lease(3, true)]);
    assert_eq!(fault(&oracle, row(2, 1, true)), Some("its attempts do not grow"));
    assert_eq!(fault(&oracle, row(2, 2, true)), None);
}
