use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millpond_sync::thread;

use super::*;
use crate::counter::Counter;
use crate::{Nanos, Timers};

mod history;

fn poll<F: Future + Unpin>(future: &mut F, counter: &Arc<Counter>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&counter.waker()))
}

#[test]
fn a_flood_delays_no_other_class_beyond_the_stated_drain() {
    for share in [1, 2, 5] {
        for n_before in [0, 1, 7, 20] {
            let (sender, mut owner) = mailbox::<usize, 3>([UNBOUNDED; 3]);
            (0..n_before).for_each(|n| sender.push::<2>(n).unwrap());
            sender.push::<2>(usize::MAX).unwrap();
            let mut n_drains = 0;
            let mut out = Vec::new();
            while !out.contains(&usize::MAX) {
                (0..1000).for_each(|_| sender.push::<0>(0).unwrap());
                (0..1000).for_each(|_| sender.push::<1>(0).unwrap());
                out.clear();
                assert!(owner.drain(&mut out, [3, 4, share]) <= 3 + 4 + share);
                n_drains += 1;
            }
            assert_eq!(n_drains, n_before / share + 1, "share {share}, {n_before} before");
        }
    }
}

#[test]
fn data_gets_through_while_another_thread_floods() {
    let (sender, mut owner) = mailbox::<u32, 2>([64, 64]);
    let flood = {
        let sender = sender.clone();
        thread::spawn(move || while thread::block_on(sender.send::<0>(u32::MAX)).is_ok() {})
    };
    let data =
        thread::spawn(move || (0..1000).try_for_each(|n| thread::block_on(sender.send::<1>(n))));
    let (mut turn, mut got) = (Vec::new(), Vec::new());
    while got.len() < 1000 {
        owner.wait([8, 2], None);
        let n = owner.drain(&mut turn, [8, 2]);
        assert!(n <= 10 && n == turn.len());
        got.extend(turn.drain(..).filter(|n| *n != u32::MAX));
    }
    assert!(got.into_iter().eq(0..1000));
    data.join().unwrap().unwrap();
    drop(owner);
    flood.join().unwrap();
}

#[test]
fn a_deadline_holds_under_a_flood_and_a_flood_of_timers_keeps_nothing_back() {
    for before in 0..=2 {
        let (sender, mut owner) = mailbox::<usize, 2>([UNBOUNDED, UNBOUNDED]);
        let mut timers = Timers::new(10_000);
        (0..100).for_each(|n| sender.push::<1>(n).unwrap());
        // A hundred deadlines that have passed, then one every other millisecond.
        let deadlines = (0..100).map(|_| 0).chain((0..100).map(|n| 2 * n));
        deadlines.for_each(|ms| assert!(timers.insert(Nanos::from_millis(ms), ms).is_ok()));
        let (mut data, mut n_due) = (0, 0);
        for now_ms in 0..200 {
            (0..1000).for_each(|_| sender.push::<0>(usize::MAX).unwrap());
            let now = Nanos::from_millis(now_ms);
            let due = DueShare { schedule: &mut timers, now, share: 4, before };
            let mut turn = Vec::new();
            let drained = owner.drain_merged(&mut turn, [5, 1], due);
            assert!(turn.len() <= 10 && drained.n_due <= 4);
            for event in turn {
                match event {
                    Event::Message(usize::MAX) => {}
                    Event::Message(n) => data += usize::from(n == data),
                    Event::Due(due) => {
                        n_due += 1;
                        // The backlog takes 100 / (4 − 0.5) turns.
                        assert!(due.value == now_ms || due.value < 30, "{due:?} at {now_ms}");
                    }
                }
            }
            assert_eq!(data, usize::try_from(now_ms + 1).unwrap().min(100), "one in every turn");
        }
        assert_eq!(n_due, 200);
    }
}

#[test]
fn an_orderly_end_under_a_flood_keeps_its_deadline() {
    const DEADLINE_MS: usize = 50;
    let (sender, mut owner) = mailbox::<usize, 2>([UNBOUNDED, UNBOUNDED]);
    (0..500).for_each(|n| sender.push::<1>(n).unwrap());
    owner.seal();
    let (mut drained, mut refused) = (Vec::new(), 0);
    for _now_ms in 0..DEADLINE_MS {
        refused += (0..100).filter(|n| sender.push::<0>(*n) == Err(Closed(*n))).count();
        owner.drain(&mut drained, [1000, 4]);
    }
    assert_eq!(refused, 100 * DEADLINE_MS);
    assert!(drained.iter().copied().eq(0..4 * DEADLINE_MS), "in order, a share in every turn");
    assert!(owner.close().into_iter().eq(4 * DEADLINE_MS..500), "what is left comes back");
    assert!(sender.is_closed() && !owner.is_open() && owner.is_empty());
}

#[test]
fn every_parked_payload_has_an_outcome() {
    for is_dropped in [false, true] {
        let (sender, mut owner) = mailbox::<u32, 2>([UNBOUNDED, 10]);
        let counter = Arc::new(Counter::default());
        sender.push::<0>(2000).unwrap();
        let mut parked: Vec<_> = (0..1010).map(|n| sender.send::<1>(n)).collect();
        parked.retain_mut(|sending| poll(sending, &counter).is_pending());
        assert_eq!((parked.len(), owner.lens()), (1000, [1, 10]));
        if is_dropped {
            drop(owner);
        } else {
            assert!(owner.close().into_iter().eq([2000].into_iter().chain(0..10)));
        }
        assert_eq!(counter.n(), 1000, "each is woken once");
        for (n, sending) in (10..).zip(&mut parked) {
            assert_eq!(poll(sending, &counter), Poll::Ready(Err(Closed(n))));
        }
    }
}

#[test]
fn one_that_was_woken_and_never_came_keeps_nobody_out() {
    let (sender, mut owner) = mailbox::<u32, 1>([1]);
    let (stuck, waiting, sleeper) = <(Arc<Counter>, Arc<Counter>, Arc<Counter>)>::default();
    sender.try_send::<0>(0).unwrap();
    let (mut first, mut second) = (sender.send::<0>(1), sender.send::<0>(2));
    assert!(poll(&mut first, &stuck).is_pending() && poll(&mut second, &waiting).is_pending());
    owner.drain(&mut Vec::new(), [9]);
    assert_eq!((stuck.n(), waiting.n()), (1, 0), "there is room for one");
    // The first is not polled again.
    assert!(poll(&mut owner.ready([9]), &sleeper).is_pending());
    assert_eq!((stuck.n(), waiting.n()), (1, 1));
    assert!(poll(&mut second, &waiting).is_ready());
}

#[test]
fn what_is_sent_exceeds_a_weight_by_less_than_one_message() {
    for heavy in [3, 10, 11, usize::MAX] {
        let capacity = Capacity { n_messages: UNBOUNDED, weight: 10 };
        let (sender, owner) = mailbox_weighing::<usize, 1>([capacity], |weight| *weight);
        let n_sent = (0..100).take_while(|_| sender.try_send::<0>(heavy).is_ok()).count();
        assert_eq!(n_sent, 10_usize.div_ceil(heavy), "weight {heavy}");
        assert!(owner.weights()[0] < 10 + heavy as u128);
        assert_eq!(
            sender.try_send::<0>(0),
            Err(TrySendError::Full(0)),
            "one of no weight waits, too"
        );
    }
}

#[test]
fn messages_of_no_weight_are_bounded_by_their_number() {
    let capacity = Capacity { n_messages: 3, weight: 1 };
    let (sender, owner) = mailbox_weighing::<usize, 1>([capacity], |weight| *weight);
    assert_eq!((0..100).take_while(|_| sender.try_send::<0>(0).is_ok()).count(), 3);
    assert_eq!((owner.lens(), owner.weights()), ([3], [0]));
}

#[test]
fn weight_that_is_freed_wakes_as_many_as_it_lets_in() {
    let capacity = Capacity { n_messages: UNBOUNDED, weight: 10 };
    let (sender, mut owner) = mailbox_weighing::<usize, 1>([capacity], |weight| *weight);
    sender.push::<0>(9).unwrap();
    sender.push::<0>(usize::MAX).unwrap();
    sender.push::<0>(usize::MAX).unwrap();
    let mut waiting = [6, 4, 1].map(|weight| (sender.send::<0>(weight), Arc::default()));
    for (sending, counter) in &mut waiting {
        assert!(poll(sending, counter).is_pending());
    }
    let n_woken = |waiting: &[(_, Arc<Counter>)]| -> Vec<usize> {
        waiting.iter().map(|(_, counter)| counter.n()).collect()
    };
    for _ in 0..2 {
        owner.drain(&mut Vec::new(), [1]);
        assert_eq!(n_woken(&waiting), [0, 0, 0], "a heavy one is left");
    }
    owner.drain(&mut Vec::new(), [1]);
    assert_eq!(n_woken(&waiting), [1, 1, 0], "with 6 and 4 the class is full");
    assert!(waiting.iter_mut().take(2).all(|(sending, counter)| poll(sending, counter).is_ready()));
    assert_eq!(owner.weights(), [10]);
}

#[test]
fn a_dropped_future_has_left_nothing() {
    let (sender, mut owner) = mailbox::<u32, 1>([1]);
    let counter = Arc::new(Counter::default());
    sender.try_send::<0>(0).unwrap();
    let mut sending = sender.send::<0>(1);
    assert!(poll(&mut sending, &counter).is_pending());
    drop(sending);
    let mut out = Vec::new();
    {
        let mut received = pin!(owner.recv(&mut out, [0]));
        let mut context = Context::from_waker(Waker::noop());
        assert!(received.as_mut().poll(&mut context).is_pending(), "a class without a share");
    }
    assert_eq!(thread::block_on(owner.recv(&mut out, [9])), 1);
    assert_eq!((out, counter.n(), Arc::strong_count(&counter)), (vec![0], 0, 1));
}

#[test]
fn a_future_that_sleeps_no_longer_keeps_no_waker() {
    let (sender, mut owner) = mailbox::<u32, 1>([1]);
    let counter = Arc::new(Counter::default());
    let mut ready = owner.ready([1]);
    assert!(poll(&mut ready, &counter).is_pending() && poll(&mut ready, &counter).is_pending());
    assert_eq!(Arc::strong_count(&counter), 2);
    drop(ready);
    assert_eq!(Arc::strong_count(&counter), 1);
    sender.notify();
    assert_eq!(counter.n(), 0, "nobody sleeps");
    assert!(poll(&mut owner.ready([1]), &counter).is_ready(), "the notification is still there");
}

#[test]
fn the_waker_notifies_and_the_last_sender_ends_the_sleep() {
    let (sender, mut owner) = mailbox::<u32, 1>([1]);
    let waker = sender.waker();
    waker.wake_by_ref();
    assert_eq!(thread::block_on(owner.recv(&mut Vec::new(), [1])), 0);
    drop(sender);
    assert!(owner.is_open(), "the waker counts");
    drop(waker);
    assert_eq!(thread::block_on(owner.recv(&mut Vec::new(), [1])), 0);
    assert!(!owner.is_open());
}

#[test]
fn both_ends_and_their_futures_go_to_other_threads() {
    fn check<T: Send>(_: &T) {}
    let (sender, mut owner) = mailbox::<u32, 1>([1]);
    let mut out = Vec::new();
    check(&sender);
    check(&sender.send::<0>(1));
    check(&owner.recv(&mut out, [1]));
    check(&owner);
}

#[test]
fn a_deadline_that_has_passed_ends_the_sleep() {
    let (_sender, mut owner) = mailbox::<u32, 1>([1]);
    #[expect(clippy::disallowed_methods, reason = "the owner's sleep ends at a real point in time")]
    let now = std::time::Instant::now();
    owner.wait([1], Some(now));
}
