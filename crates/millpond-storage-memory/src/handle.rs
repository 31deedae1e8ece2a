//! What the device knows about one open store.

use std::collections::BTreeMap;

use millpond_storage_api::{
    LogPins, LogPosition, LogRecord, StoreError, StoreErrorKind, WriteBatch,
};
use millpond_sync::oneshot;

use crate::MemoryOptions;

pub(crate) enum Standing {
    Open,
    /// Accepts nothing more and waits for its last syncs.
    Closing,
    /// Every further call gets this error.
    Ended(StoreError),
}

pub(crate) struct Handle {
    pub(crate) options: MemoryOptions,
    pub(crate) standing: Standing,
    pub(crate) durable_position: LogPosition,
    pub(crate) pins: LogPins,
    pub(crate) log: BTreeMap<LogPosition, WriteBatch>,
    /// Those who wait for the end of closing.
    pub(crate) closers: Vec<oneshot::Sender<()>>,
    pub(crate) dropped: bool,
}

impl Handle {
    pub(crate) fn new(options: MemoryOptions, durable_position: LogPosition) -> Self {
        Self {
            options,
            standing: Standing::Open,
            durable_position,
            pins: LogPins::new(),
            log: BTreeMap::new(),
            closers: Vec::new(),
            dropped: false,
        }
    }

    /// Records the batch at `position` if somebody holds a pin.
    pub(crate) fn record(&mut self, position: LogPosition, batch: &WriteBatch) {
        self.trim_log();
        if self.pins.oldest().is_some() {
            self.log.insert(position, batch.clone());
        }
    }

    /// Drops the records that no pin holds.
    pub(crate) fn trim_log(&mut self) {
        match self.pins.oldest() {
            None => self.log.clear(),
            Some(oldest) => self.log = self.log.split_off(&oldest.next()),
        }
    }

    pub(crate) fn read_log(
        &mut self,
        after: LogPosition,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>, StoreError> {
        self.trim_log();
        let durable = self.durable_position;
        if after >= durable {
            return Ok(Vec::new());
        }
        // Pins hold everything after a position, so records have no holes between them: if the first
        // one fits, all do.
        if !self.log.contains_key(&after.next()) {
            let first = self.log.keys().next().copied();
            let oldest = first.unwrap_or(durable.next());
            let why = format!("the log no longer holds the batch after position {after}");
            return Err(StoreError::new(StoreErrorKind::Gap { oldest }, why));
        }
        let mut n_bytes = 0;
        let records = self.log.range(after.next()..=durable).take_while(|(_, batch)| {
            let wanted = n_bytes == 0 || n_bytes < bytes_max;
            n_bytes += batch.n_bytes().max(1);
            wanted
        });
        Ok(records.map(|(&position, batch)| LogRecord { position, batch: batch.clone() }).collect())
    }
}
