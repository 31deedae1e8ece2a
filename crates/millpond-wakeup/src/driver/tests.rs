//! The driver on tokio's clock, which is paused: it moves when a test says so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::advance;

use super::*;
use crate::counter::Counter;
use crate::{RejectedKind, Timers, Wakeups};

mod alarm;

const MS: Duration = Duration::from_millis(1);

/// A driver that a test polls by hand.
struct Polled {
    driver: Driver<Wakeups<u32>>,
    handle: DriverHandle<Wakeups<u32>>,
    counter: Arc<Counter>,
}

impl Polled {
    /// Asleep, with these deadlines.
    fn asleep(deadlines_ms: &[(u32, u64)]) -> Self {
        let (handle, driver) = driver(Wakeups::new(100));
        for (key, deadline_ms) in deadlines_ms {
            handle.set(*key, Nanos::from_millis(*deadline_ms)).unwrap();
        }
        let mut polled = Self { driver, handle, counter: Arc::default() };
        assert_eq!(polled.poll(), Poll::Pending);
        polled
    }

    /// What is due now: `Ready(None)` after the end.
    fn poll(&mut self) -> Poll<Option<Vec<u32>>> {
        let mut batch = Vec::new();
        let waker = self.counter.waker();
        let mut context = Context::from_waker(&waker);
        let n = self.driver.poll_recv_due(&mut context, &mut batch, 100);
        n.map(|n| {
            assert_eq!(n.unwrap_or(0), batch.len());
            n.map(|_| batch.into_iter().map(|due| due.value).collect())
        })
    }

    fn n_wakes(&self) -> usize {
        self.counter.n()
    }
}

fn due(keys: &[u32]) -> Poll<Option<Vec<u32>>> {
    Poll::Ready(Some(keys.to_vec()))
}

#[tokio::test(start_paused = true)]
async fn the_first_deadline_wakes_a_driver_that_had_none() {
    let mut polled = Polled::asleep(&[]);
    polled.handle.set_after(1, 5 * MS).unwrap();
    assert_eq!(polled.n_wakes(), 1);
    assert_eq!(polled.poll(), Poll::Pending);
    advance(5 * MS).await;
    assert_eq!(polled.n_wakes(), 2);
    assert_eq!(polled.poll(), due(&[1]));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_wakes_it() {
    let mut polled = Polled::asleep(&[(1, 100)]);
    polled.handle.set_after(2, 10 * MS).unwrap();
    assert_eq!(polled.n_wakes(), 1);
    assert_eq!(polled.poll(), Poll::Pending);
    advance(10 * MS).await;
    assert_eq!(polled.n_wakes(), 2);
    assert_eq!(polled.poll(), due(&[2]));
    assert_eq!(polled.poll(), Poll::Pending);
    advance(90 * MS).await;
    assert_eq!((polled.n_wakes(), polled.poll()), (3, due(&[1])));
}

#[tokio::test(start_paused = true)]
async fn a_reset_to_the_past_wakes_it_at_once() {
    advance(50 * MS).await;
    let mut polled = Polled::asleep(&[(1, 100), (2, 200)]);
    polled.handle.set(2, Nanos::ZERO).unwrap();
    assert_eq!((polled.n_wakes(), polled.poll()), (1, due(&[2])));
    let set = polled.handle.set(1, Nanos::from_millis(100)).unwrap();
    assert_eq!(polled.poll(), Poll::Pending);
    assert!(polled.handle.reset(set.handle, Nanos::ZERO).is_some());
    assert_eq!((polled.n_wakes(), polled.poll()), (2, due(&[1])));
}

#[tokio::test(start_paused = true)]
async fn the_removal_of_the_last_wakes_it_once_and_its_old_deadline_not_at_all() {
    let mut polled = Polled::asleep(&[(1, 10)]);
    assert!(polled.handle.cancel(&1));
    assert_eq!(polled.n_wakes(), 1);
    assert_eq!(polled.poll(), Poll::Pending);
    advance(100 * MS).await;
    assert_eq!(polled.n_wakes(), 1);
    // And the next one finds it listening.
    polled.handle.set(2, Nanos::ZERO).unwrap();
    assert_eq!((polled.n_wakes(), polled.poll()), (2, due(&[2])));
}

#[tokio::test(start_paused = true)]
async fn a_clear_wakes_it_and_gives_everything_back() {
    let mut polled = Polled::asleep(&[(1, 20), (2, 10)]);
    assert!(polled.handle.clear().map(|due| due.value).eq([2, 1]));
    assert_eq!((polled.n_wakes(), polled.poll()), (1, Poll::Pending));
    advance(100 * MS).await;
    assert_eq!((polled.n_wakes(), polled.handle.is_empty()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_it_and_gives_everything_back() {
    for deadlines_ms in [vec![], vec![(1, 20), (2, 10)]] {
        let mut polled = Polled::asleep(&deadlines_ms);
        assert_eq!(polled.handle.shutdown().len(), deadlines_ms.len());
        assert_eq!((polled.n_wakes(), polled.poll()), (1, Poll::Ready(None)));
        let error = polled.handle.set_after(3, MS).unwrap_err();
        assert_eq!((error.value, error.kind), (3, RejectedKind::ShuttingDown));
        assert_eq!(polled.handle.shutdown().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_put_off_wakes_it_once_at_the_old_one() {
    let mut polled = Polled::asleep(&[(1, 10)]);
    for deadline_ms in 11..=500 {
        polled.handle.set(1, Nanos::from_millis(deadline_ms)).unwrap();
    }
    assert_eq!(polled.n_wakes(), 0);
    advance(10 * MS).await;
    assert_eq!((polled.n_wakes(), polled.poll()), (1, Poll::Pending));
    advance(489 * MS).await;
    assert_eq!(polled.n_wakes(), 1);
    advance(MS).await;
    assert_eq!((polled.n_wakes(), polled.poll()), (2, due(&[1])));
}

#[tokio::test(start_paused = true)]
async fn later_deadlines_and_removals_behind_the_first_wake_nobody() {
    let polled = Polled::asleep(&[(1, 10), (2, 20)]);
    polled.handle.set(3, Nanos::from_millis(30)).unwrap();
    assert!(polled.handle.cancel(&2));
    assert_eq!(polled.handle.get(&3).map(|(deadline, _)| deadline.as_millis()), Some(30));
    assert_eq!(polled.n_wakes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_panics_halfway_wakes_it() {
    let mut polled = Polled::asleep(&[(1, 10)]);
    let changed = catch_unwind(AssertUnwindSafe(|| {
        polled.handle.with(|wakeups| {
            wakeups.set(2, Nanos::ZERO).unwrap();
            panic!("after the first of two");
        })
    }));
    assert!(changed.is_err());
    assert_eq!((polled.n_wakes(), polled.poll()), (1, due(&[2])));
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_driver_leaves_is_still_returned() {
    let Polled { driver, handle, .. } = Polled::asleep(&[(1, 20), (2, 10)]);
    drop(driver);
    assert!(handle.is_shut_down());
    assert_eq!(handle.set(3, Nanos::ZERO).unwrap_err().kind, RejectedKind::ShuttingDown);
    assert!(handle.shutdown().map(|due| due.value).eq([2, 1]));
    assert_eq!(handle.shutdown().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_handles_it_delivers_what_is_pending_and_ends() {
    let Polled { mut driver, handle, counter } = Polled::asleep(&[(1, 10), (2, 20)]);
    let clone = handle.clone();
    drop(handle);
    drop(clone);
    assert_eq!(counter.n(), 0, "there is something to wait for");
    let mut batch = Vec::new();
    assert_eq!(driver.recv_due(&mut batch, 100).await, Some(1));
    assert_eq!(driver.recv_due(&mut batch, 100).await, Some(1));
    assert_eq!(driver.recv_due(&mut batch, 100).await, None);

    let Polled { handle, counter, .. } = Polled::asleep(&[]);
    drop(handle);
    assert_eq!(counter.n(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_budget_bounds_a_batch() {
    let (handle, mut driver) = driver(Timers::new(100));
    (0..10).try_for_each(|n| handle.insert(Nanos::ZERO, n).map(|_| ())).unwrap();
    let mut batch = Vec::new();
    for (budget, n_due) in [(3, 3), (0, 1), (4, 4), (100, 2)] {
        assert_eq!(driver.recv_due(&mut batch, budget).await, Some(n_due));
    }
    assert!(batch.iter().map(|due| due.value).eq(0..10));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_time_is_a_deadline_like_any_other() {
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let mut polled = Polled::asleep(&[(1, u64::MAX)]);
    for n in 1..=3 {
        advance(year).await;
        assert_eq!((polled.n_wakes(), polled.poll()), (n, Poll::Pending), "after {n} years");
    }
    polled.handle.set_after(2, MS).unwrap();
    assert_eq!(polled.poll(), Poll::Pending);
    advance(MS).await;
    assert_eq!(polled.poll(), due(&[2]));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_cancelled_all_the_time_loses_nothing() {
    let (handle, mut driver) = driver(Timers::new(1000));
    for n in 0_u64..1000 {
        handle.insert_after(Duration::from_millis(n * 7919 % 50_000), n).unwrap();
    }
    let mut batch = Vec::new();
    let mut n_cancelled = 0;
    while batch.len() < 1000 {
        tokio::select! {
            biased;
            n = driver.recv_due(&mut batch, 7) => assert!(n.is_some()),
            () = sleep_until(Instant::now() + 30 * MS) => n_cancelled += 1,
        }
    }
    assert!(n_cancelled > 10, "{n_cancelled}");
    assert!(batch.is_sorted_by_key(|due| (due.deadline, due.revision)));
    let mut values: Vec<u64> = batch.into_iter().map(|due| due.value).collect();
    values.sort_unstable();
    assert!(values.into_iter().eq(0..1000));
}

#[tokio::test(start_paused = true)]
async fn a_task_receives_what_others_set_in_time() {
    let (handle, mut driver) = driver(Wakeups::new(100));
    let clock = handle.clone();
    let task = tokio::spawn(async move {
        let (mut batch, mut late) = (Vec::new(), Duration::ZERO);
        while driver.recv_due(&mut batch, 100).await.is_some() {
            let now = clock.now();
            let lates = batch.drain(..).map(|due| now.saturating_since(due.deadline));
            late = lates.fold(late, Duration::max);
        }
        late
    });
    for n in 0..100_u32 {
        handle.set_after(n % 40, MS * (1 + n * 37 % 50)).unwrap();
        sleep_until(Instant::now() + MS).await;
    }
    sleep_until(Instant::now() + 50 * MS).await;
    assert_eq!(handle.shutdown().len(), 0, "everything was delivered");
    assert!(task.await.unwrap() <= MS, "tokio's clock has ticks of one millisecond");
}
