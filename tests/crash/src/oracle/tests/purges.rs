use super::*;

fn purge(op: OpId) -> Event {
    Event::Purge { op, queue: 2 }
}

fn purged(op: OpId, n_entries: u64) -> Event {
    Event::Purged { op, n_entries, n_leased: 0 }
}

/// The receipt of such a call.
fn answer_to(op: OpId, action: Action) -> Event {
    if action.is_nack() { nacked(op, Nacked::Ready) } else { settled(op) }
}

fn stale(op: OpId) -> Event {
    Event::Refused { op, kind: "stale_lease".into(), text: String::new() }
}

/// Entries 7 and 8, accepted, and 9 in another queue.
fn filled() -> Oracle {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7, 8]), enqueued(1, &[10, 11])]);
    let entries = vec![new(9, Start::Now)];
    say(
        &mut oracle,
        &[Event::Enqueue { op: 2, queue: 3, entries, at_ms: NOW_MS }, enqueued(2, &[12])],
    );
    oracle
}

#[test]
fn what_was_accepted_before_a_purge_is_gone_and_nothing_else() {
    let mut oracle = filled();
    say(&mut oracle, &[purge(3), purged(3, 2), enqueue(4, &[13]), enqueued(4, &[20])]);
    assert_eq!(oracle.clone().settle_doubts(&found(&[9, 13])), Ok(()));
    for (too_much, marker, queue) in [(found(&[13]), 9, 3), (found(&[9]), 13, 2)] {
        let lost = Err(Violation::Lost { marker, queue });
        assert_eq!(oracle.clone().settle_doubts(&too_much), lost);
    }
    say(&mut oracle, &[lease(5, true)]);
    let revived = Err(Violation::Revived { marker: 7 });
    assert_eq!(oracle.apply(&leased(5, &[grant(7, 10, 1, 1, 1)])), revived);
    assert_eq!((oracle.counts().purges, oracle.counts().purged), (1, 2));
}

#[test]
fn a_purge_that_says_it_removed_less_or_more_than_there_was_is_caught() {
    let mut oracle = filled();
    // In doubt: it may come before the purge or after.
    say(&mut oracle, &[enqueue(3, &[13]), purge(4)]);
    for (n_entries, right) in [(0, false), (1, false), (2, true), (3, true), (4, false)] {
        let outcome = oracle.clone().apply(&purged(4, n_entries));
        let wrong = Violation::Purge { queue: 2, n_entries, n_leased: 0, n_min: 2, n_max: 3 };
        assert_eq!(outcome, if right { Ok(()) } else { Err(wrong) });
    }
    let leased = Event::Purged { op: 4, n_entries: 2, n_leased: 4 };
    assert!(matches!(oracle.apply(&leased), Err(Violation::Purge { n_leased: 4, .. })));
}

#[test]
fn a_purge_in_doubt_may_leave_any_part() {
    let mut oracle = filled();
    say(&mut oracle, &[enqueue(3, &[13, 14]), purge(4)]);
    say(&mut oracle, &reopened(Leases::Release));
    for part in [&[9][..], &[7, 9], &[8, 9, 14], &[7, 8, 9, 13, 14]] {
        assert_eq!(oracle.clone().settle_doubts(&found(part)), Ok(()));
    }
    let lost = Err(Violation::Lost { marker: 9, queue: 3 });
    assert_eq!(oracle.clone().settle_doubts(&found(&[7, 8])), lost);
    // What was found is there for good, and what was not is not.
    oracle.settle_doubts(&found(&[8, 9])).expect("either is right");
    let lost = Err(Violation::Lost { marker: 8, queue: 2 });
    assert_eq!(oracle.clone().settle_doubts(&found(&[9])), lost);
    say(&mut oracle, &[lease(5, true)]);
    let revived = Err(Violation::Revived { marker: 7 });
    assert_eq!(oracle.apply(&leased(5, &[grant(7, 10, 2, 1, 1)])), revived);
}

#[test]
fn what_is_accepted_during_a_purge_is_there_or_not() {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7]), purge(2), enqueue(3, &[8]), enqueued(1, &[10])]);
    say(&mut oracle, &[enqueued(3, &[11]), purged(2, 1), lease(4, true)]);
    for either in [&[][..], &[7], &[8], &[7, 8]] {
        assert_eq!(oracle.clone().settle_doubts(&found(either)), Ok(()));
    }
    // Who comes after the purge and finds it, finds it for good.
    say(&mut oracle, &[leased(4, &[grant(8, 11, 1, 1, 1)])]);
    let lost = Err(Violation::Lost { marker: 8, queue: 2 });
    assert_eq!(oracle.settle_doubts(&found(&[7])), lost);
}

#[test]
fn a_later_life_that_finds_an_entry_knows_that_the_purge_has_left_it() {
    let mut oracle = filled();
    say(&mut oracle, &[purge(3), lease(4, true)]);
    say(&mut oracle, &reopened(Leases::Keep));
    say(&mut oracle, &[lease(5, true), leased(5, &[grant(7, 10, 2, 1, 1)])]);
    assert_eq!(oracle.held().len(), 1);
    let lost = Err(Violation::Lost { marker: 7, queue: 2 });
    assert_eq!(oracle.settle_doubts(&found(&[9])), lost);
}

#[test]
fn leases_of_what_is_purged_are_over() {
    for action in [Action::Ack, Action::Nack, Action::Extend] {
        let mut oracle = leased_entry();
        say(&mut oracle, &[purge(3), Event::Purged { op: 3, n_entries: 1, n_leased: 1 }]);
        assert_eq!(oracle.held(), []);
        say(&mut oracle, &[settle(4, 7, 1, action)]);
        assert_eq!(oracle.clone().apply(&stale(4)), Ok(()));
        let honoured = Violation::Purged { marker: 7, token: Token { epoch: 1, number: 1 } };
        assert_eq!(oracle.apply(&answer_to(4, action)), Err(honoured));
    }
}

#[test]
fn a_settlement_that_overlaps_with_a_purge_is_honoured_or_refused() {
    for action in [Action::Ack, Action::Nack, Action::Extend] {
        let mut oracle = leased_entry();
        say(&mut oracle, &[settle(3, 7, 1, action), purge(4)]);
        let done = answer_to(3, action);
        for (answer, n_entries) in [(done.clone(), 1), (done, 0), (stale(3), 1)] {
            if n_entries == 0 && action != Action::Ack {
                continue;
            }
            let mut first = oracle.clone();
            say(&mut first, &[answer.clone(), purged(4, n_entries)]);
            let mut last = oracle.clone();
            say(&mut last, &[purged(4, n_entries), answer]);
            for oracle in [first, last] {
                assert_eq!(oracle.clone().settle_doubts(&found(&[])), Ok(()));
            }
        }
    }
}

#[test]
fn a_lease_is_refused_without_reason_once_no_purge_explains_it() {
    let mut oracle = leased_entry();
    say(&mut oracle, &[purge(3)]);
    say(&mut oracle, &reopened(Leases::Keep));
    assert_eq!(oracle.held(), []);
    say(&mut oracle, &[settle(4, 7, 1, Action::Nack)]);
    assert_eq!(oracle.clone().apply(&stale(4)), Ok(()));
    // Another lease of it was honoured in that life: the purge had left it.
    say(&mut oracle, &[nacked(4, Nacked::Ready), lease(5, true)]);
    say(&mut oracle, &[leased(5, &[grant(7, 10, 2, 1, 2)])]);
    let token = Token { epoch: 2, number: 1 };
    say(
        &mut oracle,
        &[Event::Settle { op: 6, marker: 7, token, action: Action::Ack, at_ms: NOW_MS }],
    );
    assert!(matches!(oracle.apply(&stale(6)), Err(Violation::Refused { .. })));
}

#[test]
fn the_receipt_of_a_lease_may_come_after_that_of_a_purge() {
    let mut oracle = filled();
    say(&mut oracle, &[lease(3, true), purge(4), purged(4, 2), lease(5, true)]);
    let grants = [grant(7, 10, 1, 1, 1)];
    let revived = Err(Violation::Revived { marker: 7 });
    assert_eq!(oracle.clone().apply(&leased(5, &grants)), revived);
    say(&mut oracle, &[leased(3, &grants)]);
    assert_eq!(oracle.held(), []);
    assert_eq!(oracle.settle_doubts(&found(&[9])), Ok(()));
}

#[test]
fn of_purges_at_the_same_time_one_removes_the_entry() {
    let mut oracle = filled();
    say(&mut oracle, &[purge(3), purge(4)]);
    for (first, second) in [(2, 0), (0, 2)] {
        let mut oracle = oracle.clone();
        say(&mut oracle, &[purged(3, first), purged(4, second)]);
        assert_eq!(oracle.settle_doubts(&found(&[9])), Ok(()));
    }
    // Alone, it cannot have found nothing.
    let mut alone = filled();
    say(&mut alone, &[purge(3), purged(3, 2), enqueue(5, &[13]), enqueued(5, &[20]), purge(4)]);
    assert!(matches!(alone.apply(&purged(4, 0)), Err(Violation::Purge { n_min: 1, n_max: 1, .. })));
}
