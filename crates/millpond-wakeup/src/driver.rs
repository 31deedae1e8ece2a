//! A scheduler with tokio's clock: one task receives what is due, and handles set deadlines from anywhere.
//!
//! The driver is a value that one task polls, not a task: nothing is spawned here. It has one sleep, which is
//! pinned once and reset only when the earliest deadline is another one.
//!
//! ```
//! use std::time::Duration;
//! use millpond_wakeup::{Wakeups, driver::driver};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (handle, mut driver) = driver(Wakeups::new(1_000_000));
//! handle.set_after("tenant-1", Duration::from_millis(20))?;
//! handle.set_after("tenant-2", Duration::from_millis(10))?;
//! handle.set_after("tenant-1", Duration::from_millis(5))?; // replaces
//!
//! let mut batch = Vec::new();
//! assert_eq!(driver.recv_due(&mut batch, 100).await, Some(1));
//! assert_eq!(batch[0].value, "tenant-1");
//!
//! // At the end whoever asks gets what is pending, and the driver hears of it.
//! let pending: Vec<_> = handle.shutdown().map(|due| due.value).collect();
//! assert_eq!(pending, ["tenant-2"]);
//! assert_eq!(driver.recv_due(&mut batch, 100).await, None);
//! assert!(handle.set_after("tenant-3", Duration::ZERO).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # When the driver wakes
//!
//! At the earliest deadline; when a deadline is set that is earlier, be it in the past; when the last one is
//! removed, so that it holds no timer for nothing; when all are cleared; at a shutdown; and when the last
//! handle goes and nothing is pending. A deadline that is put off wakes nobody: the driver wakes once at the
//! old one, finds nothing due and sleeps on. So an owner that extends its first lease all the time costs no
//! wake-ups in between.
//!
//! tokio's timer has ticks of one millisecond: a delivery is never early and may be one tick late.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{Due, Nanos, Schedule};

mod handle;
mod mutation;
mod rearm;

pub use handle::DriverHandle;

use rearm::{Alarm, Receiver, Shared};

/// The furthest that the sleep is set ahead; tokio's timer has an end. The driver wakes there, finds nothing
/// due and sleeps on.
const SLEEP_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Drives [`Timers`](crate::Timers) or [`Wakeups`](crate::Wakeups). [`Nanos::ZERO`] is now.
pub fn driver<S: Schedule>(schedule: S) -> (DriverHandle<S>, Driver<S>) {
    driver_since(schedule, Instant::now())
}

/// As [`driver`], where [`Nanos::ZERO`] is `origin`: for a scheduler that has deadlines already.
pub fn driver_since<S: Schedule>(schedule: S, origin: Instant) -> (DriverHandle<S>, Driver<S>) {
    let (clock, shared) = (Clock { origin }, Shared::new(schedule));
    let alarm = TokioAlarm { clock, sleep: Box::pin(None) };
    let receiver = Receiver::new(shared.clone(), alarm);
    (DriverHandle::new(shared, clock), Driver { receiver })
}

/// The end that receives what is due. Dropping it shuts the scheduler down; what was pending waits for the
/// next [`DriverHandle::shutdown`].
#[derive(Debug)]
pub struct Driver<S: Schedule> {
    receiver: Receiver<S, TokioAlarm>,
}

impl<S: Schedule> Driver<S> {
    /// Waits until something is due, moves it to the end of `batch` in exact order, `budget` timers at most
    /// and at least one, and says how many. `None` when nothing will ever be due again: after a shutdown,
    /// or when no handle is left and nothing is pending.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future: timers move to `batch` only where it ends.
    ///
    /// # Panics
    ///
    /// Where there is no tokio runtime with its time driver enabled.
    pub async fn recv_due(
        &mut self,
        batch: &mut Vec<Due<S::Value>>,
        budget: usize,
    ) -> Option<usize> {
        poll_fn(|context| self.poll_recv_due(context, batch, budget)).await
    }

    /// As [`recv_due`](Self::recv_due), for a loop that polls by hand. The waker of the last call counts.
    ///
    /// # Panics
    ///
    /// As [`recv_due`](Self::recv_due).
    pub fn poll_recv_due(
        &mut self,
        context: &mut Context<'_>,
        batch: &mut Vec<Due<S::Value>>,
        budget: usize,
    ) -> Poll<Option<usize>> {
        self.receiver.poll(context, batch, budget.max(1))
    }
}

/// tokio's clock, counted from an origin.
#[derive(Debug, Clone, Copy)]
struct Clock {
    origin: Instant,
}

impl Clock {
    fn now(self) -> Nanos {
        self.at(Instant::now())
    }

    fn at(self, time: Instant) -> Nanos {
        Nanos::from(time.saturating_duration_since(self.origin))
    }
}

/// The sleep, where one is needed. Pinned once; the place is used again.
#[derive(Debug)]
struct TokioAlarm {
    clock: Clock,
    sleep: Pin<Box<Option<Sleep>>>,
}

impl Alarm for TokioAlarm {
    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn set(&mut self, deadline: Option<Nanos>) {
        let Some(deadline) = deadline else {
            self.sleep.set(None);
            return;
        };
        let now = Instant::now();
        let delay = deadline.saturating_since(self.clock.at(now)).min(SLEEP_MAX);
        match self.sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.reset(now + delay),
            None => self.sleep.set(Some(sleep_until(now + delay))),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.poll(context),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod models;
#[cfg(test)]
mod tests;
