//! Contract 1 to 4 for batches that are only buffered.

use millpond_storage_api::{LogPosition, StoreErrorKind, Table, WriteBatch};

use super::durability::survives_whole_or_not_at_all;
use crate::Harness;
use crate::fixture::{Fixture, batch, find_in_history, get};

/// A batch by which every prefix of a history differs from every other.
fn step(n: u8) -> WriteBatch {
    batch(|batch| {
        batch.put(Table::Active, b"latest", &[n]);
        batch.put(Table::Entries, &[n], b"entry");
        batch.put(Table::Payloads, &[n], &[n; 100]);
    })
}

pub(crate) fn both_kinds_stand_in_one_order<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut positions = Vec::new();
    for n in 0..30_u8 {
        let write = |batch: &mut WriteBatch| {
            batch.put(Table::Active, b"latest", &[n]);
            batch.delete(Table::Leases, &[n.wrapping_sub(1)]);
            batch.put(Table::Leases, &[n], b"");
        };
        positions.push(match n % 3 {
            0 => fixture.commit(write),
            _ => fixture.buffer(write),
        });
    }
    assert_eq!(positions, (1..=30).map(LogPosition).collect::<Vec<_>>());
    fixture.check();
}

pub(crate) fn a_durable_ticket_resolves_after_those_before_it<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let buffered: Vec<_> =
        (0..20).map(|n| fixture.submit_buffered(|batch| *batch = step(n))).collect();
    let last = fixture.submit(|batch| *batch = step(20));
    let last = fixture.wait(last).expect("a healthy store commits").into_inner();
    assert_eq!(last, LogPosition(21));
    for (position, mut ticket) in (1..).zip(buffered) {
        let outcome = ticket.try_outcome().expect("a later batch is durable");
        assert_eq!(*outcome.expect("a healthy store commits").get(), LogPosition(position));
    }
    assert!(fixture.store.durable_position() >= last);
}

pub(crate) fn it_is_visible_once_its_ticket_resolves<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..20 {
        fixture.buffer(|batch| *batch = step(n));
        assert_eq!(fixture.get(Table::Active, b"latest"), Some(vec![n]));
        fixture.check();
    }
}

pub(crate) fn a_later_durable_batch_covers_it<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for round in 0..6 {
        for n in 0..4 {
            fixture.buffer(|batch| *batch = step(round * 5 + n));
        }
        fixture.commit(|batch| *batch = step(round * 5 + 4));
        fixture.reopen_crash();
        fixture.check();
        let position = u64::from(round + 1) * 5;
        assert_eq!(fixture.store.durable_position(), LogPosition(position));
    }
}

pub(crate) fn an_empty_durable_batch_covers_it<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..10 {
        fixture.buffer(|batch| *batch = step(n));
        fixture.commit(|_| {});
        fixture.reopen_crash();
        fixture.check();
    }
}

pub(crate) fn it_survives_the_end_of_the_process<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..20 {
        fixture.buffer(|batch| *batch = step(n));
        // One in flight behind it, which may survive or not.
        let before = fixture.oracle.clone();
        drop(fixture.submit_buffered(|batch| batch.put(Table::Queues, &[n], b"in flight")));
        let history = [before, fixture.oracle.clone()];
        fixture.harness.kill();
        fixture.reopen();
        let store = fixture.store.clone();
        let kept = find_in_history(&mut fixture.harness, &*store, &history);
        fixture.oracle = history[kept].clone();
    }
    fixture.reopen_crash();
    // What an open found is durable by then.
    fixture.check();
}

/// Crashes with batches of both kinds behind the last durable one, and looks for the prefix that is left.
pub(crate) fn a_crash_keeps_a_prefix_of_both_kinds<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut n = 0;
    for n_covered in [0, 1, 4, 9, 10] {
        let mut history = vec![fixture.oracle.clone()];
        for index in 1..=10 {
            if index == n_covered {
                fixture.commit(|batch| *batch = step(n));
            } else {
                fixture.buffer(|batch| *batch = step(n));
            }
            history.push(fixture.oracle.clone());
            n += 1;
        }
        let durable = fixture.store.durable_position();
        fixture.reopen_crash();
        let store = fixture.store.clone();
        let kept = find_in_history(&mut fixture.harness, &*store, &history);
        assert!(kept >= n_covered, "{kept} batches left, and {n_covered} covered");
        n = n - 10 + u8::try_from(kept).expect("at most 10");
        let position = store.durable_position();
        assert_eq!(position, LogPosition(n.into()), "the position counts what is left");
        assert!(position >= durable, "{durable} was said to be durable, {position} is left");
        fixture.oracle = history.swap_remove(kept);
    }
}

pub(crate) fn it_survives_whole_or_not_at_all<H: Harness>(harness: H) {
    survives_whole_or_not_at_all(harness, |fixture, filled| {
        fixture.buffer(|batch| *batch = filled);
    });
}

pub(crate) fn it_is_durable_after_a_close<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..10 {
        fixture.buffer(|batch| *batch = step(2 * n));
        let mut ticket = fixture.submit_buffered(|batch| *batch = step(2 * n + 1));
        fixture.close();
        ticket.try_outcome().expect("close waits for it").expect("a healthy store commits");
        fixture.reopen_crash();
        fixture.check();
    }
}

pub(crate) fn it_is_refused_after_a_close<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.buffer(|batch| *batch = step(0));
    fixture.close();
    let late = fixture.store.submit_buffered(step(1));
    let refused = fixture.harness.block_on(late).expect_err("the store is closed");
    assert_eq!(refused.kind(), StoreErrorKind::Closed);
    fixture.reopen();
    fixture.check();
}

pub(crate) fn a_checkpoint_holds_it<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..4 {
        let position = fixture.buffer(|batch| *batch = step(n));
        let checkpoint = fixture.store.checkpoint();
        let checkpoint = fixture.harness.block_on(checkpoint).expect("a healthy store makes one");
        assert_eq!(checkpoint.position, position);
        let latest = get(&mut fixture.harness, &*checkpoint.view, Table::Active, b"latest");
        assert_eq!(latest, Some(vec![n]));
        drop(checkpoint);
        // It holds only what is durable.
        fixture.reopen_crash();
        fixture.check();
    }
}

pub(crate) fn its_record_is_read_once_it_is_durable<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let _pin = fixture.store.log().pin();
    for n in 0..6 {
        fixture.buffer(|batch| *batch = step(n));
    }
    let durable = fixture.store.durable_position();
    let early = fixture.store.log().read_after(LogPosition(0), usize::MAX);
    let early = fixture.harness.block_on(early).expect("a pin holds them");
    assert!(early.iter().all(|record| record.position <= fixture.store.durable_position()));
    assert!(early.len() as u64 >= durable.0);
    fixture.commit(|batch| *batch = step(6));
    let all = fixture.store.log().read_after(LogPosition(0), usize::MAX);
    let all = fixture.harness.block_on(all).expect("a pin holds them");
    let batches: Vec<_> = all.into_iter().map(|record| record.batch).collect();
    assert_eq!(batches, (0..7).map(step).collect::<Vec<_>>());
}
