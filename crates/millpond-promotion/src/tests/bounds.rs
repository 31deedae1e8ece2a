//! What the options refuse, and the two tables at their limits.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use super::{Item, Random, item, options, pool};
use crate::keys::{Keys, NoLane};
use crate::options::{OptionsError, PoolOptions};
use crate::outcome::{Rejection, Scheduled};
use crate::request::Ended;
use crate::ring::{DefaultRing, Ring};
use crate::rules::Rules;

#[test]
fn options_that_cannot_be_are_refused() {
    let good = PoolOptions::default();
    assert_eq!(good.check(), Ok(()));
    let cases = [
        (PoolOptions { slots: 0, ..good }, OptionsError::NoSlots),
        (PoolOptions { bytes_max: 0, ..good }, OptionsError::NoBytes),
        (PoolOptions { workers: 0, ..good }, OptionsError::NoWorkers),
        (PoolOptions { slots: usize::MAX, ..good }, OptionsError::TooManySlots { n: usize::MAX }),
        (PoolOptions { workers: 33, ..good }, OptionsError::TooManyWorkers { n: 33 }),
    ];
    for (options, error) in cases {
        assert_eq!(options.check(), Err(error));
    }
    assert_eq!(PoolOptions { workers: 32, ..good }.check(), Ok(()));
}

#[test]
fn sizes_that_overflow_are_refused_and_no_bytes_are_always_there() {
    let tight = PoolOptions { bytes_max: usize::MAX, ..options(4, 1) };
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let pool = pool(tight, None, move |_: Item| {
        let _ = released.lock().unwrap().recv();
        Ended::Installed
    });
    let huge = |key| Item { key, n_bytes: usize::MAX };
    assert_eq!(pool.schedule(huge(1)), Scheduled::Queued);
    let second = pool.schedule(huge(2));
    assert_eq!(second, Scheduled::Rejected { request: huge(2), why: Rejection::Bytes });
    assert_eq!(pool.schedule(Item { key: 3, n_bytes: 0 }), Scheduled::Queued);
    drop(release);
}

/// Hashes that differ in their low bits only, as small integers do, use the whole table.
#[test]
fn a_full_pool_refuses_hardly_any_key() {
    const N_KEYS: u32 = 1_024;
    let mut n_refused = 0;
    for table in 0..100 {
        let keys = Keys::new(N_KEYS as usize, Rules::SHIPPED);
        let inserted = (0..N_KEYS).map(|key| keys.insert((table * N_KEYS + key).into()));
        n_refused += inserted.filter(Result::is_err).count();
    }
    // A full table refuses 7 in 100,000; these came while it filled.
    assert!(n_refused <= 7, "{n_refused} of 102,400 were refused");
}

#[test]
fn a_cell_without_a_lane_refuses_until_one_is_given_back() {
    let keys = Keys::new(1, Rules::SHIPPED);
    let mut distinct = HashSet::new();
    let neighbours: Vec<u64> = (0..)
        .filter(|hash| keys.place(*hash).0 == 0 && distinct.insert(keys.place(*hash).1))
        .take(6)
        .collect();
    let marks: Vec<_> = neighbours[..5].iter().map(|hash| keys.insert(*hash).unwrap()).collect();
    assert_eq!(keys.insert(neighbours[5]).unwrap_err(), NoLane::Full);
    assert_eq!(keys.insert(neighbours[2]).unwrap_err(), NoLane::Taken);
    keys.remove(marks[2]);
    assert!(keys.insert(neighbours[5]).is_ok());
    assert_eq!(keys.insert(neighbours[2]).unwrap_err(), NoLane::Full);
}

/// The real ring, which models do not see: two threads push in the place of the oldest while two pop.
#[test]
fn the_real_ring_neither_loses_nor_doubles_nor_tears() {
    const N: u64 = 20_000;
    for capacity in [1, 2, 64] {
        let ring: DefaultRing<Box<[u64; 4]>> = Ring::with_capacity(capacity);
        let is_over = AtomicBool::new(false);
        let whole = |item: Box<[u64; 4]>| {
            assert!(item.iter().all(|part| *part == item[0]), "torn: {item:?}");
            item[0]
        };
        let mut all = scope(|threads| {
            let pushers = [0, N].map(|from| {
                let ring = &ring;
                threads.spawn(move || {
                    let push = |n| ring.push_evicting(Box::new([n; 4])).map(whole);
                    (from..from + N).filter_map(push).collect::<Vec<_>>()
                })
            });
            let poppers = [(), ()].map(|()| {
                threads.spawn(|| {
                    let mut popped = Vec::new();
                    loop {
                        let ends = is_over.load(Ordering::Acquire);
                        match Ring::pop(&ring) {
                            Some(item) => popped.push(whole(item)),
                            None if ends => return popped,
                            None => std::thread::yield_now(),
                        }
                    }
                })
            });
            let mut all = Vec::new();
            pushers.into_iter().for_each(|pusher| all.extend(pusher.join().unwrap()));
            is_over.store(true, Ordering::Release);
            poppers.into_iter().for_each(|popper| all.extend(popper.join().unwrap()));
            all
        });
        all.sort_unstable();
        assert!(all.into_iter().eq(0..2 * N), "something is missing or there twice");
    }
}

#[test]
fn the_executor_gets_what_was_scheduled_in_its_order() {
    let (ran, has_run) = std::sync::mpsc::channel();
    let pool = pool(options(64, 1), None, move |item: Item| {
        ran.send(item).unwrap();
        Ended::Installed
    });
    let mut random = Random(9);
    let items: Vec<Item> = (0..64).map(|key| Item { key, n_bytes: random.index(100) }).collect();
    for item in &items {
        assert_eq!(pool.schedule(*item), Scheduled::Queued);
    }
    assert!(items.iter().all(|item| has_run.recv() == Ok(*item)));
    assert_eq!(pool.schedule(item(1)), Scheduled::Queued);
}
