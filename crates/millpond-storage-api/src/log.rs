//! The commit log: recorded only while somebody needs it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use millpond_sync::{Arc, Mutex};

use crate::{LogPosition, StoreError, WriteBatch};

/// One recorded batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it stands.
    pub position: LogPosition,
    /// What it changed, without the store's own bookkeeping.
    pub batch: WriteBatch,
}

/// The outcome of [`CommitLog::read_after`].
pub type LogFuture =
    Pin<Box<dyn Future<Output = Result<Vec<LogRecord>, StoreError>> + Send + 'static>>;

/// Reading committed batches in order.
///
/// Nothing is recorded until somebody holds a pin, and records are dropped as soon as no pin needs
/// them; a reopened store starts with an empty log.
pub trait CommitLog: Send + Sync {
    /// Starts recording, and keeps every batch submitted from now on until the pin is
    /// [advanced](LogPin::advance) past it or dropped.
    fn pin(&self) -> LogPin;

    /// The durable batches right after `after`, in order and without holes, about `bytes_max` bytes of
    /// them and at least one if there is one. Empty when `after` is the newest durable position.
    ///
    /// # Errors
    ///
    /// [`Gap`](crate::StoreErrorKind::Gap) when the batch after `after` was not recorded or is gone.
    fn read_after(&self, after: LogPosition, bytes_max: usize) -> LogFuture;
}

/// The positions that pins hold; clones share them.
#[derive(Debug, Clone)]
pub struct LogPins(Arc<Mutex<BTreeMap<LogPosition, usize>>>);

impl Default for LogPins {
    fn default() -> Self {
        Self::new()
    }
}

impl LogPins {
    /// No pins.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(BTreeMap::new())))
    }

    /// Holds every batch after `position`.
    pub fn pin_after(&self, position: LogPosition) -> LogPin {
        *self.0.lock().entry(position).or_default() += 1;
        LogPin { pins: self.clone(), position }
    }

    /// The oldest held position; batches at or before it may go. `None` when nothing is held and
    /// nothing need be recorded.
    pub fn oldest(&self) -> Option<LogPosition> {
        self.0.lock().keys().next().copied()
    }

    fn release(&self, position: LogPosition) {
        let mut pins = self.0.lock();
        if let Some(count) = pins.get_mut(&position) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&position);
            }
        }
    }
}

/// Keeps the batches after a position readable. Dropping it lets them go.
#[derive(Debug)]
pub struct LogPin {
    pins: LogPins,
    position: LogPosition,
}

impl LogPin {
    /// Every batch after this position is kept.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Lets go of the batches up to `position`. Going backwards has no effect.
    pub fn advance(&mut self, position: LogPosition) {
        if position > self.position {
            // The new hold first, so that at no moment nothing is held.
            *self.pins.0.lock().entry(position).or_default() += 1;
            self.pins.release(self.position);
            self.position = position;
        }
    }
}

impl Drop for LogPin {
    fn drop(&mut self) {
        self.pins.release(self.position);
    }
}
