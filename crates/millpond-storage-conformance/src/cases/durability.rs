//! Contract 2: durability.

use millpond_storage_api::{LogPosition, Table, WriteBatch};

use crate::Harness;
use crate::fixture::{Fixture, batch, find_in_history};
use crate::oracle::Oracle;

/// A batch by which every prefix of a history differs from every other.
fn step(n: u8) -> WriteBatch {
    batch(|batch| {
        batch.put(Table::Active, b"latest", &[n]);
        batch.put(Table::Entries, &[n], b"entry");
        batch.put(Table::Payloads, &[n], &[n; 100]);
        if n >= 3 {
            batch.single_delete(Table::Entries, &[n - 3]);
            batch.delete(Table::Payloads, &[n - 3]);
        }
    })
}

fn write_some<H: Harness>(fixture: &mut Fixture<H>) {
    for n in 0..20 {
        fixture.commit(|batch| *batch = step(n));
    }
}

pub(crate) fn everything_survives_a_clean_reopen<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    write_some(&mut fixture);
    fixture.reopen_clean();
    fixture.check();
    assert_eq!(fixture.store.durable_position(), LogPosition(20));
}

pub(crate) fn acknowledged_batches_survive_a_crash<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    write_some(&mut fixture);
    fixture.reopen_crash();
    fixture.check();
    assert_eq!(fixture.store.durable_position(), LogPosition(20));
}

/// Waits for some of the batches of each round, crashes with the rest in flight, and looks for the
/// prefix that is left.
pub(crate) fn a_crash_keeps_a_prefix_of_what_was_submitted<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut n = 0;
    for n_acknowledged in [0, 1, 4, 9, 10] {
        let mut history = vec![fixture.oracle.clone()];
        let mut tickets = Vec::new();
        for _ in 0..10 {
            tickets.push(fixture.submit(|batch| *batch = step(n)));
            history.push(fixture.oracle.clone());
            n += 1;
        }
        let before = fixture.store.durable_position();
        if let Some(index) = usize::checked_sub(n_acknowledged, 1) {
            let ticket = tickets.swap_remove(index);
            fixture.wait(ticket).expect("a healthy store commits");
        }
        fixture.reopen_crash();
        let store = fixture.store.clone();
        let kept = find_in_history(&mut fixture.harness, &*store, &history);
        assert!(kept >= n_acknowledged, "{kept} batches left of {n_acknowledged} acknowledged");
        let position = fixture.store.durable_position();
        assert!(position >= before, "the durable position went back from {before} to {position}");
        // The next round goes on from what is left.
        n = n - 10 + u8::try_from(kept).expect("at most 10");
        fixture.oracle = history.swap_remove(kept);
        assert_eq!(position, LogPosition(n.into()), "the position counts what is left");
    }
}

pub(crate) fn a_batch_survives_whole_or_not_at_all<H: Harness>(harness: H) {
    survives_whole_or_not_at_all(harness, |fixture, filled| {
        drop(fixture.submit(|batch| *batch = filled));
    });
}

/// Crashes behind each of some batches that are submitted so.
pub(super) fn survives_whole_or_not_at_all<H: Harness>(
    harness: H,
    submit: impl Fn(&mut Fixture<H>, WriteBatch),
) {
    let mut fixture = Fixture::new(harness);
    for n in 0..10_u8 {
        let before = fixture.oracle.clone();
        let filled = batch(|batch| {
            for key in 0..50 {
                batch.put(Table::Queues, &[key], &[n; 200]);
            }
        });
        submit(&mut fixture, filled);
        let history = [before, fixture.oracle.clone()];
        fixture.reopen_crash();
        let store = fixture.store.clone();
        let kept = find_in_history(&mut fixture.harness, &*store, &history);
        fixture.oracle = history[kept].clone();
    }
}

pub(crate) fn removals_survive_a_crash<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for key in 0..30_u8 {
        fixture.commit(|batch| {
            batch.put(Table::Entries, &[key], b"entry");
            batch.put(Table::Leases, &[key], b"lease");
            batch.put(Table::Payloads, &[key], b"payload");
        });
    }
    fixture.reopen_crash();
    fixture.commit(|batch| batch.delete_range(Table::Payloads, &[5], &[25]));
    fixture.commit(|batch| {
        batch.single_delete(Table::Entries, &[7]);
        batch.delete(Table::Leases, &[7]);
    });
    fixture.reopen_crash();
    fixture.check();
}

pub(crate) fn crashes_in_a_row_lose_nothing<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..10 {
        fixture.commit(|batch| *batch = step(n));
        fixture.reopen_crash();
        fixture.reopen_crash();
        fixture.check();
    }
}

pub(crate) fn dropping_the_ticket_does_not_cancel_the_commit<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    drop(fixture.submit(|batch| batch.put(Table::Active, b"dropped", b"value")));
    fixture.put(Table::Active, b"waited", b"value");
    fixture.reopen_crash();
    assert_ne!(fixture.oracle, Oracle::default());
    fixture.check();
}

/// Whatever the threads' batches are mixed to, each thread finds the first of its own again, and among
/// them all that it was told of.
pub(crate) fn what_threads_were_told_survives_a_crash<H: Harness>(harness: H) {
    const N_BATCHES: u8 = 40;
    let mut fixture = Fixture::new(harness);
    let submitters: Vec<_> = (0..3_u8)
        .map(|thread| {
            let store = fixture.store.clone();
            let put = move |n| batch(|batch| batch.put(Table::Active, &[thread, n], b"value"));
            std::thread::spawn(move || {
                (0..N_BATCHES).map(|n| store.submit(put(n))).collect::<Vec<_>>()
            })
        })
        .collect();
    let tickets: Vec<_> = submitters
        .into_iter()
        .map(|submitter| submitter.join().expect("submitting does not panic"))
        .collect();
    // One thread waits for all of its batches, one for some, one for none.
    let mut n_told = Vec::new();
    for (tickets, n_waited) in tickets.into_iter().zip([N_BATCHES, N_BATCHES / 3, 0]) {
        for ticket in tickets.into_iter().take(n_waited.into()) {
            fixture.wait(ticket).expect("a healthy store commits");
        }
        n_told.push(n_waited);
    }
    fixture.reopen_crash();
    let mut n_left = 0;
    for (thread, n_told) in (0..3_u8).zip(n_told) {
        let is_there: Vec<bool> =
            (0..N_BATCHES).map(|n| fixture.get(Table::Active, &[thread, n]).is_some()).collect();
        let n_first = is_there.iter().take_while(|there| **there).count();
        assert!(n_first >= n_told.into(), "{n_first} batches left, and {n_told} acknowledged");
        assert!(!is_there[n_first..].contains(&true), "a later batch survived an earlier one");
        n_left += n_first;
    }
    assert_eq!(fixture.store.durable_position(), LogPosition(n_left as u64));
}
