//! A commit log with a defect.

use std::future::ready;
use std::sync::Arc;

use millpond_storage_api::{
    CommitLog, LogFuture, LogPin, LogPins, LogPosition, LogRecord, PartitionStore, StoreError,
    StoreErrorKind, Table,
};
use millpond_sync::Mutex;

use super::{Defect, Lab, at_once};

pub(super) struct BrokenLog {
    inner: Arc<dyn PartitionStore>,
    lab: Arc<Lab>,
    /// Pins that hold nothing.
    powerless: LogPins,
    /// The one pin that holds something, where there is only one.
    pin: Mutex<Option<LogPin>>,
}

impl BrokenLog {
    pub(super) fn new(inner: Arc<dyn PartitionStore>, lab: Arc<Lab>) -> Self {
        Self { inner, lab, powerless: LogPins::new(), pin: Mutex::new(None) }
    }

    fn recorded_after(&self, after: LogPosition) -> Vec<LogRecord> {
        let records = &self.lab.state.lock().records;
        records.iter().filter(|record| record.position > after).cloned().collect()
    }

    fn read(&self, after: LogPosition, bytes_max: usize) -> Result<Vec<LogRecord>, StoreError> {
        let bytes_max = match self.lab.defect {
            Defect::IgnoresLogBytesMax => usize::MAX,
            _ => bytes_max,
        };
        let read = at_once(self.inner.log().read_after(after, bytes_max));
        let is_gap = |error: &StoreError| matches!(error.kind(), StoreErrorKind::Gap { .. });
        let gapped = read.as_ref().is_err_and(is_gap);
        match self.lab.defect {
            Defect::HidesGaps if gapped => return Ok(Vec::new()),
            Defect::KeepsTheLogOnReopen if gapped => return Ok(self.recorded_after(after)),
            Defect::JoinsOverHoles if gapped => {
                // From the oldest record that is left, whatever was asked for.
                let StoreErrorKind::Gap { oldest } = read.as_ref().expect_err("gapped").kind()
                else {
                    return read;
                };
                let before = LogPosition(oldest.0 - 1);
                return at_once(self.inner.log().read_after(before, bytes_max));
            }
            _ => {}
        }
        let mut records = read?;
        match self.lab.defect {
            Defect::SeesAGapAtTheEnd if records.is_empty() => {
                let oldest = after.next().next();
                return Err(StoreError::new(StoreErrorKind::Gap { oldest }, "nothing is there"));
            }
            Defect::DropsALogRecord if records.len() > 1 => drop(records.remove(1)),
            Defect::RecordsBookkeeping => {
                for record in &mut records {
                    record.batch.put(Table::System, b"log_position", b"");
                }
            }
            Defect::ShiftsLogPositions => {
                for record in &mut records {
                    record.position = record.position.next();
                }
            }
            Defect::RefusesOversizedRecords => {
                records.retain(|record| record.batch.n_bytes() <= bytes_max);
            }
            _ => {}
        }
        Ok(records)
    }
}

impl CommitLog for BrokenLog {
    fn pin(&self) -> LogPin {
        if self.lab.defect != Defect::HoldsOnePin {
            return self.inner.log().pin();
        }
        let pin = self.inner.log().pin();
        let position = pin.position();
        *self.pin.lock() = Some(pin);
        self.powerless.pin_after(position)
    }

    fn read_after(&self, after: LogPosition, bytes_max: usize) -> LogFuture {
        Box::pin(ready(self.read(after, bytes_max)))
    }
}
