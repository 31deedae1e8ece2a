//! Models of the hand-off: no completion is lost, none is delivered twice, none is taken for another.

use millpond_sync::{Arc, Condvar, Mutex, model, thread};

use super::{Completion, Completions, Outcome, RefillFlight};
use crate::{Finish, Inbox, Limits, RefillEnd};

type Rows = (Vec<(u32, u32)>, RefillEnd<u32>);
type Refills = Completions<(), Rows, ()>;

/// A latching notifier, as the mailbox of an owner has one.
#[derive(Default)]
struct Latch {
    notified: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    fn notify(&self) {
        *self.notified.lock() = true;
        self.changed.notify_one();
    }

    fn park(&self) {
        let mut notified = self.notified.lock();
        while !*notified {
            notified = self.changed.wait(notified);
        }
        *notified = false;
    }
}

fn latched<Q, T, E>() -> (Arc<Latch>, Completions<Q, T, E>) {
    let latch = Arc::new(Latch::default());
    let notified = latch.clone();
    (latch, Completions::new(move || notified.notify()))
}

fn started(inbox: &mut Inbox<u32, u32>) {
    let request = inbox.refill_wanted().expect("the inbox knows nothing");
    inbox.refill_started(request);
}

/// What an owner does with a completion.
fn settle(
    inbox: &mut Inbox<u32, u32>,
    flight: &RefillFlight,
    completion: Completion<(), Rows, ()>,
) -> Option<Finish> {
    if !flight.accepts(&completion) {
        return None;
    }
    match completion.outcome {
        Outcome::Completed((rows, end)) => Some(inbox.refill_finished(rows, end)),
        Outcome::Failed(()) | Outcome::Cancelled => {
            inbox.refill_failed();
            None
        }
    }
}

/// The worker completes or drops its ticket while the owner cancels, starts again and waits for the second
/// refill. The first one's snapshot lacks row 2 and must not be taken for the second's.
fn second_refill_is_merged_and_the_first_is_not(completes: bool) {
    let (latch, mut completions): (_, Refills) = latched();
    let mut inbox = Inbox::new(false, Limits::default());
    started(&mut inbox);
    let (flight, ticket) = completions.issue(());
    let worker = thread::spawn(move || {
        if completes && !ticket.is_cancelled() {
            ticket.complete((vec![(1, 1)], RefillEnd::Exhausted));
        }
    });
    flight.cancel();
    inbox.refill_failed();
    started(&mut inbox);
    let (flight, ticket) = completions.issue(());
    ticket.complete((vec![(1, 1), (2, 2)], RefillEnd::Exhausted));

    let mut n_seen = 0;
    while n_seen < 2 {
        match completions.next() {
            Some(completion) => {
                n_seen += 1;
                settle(&mut inbox, &flight, completion);
            }
            None => latch.park(),
        }
    }
    worker.join().expect("the worker only reports");
    assert!(completions.next().is_none(), "one completion per ticket");
    assert!(!inbox.refill_in_flight(), "not stuck");
    assert_eq!(inbox.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn completion_against_cancel() {
    model("refill_completion_against_cancel", || {
        second_refill_is_merged_and_the_first_is_not(true);
    });
}

#[test]
fn ticket_drop_against_cancel() {
    model("refill_ticket_drop_against_cancel", || {
        second_refill_is_merged_and_the_first_is_not(false);
    });
}

#[test]
fn completion_against_ticket_drop() {
    model("refill_completion_against_ticket_drop", || {
        let (latch, mut completions) = latched::<u8, (), ()>();
        let (_first, completed) = completions.issue(1);
        let (_second, dropped) = completions.issue(2);
        let completing = thread::spawn(move || completed.complete(()));
        let dropping = thread::spawn(move || drop(dropped));
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match completions.next() {
                Some(completion) => seen.push((completion.tag, completion.outcome)),
                None => latch.park(),
            }
        }
        seen.sort_by_key(|(tag, _)| *tag);
        assert_eq!(seen, [(1, Outcome::Completed(())), (2, Outcome::Cancelled)]);
        completing.join().expect("the worker only reports");
        dropping.join().expect("the worker only drops");
    });
}

#[test]
fn completion_against_the_owner_going_away() {
    model("refill_completion_against_owner_drop", || {
        let token = Arc::new(());
        let (_latch, mut completions) = latched::<(), Arc<()>, ()>();
        let (flight, ticket) = completions.issue(());
        let yielded = token.clone();
        let worker = thread::spawn(move || ticket.complete(yielded));
        drop(flight);
        drop(completions);
        worker.join().expect("the worker only reports");
        // Refused or delivered and unread, the result was dropped exactly once (loom also checks for leaks).
        assert_eq!(Arc::strong_count(&token), 1);
    });
}

#[test]
fn two_pushes_of_one_worker_against_park() {
    model("completion_pushes_against_park", || {
        let owner = thread::current();
        let mut completions = Completions::<u8, (), ()>::new(move || owner.unpark());
        let (_first, one) = completions.issue(1);
        let (_second, two) = completions.issue(2);
        let worker = thread::spawn(move || {
            one.complete(());
            two.complete(());
        });
        let mut tags = Vec::new();
        while tags.len() < 2 {
            match completions.next() {
                Some(completion) => tags.push(completion.tag),
                None => thread::park(),
            }
        }
        assert_eq!(tags, [1, 2]);
        worker.join().expect("the worker only reports");
    });
}

/// The broken twin: an owner that goes back to its notifier although its last `next` returned a completion,
/// and so never sees the one fetched with it. Loom must find the interleaving in which nobody wakes it.
#[cfg(millpond_loom)]
#[test]
#[should_panic(expected = "nobody would wake the owner")]
fn parking_before_none_is_found() {
    model("broken_twin_parks_too_early", || {
        let (latch, mut completions) = latched::<u8, (), ()>();
        let (_first, one) = completions.issue(1);
        let (_second, two) = completions.issue(2);
        let worker = thread::spawn(move || {
            one.complete(());
            two.complete(());
        });
        latch.park();
        let mut n_seen = usize::from(completions.next().is_some());
        worker.join().expect("the worker only reports");
        while n_seen < 2 {
            // A park would be a deadlock, after which loom cannot run the destructors.
            let notified = *latch.notified.lock();
            assert!(notified, "nobody would wake the owner");
            latch.park();
            n_seen += usize::from(completions.next().is_some());
        }
    });
}
