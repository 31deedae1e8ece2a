//! Contract 4: fail-stop.

use millpond_storage_api::{LogPosition, StoreErrorKind, Table};

use crate::FaultHarness;
use crate::fixture::{Fixture, batch, find_in_history};

fn put<H: FaultHarness>(fixture: &mut Fixture<H>, n: u8) -> Result<LogPosition, StoreErrorKind> {
    let ticket = fixture.store.submit(batch(|batch| batch.put(Table::Active, &[n], b"value")));
    fixture.wait(ticket).map(|durable| durable.into_inner()).map_err(|error| error.kind())
}

pub(crate) fn a_failed_commit_says_why<H: FaultHarness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.harness.fail_next_commit();
    let kind = put(&mut fixture, 0).expect_err("the device fails");
    assert!(matches!(kind, StoreErrorKind::NoSpace | StoreErrorKind::Io), "{kind:?}");
}

pub(crate) fn every_later_commit_fails_too<H: FaultHarness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Active, b"key", b"value");
    fixture.harness.fail_next_commit();
    let in_flight: Vec<_> = (0..10_u8)
        .map(|n| fixture.store.submit(batch(|batch| batch.put(Table::Active, &[n], b""))))
        .collect();
    for ticket in in_flight {
        fixture.wait(ticket).expect_err("the first of them failed");
    }
    for n in 10..15 {
        assert_eq!(put(&mut fixture, n), Err(StoreErrorKind::Closed));
    }
    assert_eq!(fixture.store.durable_position(), LogPosition(1));
}

pub(crate) fn earlier_commits_are_durable<H: FaultHarness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut earlier = Vec::new();
    for n in 0..10_u8 {
        earlier.push(fixture.submit(|batch| batch.put(Table::Active, &[n], b"value")));
    }
    let mut history = vec![fixture.oracle.clone()];
    fixture.harness.fail_next_commit();
    let failing = fixture.submit(|batch| batch.put(Table::Active, b"fails", b""));
    history.push(fixture.oracle.clone());
    for ticket in earlier {
        fixture.wait(ticket).expect("it was submitted before the device failed");
    }
    fixture.wait(failing).expect_err("the device fails");
    fixture.reopen_crash();
    let store = fixture.store.clone();
    find_in_history(&mut fixture.harness, &*store, &history);
}

pub(crate) fn reopening_is_the_cure<H: FaultHarness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..3 {
        let mut history = vec![fixture.oracle.clone()];
        fixture.harness.fail_next_commit();
        let failing = fixture.submit(|batch| batch.put(Table::Active, &[n], b"value"));
        history.push(fixture.oracle.clone());
        fixture.wait(failing).expect_err("the device fails");
        fixture.close();
        fixture.reopen();
        let store = fixture.store.clone();
        let kept = find_in_history(&mut fixture.harness, &*store, &history);
        fixture.oracle = history.swap_remove(kept);
        let position = fixture.store.durable_position();
        assert_eq!(fixture.put(Table::Active, b"key", &[n]), position.next());
        fixture.check();
    }
}

pub(crate) fn nothing_durable_is_lost<H: FaultHarness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..10 {
        fixture.put(Table::Active, &[n], b"value");
    }
    let mut history = vec![fixture.oracle.clone()];
    fixture.harness.fail_next_commit();
    for n in 10..15 {
        let ticket = fixture.submit(|batch| batch.put(Table::Active, &[n], b"value"));
        history.push(fixture.oracle.clone());
        fixture.wait(ticket).expect_err("the device failed");
    }
    fixture.reopen_crash();
    let store = fixture.store.clone();
    find_in_history(&mut fixture.harness, &*store, &history);
}

pub(crate) fn a_failed_buffered_batch_says_why_and_stops_the_store<H: FaultHarness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    fixture.put(Table::Active, b"durable", b"value");
    let mut history = vec![fixture.oracle.clone()];
    fixture.harness.fail_next_commit();
    let failing = fixture.submit_buffered(|batch| batch.put(Table::Active, b"fails", b""));
    history.push(fixture.oracle.clone());
    let kind = fixture.harness.block_on(failing).expect_err("the device fails").kind();
    assert!(matches!(kind, StoreErrorKind::NoSpace | StoreErrorKind::Io), "{kind:?}");
    assert_eq!(put(&mut fixture, 1), Err(StoreErrorKind::Closed));
    fixture.reopen_crash();
    let store = fixture.store.clone();
    find_in_history(&mut fixture.harness, &*store, &history);
}

pub(crate) fn buffered_batches_fail_after_a_failed_commit<H: FaultHarness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut history = vec![fixture.oracle.clone()];
    fixture.harness.fail_next_commit();
    let failing = fixture.submit(|batch| batch.put(Table::Active, b"fails", b""));
    history.push(fixture.oracle.clone());
    fixture.wait(failing).expect_err("the device fails");
    for n in 1..5 {
        let later = batch(|batch| batch.put(Table::Active, &[n], b"value"));
        let later = fixture.store.submit_buffered(later);
        let error = fixture.harness.block_on(later).expect_err("the store has stopped");
        assert_eq!(error.kind(), StoreErrorKind::Closed);
    }
    fixture.close();
    fixture.reopen();
    let store = fixture.store.clone();
    let kept = find_in_history(&mut fixture.harness, &*store, &history);
    fixture.oracle = history.swap_remove(kept);
    fixture.buffer(|batch| batch.put(Table::Active, b"cured", b"value"));
    fixture.check();
}
