//! Contract 3: visibility.

use millpond_storage_api::Table;

use crate::Harness;
use crate::fixture::{Fixture, find_in_history, range, scan_to_end};

pub(crate) fn a_resolved_batch_is_visible_to_every_read<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 0..30 {
        fixture.put(Table::Active, b"key", &[n]);
        // `get` and `check` compare the waiting forms with those that never block.
        assert_eq!(fixture.get(Table::Active, b"key"), Some(vec![n]));
        fixture.scan(&range(Table::Active, b"", None));
    }
}

/// Reads after every submit without waiting for any, so that reads meet commits on their way.
fn read_while_submitting<H: Harness>(harness: H) -> Vec<(usize, usize)> {
    let mut fixture = Fixture::new(harness);
    let mut history = vec![fixture.oracle.clone()];
    let mut tickets = Vec::new();
    let mut seen = Vec::new();
    let mut n_resolved = 0;
    for n in 0..60_u8 {
        tickets.push(fixture.submit(|batch| {
            batch.put(Table::Active, b"first", &[n]);
            batch.put(Table::Active, b"second", &[n]);
        }));
        history.push(fixture.oracle.clone());
        while tickets.get_mut(n_resolved).is_some_and(|ticket| ticket.try_outcome().is_some()) {
            n_resolved += 1;
        }
        let store = fixture.store.clone();
        seen.push((n_resolved, find_in_history(&mut fixture.harness, &*store, &history)));
    }
    seen
}

pub(crate) fn reads_see_a_prefix_of_what_was_submitted<H: Harness>(harness: H) {
    for (n_resolved, n_seen) in read_while_submitting(harness) {
        assert!(n_seen >= n_resolved, "a read saw {n_seen} of {n_resolved} resolved batches");
    }
}

pub(crate) fn reads_never_go_back<H: Harness>(harness: H) {
    let seen: Vec<_> = read_while_submitting(harness).into_iter().map(|(_, n)| n).collect();
    assert!(seen.is_sorted(), "{seen:?}");
}

pub(crate) fn a_batch_becomes_visible_as_a_whole<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut last = None;
    for n in 0..60_u8 {
        last = Some(fixture.submit(|batch| {
            batch.put(Table::Queues, b"first", &[n]);
            batch.put(Table::Queues, b"middle", &[0; 500]);
            batch.put(Table::Queues, b"second", &[n]);
        }));
        let store = fixture.store.clone();
        let rows = scan_to_end(&mut fixture.harness, &*store, range(Table::Queues, b"", None));
        let values: Vec<_> = rows.iter().filter(|(key, _)| key != b"middle").collect();
        match &values[..] {
            [] => assert!(rows.is_empty(), "{rows:?}"),
            [(_, first), (_, second)] => assert_eq!(first, second),
            _ => panic!("half a batch is visible: {rows:?}"),
        }
    }
    let last = last.expect("there were 60");
    fixture.wait(last).expect("a healthy store commits");
    fixture.check();
}
