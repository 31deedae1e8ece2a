//! Rules: what is paused grants nothing, limits count what certainly is in force, and what was promised holds.

use super::*;
use crate::rules::{RuleScope, Says};
use crate::stored::StoredRules;

/// The topic of queue 2, a prefix of its key, and the queue.
const TOPIC: RuleScope = RuleScope::Topic(0);
const PREFIX: RuleScope = RuleScope::Prefix(0, 2);
const QUEUE: RuleScope = RuleScope::Queue(2);

const PAUSED: Says = Says { paused: true, n_max: None };

fn at_most(n_max: u32) -> Says {
    Says { paused: false, n_max: Some(n_max) }
}

fn rule(op: OpId, scope: RuleScope, says: Says) -> Event {
    Event::Rule { op, scope, says }
}

fn set(op: OpId) -> Event {
    Event::RuleSet { op }
}

/// A rule with its receipt.
fn ruled(op: OpId, scope: RuleScope, says: Says) -> [Event; 2] {
    [rule(op, scope, says), set(op)]
}

/// Entries 1 to 5, accepted.
fn five() -> Oracle {
    let mut oracle = open();
    say(&mut oracle, &[enqueue(1, &[1, 2, 3, 4, 5]), enqueued(1, &[11, 12, 13, 14, 15])]);
    oracle
}

/// The entry with this number, granted by its number.
fn first(number: u64) -> Granted {
    grant(number, 10 + number, 1, number, 1)
}

/// Leases these entries by a call of its own.
fn take(oracle: &mut Oracle, op: OpId, numbers: &[u64]) -> Checked {
    say(oracle, &[lease(op, true)]);
    oracle.apply(&leased(op, &numbers.iter().map(|number| first(*number)).collect::<Vec<_>>()))
}

fn exceeded(scope: RuleScope, n_max: u32, n_held: usize) -> Checked {
    Err(Violation::LimitExceeded { scope, n_max, n_held })
}

#[test]
fn what_is_paused_grants_nothing_until_a_resume_begins() {
    for scope in [TOPIC, PREFIX, QUEUE] {
        for says in [PAUSED, at_most(0)] {
            let mut oracle = five();
            say(&mut oracle, &ruled(2, scope, says));
            let stopped = Err(Violation::Stopped { marker: 1, scope });
            assert_eq!(take(&mut oracle.clone(), 3, &[1]), stopped);
            say(&mut oracle, &[rule(4, scope, Says::default())]);
            assert_eq!(take(&mut oracle, 5, &[1]), Ok(()), "the resume may be in force");
        }
    }
    let mut oracle = five();
    say(&mut oracle, &ruled(2, RuleScope::Queue(0), PAUSED));
    say(&mut oracle, &ruled(3, RuleScope::Prefix(0, 1), PAUSED));
    assert_eq!(take(&mut oracle, 4, &[1]), Ok(()), "they are about other queues");
}

#[test]
fn a_call_that_began_before_a_pause_may_be_answered_after_it() {
    let mut oracle = five();
    say(&mut oracle, &[lease(2, true)]);
    say(&mut oracle, &ruled(3, TOPIC, PAUSED));
    say(&mut oracle, &[leased(2, &[first(1)])]);
}

#[test]
fn no_more_is_granted_than_a_limit_says() {
    for scope in [TOPIC, PREFIX, QUEUE] {
        let mut oracle = five();
        say(&mut oracle, &ruled(2, scope, at_most(2)));
        assert_eq!(take(&mut oracle.clone(), 3, &[1, 2, 3]), exceeded(scope, 2, 3));
        assert_eq!(take(&mut oracle, 3, &[1, 2]), Ok(()));
        assert_eq!(take(&mut oracle.clone(), 4, &[3]), exceeded(scope, 2, 3));
        // One that is being settled may be over.
        say(&mut oracle, &[settle(5, 1, 1, Action::Ack)]);
        assert_eq!(take(&mut oracle, 6, &[3]), Ok(()));
        assert_eq!(take(&mut oracle, 7, &[4]), exceeded(scope, 2, 3));
    }
}

#[test]
fn calls_at_the_same_time_share_a_limit() {
    let mut oracle = five();
    say(&mut oracle, &ruled(2, TOPIC, at_most(2)));
    say(&mut oracle, &[lease(3, true), lease(4, true), leased(4, &[first(1), first(2)])]);
    assert_eq!(oracle.apply(&leased(3, &[first(3)])), exceeded(TOPIC, 2, 3));
}

#[test]
fn a_short_lease_counts_beside_those_that_were_there_before_it() {
    let mut oracle = five();
    say(&mut oracle, &ruled(2, TOPIC, at_most(2)));
    let short = |oracle: &mut Oracle, op, number| {
        say(oracle, &[lease(op, false)]);
        oracle.apply(&leased(op, &[first(number)]))
    };
    assert_eq!(short(&mut oracle, 3, 1), Ok(()));
    assert_eq!(take(&mut oracle, 4, &[2, 3]), Ok(()), "the short one may be over");
    assert_eq!(short(&mut oracle, 5, 4), exceeded(TOPIC, 2, 3));
}

#[test]
fn a_lowered_limit_ends_no_lease_and_lets_nothing_through_until_they_have_ended() {
    let mut oracle = five();
    assert_eq!(take(&mut oracle, 2, &[1, 2, 3]), Ok(()));
    say(&mut oracle, &[lease(3, true)]);
    say(&mut oracle, &ruled(4, TOPIC, at_most(2)));
    let early = leased(3, &[first(4)]);
    assert_eq!(oracle.clone().apply(&early), Ok(()), "it may have been granted before");
    say(&mut oracle, &[settle(5, 1, 1, Action::Ack), settled(5)]);
    assert_eq!(take(&mut oracle.clone(), 6, &[5]), exceeded(TOPIC, 2, 3));
    say(&mut oracle, &[settle(7, 2, 2, Action::Ack), settled(7)]);
    assert_eq!(take(&mut oracle, 8, &[5]), Ok(()));
}

#[test]
fn leases_and_limits_of_earlier_lives_count() {
    let mut oracle = five();
    say(&mut oracle, &ruled(2, TOPIC, at_most(2)));
    assert_eq!(take(&mut oracle, 3, &[1, 2]), Ok(()));
    let found = Event::Rules { found: vec![(TOPIC, at_most(2))] };
    let third = leased(4, &[grant(3, 13, 2, 1, 1)]);
    let later = |leases| {
        let mut oracle = oracle.clone();
        say(&mut oracle, &reopened(leases));
        say(&mut oracle, &[found.clone(), lease(4, true)]);
        oracle
    };
    assert_eq!(later(Leases::Keep).apply(&third), exceeded(TOPIC, 2, 3));
    assert_eq!(later(Leases::Release).apply(&third), Ok(()));
}

#[test]
fn a_rule_with_a_receipt_is_found_again_and_one_in_doubt_holds_or_not() {
    let mut oracle = open();
    say(&mut oracle, &ruled(1, TOPIC, PAUSED));
    say(&mut oracle, &[rule(2, TOPIC, at_most(3))]);
    say(&mut oracle, &reopened(Leases::Keep));
    let found = |says| Event::Rules { found: vec![(TOPIC, says)] };
    let lost = Violation::WrongRule {
        scope: TOPIC,
        found: Says::default(),
        says: PAUSED,
        wanted: Some(at_most(3)),
        partition: None,
    };
    assert_eq!(oracle.clone().apply(&Event::Rules { found: Vec::new() }), Err(lost));
    assert_eq!(oracle.clone().apply(&found(PAUSED)), Ok(()));
    say(&mut oracle, &[found(at_most(3))]);
    // What it was then it remains.
    assert!(matches!(oracle.apply(&found(PAUSED)), Err(Violation::WrongRule { .. })));
}

#[test]
fn partitions_may_differ_only_while_a_change_is_in_doubt() {
    let mut oracle = open();
    say(&mut oracle, &ruled(1, TOPIC, PAUSED));
    let stored = |says: [Says; 2]| says.map(|says| [(TOPIC, says)].into()).to_vec();
    let same = stored([PAUSED; 2]);
    let mixed = stored([PAUSED, Says::default()]);
    assert_eq!(oracle.rules_at_rest(&same), Ok(()));
    let wrong = |outcome: Checked| match outcome {
        Err(Violation::WrongRule { partition, .. }) => partition,
        _ => None,
    };
    assert_eq!(wrong(oracle.rules_at_rest(&mixed)), Some(1));
    assert_eq!(wrong(oracle.rules_at_rest(&vec![[].into(); 2])), Some(0));
    say(&mut oracle, &[rule(2, TOPIC, Says::default())]);
    assert_eq!(oracle.rules_at_rest(&mixed), Ok(()));
    say(&mut oracle, &[set(2)]);
    assert_eq!(wrong(oracle.rules_at_rest(&same)), Some(0));
}

#[test]
fn the_rule_of_a_queue_is_in_its_partition_only() {
    let mut oracle = open();
    say(&mut oracle, &ruled(1, QUEUE, PAUSED));
    let of_queue: StoredRules = vec![[(QUEUE, PAUSED)].into(), [].into()];
    let swapped: StoredRules = of_queue.iter().rev().cloned().collect();
    let n_right = [of_queue, swapped].iter().filter(|s| oracle.rules_at_rest(s).is_ok()).count();
    assert_eq!(n_right, 1);
}

#[test]
fn what_is_not_granted_is_kept_by_a_rule_without_room() {
    let mut oracle = five();
    assert_eq!(oracle.kept_by(2), None);
    say(&mut oracle, &ruled(2, PREFIX, at_most(2)));
    assert_eq!(take(&mut oracle, 3, &[1]), Ok(()));
    assert_eq!(oracle.kept_by(2), None, "there is room for one more");
    assert_eq!(take(&mut oracle, 4, &[2]), Ok(()));
    assert_eq!(oracle.kept_by(2), Some(PREFIX));
    assert_eq!(oracle.kept_by(4), None, "it is about other queues");
    say(&mut oracle, &[settle(5, 1, 1, Action::Ack), settled(5)]);
    assert_eq!(oracle.kept_by(2), None);
    say(&mut oracle, &ruled(6, TOPIC, PAUSED));
    assert_eq!(oracle.kept_by(4), Some(TOPIC));
}
