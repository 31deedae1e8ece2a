//! Who is woken, in numbers.

use std::sync::mpsc;
use std::thread::yield_now;
use std::time::Duration;

use super::{item, options, pool};
use crate::pool::Pool;
use crate::request::{Ended, Request};
use crate::rules::Mutation;

fn wait_until_asleep<R: Request>(pool: &Pool<R>, n: usize) {
    while pool.shared.gate.look().sleepers().count() < n {
        yield_now();
    }
}

/// Three workers sleep, then one request comes.
fn n_woken_by_one(broken: Option<Mutation>) -> u64 {
    let pool = pool(options(4, 3), broken, |_| Ended::Installed);
    wait_until_asleep(&pool, 3);
    let _ = pool.schedule(item(1));
    pool.stats().n_wakeups
}

#[test]
fn a_push_wakes_one_worker() {
    assert_eq!(n_woken_by_one(None), 1);
    assert_eq!(n_woken_by_one(Some(Mutation::PushWakesAll)), 3);
}

#[test]
fn nobody_is_woken_beside_a_worker_that_is_awake() {
    let (release, released) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let pool = pool(options(64, 1), None, move |_| {
        released.lock().unwrap().recv().unwrap();
        Ended::Installed
    });
    wait_until_asleep(&pool, 1);
    for key in 0..65 {
        let _ = pool.schedule(item(key));
    }
    assert_eq!(pool.stats().n_wakeups, 1);
    (0..65).for_each(|_| release.send(()).unwrap());
    assert_eq!(pool.close(Duration::MAX).still_running, 0);
    assert_eq!(pool.stats().n_wakeups, 1);
}
