//! Executors that panic or hang, and threads that do not start.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread::{JoinHandle, spawn, yield_now};
use std::time::Duration;

use super::{Item, item, options, pool};
use crate::options::PoolError;
use crate::outcome::{Closed, Rejection, Scheduled};
use crate::pool::Pool;
use crate::request::{Ended, Request};
use crate::rules::Rules;

#[test]
fn as_many_panics_as_there_are_requests_kill_no_worker() {
    // No two of these keys share a fingerprint.
    const N: u64 = 250;
    let pool = pool(options(1_024, 2), None, |_: Item| resume_unwind(Box::new("panic")));
    for key in 0..N {
        assert_eq!(pool.schedule(item(key)), Scheduled::Queued);
    }
    while pool.stats().n_ended() < N {
        yield_now();
    }
    assert_eq!(pool.shared.exits.n_ended(), 0);
    assert_eq!((pool.stats().n_panicked, pool.stats().n_bytes), (N, 0));
    // Every key is free again.
    for key in 0..N {
        assert_eq!(pool.schedule(item(key)), Scheduled::Queued);
    }
    assert_eq!(pool.close(Duration::MAX).still_running, 0);
    assert_eq!(pool.stats().n_panicked, 2 * N);
}

#[test]
fn a_payload_that_panics_itself_kills_no_worker() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            resume_unwind(Box::new("the payload's destructor"));
        }
    }
    let pool = pool(options(2, 1), None, |_: Item| resume_unwind(Box::new(Bomb)));
    assert_eq!(pool.schedule(item(1)), Scheduled::Queued);
    while pool.stats().n_panicked < 1 {
        yield_now();
    }
    assert_eq!(pool.schedule(item(2)), Scheduled::Queued);
    assert_eq!(pool.close(Duration::MAX).still_running, 0);
    assert_eq!(pool.stats().n_panicked, 2);
}

#[test]
fn a_close_returns_beside_an_executor_that_hangs() {
    let (started, has_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let pool = pool(options(8, 1), None, move |item: Item| {
        started.send(item.key).unwrap();
        released.lock().unwrap().recv().unwrap();
        Ended::Installed
    });
    for key in 0..4 {
        assert_eq!(pool.schedule(item(key)), Scheduled::Queued);
        if key == 0 {
            assert_eq!(has_started.recv(), Ok(0));
        }
    }
    // That it returns at all is the proof: nothing ends the request before.
    let closed = pool.close(Duration::from_millis(50));
    assert_eq!(closed, Closed { completed: 0, abandoned: 3, still_running: 1 });
    let late = pool.schedule(item(9));
    assert_eq!(late, Scheduled::Rejected { request: item(9), why: Rejection::Closed });
    release.send(()).unwrap();
    assert_eq!(pool.close(Duration::MAX).still_running, 0);
    assert_eq!((pool.stats().n_installed, pool.stats().n_abandoned), (1, 3));
}

#[test]
fn a_drop_does_not_wait_and_the_thread_ends_with_its_request() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (ended, has_ended) = mpsc::channel();
    let pool = pool(options(8, 1), None, move |_: Item| {
        released.lock().unwrap().recv().unwrap();
        ended.send(()).unwrap();
        Ended::Installed
    });
    assert_eq!(pool.schedule(item(1)), Scheduled::Queued);
    while pool.stats().n_in_flight == 0 {
        yield_now();
    }
    drop(pool);
    release.send(()).unwrap();
    has_ended.recv().unwrap();
    // The executor, and its sender with it, goes with the last thread.
    assert!(has_ended.recv().is_err());
}

#[test]
fn an_abandoned_request_whose_destructor_panics_strands_no_other() {
    struct Bomb(u64);
    impl Request for Bomb {
        fn key_hash(&self) -> u64 {
            self.0
        }
        fn n_bytes(&self) -> usize {
            0
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                resume_unwind(Box::new("a request's destructor"));
            }
        }
    }
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let pool = pool(options(8, 1), None, move |_: Bomb| {
        released.lock().unwrap().recv().unwrap();
        Ended::Installed
    });
    assert!(matches!(pool.schedule(Bomb(0)), Scheduled::Queued));
    while pool.stats().n_in_flight == 0 {
        yield_now();
    }
    for key in 1..4 {
        assert!(matches!(pool.schedule(Bomb(key)), Scheduled::Queued));
    }
    assert_eq!(pool.close(Duration::ZERO).abandoned, 3);
    release.send(()).unwrap();
    assert_eq!(pool.close(Duration::MAX).still_running, 0);
}

#[test]
fn a_request_that_panics_when_asked_changes_nothing() {
    struct Unhashable;
    impl Request for Unhashable {
        fn key_hash(&self) -> u64 {
            resume_unwind(Box::new("no hash"))
        }
        fn n_bytes(&self) -> usize {
            0
        }
    }
    let pool = pool(options(1, 1), None, |_: Unhashable| Ended::Installed);
    assert!(catch_unwind(AssertUnwindSafe(|| pool.schedule(Unhashable))).is_err());
    assert_eq!(pool.stats().n_submitted, 0);
    // Nobody is counted as inside, which would keep the workers from ending.
    assert_eq!(pool.close(Duration::MAX), Closed::default());
    assert_eq!(pool.shared.exits.n_ended(), 1);
}

#[test]
fn a_thread_that_does_not_start_is_an_error_and_ends_the_others() {
    let threads: Mutex<Vec<JoinHandle<()>>> = Mutex::default();
    let started = Pool::<Item>::start(
        options(1, 3),
        Box::new(|_: Item| Ended::Installed),
        Rules::SHIPPED,
        |worker, serve| {
            if worker == 2 {
                return Err(io::Error::other("no more threads"));
            }
            threads.lock().unwrap().push(spawn(serve));
            Ok(())
        },
    );
    assert!(matches!(started.map(drop), Err(PoolError::Thread(_))));
    let threads = threads.into_inner().unwrap();
    assert_eq!(threads.len(), 2);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_panic_with_any_payload_is_counted() {
    // Its message is printed: the one panic here that takes the usual way.
    let pool = pool(options(1, 1), None, |_: Item| panic_any(7));
    assert_eq!(pool.schedule(item(1)), Scheduled::Queued);
    assert_eq!(pool.close(Duration::MAX).completed, 1);
    assert_eq!(pool.stats().n_panicked, 1);
}
