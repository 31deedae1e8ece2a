//! Contract 1: order.

use std::sync::Arc;

use millpond_storage_api::{LogPosition, Table};

use crate::Harness;
use crate::fixture::{Fixture, batch};

pub(crate) fn positions_are_dense_from_one<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    for n in 1..=20 {
        assert_eq!(fixture.put(Table::Active, b"key", &[n]), LogPosition(n.into()));
    }
}

pub(crate) fn positions_go_on_after_a_clean_reopen<H: Harness>(harness: H) {
    positions_go_on(harness, Fixture::reopen_clean);
}

pub(crate) fn positions_go_on_after_a_crash<H: Harness>(harness: H) {
    positions_go_on(harness, Fixture::reopen_crash);
}

fn positions_go_on<H: Harness>(harness: H, reopen: fn(&mut Fixture<H>)) {
    let mut fixture = Fixture::new(harness);
    for round in 0..4 {
        assert_eq!(fixture.store.durable_position(), LogPosition(round * 3), "after opening");
        for n in 1..=3 {
            assert_eq!(fixture.put(Table::Active, b"key", b""), LogPosition(round * 3 + n));
        }
        reopen(&mut fixture);
    }
}

pub(crate) fn batches_apply_in_the_order_of_submit<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut tickets = Vec::new();
    for n in 0..100_u8 {
        tickets.push(fixture.submit(|batch| {
            batch.put(Table::Active, b"latest", &[n]);
            batch.delete(Table::Leases, &[n.wrapping_sub(1)]);
            batch.put(Table::Leases, &[n], b"");
        }));
    }
    for ticket in tickets {
        fixture.wait(ticket).expect("a healthy store commits");
    }
    assert_eq!(fixture.get(Table::Active, b"latest"), Some(vec![99]));
    fixture.check();
}

pub(crate) fn tickets_resolve_in_the_order_of_submit<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut tickets: Vec<_> =
        (0..50_u8).map(|n| fixture.submit(|batch| batch.put(Table::Active, &[n], b""))).collect();
    let last = tickets.pop().expect("there are 50");
    assert_eq!(fixture.wait(last).expect("a healthy store commits").into_inner(), LogPosition(50));
    for (position, mut ticket) in (1..).zip(tickets) {
        let outcome = ticket.try_outcome().expect("a later ticket has resolved already");
        assert_eq!(*outcome.expect("a healthy store commits").get(), LogPosition(position));
    }
}

pub(crate) fn threads_get_distinct_dense_positions<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let submitters: Vec<_> = (0..3_u8)
        .map(|thread| {
            let store = Arc::clone(&fixture.store);
            std::thread::spawn(move || {
                let put = |n| batch(|batch| batch.put(Table::Active, &[thread, n], b""));
                (0..40).map(|n| store.submit(put(n))).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut all = Vec::new();
    for submitter in submitters {
        let tickets = submitter.join().expect("submitting does not panic");
        let positions: Vec<_> = tickets
            .into_iter()
            .map(|ticket| fixture.wait(ticket).expect("a healthy store commits").into_inner())
            .collect();
        assert!(positions.is_sorted(), "one thread's batches keep their order");
        all.extend(positions);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=120).map(LogPosition).collect::<Vec<_>>());
}

pub(crate) fn an_empty_batch_takes_a_position<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    assert_eq!(fixture.commit(|_| {}), LogPosition(1));
    assert_eq!(fixture.put(Table::Active, b"key", b""), LogPosition(2));
    assert_eq!(fixture.commit(|_| {}), LogPosition(3));
    fixture.reopen_crash();
    assert_eq!(fixture.commit(|_| {}), LogPosition(4));
    fixture.check();
}

pub(crate) fn durable_position_keeps_up_with_tickets<H: Harness>(harness: H) {
    let mut fixture = Fixture::new(harness);
    let mut newest = LogPosition(0);
    for n in 0..30 {
        let position = fixture.put(Table::Active, b"key", &[n]);
        let durable = fixture.store.durable_position();
        assert!(durable >= position, "{durable} is behind a resolved ticket at {position}");
        assert!(durable >= newest, "the durable position never goes back");
        newest = durable;
    }
    assert_eq!(newest, LogPosition(30));
}
