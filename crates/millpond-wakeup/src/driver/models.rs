//! Models of the driver, named after the race each excludes. Its alarm never goes off: whatever happens,
//! happens because somebody woke it.

use millpond_sync::{Arc, model, thread};

use super::rearm::{Alarm, Receiver, Shared};
use super::*;
use crate::Timers;

/// Far away, and `PAST` is not.
const FUTURE: Nanos = Nanos(10);
const PAST: Nanos = Nanos(1);
const NOW: Nanos = Nanos(5);

struct Silent {
    set_to: Option<Nanos>,
}

impl Alarm for Silent {
    fn now(&self) -> Nanos {
        NOW
    }

    fn set(&mut self, deadline: Option<Nanos>) {
        self.set_to = deadline;
    }

    fn poll(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

type SharedTimers = Arc<Shared<Timers<u8>>>;

fn timers() -> (SharedTimers, Receiver<Timers<u8>, Silent>) {
    let shared = Shared::new(Timers::new(4));
    (shared.clone(), Receiver::new(shared, Silent { set_to: None }))
}

fn insert(shared: &SharedTimers, deadline: Nanos, value: u8) -> Option<crate::Handle> {
    shared.change(|timers| timers.insert(deadline, value).ok())
}

/// Sleeps until something is due.
fn recv(receiver: &mut Receiver<Timers<u8>, Silent>) -> Option<Vec<u8>> {
    let mut batch = Vec::new();
    let n = thread::block_on(poll_fn(|context| receiver.poll(context, &mut batch, 9)));
    n.map(|_| batch.into_iter().map(|due| due.value).collect())
}

#[test]
fn a_deadline_set_while_the_driver_falls_asleep_wakes_it() {
    model("driver_rearm_against_set", || {
        let (shared, mut receiver) = timers();
        let setter = thread::spawn(move || insert(&shared, PAST, 1));
        assert_eq!(recv(&mut receiver), Some(vec![1]));
        setter.join().expect("insert does not panic").expect("it is open");
    });
}

#[test]
fn a_deadline_moved_to_the_past_while_the_driver_falls_asleep_wakes_it() {
    model("driver_rearm_against_reset", || {
        let (shared, mut receiver) = timers();
        let handle = insert(&shared, FUTURE, 1).expect("it is open");
        let setter = thread::spawn(move || shared.change(|timers| timers.reset(handle, PAST)));
        assert_eq!(recv(&mut receiver), Some(vec![1]));
        setter.join().expect("reset does not panic").expect("it has not fired");
    });
}

#[test]
fn the_last_deadline_cancelled_while_the_driver_falls_asleep_leaves_no_alarm() {
    model("driver_rearm_against_cancel", || {
        let (shared, mut receiver) = timers();
        let handle = insert(&shared, FUTURE, 1).expect("it is open");
        let canceller = thread::spawn(move || shared.change(|timers| timers.cancel(handle)));
        let mut batch = Vec::new();
        thread::block_on(poll_fn(|context| {
            assert_eq!(receiver.poll(context, &mut batch, 9), Poll::Pending);
            if receiver.alarm.set_to.is_none() { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert_eq!(canceller.join().expect("cancel does not panic"), Some(1));
    });
}

#[test]
fn deadlines_of_two_threads_both_arrive() {
    model("driver_rearm_against_two_sets", || {
        let (shared, mut receiver) = timers();
        let other = shared.clone();
        let first = thread::spawn(move || insert(&shared, PAST, 1));
        let second = thread::spawn(move || insert(&other, PAST, 2));
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(recv(&mut receiver).expect("it is open"));
        }
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        first.join().expect("insert does not panic").expect("it is open");
        second.join().expect("insert does not panic").expect("it is open");
    });
}

#[test]
fn a_shutdown_while_the_driver_falls_asleep_ends_it_and_loses_nothing() {
    model("driver_rearm_against_shutdown", || {
        let (shared, mut receiver) = timers();
        insert(&shared, PAST, 1).expect("it is open");
        insert(&shared, FUTURE, 2).expect("it is open");
        let ender = thread::spawn(move || shared.shutdown().map(|due| due.value).collect());
        let mut all: Vec<u8> = Vec::new();
        while let Some(due) = recv(&mut receiver) {
            all.extend(due);
        }
        let pending: Vec<u8> = ender.join().expect("shutdown does not panic");
        all.extend(pending);
        assert_eq!(all, [1, 2], "delivered or returned, never both and never neither");
    });
}

#[test]
fn the_last_handle_that_goes_while_the_driver_falls_asleep_ends_it() {
    model("driver_rearm_against_last_handle", || {
        let (shared, mut receiver) = timers();
        let goer = thread::spawn(move || shared.remove_handle());
        assert_eq!(recv(&mut receiver), None);
        goer.join().expect("removing a handle does not panic");
    });
}

#[test]
fn a_deadline_set_while_the_driver_is_dropped_has_an_outcome() {
    model("driver_drop_against_set", || {
        let (shared, receiver) = timers();
        let other = shared.clone();
        let setter = thread::spawn(move || insert(&other, FUTURE, 1));
        drop(receiver);
        let was_taken = setter.join().expect("insert does not panic").is_some();
        assert_eq!(shared.shutdown().len(), usize::from(was_taken));
    });
}

/// The broken twin: the driver says until when it sleeps after it has given up the lock. It does not really
/// sleep here, because loom does not survive a deadlock in a future.
#[cfg(millpond_loom)]
#[test]
#[should_panic(expected = "nobody woke it")]
fn a_driver_that_says_too_late_until_when_it_sleeps_is_found() {
    use super::mutation::Mutation;
    use crate::counter::Counter;

    model("broken_driver_says_too_late", || {
        let (shared, mut receiver) = timers();
        shared.break_rule(Some(Mutation::SayTooLate));
        let setter = thread::spawn(move || insert(&shared, PAST, 1));
        let counter = std::sync::Arc::new(Counter::default());
        let waker = counter.waker();
        let polled = receiver.poll(&mut Context::from_waker(&waker), &mut Vec::new(), 9);
        setter.join().expect("insert does not panic").expect("it is open");
        assert!(polled.is_ready() || counter.n() == 1, "nobody woke it");
    });
}
