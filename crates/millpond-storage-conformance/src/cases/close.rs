//! Giving a store up.

use millpond_storage_api::{LogPosition, ScanRows, StoreErrorKind, Table};

use crate::Harness;
use crate::fixture::{Fixture, batch, range};
use crate::oracle::Oracle;

pub(crate) fn it_is_idempotent<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Active, b"key", b"value");
    let (first, second) = (fixture.store.close(), fixture.store.close());
    fixture.harness.block_on(second).expect("a healthy store closes");
    fixture.harness.block_on(first).expect("closing twice at once is fine");
    fixture.close();
    fixture.reopen();
    fixture.check();
}

pub(crate) fn submitted_batches_are_durable_when_it_ends<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let tickets: Vec<_> = (0..50_u8)
        .map(|n| fixture.submit(|batch| batch.put(Table::Active, &[n], &[n; 100])))
        .collect();
    fixture.close();
    for mut ticket in tickets {
        let outcome = ticket.try_outcome().expect("close waits for every batch");
        outcome.expect("a healthy store commits what it accepted");
    }
    fixture.reopen_crash();
    fixture.check();
}

pub(crate) fn everything_is_refused_afterwards<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Active, b"key", b"value");
    fixture.close();
    let store = fixture.store.clone();
    let ticket = store.submit(batch(|batch| batch.put(Table::Active, b"key", b"late")));
    let refused = fixture.wait(ticket).expect_err("the store is closed");
    assert_eq!(refused.kind(), StoreErrorKind::Closed);

    let all = range(Table::Active, b"", None);
    let mut rows = ScanRows::new();
    rows.push(b"left", b"over");
    let refused = [
        store.try_get(Table::Active, b"key").expect_err("the store is closed"),
        store.try_scan(&all, &mut rows).expect_err("the store is closed"),
        fixture.harness.block_on(store.get(Table::Active, b"key")).expect_err("it is closed"),
        fixture.harness.block_on(store.scan(all)).expect_err("the store is closed"),
        fixture.harness.block_on(store.checkpoint()).expect_err("the store is closed"),
    ];
    assert_eq!(refused.map(|error| error.kind()), [StoreErrorKind::Closed; 5]);
    assert!(rows.is_empty(), "an error other than WouldBlock leaves no rows");
    fixture.reopen();
    fixture.check();
}

pub(crate) fn the_store_can_be_opened_again<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..4 {
        fixture.put(Table::Active, &[n], b"value");
        // The closed handle is still there while the next one opens.
        let closed = fixture.store.clone();
        fixture.reopen_clean();
        assert!(fixture.store.epoch() > closed.epoch());
        fixture.check();
    }
}

pub(crate) fn dropping_the_future_harms_nothing<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let ticket = fixture.submit(|batch| batch.put(Table::Active, b"key", b"value"));
    drop(fixture.store.close());
    fixture.wait(ticket).expect("what was submitted before becomes durable");
    fixture.close();
    fixture.reopen();
    fixture.check();
}

/// One thread submits while another closes: the batches before some moment are durable, and those after
/// it are refused.
pub(crate) fn a_batch_that_races_it_is_durable_or_refused<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let put = |n: u8| batch(|batch| batch.put(Table::Active, &[n], b"value"));
    let mut tickets = vec![fixture.store.submit(put(0))];
    let submitter = {
        let store = fixture.store.clone();
        std::thread::spawn(move || (1..=200).map(|n| store.submit(put(n))).collect::<Vec<_>>())
    };
    fixture.close();
    tickets.extend(submitter.join().expect("submitting does not panic"));
    let outcomes: Vec<_> = tickets.into_iter().map(|ticket| fixture.wait(ticket)).collect();
    let n_durable = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
    for outcome in &outcomes[n_durable..] {
        let refused = outcome.as_ref().expect_err("nothing is accepted after a refusal");
        assert_eq!(refused.kind(), StoreErrorKind::Closed);
    }
    fixture.oracle = (0..=200).take(n_durable).fold(Oracle::default(), |mut oracle, n| {
        oracle.apply(&put(n));
        oracle
    });
    fixture.reopen();
    assert_eq!(fixture.store.durable_position(), LogPosition(n_durable as u64));
    fixture.check();
}
