//! Models of the commit hand-off.

use millpond_sync::{model, thread};

use crate::{LogPosition, StoreError, StoreErrorKind, commit_ticket};

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
    model("commit_ticket_try_outcome", || {
        let (promise, mut ticket) = commit_ticket();
        let store = thread::spawn(move || {
            promise.failed(StoreError::new(StoreErrorKind::NoSpace, "full"));
        });
        let early = ticket.try_outcome();
        store.join().expect("resolving does not panic");
        let outcome = early.or_else(|| ticket.try_outcome()).expect("the promise was resolved");
        assert_eq!(outcome.expect_err("it failed").kind(), StoreErrorKind::NoSpace);
    });
}
