//! Models of the pool, named after the race each excludes.

use std::mem::ManuallyDrop;
use std::panic::resume_unwind;
use std::time::Duration;

use millpond_sync::{Arc, Condvar, Mutex, model, thread};

use crate::keys::Keys;
use crate::options::{Overflow, PoolOptions};
use crate::outcome::{Rejection, Scheduled};
use crate::pool::Pool;
use crate::request::{Ended, Executor, Request};
use crate::ring::{DefaultRing, Ring};
#[cfg(millpond_loom)]
use crate::rules::Mutation;
use crate::rules::Rules;
use crate::stats::Stats;
use crate::worker::serve;

/// A key, of one byte.
#[derive(Debug, PartialEq, Eq)]
struct Key(u64);

impl Request for Key {
    fn key_hash(&self) -> u64 {
        self.0
    }

    fn n_bytes(&self) -> usize {
        1
    }
}

/// Longer than any model takes: a model has no time.
const FOR_EVER: Duration = Duration::MAX;

fn options(slots: usize, workers: usize) -> PoolOptions {
    PoolOptions { slots, workers, bytes_max: 9, overflow: Overflow::DropOldest }
}

/// Dropped by hand: after a deadlock that loom found, destructors cannot run.
type Held<T> = ManuallyDrop<Arc<T>>;

fn pool(options: PoolOptions, rules: Rules, executor: impl Executor<Key>) -> Held<Pool<Key>> {
    let pool = Pool::start(options, Box::new(executor), rules, |_, _| Ok(()));
    let pool = held(pool.expect("no thread was asked for"));
    (0..options.workers).for_each(|worker| work(&pool, worker));
    pool
}

/// Starts a worker.
fn work(pool: &Pool<Key>, worker: usize) {
    let shared = ManuallyDrop::new(pool.shared.clone());
    thread::spawn(move || {
        serve(&shared, worker);
        end(shared);
    });
}

fn held<T>(value: T) -> Held<T> {
    ManuallyDrop::new(Arc::new(value))
}

fn end<T>(held: Held<T>) {
    drop(ManuallyDrop::into_inner(held));
}

fn install(_: Key) -> Ended {
    Ended::Installed
}

fn is_queued(scheduled: &Scheduled<Key>) -> bool {
    matches!(scheduled, Scheduled::Queued | Scheduled::QueuedEvicting(_))
}

fn check(stats: &Stats) {
    assert!(stats.n_ended() <= stats.n_accepted, "an end before its beginning");
    assert!(stats.n_accepted <= stats.n_submitted);
    assert!(stats.n_in_flight <= 2 && stats.n_waiting <= 3, "a start before its beginning");
}

/// Two threads push two items through a ring of one slot, one pops beside them. Everything is somewhere, once.
fn items_are_conserved<T: Ring<Box<u8>> + Send + Sync + 'static>() {
    let ring = Arc::new(T::with_capacity(1));
    let other = ring.clone();
    let pusher = thread::spawn(move || other.push_evicting(Box::new(1)));
    let victim = ring.push_evicting(Box::new(2));
    let popped = ring.pop();
    let other_victim = pusher.join().expect("a push does not panic");
    let mut all: Vec<u8> = [victim, popped, other_victim, ring.pop(), ring.pop()]
        .into_iter()
        .flatten()
        .map(|item| *item)
        .collect();
    all.sort_unstable();
    assert_eq!(all, [1, 2], "an item was lost or doubled");
}

#[test]
fn the_ring_neither_loses_nor_doubles() {
    model("promotion_ring_conserves", items_are_conserved::<DefaultRing<_>>);
}

#[test]
fn an_overwrite_has_one_victim() {
    model("promotion_ring_overwrites_one", || {
        let ring: Arc<DefaultRing<Box<u8>>> = Arc::new(Ring::with_capacity(1));
        assert_eq!(ring.push_evicting(Box::new(0)), None);
        let other = ring.clone();
        let pusher = thread::spawn(move || other.push_evicting(Box::new(1)));
        let victim = ring.push_evicting(Box::new(2)).expect("the ring is full");
        let other_victim = pusher.join().expect("a push does not panic").expect("the ring is full");
        let left = Ring::pop(&*ring).expect("one slot is taken");
        let mut all = [*victim, *other_victim, *left];
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}

/// Where threads wait for one another.
#[derive(Default)]
struct Meeting {
    n_there: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    fn come(&self) {
        *self.n_there.lock() += 1;
        self.changed.notify_all();
    }

    fn wait_for(&self, n: usize) {
        let mut n_there = self.n_there.lock();
        while *n_there < n {
            n_there = self.changed.wait(n_there);
        }
    }
}

/// Nothing but the push may wake the worker, so it is closed only after the request has run.
fn push_against_park(rules: Rules) {
    let meeting = held(Meeting::default());
    let meet = Arc::clone(&meeting);
    let pool = pool(options(2, 1), rules, move |_: Key| {
        meet.come();
        Ended::Installed
    });
    assert_eq!(pool.schedule(Key(1)), Scheduled::Queued);
    meeting.wait_for(1);
    end(meeting);
    end(pool);
}

#[test]
fn a_push_while_the_worker_falls_asleep_wakes_it() {
    model("promotion_push_against_park", || push_against_park(Rules::SHIPPED));
}

/// Two workers fall asleep while two requests come; this thread stands for the second worker too. They end only when
/// both have started, so if the first worker took one and the second sleeps, nothing ever ends.
fn two_pushes_against_park(rules: Rules) {
    let meeting = held(Meeting::default());
    let meet = Arc::clone(&meeting);
    let executor = move |_: Key| {
        meet.come();
        meet.wait_for(2);
        Ended::Installed
    };
    let pool = Pool::start(options(2, 2), Box::new(executor), rules, |_, _| Ok(()));
    let pool = held(pool.expect("no thread was asked for"));
    work(&pool, 0);
    assert_eq!(pool.schedule(Key(1)), Scheduled::Queued);
    pool.shared.gate.fall_asleep(1);
    if !pool.shared.nothing_waits() {
        pool.shared.gate.rise(1);
    }
    assert_eq!(pool.schedule(Key(2)), Scheduled::Queued);
    let is_awake = !pool.shared.gate.look().is_asleep(1);
    if is_awake {
        while pool.shared.serve_one() {}
    } else {
        // So that the model can end: loom does not survive a deadlock inside an executor.
        meeting.come();
    }
    meeting.wait_for(2);
    end(meeting);
    end(pool);
    assert!(is_awake, "a request waits beside a worker that sleeps");
}

#[test]
fn no_request_waits_beside_a_worker_that_sleeps() {
    model("promotion_two_pushes_against_park", || two_pushes_against_park(Rules::SHIPPED));
}

/// What was accepted has ended when the close that waits for all returns, whatever came first.
fn schedule_against_close(rules: Rules, abandon: bool) {
    let pool = pool(options(1, 1), rules, install);
    let producer = {
        let pool = Arc::clone(&pool);
        thread::spawn(move || is_queued(&pool.schedule(Key(1))))
    };
    if abandon {
        let _ = pool.close(Duration::ZERO);
    }
    let closed = pool.close(FOR_EVER);
    let was_queued = producer.join().expect("schedule does not panic");
    let stats = pool.stats();
    check(&stats);
    assert!(closed.completed <= stats.n_completed());
    assert_eq!(stats.n_accepted, u64::from(was_queued));
    assert_eq!(stats.n_waiting + stats.n_in_flight, 0, "stranded");
    assert!(abandon || stats.n_abandoned == 0, "accepted and not done");
    assert_eq!(stats.n_bytes, 0);
    end(pool);
}

#[test]
fn what_was_accepted_before_a_close_is_done() {
    model("promotion_schedule_against_close", || schedule_against_close(Rules::SHIPPED, false));
}

#[test]
fn what_was_accepted_before_a_drop_is_done_or_abandoned() {
    model("promotion_schedule_against_abandon", || schedule_against_close(Rules::SHIPPED, true));
}

#[test]
fn bytes_come_back_from_a_panic() {
    model("promotion_bytes_against_panic", || {
        let tight = PoolOptions { bytes_max: 1, ..options(2, 1) };
        let pool = pool(tight, Rules::SHIPPED, |key: Key| match key {
            // Not `panic!`, whose message would be printed each time.
            Key(1) => resume_unwind(Box::new("an executor's panic")),
            Key(_) => Ended::Installed,
        });
        assert_eq!(pool.schedule(Key(1)), Scheduled::Queued);
        let is_second_in = match pool.schedule(Key(2)) {
            Scheduled::Rejected { why: Rejection::Bytes, .. } => 0,
            second => u64::from(is_queued(&second)),
        };
        let closed = pool.close(FOR_EVER);
        let stats = pool.stats();
        assert_eq!((stats.n_panicked, stats.n_installed), (1, is_second_in));
        assert_eq!((stats.n_bytes, closed.still_running), (0, 0));
        end(pool);
    });
}

fn snapshots_against_worker(rules: Rules) {
    let pool = pool(options(1, 1), rules, install);
    let reader = {
        let pool = Arc::clone(&pool);
        thread::spawn(move || {
            let (first, second) = (pool.stats(), pool.stats());
            check(&first);
            check(&second);
            assert!(first.n_accepted <= second.n_accepted && first.n_ended() <= second.n_ended());
        })
    };
    assert_eq!(pool.schedule(Key(1)), Scheduled::Queued);
    reader.join().expect("the equations hold");
    pool.close(FOR_EVER);
    check(&pool.stats());
    end(pool);
}

#[test]
fn every_snapshot_adds_up() {
    model("promotion_snapshot_against_worker", || snapshots_against_worker(Rules::SHIPPED));
}

#[test]
fn a_drop_ends_a_worker_that_parks() {
    model("promotion_drop_against_park", || {
        // loom misses a thread that does not end.
        end(pool(options(1, 2), Rules::SHIPPED, install));
    });
}

#[test]
fn a_drop_takes_what_waits_with_it() {
    model("promotion_drop_against_start", || {
        let pool = pool(options(1, 1), Rules::SHIPPED, install);
        assert_eq!(pool.schedule(Key(1)), Scheduled::Queued);
        end(pool);
    });
}

fn one_of_two_inserts(rules: Rules) {
    let keys = Arc::new(Keys::new(1, rules));
    let other = keys.clone();
    let inserter = thread::spawn(move || other.insert(7).is_ok());
    let is_mine = keys.insert(7).is_ok();
    let is_other = inserter.join().expect("insert does not panic");
    assert!(is_mine != is_other, "one of them has the key");
}

#[test]
fn one_of_two_threads_gets_a_key() {
    model("promotion_same_key_by_two_threads", || one_of_two_inserts(Rules::SHIPPED));
}

#[test]
fn a_key_that_is_given_back_beside_another_one_is_free() {
    model("promotion_key_release_against_neighbour", || {
        let keys = Arc::new(Keys::new(1, Rules::SHIPPED));
        let neighbour =
            (8..).find(|hash| keys.place(*hash).0 == keys.place(7).0).expect("there are few cells");
        let mark = keys.insert(7).expect("the table is empty");
        let other = keys.clone();
        let inserter = thread::spawn(move || other.insert(neighbour).is_ok());
        keys.remove(mark);
        assert!(keys.insert(7).is_ok() && inserter.join().expect("insert does not panic"));
        assert!(keys.insert(neighbour).is_err(), "it was not taken away with the other");
    });
}

/// Where both threads are accepted, the first request had been run.
#[test]
fn one_key_is_accepted_again_only_after_its_end() {
    model("promotion_same_key_against_worker", || {
        let n_run = Arc::new(Mutex::new(0));
        let count = n_run.clone();
        let pool = pool(options(2, 1), Rules::SHIPPED, move |_: Key| {
            *count.lock() += 1;
            Ended::Installed
        });
        let other = Arc::clone(&pool);
        let producer = thread::spawn(move || is_queued(&other.schedule(Key(1))));
        let is_mine = is_queued(&pool.schedule(Key(1)));
        let is_other = producer.join().expect("schedule does not panic");
        assert!(is_mine || is_other);
        assert!(*n_run.lock() >= 1 || !(is_mine && is_other), "two at the same time");
        end(pool);
    });
}

fn end_that_is_seen_frees_the_key(rules: Rules) {
    let pool = pool(options(2, 1), rules, install);
    assert_eq!(pool.schedule(Key(1)), Scheduled::Queued);
    if pool.stats().n_ended() == 1 {
        assert_eq!(pool.schedule(Key(1)), Scheduled::Queued, "the key is free");
    }
    pool.close(FOR_EVER);
    end(pool);
}

#[test]
fn whoever_sees_an_end_can_ask_for_the_key_again() {
    model("promotion_end_against_schedule", || end_that_is_seen_frees_the_key(Rules::SHIPPED));
}

/// The broken twins: each model with the rule left out that it is there for.
#[cfg(millpond_loom)]
mod broken {
    use super::*;

    fn without(rule: Mutation) -> Rules {
        Rules { broken: Some(rule) }
    }

    /// An overwrite in two steps, between which somebody else can come.
    struct TwoSteps(DefaultRing<Box<u8>>);

    impl Ring<Box<u8>> for TwoSteps {
        fn with_capacity(capacity: usize) -> Self {
            Self(DefaultRing::with_capacity(capacity))
        }

        fn push_evicting(&self, item: Box<u8>) -> Option<Box<u8>> {
            let victim = self.0.pop();
            drop(self.0.push_evicting(item));
            victim
        }

        fn pop(&self) -> Option<Box<u8>> {
            self.0.pop()
        }

        fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
    }

    #[test]
    #[should_panic(expected = "lost or doubled")]
    fn an_overwrite_in_two_steps_is_found() {
        model("broken_promotion_two_steps", items_are_conserved::<TwoSteps>);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_push_that_wakes_nobody_is_found() {
        model("broken_promotion_push_wakes_nobody", || {
            push_against_park(without(Mutation::PushWakesNobody));
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_worker_that_does_not_look_again_is_found() {
        model("broken_promotion_no_last_look", || {
            push_against_park(without(Mutation::NoLastLook));
        });
    }

    #[test]
    #[should_panic(expected = "beside a worker that sleeps")]
    fn a_last_look_that_takes_is_found() {
        model("broken_promotion_last_look_takes", || {
            two_pushes_against_park(without(Mutation::LastLookTakes));
        });
    }

    #[test]
    #[should_panic(expected = "accepted and not done")]
    fn a_push_into_a_closed_pool_is_found() {
        model("broken_promotion_closed_lets_in", || {
            schedule_against_close(without(Mutation::ClosedLetsIn), false);
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_last_one_out_that_just_goes_is_found() {
        model("broken_promotion_last_out_goes", || {
            schedule_against_close(without(Mutation::LastOutGoes), false);
        });
    }

    #[test]
    #[should_panic(expected = "before its beginning")]
    fn a_late_count_is_found() {
        model("broken_promotion_counts_late", || {
            snapshots_against_worker(without(Mutation::CountsLate));
        });
    }

    #[test]
    #[should_panic(expected = "one of them has the key")]
    fn an_insert_in_two_steps_is_found() {
        model("broken_promotion_insert_in_two_steps", || {
            one_of_two_inserts(without(Mutation::InsertInTwoSteps));
        });
    }

    #[test]
    #[should_panic(expected = "the key is free")]
    fn an_end_before_the_release_is_found() {
        model("broken_promotion_ends_before_release", || {
            end_that_is_seen_frees_the_key(without(Mutation::EndsBeforeRelease));
        });
    }
}
