//! Whatever becomes of the worker, the owner hears of it and the inbox is usable again.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use millpond_inbox::completions::{Completion, Completions, Outcome, RefillFlight, RefillTicket};
use millpond_inbox::{Limits, RefillEnd};
use millpond_sync::{Arc, thread};

use crate::{Window, keys, merged, rows, start};

type Rows = (Vec<(u32, &'static str)>, RefillEnd<u32>);
type Ticket = RefillTicket<&'static str, Rows, io::Error>;

struct Owner {
    completions: Completions<&'static str, Rows, io::Error>,
    window: Window,
}

impl Owner {
    fn new() -> Self {
        let owner = thread::current();
        let completions = Completions::new(move || owner.unpark());
        Self { completions, window: Window::new(false, Limits::default()) }
    }

    fn start(&mut self) -> (RefillFlight, Ticket) {
        start(&mut self.window);
        self.completions.issue("tenant-42")
    }

    fn wait(&mut self) -> Completion<&'static str, Rows, io::Error> {
        loop {
            match self.completions.next() {
                Some(completion) => return completion,
                None => thread::park(),
            }
        }
    }

    /// As before the refill: nothing known, nothing in flight, and a new one works.
    fn is_usable(&mut self) {
        assert!(self.window.refill_failed());
        let (flight, ticket) = self.start();
        ticket.complete((rows([1, 2]), RefillEnd::Exhausted));
        let completion = self.wait();
        assert!(flight.accepts(&completion));
        let Outcome::Completed((rows, end)) = completion.outcome else { panic!("it completed") };
        assert_eq!(self.window.refill_finished(rows, end), merged(2));
        assert_eq!(keys(&self.window), [1, 2]);
    }
}

#[test]
fn an_error_in_flight_reaches_the_owner() {
    let mut owner = Owner::new();
    let (flight, ticket) = owner.start();
    let worker = thread::spawn(move || ticket.fail(io::Error::other("bad sector")));
    let completion = owner.wait();
    assert!(flight.accepts(&completion));
    assert_eq!(completion.tag, "tenant-42");
    let Outcome::Failed(error) = completion.outcome else { panic!("it failed") };
    assert_eq!(error.to_string(), "bad sector");
    worker.join().expect("the worker only reports");
    owner.is_usable();
}

#[test]
fn a_panic_in_flight_reaches_the_owner() {
    let mut owner = Owner::new();
    let (flight, ticket) = owner.start();
    let worker = thread::spawn(move || {
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _ticket = ticket;
            panic!("a bug in the worker");
        }));
        panicked.is_err()
    });
    let completion = owner.wait();
    assert!(flight.accepts(&completion));
    assert!(matches!(completion.outcome, Outcome::Cancelled));
    assert!(worker.join().expect("the panic was caught"));
    owner.is_usable();
}

#[test]
fn a_ticket_dropped_in_flight_reaches_the_owner() {
    let mut owner = Owner::new();
    let (flight, ticket) = owner.start();
    drop(ticket);
    let completion = owner.wait();
    assert!(flight.accepts(&completion) && matches!(completion.outcome, Outcome::Cancelled));
    owner.is_usable();
}

#[test]
fn an_executor_shut_down_in_flight_reaches_the_owner() {
    let mut owner = Owner::new();
    let queue: Vec<(RefillFlight, Ticket)> = vec![owner.start()];
    let (flights, tickets): (Vec<_>, Vec<_>) = queue.into_iter().unzip();
    drop(tickets); // queued, never run
    let completion = owner.wait();
    assert!(flights[0].accepts(&completion) && matches!(completion.outcome, Outcome::Cancelled));
    owner.is_usable();
}

#[test]
fn an_owner_gone_in_flight_cancels_the_worker_and_takes_no_result() {
    let token = Arc::new(());
    let mut completions = Completions::<(), Arc<()>, ()>::new(|| ());
    let (flight, ticket) = completions.issue(());
    let (unread_flight, unread) = completions.issue(());
    unread.complete(token.clone());
    drop((flight, unread_flight, completions));
    assert!(ticket.is_cancelled());
    ticket.complete(token.clone());
    assert_eq!(Arc::strong_count(&token), 1, "both results were dropped");
}

#[test]
fn the_late_result_of_a_cancelled_refill_is_not_mistaken_for_the_next() {
    let mut owner = Owner::new();
    let (flight, ticket) = owner.start();
    flight.cancel();
    assert!(ticket.is_cancelled());
    assert!(owner.window.refill_failed());

    let (next_flight, next_ticket) = owner.start();
    ticket.complete((rows([1]), RefillEnd::Exhausted));
    let late = owner.wait();
    assert!(!next_flight.accepts(&late));
    next_ticket.complete((rows([1, 2]), RefillEnd::Exhausted));
    let completion = owner.wait();
    assert!(next_flight.accepts(&completion) && !next_flight.accepts(&late));
}

#[test]
fn completions_arrive_in_order_and_notify_once_per_batch() {
    let n_notified = Arc::new(millpond_sync::atomic::AtomicUsize::new(0));
    let counted = n_notified.clone();
    let relaxed = millpond_sync::atomic::Ordering::Relaxed;
    let mut completions = Completions::<u32, u32, ()>::new(move || {
        counted.fetch_add(1, relaxed);
    });
    for tag in 0..5 {
        let (_flight, ticket) = completions.issue(tag);
        ticket.complete(tag);
    }
    assert_eq!(n_notified.load(relaxed), 1);
    let tags: Vec<u32> = std::iter::from_fn(|| completions.next()).map(|c| c.tag).collect();
    assert_eq!(tags, [0, 1, 2, 3, 4]);
    drop(completions.issue(5));
    assert_eq!(n_notified.load(relaxed), 2);
}
