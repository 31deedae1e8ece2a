//! Models of the commit hand-off.

use millpond_sync::{model, thread};

use crate::{
    BufferedTicket, LogPosition, StoreError, StoreErrorKind, buffered_ticket, commit_ticket,
};

#[test]
fn a_resolved_commit_reaches_its_waiter() {
    model("commit_ticket_resolve_against_wait", || {
        let (promise, ticket) = commit_ticket();
        let store = thread::spawn(move || promise.durable(LogPosition(1)));
        let durable = thread::block_on(ticket).expect("the store resolved the promise");
        assert_eq!(*durable.get(), LogPosition(1));
        store.join().expect("resolving does not panic");
    });
}

#[test]
fn a_buffered_commit_reaches_its_waiter() {
    model("buffered_ticket_resolve_against_wait", || {
        let (promise, ticket) = buffered_ticket();
        let store = thread::spawn(move || {
            promise.buffered(LogPosition(1)).expect("nobody asked for a sync");
        });
        let buffered = thread::block_on(ticket).expect("the store resolved the promise");
        assert_eq!(*buffered.get(), LogPosition(1));
        store.join().expect("resolving does not panic");
    });
}

/// A store that syncs everything converts its tickets before it resolves them.
#[test]
fn a_commit_that_need_not_be_durable_waits_for_its_sync_all_the_same() {
    model("commit_ticket_converted_against_resolve", || {
        let (promise, ticket) = commit_ticket();
        let store = thread::spawn(move || {
            let promise = promise.buffered(LogPosition(1)).expect_err("it needs a sync");
            promise.durable(LogPosition(1));
        });
        let buffered = thread::block_on(BufferedTicket::from(ticket));
        assert_eq!(*buffered.expect("the store resolved it").get(), LogPosition(1));
        store.join().expect("resolving does not panic");
    });
}

#[test]
fn a_dropped_promise_fails_its_waiter() {
    model("commit_ticket_drop_against_wait", || {
        let (promise, ticket) = commit_ticket();
        let store = thread::spawn(move || drop(promise));
        let error = thread::block_on(ticket).expect_err("nothing vouched for the commit");
        assert_eq!(error.kind(), StoreErrorKind::Closed);
        store.join().expect("dropping does not panic");
    });
}

#[test]
fn polling_without_waiting_sees_each_outcome_once() {
    model("buffered_ticket_try_outcome", || {
        let (promise, mut ticket) = buffered_ticket();
        let store = thread::spawn(move || {
            promise.failed(StoreError::new(StoreErrorKind::NoSpace, "full"));
        });
        let early = ticket.try_outcome();
        store.join().expect("resolving does not panic");
        let outcome = early.or_else(|| ticket.try_outcome()).expect("the promise was resolved");
        assert_eq!(outcome.expect_err("it failed").kind(), StoreErrorKind::NoSpace);
    });
}
