//! What `schedule` asks the allocator for: nothing.

use std::alloc::System;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cap::Cap;
use millpond_promotion::{Ended, Overflow, Pool, PoolOptions, Request, Scheduled};

#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

struct Key(u64);

impl Request for Key {
    fn key_hash(&self) -> u64 {
        self.0
    }

    fn n_bytes(&self) -> usize {
        1
    }
}

#[test]
fn schedule_allocates_nothing() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        // A lock allocates nothing, unlike a channel on which somebody waits.
        let (is_inside, stays) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
        let (inside, leaves) = (is_inside.clone(), stays.clone());
        let options = PoolOptions { slots: 64, bytes_max: 80, workers: 1, overflow };
        let executor = move |_: Key| {
            inside.store(true, Ordering::Release);
            drop(leaves.lock());
            Ended::Installed
        };
        let stay = stays.lock().unwrap();
        let pool = Pool::new(options, executor).unwrap();
        // The first wakes the worker, which stays inside the executor from then on.
        assert!(matches!(pool.schedule(Key(0)), Scheduled::Queued));
        while !is_inside.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let before = ALLOCATED.total_allocated();
        for key in 0..10_000 {
            drop(pool.schedule(Key(key)));
        }
        assert_eq!(ALLOCATED.total_allocated(), before);
        let stats = pool.stats();
        assert!(stats.n_evicted + stats.n_rejected_full > 9_000, "{stats:?}");
        drop(stay);
        assert_eq!(pool.close(Duration::MAX).still_running, 0);
    }
}
