//! The commit log.

use millpond_storage_api::{LogPosition, LogRecord, StoreError, StoreErrorKind, Table, WriteBatch};

use crate::Harness;
use crate::fixture::{Fixture, batch};

fn step(n: u8) -> WriteBatch {
    batch(|batch| {
        batch.put(Table::Active, b"latest", &[n]);
        batch.put(Table::Entries, &[n], &[n; 50]);
        if n > 0 {
            batch.single_delete(Table::Entries, &[n - 1]);
            batch.delete(Table::Leases, &[n]);
            batch.delete_range(Table::Payloads, &[0], &[n]);
        }
    })
}

/// Commits `step(n)` for each `n` and returns what the log must say about them.
fn commit<H: Harness>(fixture: &mut Fixture<H>, steps: impl Iterator<Item = u8>) -> Vec<LogRecord> {
    let mut records = Vec::new();
    for n in steps {
        let position = fixture.commit(|batch| *batch = step(n));
        records.push(LogRecord { position, batch: step(n) });
    }
    records
}

fn read<H: Harness>(
    fixture: &mut Fixture<H>,
    after: u64,
    bytes_max: usize,
) -> Result<Vec<LogRecord>, StoreError> {
    let read = fixture.store.log().read_after(LogPosition(after), bytes_max);
    fixture.harness.block_on(read)
}

fn read_to_end<H: Harness>(fixture: &mut Fixture<H>, mut after: u64) -> Vec<LogRecord> {
    let mut all = Vec::new();
    loop {
        let records = read(fixture, after, 1 << 20).expect("the log reaches back that far");
        let Some(last) = records.last() else { return all };
        assert!(last.position.0 > after, "reading the log must make progress");
        after = last.position.0;
        all.extend(records);
    }
}

fn expect_gap<H: Harness>(fixture: &mut Fixture<H>, after: u64) {
    let error = read(fixture, after, 1 << 20).expect_err("the batch after it was not recorded");
    let StoreErrorKind::Gap { oldest } = error.kind() else { panic!("not a gap: {error}") };
    assert!(oldest.0 > after + 1, "what is missing after {after} cannot be read from {oldest}");
}

pub(crate) fn nothing_is_recorded_without_a_pin<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    assert_eq!(read(&mut fixture, 0, 1000).expect("nothing was committed"), vec![]);
    commit(&mut fixture, 0..5);
    expect_gap(&mut fixture, 0);
    expect_gap(&mut fixture, 4);
    assert_eq!(read(&mut fixture, 5, 1000).expect("5 is the newest"), vec![]);
}

pub(crate) fn pinned_batches_are_read_back_as_submitted<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let _pin = fixture.store.log().pin();
    let records = commit(&mut fixture, 0..20);
    assert_eq!(read_to_end(&mut fixture, 0), records);
    assert_eq!(read_to_end(&mut fixture, 13), records[13..]);
    let empty = fixture.commit(|_| {});
    let record = LogRecord { position: empty, batch: WriteBatch::new() };
    assert_eq!(read_to_end(&mut fixture, 20), vec![record]);
}

pub(crate) fn positions_match_the_tickets<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    commit(&mut fixture, 0..3);
    let pin = fixture.store.log().pin();
    assert_eq!(pin.position(), LogPosition(3));
    let tickets: Vec<_> = (3..20).map(|n| fixture.submit(|batch| *batch = step(n))).collect();
    let mut expected = Vec::new();
    for (n, ticket) in (3..).zip(tickets) {
        let position = fixture.wait(ticket).expect("a healthy store commits").into_inner();
        expected.push(LogRecord { position, batch: step(n) });
    }
    assert_eq!(read_to_end(&mut fixture, pin.position().0), expected);
}

pub(crate) fn reading_after_the_newest_is_empty<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let _pin = fixture.store.log().pin();
    assert_eq!(read(&mut fixture, 0, 1000).expect("nothing was committed"), vec![]);
    commit(&mut fixture, 0..4);
    assert_eq!(read(&mut fixture, 4, 1000).expect("4 is the newest"), vec![]);
}

pub(crate) fn bytes_max_gives_at_least_one_and_no_holes<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let _pin = fixture.store.log().pin();
    let records = commit(&mut fixture, 0..20);
    for bytes_max in [1, 100, 300, 1000] {
        let mut after = 0;
        let mut all = Vec::new();
        while after < 20 {
            let some = read(&mut fixture, after, bytes_max).expect("the log reaches back");
            assert!(!some.is_empty(), "nothing after {after} with {bytes_max} bytes");
            after += some.len() as u64;
            all.extend(some);
        }
        assert_eq!(all, records);
    }
    let first = read(&mut fixture, 0, 1).expect("the log reaches back");
    assert!(first.len() < 20, "bytes_max has no effect");
}

pub(crate) fn advancing_keeps_what_lies_behind_it<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut pin = fixture.store.log().pin();
    let records = commit(&mut fixture, 0..10);
    pin.advance(LogPosition(6));
    assert_eq!(read_to_end(&mut fixture, 6), records[6..]);
    pin.advance(LogPosition(2));
    assert_eq!(pin.position(), LogPosition(6), "a pin never goes back");
    let later = commit(&mut fixture, 10..15);
    assert_eq!(read_to_end(&mut fixture, 10), later);
    pin.advance(LogPosition(15));
    assert_eq!(read_to_end(&mut fixture, 15), vec![]);
    let latest = commit(&mut fixture, 15..16);
    assert_eq!(read_to_end(&mut fixture, 15), latest);
}

pub(crate) fn what_was_not_recorded_is_a_gap<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    commit(&mut fixture, 0..5);
    let pin = fixture.store.log().pin();
    let records = commit(&mut fixture, 5..10);
    expect_gap(&mut fixture, 0);
    expect_gap(&mut fixture, 4);
    assert_eq!(read_to_end(&mut fixture, 5), records);
    drop(pin);
    commit(&mut fixture, 10..12);
    expect_gap(&mut fixture, 10);
}

/// Records of two pins with unrecorded batches between them: no read may go from one to the other.
pub(crate) fn a_second_pin_does_not_hide_a_hole<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let first = fixture.store.log().pin();
    commit(&mut fixture, 0..5);
    drop(first);
    commit(&mut fixture, 5..8);
    let second = fixture.store.log().pin();
    let records = commit(&mut fixture, 8..10);
    assert_eq!(second.position(), LogPosition(8));
    assert_eq!(read_to_end(&mut fixture, 8), records);
    for after in 5..8 {
        expect_gap(&mut fixture, after);
    }
    for after in 0..5 {
        // Records of the first pin may still be there, and then end before the hole.
        match read(&mut fixture, after, 1 << 20) {
            Ok(records) => {
                let positions: Vec<_> = records.iter().map(|record| record.position.0).collect();
                let dense: Vec<_> = (after + 1..).take(positions.len()).collect();
                assert!(positions == dense && dense.iter().all(|&p| p <= 5), "{positions:?}");
            }
            Err(error) => {
                assert!(matches!(error.kind(), StoreErrorKind::Gap { .. }), "{error}");
            }
        }
    }
}

pub(crate) fn every_pin_holds<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let first = fixture.store.log().pin();
    let mut records = commit(&mut fixture, 0..5);
    let mut second = fixture.store.log().pin();
    assert_eq!(second.position(), LogPosition(5));
    records.extend(commit(&mut fixture, 5..10));
    second.advance(LogPosition(9));
    assert_eq!(read_to_end(&mut fixture, 0), records, "the first pin still holds everything");
    drop(first);
    records.extend(commit(&mut fixture, 10..12));
    assert_eq!(read_to_end(&mut fixture, 9), records[9..], "the second pin still holds its part");
}

pub(crate) fn only_durable_batches_are_read<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let _pin = fixture.store.log().pin();
    let mut tickets = Vec::new();
    for n in 0..40 {
        tickets.push(fixture.submit(|batch| *batch = step(n)));
        let records = read_to_end(&mut fixture, 0);
        let durable = fixture.store.durable_position();
        let newest = records.last().map_or(LogPosition(0), |record| record.position);
        assert!(newest <= durable, "{newest} was read, but only {durable} is durable");
    }
    for ticket in tickets {
        fixture.wait(ticket).expect("a healthy store commits");
    }
    assert_eq!(read_to_end(&mut fixture, 0).len(), 40);
}

pub(crate) fn a_reopened_store_has_an_empty_log<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let _pin = fixture.store.log().pin();
    commit(&mut fixture, 0..5);
    fixture.reopen_clean();
    expect_gap(&mut fixture, 0);
    let _second = fixture.store.log().pin();
    let records = commit(&mut fixture, 5..7);
    assert_eq!(read_to_end(&mut fixture, 5), records);
    fixture.reopen_crash();
    expect_gap(&mut fixture, 5);
    assert_eq!(read(&mut fixture, 7, 1000).expect("7 is the newest"), vec![]);
}
