//! What waits, what fails, and what is dead.

use millpond::{EntryRank, Priority, Sequence, UnixMillis};
use millpond_types::{DeadCause, Due, DueClock, LeaseRow};

use super::*;
use crate::stored::{Standing, StoredEntries, StoredEntry};

/// Queue 2 is of the topic without a limit, queue 3 of the other.
const LIMITED: u32 = 3;
const LAST: u32 = queues::ATTEMPTS_MAX;

fn enqueue_in(queue: u32, op: OpId, start: Start) -> Event {
    Event::Enqueue { op, queue, entries: vec![new(7, start)], at_ms: NOW_MS }
}

fn leased_at(op: OpId, at_ms: u64, grant: Granted) -> [Event; 2] {
    [lease(op, true), Event::Leased { op, grants: vec![grant], at_ms }]
}

/// Entry 7 of this queue, accepted and leased as this attempt, with token 1.1.
fn failing(queue: u32, attempt: u32) -> Oracle {
    let mut oracle = open();
    say(&mut oracle, &[enqueue_in(queue, 1, Start::Now), enqueued(1, &[10])]);
    let grant = Granted { queue, ..grant(7, 10, 1, 1, attempt) };
    say(&mut oracle, &leased_at(2, NOW_MS, grant));
    oracle
}

/// The lease with number 2 is granted at this time, as this attempt.
fn again(queue: u32, at_ms: u64, attempt: u32) -> [Event; 2] {
    leased_at(9, at_ms, Granted { queue, ..grant(7, 10, 1, 2, attempt) })
}

fn outcome(oracle: &Oracle, events: &[Event]) -> Result<(), Violation> {
    let mut oracle = oracle.clone();
    events.iter().try_for_each(|event| oracle.apply(event))
}

fn early(due_ms: u64, at_ms: u64) -> Result<(), Violation> {
    Err(Violation::Early { marker: 7, due_ms, at_ms })
}

#[test]
fn nothing_comes_before_its_delay_is_over_or_before_its_date() {
    let due = NOW_MS + 50;
    for start in [Start::After(50), Start::At(due)] {
        let mut oracle = open();
        say(&mut oracle, &[enqueue_in(2, 1, start), enqueued(1, &[10])]);
        let at = |at_ms| outcome(&oracle, &leased_at(2, at_ms, grant(7, 10, 1, 1, 1)));
        assert_eq!(at(due - 1), early(due, due - 1));
        assert_eq!(at(due), Ok(()));
        // Another life has another clock, and only a delay depends on it.
        let mut later = oracle.clone();
        say(&mut later, &reopened(Leases::Keep));
        let at = |at_ms| outcome(&later, &leased_at(2, at_ms, grant(7, 10, 2, 1, 1)));
        let rounding = u64::from(start != Start::At(due));
        assert_eq!(at(due - rounding), Ok(()));
        assert_eq!(at(due - rounding - 1), early(due - rounding, due - rounding - 1));
    }
}

#[test]
fn nothing_comes_before_the_pause_after_its_failure_is_over() {
    let oracle = failing(2, 1);
    let until = NOW_MS + 40;
    let nack = settle(3, 7, 1, Action::NackAfter(40));
    let waits = nacked(3, Nacked::BackingOff(until));
    for (at_ms, verdict) in [(until - 1, early(until, until - 1)), (until, Ok(()))] {
        let [lease, leased] = again(2, at_ms, 2);
        let in_order = [nack.clone(), waits.clone(), lease.clone(), leased.clone()];
        assert_eq!(outcome(&oracle, &in_order), verdict);
        // The receipts of overlapping calls may stand in either order.
        assert_eq!(outcome(&oracle, &[nack.clone(), lease, leased, waits.clone()]), verdict);
    }
    // A pause that is shorter than what was asked for.
    let shorter = [nack, nacked(3, Nacked::BackingOff(until - 1))];
    assert!(matches!(outcome(&oracle, &shorter), Err(Violation::Fate { .. })));
}

#[test]
fn a_failed_attempt_ends_as_it_must() {
    let ends = |queue, attempt, action, nacked_as| {
        let events = [settle(3, 7, 1, action), nacked(3, nacked_as)];
        match outcome(&failing(queue, attempt), &events) {
            Ok(()) => true,
            Err(Violation::Fate { marker: 7, .. }) => false,
            Err(other) => panic!("{other}"),
        }
    };
    let (ready, dead, waits) = (Nacked::Ready, Nacked::Dead, Nacked::BackingOff(NOW_MS + 9));
    for (queue, attempt, action, allowed) in [
        (2, 1, Action::Nack, vec![ready]),
        (2, LAST + 1, Action::Nack, vec![ready]),
        (2, 1, Action::NackAfter(0), vec![ready]),
        (2, 1, Action::NackAfter(9), vec![waits]),
        (2, 1, Action::Reject, vec![dead]),
        (LIMITED, 1, Action::Nack, vec![ready, waits]),
        (LIMITED, LAST - 1, Action::Nack, vec![ready, waits]),
        (LIMITED, LAST, Action::Nack, vec![dead]),
        (LIMITED, LAST, Action::NackAfter(9), vec![dead]),
        (LIMITED, 1, Action::Reject, vec![dead]),
    ] {
        for outcome in [ready, waits, dead] {
            let is_right = ends(queue, attempt, action, outcome);
            assert_eq!(is_right, allowed.contains(&outcome), "{queue} {attempt} {action:?}");
        }
    }
    let attempt = Violation::Attempt { marker: 7, attempt: LAST + 1 };
    let mut oracle = failing(LIMITED, LAST);
    say(&mut oracle, &reopened(Leases::Release));
    let beyond = Granted { queue: LIMITED, ..grant(7, 10, 2, 1, LAST + 1) };
    assert_eq!(outcome(&oracle, &leased_at(9, NOW_MS, beyond)), Err(attempt));
}

/// Entry 7, rejected.
fn dead() -> Oracle {
    let mut oracle = failing(2, 3);
    say(&mut oracle, &[settle(3, 7, 1, Action::Reject), nacked(3, Nacked::Dead)]);
    oracle
}

fn dead_letter(action: DeadAction) -> [Event; 2] {
    [Event::DeadLetter { op: 5, marker: 7, action }, Event::DeadLetterDone { op: 5 }]
}

#[test]
fn a_dead_letter_comes_back_by_a_replay_only() {
    let undead = Err(Violation::Undead { marker: 7 });
    assert_eq!(outcome(&dead(), &again(2, NOW_MS, 4)), undead);
    let mut late_receipt = vec![settle(3, 7, 1, Action::Reject)];
    late_receipt.extend(again(2, NOW_MS, 4));
    late_receipt.push(nacked(3, Nacked::Dead));
    assert_eq!(outcome(&failing(2, 3), &late_receipt), undead);
    let mut replayed = dead();
    say(&mut replayed, &dead_letter(DeadAction::Replay));
    // Its attempts begin anew.
    assert_eq!(outcome(&replayed, &again(2, NOW_MS, 1)), Ok(()));
    assert_eq!((replayed.counts().died, replayed.counts().replayed), (1, 1));
    // One replay is one return, and one new beginning.
    say(&mut replayed, &again(2, NOW_MS, 2));
    let die = [settle(6, 7, 2, Action::Reject), nacked(6, Nacked::Dead), lease(7, true)];
    say(&mut replayed, &die);
    let third = |attempt| [leased(7, &[grant(7, 10, 1, 3, attempt)])];
    assert_eq!(outcome(&replayed, &third(3)), undead);
    let mut nacked_instead = dead();
    say(&mut nacked_instead, &dead_letter(DeadAction::Replay));
    say(&mut nacked_instead, &again(2, NOW_MS, 2));
    let back = [settle(6, 7, 2, Action::Nack), nacked(6, Nacked::Ready), lease(7, true)];
    say(&mut nacked_instead, &back);
    let fallen = Violation::Attempt { marker: 7, attempt: 1 };
    assert_eq!(outcome(&nacked_instead, &third(1)), Err(fallen));
}

#[test]
fn a_dropped_dead_letter_is_gone() {
    let mut oracle = dead();
    let [intent, done] = dead_letter(DeadAction::Drop);
    say(&mut oracle, &[intent]);
    for either in [found(&[]), found(&[7])] {
        assert_eq!(oracle.clone().settle_doubts(&either), Ok(()));
    }
    say(&mut oracle, &[done]);
    assert_eq!(oracle.clone().settle_doubts(&found(&[])), Ok(()));
    assert_eq!(outcome(&oracle, &again(2, NOW_MS, 4)), Err(Violation::Revived { marker: 7 }));
    assert_eq!(oracle.counts().dropped, 1);
}

#[test]
fn a_dead_letter_is_not_found_only_if_it_was_purged() {
    let [intent, _] = dead_letter(DeadAction::Replay);
    let refused = Event::Refused { op: 5, kind: "not_found".into(), text: String::new() };
    let alone = outcome(&dead(), &[intent.clone(), refused.clone()]);
    assert!(matches!(alone, Err(Violation::Refused { .. })));
    let purge = Event::Purge { op: 4, queue: 2 };
    assert_eq!(outcome(&dead(), &[intent, purge, refused]), Ok(()));
}

fn at_rest(
    oracle: &Oracle,
    queue: u32,
    standing: Standing,
    attempts: u32,
    lease: Option<LeaseRow>,
) -> Result<(), Violation> {
    let rank = EntryRank { priority: Priority(5), sequence: Sequence(10) };
    let id = EntryId { queue: queues::id(queue), rank };
    let entry = StoredEntry { id, standing, attempts, lease };
    oracle.at_rest(&StoredEntries::from([(7, entry)]), NOW_MS + 10)
}

fn why(outcome: Result<(), Violation>) -> Option<&'static str> {
    match outcome {
        Ok(()) => None,
        Err(
            Violation::StoredStage { marker: 7, why, .. }
            | Violation::StoredLease { marker: 7, why, .. },
        ) => Some(why),
        Err(Violation::Early { marker: 7, .. }) => Some("early"),
        Err(other) => panic!("{other}"),
    }
}

fn delayed(clock: DueClock, at_ms: u64) -> Standing {
    Standing::Delayed(Due { clock, at: UnixMillis(at_ms) })
}

fn row(attempts: u32) -> Option<LeaseRow> {
    Some(LeaseRow {
        token: Token { epoch: 1, number: 1 }.into(),
        deadline: UnixMillis(0),
        attempts,
        enqueued_at: UnixMillis(1),
        n_bytes: 0,
        priority: Priority(5),
        separate_body: false,
        has_retry_floor: false,
    })
}

const NOBODY: Option<&str> = Some("nobody made it wait until then");
const STEADY: DueClock = DueClock::Steady;

#[test]
fn what_was_to_wait_is_stored_until_its_time() {
    let (soon, late) = (NOW_MS + 5, NOW_MS + 50);
    for (start, standing, expected) in [
        (Start::After(50), delayed(STEADY, late), None),
        (Start::After(50), delayed(STEADY, late + 2), None),
        (Start::After(50), delayed(STEADY, late - 1), NOBODY),
        (Start::After(50), delayed(DueClock::Wall, late), NOBODY),
        (Start::After(50), Standing::Ready, Some("early")),
        (Start::After(5), Standing::Ready, None),
        (Start::After(5), delayed(STEADY, soon + 1), None),
        (Start::At(late), delayed(DueClock::Wall, late), None),
        (Start::At(late), delayed(DueClock::Wall, late + 1), NOBODY),
        (Start::At(late), Standing::Ready, Some("early")),
        (Start::At(soon), Standing::Ready, None),
        (Start::Now, delayed(STEADY, late), NOBODY),
        (Start::Now, Standing::Dead(DeadCause::Rejected), Some("nobody rejected it")),
        (Start::Now, Standing::Dead(DeadCause::AttemptsSpent), Some("it has attempts left")),
    ] {
        let mut oracle = open();
        say(&mut oracle, &[enqueue_in(2, 1, start), enqueued(1, &[10])]);
        assert_eq!(why(at_rest(&oracle, 2, standing, 0, None)), expected, "{start:?} {standing:?}");
    }
}

#[test]
fn what_backs_off_is_stored_with_its_attempts_until_then() {
    let (until, oracle) = (NOW_MS + 40, failing(2, 3));
    let waits = delayed(STEADY, until);
    assert_eq!(why(at_rest(&oracle, 2, waits, 3, None)), Some("it is leased"));
    let mut in_doubt = oracle.clone();
    say(&mut in_doubt, &[settle(3, 7, 1, Action::NackAfter(40))]);
    assert_eq!(why(at_rest(&in_doubt, 2, waits, 3, None)), None);
    assert_eq!(why(at_rest(&in_doubt, 2, waits, 2, None)), Some("its attempts have fallen"));
    assert_eq!(why(at_rest(&in_doubt, 2, waits, 3, row(3))), Some("it is leased and not ready"));
    assert_eq!(why(at_rest(&in_doubt, 2, Standing::Ready, 3, row(3))), None);
    let mut done = in_doubt;
    say(&mut done, &[nacked(3, Nacked::BackingOff(until))]);
    assert_eq!(why(at_rest(&done, 2, waits, 3, None)), None);
    assert_eq!(why(at_rest(&done, 2, delayed(STEADY, until + 1), 3, None)), NOBODY);
    assert_eq!(why(at_rest(&done, 2, Standing::Ready, 3, None)), Some("early"));
    // Given back in place, it keeps its lease row and is nowhere else.
    let mut back = oracle;
    say(&mut back, &[settle(3, 7, 1, Action::Nack), nacked(3, Nacked::Ready)]);
    assert_eq!(why(at_rest(&back, 2, Standing::Ready, 3, row(3))), None);
    assert_eq!(why(at_rest(&back, 2, Standing::Ready, 3, None)), Some("it is not there"));
    assert_eq!(why(at_rest(&back, 2, waits, 3, None)), NOBODY);
}

#[test]
fn what_is_dead_is_stored_as_dead_until_it_is_replayed() {
    let rejected = Standing::Dead(DeadCause::Rejected);
    let oracle = dead();
    assert_eq!(why(at_rest(&oracle, 2, rejected, 3, None)), None);
    assert_eq!(why(at_rest(&oracle, 2, Standing::Ready, 3, None)), Some("it is dead"));
    assert_eq!(why(at_rest(&oracle, 2, Standing::Ready, 0, None)), Some("it is dead"));
    assert_eq!(why(at_rest(&oracle, 2, rejected, 2, None)), Some("its attempts have fallen"));
    let spent = Standing::Dead(DeadCause::AttemptsSpent);
    assert_eq!(why(at_rest(&oracle, 2, spent, 3, None)), Some("it has attempts left"));
    let [intent, done] = dead_letter(DeadAction::Replay);
    let mut replayed = oracle;
    say(&mut replayed, &[intent]);
    for either in [(rejected, 3), (Standing::Ready, 0)] {
        assert_eq!(why(at_rest(&replayed, 2, either.0, either.1, None)), None);
    }
    say(&mut replayed, &[done]);
    assert_eq!(why(at_rest(&replayed, 2, Standing::Ready, 0, None)), None);
    assert_eq!(why(at_rest(&replayed, 2, rejected, 3, None)), Some("it was replayed"));
}

#[test]
fn an_entry_dies_unheard_when_its_last_lease_ends() {
    let spent = Standing::Dead(DeadCause::AttemptsSpent);
    let mut oracle = failing(LIMITED, LAST);
    assert_eq!(why(at_rest(&oracle, LIMITED, spent, LAST, None)), Some("it is leased"));
    say(&mut oracle, &reopened(Leases::Release));
    assert_eq!(why(at_rest(&oracle, LIMITED, spent, LAST, None)), None);
    let mut oracle = failing(LIMITED, LAST - 1);
    say(&mut oracle, &reopened(Leases::Release));
    let left = why(at_rest(&oracle, LIMITED, spent, LAST - 1, None));
    assert_eq!(left, Some("it has attempts left"));
}
