//! Models of the mailbox, named after the race each excludes.

use std::future::Future;
#[cfg(millpond_loom)]
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Waker};

use millpond_sync::{model, thread};

use super::*;

const EVERY: [usize; 2] = [9, 9];
const CONTROL: usize = 0;
const DATA: usize = 1;

fn small() -> (MailboxSender<u8, 2>, MailboxOwner<u8, 2>) {
    mailbox([UNBOUNDED, 1])
}

/// The data class has room for many messages and for no more weight than one of them has.
fn weighing() -> (MailboxSender<u8, 2>, MailboxOwner<u8, 2>) {
    let data = Capacity { n_messages: 9, weight: 1 };
    mailbox_weighing([UNBOUNDED.into(), data], |message| (*message).into())
}

/// Sleeps as a thread and drains until there are `n` messages.
fn take(owner: &mut MailboxOwner<u8, 2>, n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < n {
        owner.wait(EVERY, None);
        owner.drain(&mut out, EVERY);
    }
    out
}

#[test]
fn a_message_pushed_while_the_thread_falls_asleep_wakes_it() {
    model("shares_push_against_sleep", || {
        let (sender, mut owner) = small();
        let pusher = thread::spawn(move || sender.push::<CONTROL>(1).map(|()| sender));
        assert_eq!(take(&mut owner, 1), [1]);
        pusher.join().expect("push does not panic").expect("the mailbox is open");
    });
}

#[test]
fn a_message_pushed_while_the_task_falls_asleep_wakes_it() {
    model("shares_push_against_task", || {
        let (sender, mut owner) = small();
        let pusher = thread::spawn(move || sender.push::<CONTROL>(1).map(|()| sender));
        let mut out = Vec::new();
        while out.is_empty() {
            thread::block_on(owner.recv(&mut out, EVERY));
        }
        assert_eq!(out, [1]);
        pusher.join().expect("push does not panic").expect("the mailbox is open");
    });
}

#[test]
fn two_messages_wake_a_thread_that_falls_asleep_between_them() {
    model("shares_two_pushes_against_sleep", || {
        let (sender, mut owner) = small();
        let other = sender.clone();
        let pusher = thread::spawn(move || other.push::<CONTROL>(1));
        let second = thread::spawn(move || sender.try_send::<DATA>(2));
        let mut out = take(&mut owner, 2);
        out.sort_unstable();
        assert_eq!(out, [1, 2]);
        pusher.join().expect("push does not panic").expect("the mailbox is open");
        second.join().expect("try_send does not panic").expect("there is room for one");
    });
}

#[test]
fn a_notification_while_the_thread_falls_asleep_wakes_it() {
    model("shares_notify_against_sleep", || {
        let (sender, mut owner) = small();
        let waker = sender.waker();
        let notifier = thread::spawn(move || waker.wake());
        owner.wait(EVERY, None);
        notifier.join().expect("notify does not panic");
        drop(sender);
    });
}

#[test]
fn the_last_sender_that_goes_while_the_task_falls_asleep_wakes_it() {
    model("shares_last_sender_against_sleep", || {
        let (sender, mut owner) = small();
        let goer = thread::spawn(move || drop(sender));
        let mut out = Vec::new();
        while owner.is_open() {
            thread::block_on(owner.recv(&mut out, EVERY));
        }
        assert!(out.is_empty());
        goer.join().expect("a drop does not panic");
    });
}

#[test]
fn closing_gives_every_message_back_exactly_once() {
    model("shares_send_against_close", || {
        let (sender, mut owner) = small();
        let giver = thread::spawn(move || thread::block_on(sender.send::<DATA>(7)).err());
        let left = owner.close();
        let refused = giver.join().expect("send does not panic").map(|Closed(message)| message);
        let everywhere: Vec<u8> = left.into_iter().chain(refused).collect();
        assert_eq!(everywhere, [7], "drained by close or refused, never both and never neither");
    });
}

#[test]
fn closing_wakes_a_sender_that_waits_for_room() {
    model("shares_close_against_full", || {
        let (sender, mut owner) = small();
        sender.try_send::<DATA>(1).expect("there is room for one");
        let second = thread::spawn(move || thread::block_on(sender.send::<DATA>(2)));
        assert_eq!(owner.close(), [1]);
        // Closed before or after it began to wait, the second is refused.
        assert_eq!(second.join().expect("send does not panic"), Err(Closed(2)));
    });
}

#[test]
fn what_was_sealed_is_drained_and_nothing_more() {
    model("shares_send_against_seal", || {
        let (sender, mut owner) = small();
        let giver = thread::spawn(move || sender.push::<CONTROL>(7).is_ok());
        owner.seal();
        let mut out = Vec::new();
        owner.drain(&mut out, EVERY);
        let was_taken = giver.join().expect("push does not panic");
        assert_eq!(out.len(), usize::from(was_taken));
        assert!(owner.close().is_empty());
    });
}

#[test]
fn room_made_while_a_sender_starts_to_wait_lets_it_in() {
    model("shares_room_against_full", || {
        let (sender, mut owner) = small();
        sender.try_send::<DATA>(1).expect("there is room for one");
        let second =
            thread::spawn(move || thread::block_on(sender.send::<DATA>(2)).map(|()| sender));
        assert_eq!(take(&mut owner, 2), [1, 2]);
        second.join().expect("send does not panic").expect("the mailbox is open");
    });
}

#[test]
fn weight_freed_while_a_sender_starts_to_wait_lets_it_in() {
    model("shares_weight_against_full", || {
        let (sender, mut owner) = weighing();
        weight_against_full(sender, &mut owner);
    });
}

fn weight_against_full(sender: MailboxSender<u8, 2>, owner: &mut MailboxOwner<u8, 2>) {
    sender.try_send::<DATA>(1).expect("nothing is inside");
    let second = thread::spawn(move || thread::block_on(sender.send::<DATA>(2)).map(|()| sender));
    let mut out = Vec::new();
    while out.len() < 2 {
        owner.wait(EVERY, None);
        assert!(owner.drain(&mut out, EVERY) <= 1, "each fills the class alone");
    }
    assert_eq!(out, [1, 2]);
    second.join().expect("send does not panic").expect("the mailbox is open");
}

#[test]
fn a_sender_behind_one_that_never_comes_gets_in() {
    model("shares_room_behind_a_stuck_sender", || {
        let (sender, mut owner) = small();
        sender.try_send::<DATA>(1).expect("there is room for one");
        let behind = sender.clone();
        let mut stuck = sender.send::<DATA>(9);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut stuck).poll(&mut context).is_pending());
        let second = thread::spawn(move || thread::block_on(behind.send::<DATA>(2)));
        // The first in the line is never polled again.
        assert_eq!(take(&mut owner, 2), [1, 2]);
        second.join().expect("send does not panic").expect("the mailbox is open");
    });
}

#[test]
fn a_sender_behind_one_that_gives_up_gets_in() {
    model("shares_room_against_giving_up", || {
        let (sender, mut owner) = small();
        sender.try_send::<DATA>(1).expect("there is room for one");
        let mut given_up = Box::pin({
            let sender = sender.clone();
            async move { sender.send::<DATA>(9).await }
        });
        let mut context = Context::from_waker(Waker::noop());
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        let second = thread::spawn(move || {
            drop(given_up);
            thread::block_on(sender.send::<DATA>(2)).map(|()| sender)
        });
        assert_eq!(take(&mut owner, 2), [1, 2]);
        second.join().expect("send does not panic").expect("the mailbox is open");
    });
}

/// A mailbox with a rule left out. Its owner is not dropped: that takes the lock, which loom does not
/// survive once it has found a deadlock.
#[cfg(millpond_loom)]
fn broken(rule: Mutation) -> (MailboxSender<u8, 2>, ManuallyDrop<MailboxOwner<u8, 2>>) {
    let (sender, owner) = weighing();
    owner.break_rule(Some(rule));
    (sender, ManuallyDrop::new(owner))
}

/// The broken twin: whoever waits for weight is never woken.
#[cfg(millpond_loom)]
#[test]
#[should_panic(expected = "deadlock")]
fn a_sender_that_no_freed_weight_wakes_is_found() {
    model("broken_shares_weight_wakes_nobody", || {
        let (sender, mut owner) = broken(Mutation::WeightWakesNobody);
        weight_against_full(sender, &mut owner);
        drop(ManuallyDrop::into_inner(owner));
    });
}

/// The broken twin: a message does not end the sleep.
#[cfg(millpond_loom)]
#[test]
#[should_panic(expected = "deadlock")]
fn an_owner_that_nobody_wakes_is_found() {
    model("broken_shares_push_wakes_nobody", || {
        let (sender, mut owner) = broken(Mutation::PushWakesNobody);
        let pusher = thread::spawn({
            let sender = sender.clone();
            move || sender.push::<CONTROL>(1)
        });
        assert_eq!(take(&mut owner, 1), [1]);
        pusher.join().expect("push does not panic").expect("the mailbox is open");
        drop(ManuallyDrop::into_inner(owner));
    });
}

/// The broken twin: a message is taken after the last look.
#[cfg(millpond_loom)]
#[test]
#[should_panic(expected = "it is nowhere")]
fn a_message_that_is_lost_at_the_end_is_found() {
    model("broken_shares_take_when_closed", || {
        let (sender, mut owner) = broken(Mutation::TakeWhenClosed);
        let giver = thread::spawn(move || sender.push::<CONTROL>(7).is_ok());
        let left = owner.close();
        let was_taken = giver.join().expect("push does not panic");
        assert_eq!(left.len(), usize::from(was_taken), "it is nowhere");
        drop(ManuallyDrop::into_inner(owner));
    });
}
