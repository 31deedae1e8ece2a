//! Models of the mailbox, named after the race each excludes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use millpond_sync::{model, thread};

use crate::executor::Executor;
use crate::mailbox::{Class, mailbox};

const EVERY: [usize; 2] = [9, 9];

#[test]
fn a_message_pushed_while_the_owner_falls_asleep_wakes_it() {
    model("mailbox_push_against_sleep", || {
        let (sender, owner) = mailbox(4);
        let pusher = thread::spawn(move || sender.push(Class::Control, 1));
        let mut out = Vec::new();
        while out.is_empty() {
            owner.wait(EVERY, None);
            owner.drain(&mut out, EVERY);
        }
        assert_eq!(out, [1]);
        pusher.join().expect("push does not panic").expect("the mailbox is open");
    });
}

#[test]
fn a_notification_while_the_owner_falls_asleep_wakes_it() {
    model("mailbox_notify_against_sleep", || {
        let (sender, owner) = mailbox::<u8>(4);
        let notifier = thread::spawn(move || sender.notify());
        owner.wait(EVERY, None);
        notifier.join().expect("notify does not panic");
    });
}

#[test]
fn closing_gives_every_message_back_exactly_once() {
    model("mailbox_send_against_close", || {
        let (sender, owner) = mailbox(4);
        let giver = thread::spawn(move || thread::block_on(sender.send(7)).err());
        let left = owner.close();
        let refused = giver.join().expect("send does not panic");
        let everywhere: Vec<u8> = left.into_iter().chain(refused).collect();
        assert_eq!(everywhere, [7], "drained by close or refused, never both and never neither");
    });
}

#[test]
fn room_made_while_a_sender_starts_to_wait_lets_it_in() {
    model("mailbox_room_against_full", || {
        let (sender, owner) = mailbox(1);
        thread::block_on(sender.send(1)).expect("the mailbox is open");
        let second = thread::spawn(move || thread::block_on(sender.send(2)));
        let mut out = Vec::new();
        while out.len() < 2 {
            owner.wait(EVERY, None);
            owner.drain(&mut out, EVERY);
        }
        assert_eq!(out, [1, 2]);
        second.join().expect("send does not panic").expect("the mailbox is open");
    });
}

#[test]
fn closing_wakes_a_sender_that_waits_for_room() {
    model("mailbox_close_against_full", || {
        let (sender, owner) = mailbox(1);
        thread::block_on(sender.send(1)).expect("the mailbox is open");
        let second = thread::spawn(move || thread::block_on(sender.send(2)));
        assert!(owner.close().contains(&1));
        // Closed before or after it began to wait, the second is refused.
        assert_eq!(second.join().expect("send does not panic"), Err(2));
    });
}

#[test]
fn every_class_gets_its_share() {
    model("mailbox_shares", || {
        let (sender, owner) = mailbox(8);
        for n in 0..3 {
            sender.push(Class::Control, n).expect("the mailbox is open");
        }
        thread::block_on(sender.send(100)).expect("the mailbox is open");
        let mut out = Vec::new();
        owner.drain(&mut out, [1, 1]);
        assert_eq!(out, [0, 100]);
        owner.wait([1, 0], None);
        owner.drain(&mut out, [9, 0]);
        assert_eq!(out, [0, 100, 1, 2]);
    });
}

#[test]
fn a_sender_waits_for_room_once_however_often_it_is_polled_and_not_at_all_once_dropped() {
    struct Silent;
    impl Wake for Silent {
        fn wake(self: Arc<Self>) {}
    }
    model("mailbox_waiting_senders", || {
        let (sender, owner) = mailbox(1);
        thread::block_on(sender.send(1)).expect("the mailbox is open");
        let wake = Arc::new(Silent);
        let waker = Waker::from(wake.clone());
        let mut context = Context::from_waker(&waker);
        let (mut first, mut second) = (sender.send(2), sender.send(3));
        for _ in 0..3 {
            assert!(Pin::new(&mut first).poll(&mut context).is_pending());
            assert!(Pin::new(&mut second).poll(&mut context).is_pending());
        }
        assert_eq!(Arc::strong_count(&wake), 4, "two wait, beside the test's own two");
        drop(first);
        assert_eq!(Arc::strong_count(&wake), 3);
        owner.drain(&mut Vec::new(), EVERY);
        assert_eq!(Arc::strong_count(&wake), 2, "woken, it no longer waits");
        assert!(Pin::new(&mut second).poll(&mut context).is_ready());
    });
}

/// What becomes of a job: run, or dropped.
struct Job(millpond_sync::oneshot::Sender<()>);

#[test]
fn a_job_submitted_while_a_thread_falls_asleep_is_run() {
    model("executor_submit_against_sleep", || {
        let executor = Executor::new(1, |Job(sender)| {
            let _ = sender.send(());
        });
        for _ in 0..2 {
            let (sender, receiver) = millpond_sync::oneshot::channel();
            executor.submit(Job(sender), false);
            thread::block_on(receiver).expect("the job is run");
        }
    });
}

#[test]
fn a_job_is_run_or_dropped_when_the_executor_goes() {
    model("executor_submit_against_drop", || {
        let executor = Executor::new(1, |Job(sender)| {
            let _ = sender.send(());
        });
        let (sender, receiver) = millpond_sync::oneshot::channel();
        executor.submit(Job(sender), true);
        drop(executor);
        // Either way somebody hears of it: nobody waits for ever.
        let _ = thread::block_on(receiver);
    });
}

// Loom ends a model at the first panic.
#[cfg(not(millpond_loom))]
#[test]
fn a_panic_costs_a_job_and_no_thread() {
    let executor = Executor::new(1, |Job(sender)| {
        drop(sender);
        panic!("a job that fails");
    });
    for _ in 0..2 {
        let (sender, receiver) = millpond_sync::oneshot::channel();
        executor.submit(Job(sender), false);
        assert!(thread::block_on(receiver).is_err(), "its owner hears of it");
    }
}
