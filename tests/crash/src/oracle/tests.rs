use super::*;
use crate::event::Granted;

mod at_rest;
mod purges;
mod rules;
mod waiting;

/// What the clock shows, in milliseconds, unless it matters.
const NOW_MS: u64 = 1_000_000;

/// A store of one partition with one life.
fn open() -> Oracle {
    let mut oracle = Oracle::new();
    say(&mut oracle, &[Event::Opening { leases: Leases::Keep }, Event::Opened { n_partitions: 1 }]);
    oracle
}

fn say(oracle: &mut Oracle, events: &[Event]) {
    for event in events {
        oracle.apply(event).expect("it breaks no rule");
    }
}

fn new(marker: Marker, start: Start) -> NewEntry {
    NewEntry { marker, priority: 5, start }
}

fn enqueue(op: OpId, markers: &[Marker]) -> Event {
    let entries = markers.iter().map(|&marker| new(marker, Start::Now)).collect();
    Event::Enqueue { op, queue: 2, entries, at_ms: NOW_MS }
}

fn enqueued(op: OpId, sequences: &[u64]) -> Event {
    Event::Enqueued { op, sequences: sequences.to_vec() }
}

fn lease(op: OpId, long: bool) -> Event {
    Event::Lease { op, queue: None, n_max: 9, long }
}

fn grant(marker: Marker, sequence: u64, epoch: u64, number: u64, attempt: u32) -> Granted {
    let token = Token { epoch, number };
    Granted { marker, queue: 2, priority: 5, sequence, token, attempt }
}

fn leased(op: OpId, grants: &[Granted]) -> Event {
    Event::Leased { op, grants: grants.to_vec(), at_ms: NOW_MS }
}

fn settle(op: OpId, marker: Marker, number: u64, action: Action) -> Event {
    Event::Settle { op, marker, token: Token { epoch: 1, number }, action, at_ms: NOW_MS }
}

fn settled(op: OpId) -> Event {
    Event::Settled { op, deadline_ms: None, nacked: None }
}

fn nacked(op: OpId, nacked: Nacked) -> Event {
    Event::Settled { op, deadline_ms: None, nacked: Some(nacked) }
}

fn reopened(leases: Leases) -> [Event; 2] {
    [Event::Opening { leases }, Event::Opened { n_partitions: 1 }]
}

fn found(markers: &[Marker]) -> BTreeSet<Marker> {
    markers.iter().copied().collect()
}

/// One entry, accepted and leased for long with token 1.1.
fn leased_entry() -> Oracle {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7]), enqueued(1, &[10])]);
    say(&mut oracle, &[lease(2, true), leased(2, &[grant(7, 10, 1, 1, 1)])]);
    oracle
}

#[test]
fn an_accepted_entry_must_be_there() {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7]), enqueued(1, &[10])]);
    let lost = oracle.clone().settle_doubts(&found(&[]));
    assert_eq!(lost, Err(Violation::Lost { marker: 7, queue: 2 }));
    assert_eq!(oracle.settle_doubts(&found(&[7])), Ok(()));
}

#[test]
fn an_intent_in_doubt_is_there_or_not_but_a_batch_as_a_whole() {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7, 8])]);
    for all_or_none in [found(&[]), found(&[7, 8])] {
        assert_eq!(oracle.clone().settle_doubts(&all_or_none), Ok(()));
    }
    let torn = Violation::TornBatch { marker: 7, n_found: 1, n: 2 };
    assert_eq!(oracle.settle_doubts(&found(&[8])), Err(torn));
}

#[test]
fn a_grant_proves_the_whole_batch() {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7, 8]), lease(2, true), leased(2, &[grant(7, 10, 1, 1, 1)])]);
    assert_eq!(oracle.settle_doubts(&found(&[7])), Err(Violation::Lost { marker: 8, queue: 2 }));
}

#[test]
fn what_was_found_missing_stays_missing() {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7])]);
    oracle.settle_doubts(&found(&[])).expect("either is right");
    say(&mut oracle, &[lease(2, true)]);
    let revived = oracle.apply(&leased(2, &[grant(7, 10, 1, 1, 1)]));
    assert_eq!(revived, Err(Violation::Revived { marker: 7 }));
}

#[test]
fn an_acked_entry_is_gone_for_ever() {
    let mut oracle = leased_entry();
    say(&mut oracle, &[settle(3, 7, 1, Action::Ack), settled(3), lease(4, true)]);
    assert_eq!(oracle.clone().settle_doubts(&found(&[])), Ok(()));
    let revived = oracle.apply(&leased(4, &[grant(7, 10, 1, 2, 2)]));
    assert_eq!(revived, Err(Violation::Revived { marker: 7 }));
}

#[test]
fn the_receipt_of_a_lease_may_come_after_the_lease_has_ended_and_the_entry_is_acked() {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7]), enqueued(1, &[10]), lease(2, false), lease(3, true)]);
    say(&mut oracle, &[leased(3, &[grant(7, 10, 1, 2, 2)])]);
    say(&mut oracle, &[settle(4, 7, 2, Action::Ack), settled(4), lease(5, false)]);
    let revived = Err(Violation::Revived { marker: 7 });
    assert_eq!(oracle.clone().apply(&leased(5, &[grant(7, 10, 1, 3, 3)])), revived);
    assert_eq!(oracle.clone().apply(&leased(2, &[grant(7, 10, 1, 3, 3)])), revived);
    assert_eq!(oracle.apply(&leased(2, &[grant(7, 10, 1, 1, 1)])), Ok(()));
}

#[test]
fn an_ack_in_doubt_leaves_both_open() {
    let mut oracle = leased_entry();
    say(&mut oracle, &[settle(3, 7, 1, Action::Ack)]);
    assert_eq!(oracle.held(), []);
    for either in [found(&[]), found(&[7])] {
        assert_eq!(oracle.clone().settle_doubts(&either), Ok(()));
    }
}

#[test]
fn a_long_lease_is_in_force_until_it_is_ended_or_released() {
    let mut oracle = leased_entry();
    assert_eq!(oracle.held().len(), 1);
    say(&mut oracle, &reopened(Leases::Keep));
    assert_eq!(oracle.held().len(), 1);
    say(&mut oracle, &[lease(5, true)]);
    let second = leased(5, &[grant(7, 10, 2, 1, 2)]);
    assert_eq!(oracle.clone().apply(&second), Err(Violation::LeasedTwice { marker: 7 }));
    say(&mut oracle, &reopened(Leases::Release));
    assert_eq!(oracle.held(), []);
    say(&mut oracle, &[lease(6, true), leased(6, &[grant(7, 10, 3, 1, 2)])]);
    assert_eq!(oracle.held().len(), 1);
}

#[test]
fn a_nack_ends_a_lease_and_a_short_one_ends_itself() {
    let mut oracle = leased_entry();
    say(&mut oracle, &[settle(3, 7, 1, Action::Nack), lease(4, false)]);
    // The receipt of the nack may stand behind that of the next lease.
    say(&mut oracle, &[leased(4, &[grant(7, 10, 1, 2, 2)]), nacked(3, Nacked::Ready)]);
    say(&mut oracle, &[lease(5, true), leased(5, &[grant(7, 10, 1, 3, 3)])]);
    let stale = |op| Event::Refused { op, kind: "stale_lease".into(), text: String::new() };
    say(&mut oracle, &[settle(6, 7, 2, Action::Ack), stale(6)]);
    say(&mut oracle, &[settle(7, 7, 3, Action::Ack)]);
    assert!(matches!(oracle.apply(&stale(7)), Err(Violation::Refused { .. })));
}

#[test]
fn tokens_epochs_and_attempts_grow() {
    let mut oracle = leased_entry();
    say(&mut oracle, &[settle(3, 7, 1, Action::Nack), nacked(3, Nacked::Ready), lease(4, true)]);
    let again = |oracle: &Oracle, grant| oracle.clone().apply(&leased(4, &[grant]));
    let token = |epoch, number| Violation::Token { marker: 7, token: Token { epoch, number } };
    assert_eq!(again(&oracle, grant(7, 10, 1, 1, 2)), Err(token(1, 1)));
    let attempt = Violation::Attempt { marker: 7, attempt: 1 };
    assert_eq!(again(&oracle, grant(7, 10, 1, 2, 1)), Err(attempt));
    assert_eq!(again(&oracle, grant(7, 10, 1, 2, 2)), Ok(()));
    say(&mut oracle, &reopened(Leases::Keep));
    say(&mut oracle, &[lease(4, true)]);
    assert_eq!(again(&oracle, grant(7, 10, 1, 3, 2)), Err(token(1, 3)));
    assert_eq!(again(&oracle, grant(7, 10, 2, 1, 2)), Ok(()));
}

#[test]
fn sequences_grow_with_receipts_and_are_used_once() {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7]), enqueued(1, &[10]), enqueue(2, &[8])]);
    let early = oracle.clone().apply(&enqueued(2, &[9]));
    assert_eq!(early, Err(Violation::Sequence { marker: 8, found: vec![9] }));
    say(&mut oracle, &[enqueue(3, &[9]), enqueued(3, &[12]), enqueued(2, &[11])]);
    say(&mut oracle, &[enqueue(4, &[1, 2])]);
    assert!(matches!(oracle.apply(&enqueued(4, &[14, 13])), Err(Violation::Sequence { .. })));
}

#[test]
fn grants_come_in_order_and_are_what_was_enqueued() {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[7, 8]), enqueued(1, &[10, 11]), lease(2, true)]);
    let apply = |grants: &[Granted]| oracle.clone().apply(&leased(2, grants));
    let wrong = [grant(8, 11, 1, 1, 1), grant(7, 10, 1, 2, 1)];
    let Err(Violation::Order(late)) = apply(&wrong) else { panic!("7 stands before 8") };
    assert_eq!((late.marker, late.queue, late.life, late.heard), (7, 2, 1, vec![1]));
    assert_eq!((late.rank, late.after), (wrong[1].rank(), vec![wrong[0].rank()]));
    assert_eq!(apply(&[grant(9, 12, 1, 1, 1)]), Err(Violation::Unknown { marker: 9 }));
    let urgent = Granted { priority: 0, ..grant(7, 10, 1, 1, 1) };
    assert!(matches!(apply(&[urgent]), Err(Violation::Damaged { .. })));
    let elsewhere = Granted { sequence: 11, ..grant(7, 10, 1, 1, 1) };
    assert!(matches!(apply(&[elsewhere]), Err(Violation::Sequence { .. })));
}

#[test]
fn a_closed_engine_has_answered_everybody() {
    let mut oracle = open();
    say(&mut oracle, &[Event::Closed, enqueue(1, &[7])]);
    assert_eq!(oracle.apply(&Event::Closed), Err(Violation::Unanswered { n_calls: 1 }));
}

#[test]
fn calls_of_a_stopped_engine_are_in_doubt_and_other_errors_are_not() {
    let mut oracle = open();
    let refused = |kind: &str| Event::Refused { op: 1, kind: kind.into(), text: String::new() };
    say(&mut oracle, &[enqueue(1, &[7])]);
    assert!(matches!(oracle.clone().apply(&refused("full")), Err(Violation::Refused { .. })));
    say(&mut oracle, &[refused("no_space")]);
    for either in [found(&[]), found(&[7])] {
        assert_eq!(oracle.clone().settle_doubts(&either), Ok(()));
    }
    assert_eq!(oracle.counts().in_doubt, 1);
}
