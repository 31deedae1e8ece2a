//! Models of the hand-off, and a check that the model wrapper can fail.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::{model, oneshot, thread};

#[test]
fn value_sent_before_or_after_the_poll_arrives() {
    model("oneshot_send_against_poll", || {
        let (sender, receiver) = oneshot::channel();
        let giver = thread::spawn(move || sender.send(7));
        assert_eq!(thread::block_on(receiver), Ok(7));
        giver.join().expect("send does not panic").expect("the receiver waited");
    });
}

#[test]
fn value_sent_through_an_outbox_arrives() {
    model("oneshot_outbox_against_poll", || {
        let (sender, receiver) = oneshot::channel();
        let giver = thread::spawn(move || {
            let mut outbox = oneshot::Outbox::default();
            outbox.send(sender, 7)
        });
        assert_eq!(thread::block_on(receiver), Ok(7));
        giver.join().expect("send does not panic").expect("the receiver waited");
    });
}

#[test]
fn dropped_sender_wakes_the_receiver() {
    model("oneshot_sender_drop_against_poll", || {
        let (sender, receiver) = oneshot::channel::<u8>();
        let giver = thread::spawn(move || drop(sender));
        assert_eq!(thread::block_on(receiver), Err(oneshot::Dropped));
        giver.join().expect("drop does not panic");
    });
}

#[test]
fn dropped_receiver_gives_the_value_back_or_takes_it() {
    model("oneshot_send_against_receiver_drop", || {
        let token = crate::Arc::new(());
        let (sender, receiver) = oneshot::channel();
        let sent = token.clone();
        let giver = thread::spawn(move || sender.send(sent).is_err());
        drop(receiver);
        giver.join().expect("send does not panic");
        // Returned or delivered, the value was dropped exactly once (loom also checks for leaks).
        assert_eq!(crate::Arc::strong_count(&token), 1);
    });
}

#[test]
fn try_recv_tells_pending_from_dropped() {
    model("oneshot_try_recv", || {
        let (sender, mut receiver) = oneshot::channel();
        assert_eq!(receiver.try_recv(), Ok(None));
        assert!(!sender.is_closed());
        sender.send(1).expect("the receiver is there");
        assert_eq!(receiver.try_recv(), Ok(Some(1)));
        assert_eq!(receiver.try_recv(), Err(oneshot::Dropped));
    });
}

#[test]
fn a_value_wins_over_the_drop_that_follows_it() {
    model("oneshot_value_then_drop", || {
        let (sender, receiver) = oneshot::channel();
        sender.send(3).expect("the receiver is there");
        let mut receiver = pin!(receiver);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(receiver.as_mut().poll(&mut context), Poll::Ready(Ok(3)));
    });
}

#[test]
fn a_wake_up_before_or_during_the_sleep_ends_it() {
    model("parker_unpark_against_park", || {
        let (parker, said) =
            (crate::Arc::new(crate::Parker::new()), crate::Arc::new(crate::Mutex::new(0)));
        let waker = {
            let (parker, said) = (parker.clone(), said.clone());
            thread::spawn(move || {
                *said.lock() = 7;
                parker.unpark();
            })
        };
        parker.park();
        assert_eq!(*said.lock(), 7);
        waker.join().expect("unpark does not panic");
    });
}

/// The broken twin: a hand-off that loses an update, which loom must find.
#[cfg(millpond_loom)]
#[test]
#[should_panic(expected = "an update was lost")]
fn a_lost_update_is_found() {
    use crate::atomic::{AtomicU32, Ordering};

    model("broken_twin_lost_update", || {
        let count = crate::Arc::new(AtomicU32::new(0));
        let add = |count: &AtomicU32| {
            let seen = count.load(Ordering::Acquire);
            count.store(seen + 1, Ordering::Release);
        };
        let other = {
            let count = count.clone();
            thread::spawn(move || add(&count))
        };
        add(&count);
        other.join().expect("the thread only adds");
        assert_eq!(count.load(Ordering::Acquire), 2, "an update was lost");
    });
}
