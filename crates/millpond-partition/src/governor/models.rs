//! Models of the way from one partition to another, named after the race each excludes.
//!
//! Two partitions share a limit of one lease, which the first has. The second finds nothing and goes to sleep;
//! as its loop would, it picks again only for a topic on its list. Nobody sleeps beside a permit.

use std::mem::ManuallyDrop;

use millpond_scheduler::{Head, Heads, Permit, Pick, QueueOptions};
use millpond_sync::{model, thread};
use millpond_types::TopicName;

use super::*;
use crate::mailbox::{MailboxOwner, mailbox};

const NOW: UnixMillis = UnixMillis(1);
const EVERY: [usize; 2] = [9, 9];

/// A partition with one queue that has work. What would use a lock of a model that has failed is not dropped by
/// itself.
struct Side {
    seat: ManuallyDrop<Seat>,
    mailbox: ManuallyDrop<MailboxOwner>,
    scheduler: Scheduler,
}

fn topic() -> TopicName {
    TopicName::new("t").expect("a valid name")
}

/// Two partitions, and the lease that the first has.
fn two() -> (Side, Permit, Side) {
    let governor = Governor::new(2);
    let settings = Settings::default().with_concurrency_together(1);
    let row = SettingsRow { scope: Scope::Topic(topic()), revision: 1, settings };
    let [mut first, second] = [0, 1].map(|number| Side::join(&governor, number, &row));
    let permit = first.pick().expect("nobody has a lease yet");
    (first, permit, second)
}

impl Side {
    fn join(governor: &Governor, number: usize, row: &SettingsRow) -> Self {
        let (sender, mailbox) = mailbox(1);
        let seat = governor.join(number, sender);
        seat.learn(NOW, row, false);
        let mut scheduler = seat.add_domain(NOW, TopicId::derive(&topic()), 0);
        let mut state = seat.lock();
        let limits = &mut state.limits;
        let queue = scheduler.add(limits, QueueOptions::default()).expect("there is room");
        scheduler.set_head(limits, queue, Head::Cost(1)).expect("it was just added");
        drop(state);
        Self { seat: ManuallyDrop::new(seat), mailbox: ManuallyDrop::new(mailbox), scheduler }
    }

    fn pick(&mut self) -> Option<Permit> {
        let limits = &mut self.seat.lock().limits;
        loop {
            match self.scheduler.pick(nanos(NOW), limits, Heads::Read).expect("its own limits") {
                Pick::Serve(picked) => return picked.permit,
                Pick::Again => {}
                _ => return None,
            }
        }
    }

    fn release(&self, permit: Permit) {
        self.seat.lock().limits.release(nanos(NOW), permit).expect("it is out");
    }

    /// Takes turns until it has a lease, and ends it.
    fn sleep_until_served(&mut self) {
        let mut picked = self.pick();
        while picked.is_none() {
            self.mailbox.wait(EVERY, None);
            self.mailbox.drain(&mut Vec::new(), EVERY);
            if !self.seat.take_woken().is_empty() {
                picked = self.pick();
            }
        }
        self.release(picked.expect("the loop has ended"));
    }

    /// The partition ends, as the loop does.
    fn leave(self) {
        self.seat.remove_domain(TopicId::derive(&topic()), self.scheduler, false);
        self.seat.take_woken();
        drop(ManuallyDrop::into_inner(self.seat));
        drop(ManuallyDrop::into_inner(self.mailbox));
    }
}

/// The first ends its lease and passes on what that made available; the second gets it, asleep or not.
fn release_against_sleep(pass_on: impl FnOnce(&Seat) + Send + 'static) {
    let (first, permit, mut second) = two();
    let releasing = thread::spawn(move || {
        first.release(permit);
        pass_on(&first.seat);
        first
    });
    second.sleep_until_served();
    releasing.join().expect("a release does not panic").leave();
    second.leave();
}

#[test]
fn a_permit_released_while_another_partition_falls_asleep_wakes_it() {
    model("hand_off_release_against_sleep", || {
        release_against_sleep(|seat| drop(seat.take_woken()));
    });
}

#[test]
fn a_permit_of_a_partition_that_leaves_wakes_the_one_that_falls_asleep() {
    model("hand_off_departure_against_sleep", || {
        let (mut first, permit, mut second) = two();
        assert_eq!(first.pick(), None, "it stands in line for what it has itself");
        let leaving = thread::spawn(move || {
            first.release(permit);
            first.leave();
        });
        second.sleep_until_served();
        leaving.join().expect("a departure does not panic");
        second.leave();
    });
}

/// What was made available, by partition.
#[cfg(millpond_loom)]
fn woken(state: &mut State) -> Vec<(usize, TopicSlot)> {
    let State { limits, domains, .. } = state;
    let woken = std::iter::from_fn(|| limits.poll_woken());
    woken.filter_map(|domain| domains.get(&domain).copied()).collect()
}

/// The broken twin: the list says what there is, and nobody is told to look.
#[cfg(millpond_loom)]
#[test]
#[should_panic(expected = "deadlock")]
fn a_partition_that_nobody_tells_is_found() {
    model("broken_hand_off_without_notice", || {
        release_against_sleep(|seat| {
            let state = &mut *seat.lock();
            for (number, topic) in woken(state) {
                state.members[number].woken.push(topic);
            }
        });
    });
}

/// The broken twin: the other is told to look before there is anything on its list.
#[cfg(millpond_loom)]
#[test]
#[should_panic(expected = "deadlock")]
fn a_partition_that_is_told_too_early_is_found() {
    model("broken_hand_off_notice_before_list", || {
        release_against_sleep(|seat| {
            let mut state = seat.lock();
            let woken = woken(&mut state);
            let mailboxes: Vec<_> = state.members.iter().map(|m| m.mailbox.clone()).collect();
            drop(state);
            for (number, topic) in woken {
                mailboxes[number].as_ref().expect("it is there").notify();
                seat.lock().members[number].woken.push(topic);
            }
        });
    });
}
