use millpond::{EntryId, Priority, Sequence, UnixMillis};
use millpond_types::{DeadCause, Due, DueClock, LeaseRow};

use super::*;
use crate::event::{Event, Granted, NewEntry, Start, Token};
use crate::stored::StoredEntry;

const QUEUE: u32 = 2;
const OPENED_AT_MS: u64 = 1_000_000;

/// A lease that was granted as the second attempt.
fn lease(deadline_ms: u64) -> Option<LeaseRow> {
    Some(LeaseRow {
        token: Token { epoch: 1, number: 5 }.into(),
        deadline: UnixMillis(deadline_ms),
        attempts: 2,
        enqueued_at: UnixMillis(1),
        n_bytes: 0,
        priority: Priority(5),
        separate_body: false,
        has_retry_floor: false,
    })
}

const NO_LEASE: Option<LeaseRow> = None;
const GIVEN_BACK: u64 = 0;
/// Short leases, whose deadlines are over before the store is opened, and a little later.
const SHORT: [u64; 2] = [OPENED_AT_MS - 300, OPENED_AT_MS + 2];

/// A store in which an entry's marker is its sequence.
fn turns(leases: Leases, stored: &[(Marker, Option<LeaseRow>)]) -> Turns {
    let entry = |&(marker, lease): &(Marker, Option<LeaseRow>)| {
        (marker, entry_of(QUEUE, marker, Standing::Ready, lease))
    };
    Turns::new(stored.iter().map(entry).collect(), leases, OPENED_AT_MS)
}

fn entry_of(
    queue: u32,
    marker: Marker,
    standing: Standing,
    lease: Option<LeaseRow>,
) -> StoredEntry {
    let attempts = lease.map_or(0, |lease| lease.attempts);
    StoredEntry { id: held(queue, marker).id, standing, attempts, lease }
}

fn held(queue: u32, marker: Marker) -> Held {
    let rank = EntryRank { priority: Priority(5), sequence: Sequence(marker) };
    let id = EntryId { queue: queues::id(queue), rank };
    Held { marker, id, token: Token { epoch: 2, number: marker } }
}

/// Has heard of attempts 1 and 3 of entry 7 and of the first one of entry 8.
fn oracle() -> Oracle {
    let mut oracle = Oracle::new();
    let grant = |marker, epoch, number, attempt| Granted {
        marker,
        queue: QUEUE,
        priority: 5,
        sequence: marker,
        token: Token { epoch, number },
        attempt,
    };
    let new = |marker| NewEntry { marker, priority: 5, start: Start::Now };
    let lease = |op, long| Event::Lease { op, queue: None, n_max: 9, long };
    for event in [
        Event::Opening { leases: Leases::Keep },
        Event::Opened { n_partitions: 1 },
        Event::Enqueue { op: 1, queue: QUEUE, entries: vec![new(7), new(8)], at_ms: 1 },
        Event::Enqueued { op: 1, sequences: vec![7, 8] },
        lease(2, false),
        Event::Leased { op: 2, grants: vec![grant(7, 1, 1, 1)], at_ms: OPENED_AT_MS },
        Event::Opening { leases: Leases::Keep },
        Event::Opened { n_partitions: 1 },
        lease(3, true),
        Event::Leased { op: 3, grants: vec![grant(8, 2, 1, 1)], at_ms: OPENED_AT_MS },
        lease(4, true),
        Event::Leased { op: 4, grants: vec![grant(7, 2, 2, 3)], at_ms: OPENED_AT_MS },
    ] {
        oracle.apply(&event).expect("it breaks no rule");
    }
    oracle
}

/// Entry 8 comes, and then entry 7, which stands before it.
fn seven_after_eight(mut turns: Turns) -> Result<Turns, Violation> {
    for marker in [8, 7] {
        turns.granted(held(QUEUE, marker), &oracle(), OPENED_AT_MS + 20)?;
    }
    turns.ended().map(|()| turns)
}

#[test]
fn an_entry_under_lease_when_the_store_was_opened_rightly_comes_late() {
    for deadline_ms in SHORT {
        let stored = [(7, lease(deadline_ms)), (8, NO_LEASE)];
        let turns = seven_after_eight(turns(Leases::Keep, &stored)).expect("it was not ready");
        let [late] = turns.late() else { panic!("one entry is late") };
        let stored = late.stored.expect("it was leased");
        let deadline_ms = i128::from(deadline_ms) - i128::from(OPENED_AT_MS);
        assert_eq!((stored.deadline_ms, stored.granted_ms), (deadline_ms, 20));
        assert_eq!((late.marker, late.queue, late.life), (7, QUEUE, 2));
        assert_eq!(
            (&late.after[..], &late.heard[..]),
            (&[held(QUEUE, 8).id.rank][..], &[1, 3][..])
        );
        let text = format!(
            "entry 7 of queue 2, rank 5/7, came in life 2 after 1 others from 5/8 to 5/8, attempts that \
             we heard of [1, 3], when the store was opened attempt 2 was under lease 1.5, deadline at \
             {deadline_ms} ms, granted at 20 ms"
        );
        assert_eq!(late.to_string(), text);
    }
}

/// The twin. That its attempts jumped, so that somebody leased it without our hearing of it, is no excuse:
/// the lease had ended before the store was opened.
#[test]
fn an_entry_without_a_lease_in_force_comes_too_late() {
    for released in [NO_LEASE, lease(GIVEN_BACK)] {
        let stored = [(7, released), (8, NO_LEASE)];
        let outcome = seven_after_eight(turns(Leases::Keep, &stored));
        let Err(Violation::Order(late)) = outcome else { panic!("it was ready") };
        assert_eq!((late.marker, late.stored, &late.heard[..]), (7, None, &[1, 3][..]));
        assert!(late.to_string().ends_with("when the store was opened it was not leased"));
    }
}

#[test]
fn an_entry_that_is_given_back_before_the_first_grant_has_no_excuse() {
    let far = lease(OPENED_AT_MS + 24 * 3_600_000);
    let mut turns = turns(Leases::Keep, &[(7, far), (8, NO_LEASE)]);
    turns.given_back(7);
    assert!(matches!(seven_after_eight(turns), Err(Violation::Order(_))));
}

#[test]
fn a_store_that_releases_all_leases_when_it_is_opened_has_no_excuse() {
    for deadline_ms in SHORT {
        let stored = [(7, lease(deadline_ms)), (8, NO_LEASE)];
        let outcome = seven_after_eight(turns(Leases::Release, &stored));
        assert!(matches!(outcome, Err(Violation::Order(_))));
    }
}

#[test]
fn an_entry_that_is_ready_must_come_before_one_that_was_not() {
    let stored = [(7, NO_LEASE), (8, lease(SHORT[0]))];
    let outcome = seven_after_eight(turns(Leases::Keep, &stored));
    assert!(matches!(outcome, Err(Violation::Order(_))));
}

#[test]
fn a_long_lease_is_not_granted_to_another_though_nobody_heard_of_it() {
    let far = lease(OPENED_AT_MS + 24 * 3_600_000);
    let outcome = seven_after_eight(turns(Leases::Keep, &[(7, far), (8, NO_LEASE)]));
    assert_eq!(outcome.err(), Some(Violation::LeasedTwice { marker: 7 }));
}

#[test]
fn whatever_was_ready_comes_and_nothing_that_was_not_stored() {
    let mut turns = turns(Leases::Keep, &[(7, NO_LEASE), (8, lease(SHORT[0])), (9, NO_LEASE)]);
    assert_eq!(turns.ended(), Err(Violation::Stuck { n: 2, first: 7 }));
    for marker in [7, 9] {
        turns.granted(held(QUEUE, marker), &oracle(), OPENED_AT_MS).expect("in order");
    }
    assert_eq!(turns.ended(), Ok(()));
    let revived = turns.granted(held(QUEUE, 10), &oracle(), OPENED_AT_MS);
    assert_eq!(revived, Err(Violation::Revived { marker: 10 }));
    assert_eq!((turns.late(), turns.found().len()), (&[][..], 2));
}

#[test]
fn queues_have_their_own_order() {
    let entry = |queue, marker| (marker, entry_of(queue, marker, Standing::Ready, NO_LEASE));
    let stored = [entry(3, 8), entry(QUEUE, 7)].into_iter().collect();
    let mut turns = Turns::new(stored, Leases::Keep, OPENED_AT_MS);
    turns.granted(held(3, 8), &oracle(), OPENED_AT_MS).expect("the first of its queue");
    turns.granted(held(QUEUE, 7), &oracle(), OPENED_AT_MS).expect("the first of its queue");
    assert_eq!(turns.ended(), Ok(()));
}

/// A store of the limited topic in which an entry's marker is its sequence.
fn standing(leases: Leases, stored: &[(Marker, Standing, Option<LeaseRow>)]) -> Turns {
    let entry = |&(marker, standing, lease): &(Marker, Standing, Option<LeaseRow>)| {
        (marker, entry_of(LIMITED, marker, standing, lease))
    };
    Turns::new(stored.iter().map(entry).collect(), leases, OPENED_AT_MS)
}

const LIMITED: u32 = 3;

fn delayed(at_ms: u64) -> Standing {
    Standing::Delayed(Due { clock: DueClock::Steady, at: UnixMillis(at_ms) })
}

#[test]
fn what_waits_comes_late_and_never_early() {
    let due_ms = OPENED_AT_MS + 30;
    let stored = [(7, delayed(due_ms), NO_LEASE), (8, Standing::Ready, NO_LEASE)];
    let mut turns = standing(Leases::Keep, &stored);
    turns.granted(held(LIMITED, 8), &oracle(), OPENED_AT_MS).expect("it was ready");
    assert_eq!(turns.awaited(), [LIMITED].into());
    let at_ms = due_ms - 1;
    let early = turns.granted(held(LIMITED, 7), &oracle(), at_ms);
    assert_eq!(early, Err(Violation::Early { marker: 7, due_ms, at_ms }));
    let mut turns = standing(Leases::Keep, &stored);
    for marker in [8, 7] {
        turns.granted(held(LIMITED, marker), &oracle(), due_ms).expect("it was not ready before");
    }
    let [late] = turns.late() else { panic!("one entry is late") };
    assert_eq!((turns.awaited().len(), late.waited_ms), (0, Some(30)));
    assert!(late.to_string().ends_with("when the store was opened it waited until 30 ms"));
}

#[test]
fn what_waits_for_long_and_what_is_dead_is_there_and_does_not_come() {
    let hour = OPENED_AT_MS + 3_600_000;
    let dead = Standing::Dead(DeadCause::Rejected);
    let stored = [(7, delayed(hour), NO_LEASE), (8, dead, NO_LEASE)];
    let mut turns = standing(Leases::Release, &stored);
    assert_eq!((turns.waiting(), turns.dead()), (&[7].into(), &[8].into()));
    assert_eq!((turns.ended(), turns.awaited().len()), (Ok(()), 0));
    let undead = turns.granted(held(LIMITED, 8), &oracle(), OPENED_AT_MS);
    assert_eq!(undead, Err(Violation::Undead { marker: 8 }));
    let [letter] = turns.dead_letters()[..] else { panic!("one is dead") };
    assert_eq!(letter, (8, LIMITED, held(LIMITED, 8).id));
    turns.given_back(8);
    assert_eq!(turns.ended(), Err(Violation::Stuck { n: 1, first: 8 }));
    turns.granted(held(LIMITED, 8), &oracle(), OPENED_AT_MS).expect("it was replayed");
    let mut turns = standing(Leases::Release, &stored);
    turns.dropped(8);
    assert_eq!(turns.dead().len(), 0);
    let revived = turns.granted(held(LIMITED, 8), &oracle(), OPENED_AT_MS);
    assert_eq!(revived, Err(Violation::Revived { marker: 8 }));
}

#[test]
fn an_entry_whose_last_lease_is_released_is_dead() {
    let lease = |attempts| lease(SHORT[0]).map(|row| LeaseRow { attempts, ..row });
    for (attempts, dies) in [(queues::ATTEMPTS_MAX, true), (queues::ATTEMPTS_MAX - 1, false)] {
        let stored = [(7, Standing::Ready, lease(attempts))];
        let turns = standing(Leases::Release, &stored);
        assert_eq!((turns.dead().len() == 1, turns.ended().is_ok()), (dies, dies));
        // So it is if the owner that released it died before it had looked at its attempts.
        let released =
            lease(attempts).map(|row| LeaseRow { deadline: UnixMillis(GIVEN_BACK), ..row });
        let stored_released = [(7, Standing::Ready, released)];
        for leases in [Leases::Keep, Leases::Release] {
            let turns = standing(leases, &stored_released);
            assert_eq!((turns.dead().len() == 1, turns.ended().is_ok()), (dies, dies));
        }
        // Kept, it ends when it ends.
        let turns = standing(Leases::Keep, &stored);
        assert_eq!((turns.dead().len(), turns.ended()), (0, Ok(())));
    }
}
